"""A cut that is known elsewhere and not on record is put there.

It closes, ends checkouts, is listed, and is thawed by its name like every other. Known elsewhere is: the secret
store's mirror, or the memory of a broker whose database went back. Whoever asks has made sure that it was not thawed
on record.
"""

from dataclasses import replace

from broker import gate
from broker.audit.chain import Detail
from broker.db import Connection, checkouts, coverage, rows
from broker.db import cuts as store
from broker.gate import Gate, Mode
from broker.gate_document import NotedCut
from broker.service.audit import Audit

FORGOTTEN = (
    "the database forgot it; it holds until somebody thaws it. Who made it, and why, is not known here"
)
"""Reason of a cut of which only its name and what it holds is known."""


def adopt(connection: Connection, audit: Audit, noted: NotedCut, now_us: int) -> tuple[NotedCut, list[Gate]]:
    """Put a cut on record, or take its thaw back; return it with all that it holds, and the gates it closed."""
    noted = replace(noted, scopes=_names(connection, noted))
    row = store.get(connection, noted.id)
    if row is None:
        record = {
            "id": noted.id, "mode": noted.mode.value, "reason": noted.reason, "actor": noted.actor,
            "opened_us": noted.opened_us,
        }  # fmt: skip
        store.add(connection, record, noted.scopes)
    else:
        store.unthaw(connection, noted.id)
        store.widen(connection, noted.id, noted.scopes)
    known = rows.gates_of(connection, noted.scopes)
    closed = [gate.close(known[scope], noted.id, noted.mode) for scope in sorted(noted.scopes)]
    for one in closed:
        rows.save_gate(connection, one)
    details: dict[str, Detail] = {"scopes": list(noted.scopes)}
    ended = checkouts.end_in(connection, noted.scopes, now_us) if noted.mode is Mode.CLOSED else []
    if ended:
        details["checkouts"] = ended
    audit.record(connection, "cut.adopt", noted.id, details)
    return noted, closed


def _names(connection: Connection, noted: NotedCut) -> tuple[str, ...]:
    """Return what a cut holds: what it names, here or there, and what took a named key version's place since."""
    known = {*noted.scopes, *store.scopes(connection, noted.id)}
    then = coverage.in_use_at(connection, known, noted.opened_us)
    return tuple(sorted({*known, *coverage.heirs(connection, known, then)}))
