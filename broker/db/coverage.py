"""A cut of a key version covers what replaces it: its closers go along when another version takes its place."""

from sqlalchemy import Connection, select

from broker import gate
from broker.db import rows
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


def _others(connection: Connection, ref: KeyRef) -> list[KeyRef]:
    key = t.KEY_VERSIONS.c
    query = select(key.version).where(
        key.account == ref.account, key.slot == ref.slot.value, key.version != ref.version
    )
    return [KeyRef(ref.account, ref.slot, version) for version in connection.execute(query).scalars()]
