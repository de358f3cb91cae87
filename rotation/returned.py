"""Keys that were handed out come back only as dead ones: the end of a checkout is a rotation.

Rules:
1. A checkout is over when its key is proven dead, whoever rotated it and why; until then each look asks again.
2. A rotation that cannot be started now (another is under way, a store is away) or that was given up is started at a
   later look, after a rest; at once where somebody ends the checkout again.
"""

from datetime import datetime

from broker.db import accounts as account_store
from broker.db import checkouts as store
from broker.db import rotations as rotation_store
from broker.db.checkouts import Checkout
from broker.errors import BrokerError
from broker.model import KeyVersion, Stage
from broker.service import Service
from clients.venue import Slot
from rotation.journal import Journal, microseconds
from rotation.plan import draw_up, draw_up_retirement
from rotation.planner import REST
from rotation.state import State

WHY = "checkout"


class Returned:
    """Ends checkouts."""

    def __init__(self, service: Service, journal: Journal) -> None:
        self._service, self._journal = service, journal

    def look(self, now: datetime) -> tuple[str, ...]:
        """See to every checkout that is over; return what stands in the way, in words.

        Raises:
            StoreUnavailable: The database cannot answer.
        """
        with self._service.desk.database.read() as connection:
            over = store.over(connection, microseconds(now))
        return tuple(filter(None, (self._see_to(one, now) for one in over)))

    def _see_to(self, one: Checkout, now: datetime) -> str:
        account, now_us = one.ref.account, microseconds(now)
        with self._service.desk.database.read() as connection:
            keys = {key.ref: key for key in account_store.keys(connection, account)}
            busy = rotation_store.open_of(connection, account, Slot.TRADE.value)
            last = rotation_store.last_ended(connection, account, Slot.TRADE.value)
        key: KeyVersion | None = keys.get(one.ref)
        if key is None or key.stage is Stage.TOMBSTONE:
            with self._service.desk.database.write() as connection:
                store.dead(connection, one.id, now_us)
                self._service.audit.record(connection, "checkout.end", one.id, {"key": str(one.ref)})
            return ""
        if busy is not None:
            self._being_ended(one, busy.id, now_us)
            return ""
        if last is not None and last.state == State.ABANDONED.value and _rests(one, last.ended_us, now_us):
            return f"{one.id}: {one.ref} was handed out, and rotating it was given up: {last.reason}"
        try:
            if key.stage is Stage.CURRENT:
                planned = draw_up(self._service, account, Slot.TRADE, WHY, now)
                self._journal.plan(planned)
            else:  # an import replaced it
                planned = draw_up_retirement(self._service, one.ref, "retire", now)
                self._journal.begin(planned)
        except BrokerError as fault:
            return f"{one.id}: {one.ref} was handed out and cannot be ended: {fault}"
        self._being_ended(one, planned.id, now_us)
        return ""

    def _being_ended(self, one: Checkout, rotation: str, now_us: int) -> None:
        if one.rotation == rotation:
            return
        with self._service.desk.database.write() as connection:
            store.being_ended(connection, one.id, rotation, now_us)


def _rests(one: Checkout, given_up_us: int, now_us: int) -> bool:
    """Tell whether its rotation was given up so lately that the next one waits; who ends it again does not wait."""
    asked_again = one.closed_at is not None and microseconds(one.closed_at) > given_up_us
    return now_us < given_up_us + REST_US and not asked_again


REST_US = round(REST.total_seconds() * 1_000_000)
