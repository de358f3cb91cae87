"""The heartbeat: one transaction that writes, reads the gates, and sees whether the database is still the same.

Rules:
1. It writes, so that a primary that was demoted, or cut off from its standby, cannot let a lease go on.
2. A new PostgreSQL timeline (failover, restore) may have forgotten a cut: everything is closed in that same
   transaction, until an operator has looked: `portcullis reconcile`, then the thaw of that cut.
"""

from collections.abc import Callable

from broker import gate
from broker.db import Connection, meta, rows
from broker.db import cuts as cut_store
from broker.db.turns import Urgency
from broker.gate import Gate, Mode
from broker.model import EVERYTHING, new_id
from broker.service.audit import ITSELF, Audit
from broker.service.desk import Desk

_TIMELINE = "timeline"


class Continuity:
    """Keeps watch over the database's own history."""

    def __init__(self, desk: Desk, audit: Audit) -> None:
        self._desk, self._audit = desk, audit

    def beat(self, also: Callable[[Connection], None] = lambda _: None) -> dict[str, Gate]:
        """Write the heartbeat and return every gate, read in the same transaction.

        Args:
            also: Done in that transaction, before it is committed.

        Raises:
            StoreUnavailable: The database cannot answer, or takes no writes.
        """
        now_us = self._desk.clock.now_us()
        closed: Gate | None = None
        with self._desk.database.write(Urgency.SAFETY) as connection:
            gates = meta.beat(connection, now_us)
            also(connection)
            here = self._desk.database.timeline(connection)
            before = meta.get(connection, _TIMELINE)
            if here != (before or ""):
                meta.put(connection, _TIMELINE, here)
                if before:
                    cut_id = new_id("cut")
                    record = {
                        "id": cut_id, "mode": Mode.CLOSED.value, "actor": ITSELF, "opened_us": now_us,
                        "reason": f"the database went from timeline {before} to {here} (failover or restore): what "
                        "was closed last may be forgotten; run `portcullis reconcile`, then thaw this",
                    }  # fmt: skip
                    cut_store.add(connection, record, (EVERYTHING,))
                    closed = gate.close(gates.get(EVERYTHING, Gate(EVERYTHING)), cut_id, Mode.CLOSED)
                    rows.save_gate(connection, closed)
                    gates[EVERYTHING] = closed
                    self._audit.record(connection, "cut.timeline", cut_id, {"was": before, "is": here})
        if closed is not None:
            self._desk.tell((closed,))
        return gates
