"""A cut of a key version covers what replaces it: its closers go along when another version takes its place.

So does a cut that is made, and not on record yet, while that happens: its heirs are found when it is put there.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, literal_column, select
from sqlalchemy.engine import Row

from broker import gate
from broker.db import rows
from broker.db import tables as t
from broker.gate import Mode
from broker.model import KeyRef, ScopeKind, Stage, is_version, scope


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
    closed = rows.gates_of(connection, [here])[here]
    fresh = {cut: gate.strictest(modes) for cut, modes in holding.items() if cut not in closed.closers}
    for cut, mode in fresh.items():
        closed = gate.close(closed, cut, mode)
        connection.execute(t.CUT_SCOPES.insert().values(cut=cut, scope=here))
    if fresh:
        rows.save_gate(connection, closed)


Place = tuple[str, str]
"""Account and slot."""

LONGEST_US = 30_000_000
"""A version is in use when its transaction is committed, so long after what the audit trail says at most."""

MOST_READ, _AT_ONCE = 20_000, 300


def in_use(connection: Connection, scopes: Iterable[str]) -> dict[Place, int | None]:
    """Return the version that is in use at each place of which these scopes name a version."""
    key, found = t.KEY_VERSIONS.c, dict[Place, int | None]()
    for account, slot in _named(scopes):
        query = select(key.version).where(
            key.account == account, key.slot == slot, key.stage == Stage.CURRENT.value
        )
        found[account, slot] = connection.execute(query).scalar()
    return found


def changed_since(connection: Connection, scopes: Iterable[str], at_us: int) -> set[Place]:
    """Return the places where another version was taken into use since an instant, by the audit trail."""
    return {place for place in _named(scopes) if _taken(connection, place, t.AUDIT.c.at_us >= at_us)}


def in_use_at(connection: Connection, scopes: Iterable[str], at_us: int) -> dict[Place, int | None]:
    """Return what was in use at an instant, by the audit trail; rather too early than too late, None in doubt."""
    at, found = t.AUDIT.c.at_us, dict[Place, int | None]()
    for place in _named(scopes):
        before = _taken(connection, place, at <= at_us - LONGEST_US)
        row = max(before, key=lambda one: (one.at_us, one.seq), default=None)
        unsure = (
            row is None
            or _went_back(connection, row)
            or any(
                _may_be_earlier(connection, later)
                for later in _taken(connection, place, at > at_us - LONGEST_US)
                if later.writer == row.writer and later.seq > row.seq
            )
        )
        found[place] = None if row is None or unsure else int(row.subject.rpartition("/")[2])
    return found


def _taken(connection: Connection, place: Place, when: ColumnElement[bool]) -> list[Row[Any]]:
    """Return when versions of a place were taken into use, as far as the trail says: read by an index of only these."""
    key, audit, found = t.KEY_VERSIONS.c, t.AUDIT.c, list[Row[Any]]()
    versions = connection.execute(
        select(key.version).where(key.account == place[0], key.slot == place[1])
    ).scalars()
    subjects = [scope(ScopeKind.KEY_VERSION, "/".join((*place, str(version)))) for version in versions]
    for first in range(0, len(subjects), _AT_ONCE):
        query = select(
            audit.writer, audit.seq, audit.at_us, audit.subject
        ).where(
            literal_column("action") == literal_column("'key.current'"),  # the index is of these words
            audit.subject.in_(subjects[first : first + _AT_ONCE]),
            when,
        )
        found.extend(connection.execute(query))
    return found


def _went_back(connection: Connection, row: Row[Any]) -> bool:
    """Tell whether the clock was set back before a record was written: by then it may have been later than it says."""
    seq = t.AUDIT.c.seq
    written, whole = _written(connection, row.writer, seq < row.seq, seq.desc())
    return not whole or any(at_us > row.at_us + LONGEST_US for at_us in written)


def _may_be_earlier(connection: Connection, row: Row[Any]) -> bool:
    """Tell whether what came into use may have done so earlier than it says: written by a clock that ran ahead.

    So it is where the clock was set back after that.
    """
    seq = t.AUDIT.c.seq
    written, whole = _written(connection, row.writer, seq > row.seq, seq)
    return not whole or any(at_us < row.at_us - LONGEST_US for at_us in written)


def _written(
    connection: Connection, writer: str, part: ColumnElement[bool], order: ColumnElement[Any]
) -> tuple[list[int], bool]:
    """Return when records were written, in a part of a writer's chain, and whether that is all of it: not too many.

    This is read while a cut is put on record. What is not known of a long chain is in doubt.
    """
    audit = t.AUDIT.c
    query = select(audit.at_us).where(audit.writer == writer, part).order_by(order).limit(MOST_READ + 1)
    found = list(connection.execute(query).scalars())
    return found, len(found) <= MOST_READ


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


def covers(scopes: Collection[str], before: Mapping[Place, int | None], name: str) -> bool:
    """Tell whether a cut that is on no record yet holds a scope: it names it, or a version whose place that one took.

    Args:
        scopes: What the cut names.
        before: Which versions were in use as it was made.
        name: A scope; if a key version, one that is in use or is to be.
    """
    if name in scopes:
        return True
    now = {place: max(versions) for place, versions in _named((name,)).items()}
    return name in added(scopes, before, now)


def _named(scopes: Iterable[str]) -> dict[Place, set[int]]:
    """Return which versions scopes name, by place; none where it cannot be read which (see `adoption`)."""
    found: dict[Place, set[int]] = {}
    for name in scopes:
        kind, _, ref = name.partition(":")
        if kind == ScopeKind.KEY_VERSION.value and is_version(ref):
            account, slot, version = ref.rsplit("/", 2)
            found.setdefault((account, slot), set()).add(int(version))
    return found


def _others(connection: Connection, ref: KeyRef) -> list[KeyRef]:
    key = t.KEY_VERSIONS.c
    query = select(key.version).where(
        key.account == ref.account, key.slot == ref.slot.value, key.version != ref.version
    )
    return [KeyRef(ref.account, ref.slot, version) for version in connection.execute(query).scalars()]
