"""A cut of a key version covers what replaces it: its closers go along when another version takes its place."""

from sqlalchemy import Connection, select

from broker import gate
from broker.db import audit, rows
from broker.db import tables as t
from broker.gate import Gate, Mode
from broker.model import KeyRef, ScopeKind, scope


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


def in_its_place(connection: Connection, name: str, since_us: int) -> list[str]:
    """Return the key versions that took a version's place since an instant, as scopes.

    Args:
        connection: The transaction in which a cut is put on record.
        name: A scope; one that is no key version has no place.
        since_us: When that cut came in force: the moves since then knew nothing of it.
    """
    if name.partition(":")[0] != ScopeKind.KEY_VERSION.value:
        return []
    slot = f"{name.rpartition('/')[0]}/"
    return [one for one in audit.subjects(connection, "key.current", since_us) if one.startswith(slot)]


def _others(connection: Connection, ref: KeyRef) -> list[KeyRef]:
    key = t.KEY_VERSIONS.c
    query = select(key.version).where(
        key.account == ref.account, key.slot == ref.slot.value, key.version != ref.version
    )
    return [KeyRef(ref.account, ref.slot, version) for version in connection.execute(query).scalars()]
