"""A cut of a key version covers what replaces it: its closers go along when another version takes its place.

So does a cut that is made, and not on record yet, while that happens: its heirs are found when it is put there.
"""

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, select

from broker import gate
from broker.db import rows
from broker.db import tables as t
from broker.gate import Gate, Mode
from broker.model import KeyRef, ScopeKind, Stage, scope


def carry(connection: Connection, to: KeyRef, away_from: KeyRef | None) -> None:
    """Close a version that takes the place of another with all that holds the other; in the same transaction.

    Where none was in use, what holds any other version of that account and slot counts: in doubt it stays closed.
    The cuts name the new version from now on, so that their thaw opens it, too.
    """
    places = {
        scope(ScopeKind.KEY_VERSION, str(ref))
        for ref in ([away_from] if away_from is not None else _others(connection, to))
    }
    here = scope(ScopeKind.KEY_VERSION, str(to))
    holding: dict[str, list[Mode]] = {}
    for left in rows.gates(connection, places - {here}).values():
        for cut, mode in left.closers.items():
            holding.setdefault(cut, []).append(mode)
    closed = rows.gates(connection, [here]).get(here, Gate(here))
    fresh = {cut: gate.strictest(modes) for cut, modes in holding.items() if cut not in closed.closers}
    for cut, mode in fresh.items():
        closed = gate.close(closed, cut, mode)
        connection.execute(t.CUT_SCOPES.insert().values(cut=cut, scope=here))
    if fresh:
        rows.save_gate(connection, closed)


Place = tuple[str, str]
"""Account and slot."""

_LONGEST_US = 30_000_000
"""A version is in use when its transaction is committed, so long after what the audit trail says at most."""


def in_use(connection: Connection, scopes: Iterable[str]) -> dict[Place, int | None]:
    """Return the version that is in use at each place of which these scopes name a version."""
    key, found = t.KEY_VERSIONS.c, dict[Place, int | None]()
    for account, slot in _named(scopes):
        query = select(key.version).where(
            key.account == account, key.slot == slot, key.stage == Stage.CURRENT.value
        )
        found[account, slot] = connection.execute(query).scalar()
    return found


def in_use_at(connection: Connection, scopes: Iterable[str], at_us: int) -> dict[Place, int | None]:
    """Return what was in use at an instant, by the audit trail; rather too early than too late."""
    audit, found = t.AUDIT.c, dict[Place, int | None]()
    for account, slot in _named(scopes):
        place = scope(ScopeKind.KEY_VERSION, f"{account}/{slot}/")
        query = select(audit.subject).where(
            audit.at_us <= at_us - _LONGEST_US,
            audit.action == "key.current",
            audit.subject.startswith(place, autoescape=True),
        )
        subject = connection.execute(query.order_by(audit.at_us.desc(), audit.seq.desc()).limit(1)).scalar()
        found[account, slot] = None if subject is None else int(subject.rpartition("/")[2])
    return found


def heirs(
    connection: Connection, scopes: Iterable[str], before: Mapping[Place, int | None]
) -> tuple[str, ...]:
    """Return key versions that have taken the place of one in scope since it was as `before` says; in doubt they have.

    Not those that had replaced it by then: who cuts an old version is told so.
    """
    scopes = tuple(scopes)
    return added(scopes, before, in_use(connection, scopes))


def added(
    scopes: Iterable[str], before: Mapping[Place, int | None], now: Mapping[Place, int | None]
) -> tuple[str, ...]:
    """Return the key versions that came in scope, by what was in use before and is now; see `heirs`."""
    found = []
    for place, versions in _named(scopes).items():
        current, was = now.get(place), before.get(place)
        if current is not None and current not in versions and (was is None or was in versions):
            found.append(scope(ScopeKind.KEY_VERSION, "/".join((*place, str(current)))))
    return tuple(found)


def _named(scopes: Iterable[str]) -> dict[Place, set[int]]:
    """Return which versions scopes name, by place."""
    found: dict[Place, set[int]] = {}
    for name in scopes:
        kind, _, ref = name.partition(":")
        if kind == ScopeKind.KEY_VERSION.value:
            account, slot, version = ref.rsplit("/", 2)
            found.setdefault((account, slot), set()).add(int(version))
    return found


def _others(connection: Connection, ref: KeyRef) -> list[KeyRef]:
    key = t.KEY_VERSIONS.c
    query = select(key.version).where(
        key.account == ref.account, key.slot == ref.slot.value, key.version != ref.version
    )
    return [KeyRef(ref.account, ref.slot, version) for version in connection.execute(query).scalars()]
