"""The heartbeat: one transaction that writes, reads the gates, and sees whether the record is still the same history.

Rules:
1. It writes, so that a primary that was demoted, or cut off from its standby, cannot let a lease go on.
2. Another history may have forgotten a cut. It begins in that same transaction, with everything closed in it until an
   operator has looked (`portcullis reconcile`, then the thaw of that cut), where the record went back:
   PostgreSQL is on another timeline (failover, restore); what this process read or wrote there is gone; its history is
   older than the one this process knows; or the secret store, or a gateway, knows more of it than it does itself.
3. What this process knew as closed and the other history does not know is put on record there, too, and closed: a
   person thaws it by its name. So are grants from which it knows that something was taken (`heard`). Keys that it
   handed out, or asked back, are on record again first (`undone`): a cut ends them.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from broker import gate
from broker.db import Connection, history, meta, rotations, rows
from broker.db import cuts as cut_store
from broker.db.turns import Urgency
from broker.gate import Gate, Mode
from broker.gate_document import NotedCut
from broker.gate_news import MOST_OPENED
from broker.history import History, Mark, dump_mark, load_mark
from broker.model import EVERYTHING, new_id
from broker.service.adoption import adopt
from broker.service.audit import ITSELF, Audit
from broker.service.desk import Desk
from broker.service.heard import Heard
from broker.service.undone import do_again

_MOST_AHEAD = 1_000_000
"""More often no record went back. A history is numbered above what is believed, and its number has to stay readable."""

_TOLD = "told_generation"
"""The fact that names the highest generation above ours that was answered by a closing: only a restore raises ours, so
no history that begins here is ever above it."""

_LOG = logging.getLogger("portcullis.authority")


@dataclass(frozen=True, slots=True)
class Beat:
    """What one heartbeat read. `thawed` are cuts known to the caller as closed that a person thawed on record.

    `mark` is how far the record has come, as it is written down. `opened` are the cuts that were thawed last, read
    where a history begins for this process: of a thaw from before that nobody else could tell.
    """

    history: str
    gates: dict[str, Gate]
    thawed: tuple[str, ...] = ()
    mark: str = ""
    opened: tuple[str, ...] = ()


class Continuity:
    """Keeps watch over the database's own history."""

    def __init__(self, desk: Desk, audit: Audit) -> None:
        self._desk, self._audit = desk, audit
        self._known: tuple[History, Mark] | None = None
        self._heard = Heard(desk)

    def beat(
        self,
        also: Callable[[Connection], None] = lambda _: None,
        remembered: Callable[[], Mapping[str, NotedCut]] = dict,
        *,
        keeps: bool = False,
    ) -> Beat:
        """Write the heartbeat and return every gate, read in the same transaction.

        Args:
            also: Done in that transaction, before it is committed.
            remembered: The cuts that the caller knows to hold, asked for where another history begins.
            keeps: Ask for them all the same: some of them are not on record.

        Raises:
            StoreUnavailable: The database cannot answer, or takes no writes.
            Withheld: Another host runs this home now.
        """
        thawed: list[str] = []
        with self._desk.database.write(Urgency.SAFETY) as connection:
            self._desk.guard.beat(connection)
            meta.beat(connection, self._desk.clock.now_us())
            self._look(connection)
            also(connection)
            here = history.here(connection)
            other = self._known is not None and here != self._known[0]
            if other:
                do_again(connection, self._desk, self._audit)
            if keeps or other:
                thawed = self._remember(connection, remembered())
            gates = rows.gates(connection)
            begins = self._known is None or here != self._known[0]
            opened = cut_store.thawed_last(connection, MOST_OPENED) if begins else ()
            mark = history.mark(connection)
        if other:
            self._heard.forget()
        self._known = here, mark
        return Beat(str(here), gates, tuple(thawed), dump_mark(mark), opened)

    def is_told(self, instance: str, text: str, by: str) -> bool:
        """Take in how far somebody knew the record to have come; begin another history where it lacks that.

        Returns:
            Whether another history was begun.

        Raises:
            StoreUnavailable: The database cannot answer.
        """
        try:
            mark = load_mark(text)
        except ValueError:
            return False
        if instance != self._desk.home.instance:
            return False
        with self._desk.database.read() as connection:
            ours = history.recorded(connection)
            ahead = max(mark.history.number - ours.number, mark.history.generation - ours.generation)
            if ahead > _MOST_AHEAD:
                _LOG.error(
                    "%s says that the record went back %d times more than it knows: not believed", by, ahead
                )
                return False
            if not _is_news(connection, mark):
                return False
        with self._desk.database.write(Urgency.SAFETY) as connection:
            if not _is_news(connection, mark):
                return False
            why = f"the database was put back: {by} knows record {mark.seq} of history {mark.history}"
            self.begin(connection, why, mark.history.number)
            if mark.history.generation > history.recorded(connection).generation:
                meta.put(connection, _TOLD, str(mark.history.generation))
        return True

    def begin(self, connection: Connection, why: str, above: int = 0) -> str:
        """Begin another history in this transaction, with everything closed; return the cut that closes it.

        Args:
            connection: Of the transaction.
            why: What was seen, for who reads it at 3 a.m.
            above: The number of a history that this one is to be newer than, besides the record's own.
        """
        recorded = history.recorded(connection)
        known = 0 if self._known is None else self._known[0].number
        fresh = history.begin(connection, max(recorded.number, known, above) + 1)
        rotations.outdate(connection)
        cut_id = new_id("cut")
        record = {
            "id": cut_id, "mode": Mode.CLOSED.value, "actor": ITSELF, "opened_us": self._desk.clock.now_us(),
            "reason": f"{why}: what was closed last may be forgotten; run `portcullis reconcile`, then thaw this",
        }  # fmt: skip
        cut_store.add(connection, record, (EVERYTHING,))
        rows.save_gate(
            connection,
            gate.close(rows.gates_of(connection, [EVERYTHING])[EVERYTHING], cut_id, Mode.CLOSED),
        )
        self._audit.record(connection, "cut.history", cut_id, {"was": str(recorded), "is": str(fresh)})
        return cut_id

    def _look(self, connection: Connection) -> None:
        """Begin another history where the record went back."""
        recorded, here = history.recorded(connection), history.here(connection)
        if not recorded.word:  # a home from before histories were told apart: this is its first
            meta.put(connection, history.FACT, history.fresh(recorded.number))
        if recorded.timeline != here.timeline:
            if recorded.timeline:
                self.begin(
                    connection,
                    f"the database went from timeline {recorded.timeline} to {here.timeline} (failover or restore)",
                )
            else:
                meta.put(connection, history.TIMELINE, here.timeline)
        elif self._known is not None:
            known, mark = self._known
            if here.height < known.height:
                self.begin(connection, f"the database went back from history {known} to {here}")
            elif here == known and not history.has(connection, mark):
                self.begin(
                    connection, f"the database went back: it has lost record {mark.seq} of its audit trail"
                )

    def _remember(self, connection: Connection, remembered: Mapping[str, NotedCut]) -> list[str]:
        """Put on record what is known as closed and is not closed there; return what was thawed there."""
        thawed, now_us = [], self._desk.clock.now_us()
        for noted in remembered.values():
            row = cut_store.get(connection, noted.id)
            if row is not None and row.thawed_us is not None:
                thawed.append(noted.id)
            elif row is None or not set(noted.scopes) <= set(cut_store.scopes(connection, noted.id)):
                adopt(connection, self._audit, noted, now_us)
        for noted in self._heard.given_again(connection):
            adopt(connection, self._audit, noted, now_us)
        return thawed


def _is_news(connection: Connection, mark: Mark) -> bool:
    """Tell whether the record lacks what somebody knows of it; one of a higher generation is news once."""
    if history.has(connection, mark):
        return False
    generation = mark.history.generation
    ours = history.recorded(connection).generation
    return generation <= ours or generation > int(meta.get(connection, _TOLD) or 0)
