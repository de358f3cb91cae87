"""Keys that were handed out come back only as dead ones: the end of a checkout is a rotation.

Rules:
1. A checkout is over when its key is proven dead, whoever rotated it and why; until then each look asks again. A
   tombstone is no proof (`broker.model.Death`): of a key that a person's word ended, or that the record knows no more,
   nothing can be begun here, and `status` and alerts tell of it until that person looked it up once more.
2. A rotation that cannot be started now (another is under way, a store is away) or that was given up is started at a
   later look, after a rest; at once where somebody ends the checkout again.
3. Its time is over when no clock can say otherwise: a step of one ends it later, never sooner (`broker.steady`).
"""

import logging
from collections.abc import Callable
from datetime import datetime

from broker.db import Connection
from broker.db import accounts as account_store
from broker.db import checkouts as store
from broker.db import rotations as rotation_store
from broker.db.checkouts import Checkout
from broker.deeds import Deed
from broker.errors import BrokerError
from broker.model import Death, KeyVersion, Stage
from broker.service import Service, deaths
from broker.steady import long_left_us
from clients.venue import Slot
from rotation.journal import Journal, microseconds
from rotation.plan import draw_up, draw_up_retirement
from rotation.planner import REST
from rotation.state import State

WHY = "checkout"
_LOG = logging.getLogger("portcullis.rotation")


class Returned:
    """Ends checkouts."""

    def __init__(self, service: Service, journal: Journal) -> None:
        self._service, self._journal = service, journal

    def look(self, now: datetime) -> tuple[str, ...]:
        """See to every checkout that is over; return what stands in the way, in words.

        Raises:
            StoreUnavailable: The database cannot answer.
        """
        if self._service.desk.guard.allows(Deed.RETURN) is not None:
            return ()
        with self._service.desk.database.read() as connection:
            over = store.over(connection, microseconds(now))
        at = self._service.desk.spans.now().at(microseconds(now))
        surely = [one for one in over if one.closed_at is not None or long_left_us(one.span, at) <= 0]
        return tuple(filter(None, (self._see_to(one, now) for one in surely)))

    def _see_to(self, one: Checkout, now: datetime) -> str:
        account, now_us = one.ref.account, microseconds(now)
        with self._service.desk.database.read() as connection:
            keys = {key.ref: key for key in account_store.keys(connection, account)}
            busy = rotation_store.open_of(connection, account, Slot.TRADE.value)
            last = rotation_store.last_ended(connection, account, Slot.TRADE.value)
        key: KeyVersion | None = keys.get(one.ref)
        if key is None:
            return f"{one.id}: {one.ref} was handed out and is not on record: nothing says that it is dead"
        if key.death is Death.PROVEN:
            with self._service.desk.database.write() as connection:
                store.dead(connection, one.id, now_us)
                self._service.audit.record(connection, "checkout.end", one.id, {"key": str(one.ref)})
            return ""
        if busy is not None:
            self._being_ended(one, busy.id, now_us)
            return ""
        if key.stage is Stage.TOMBSTONE:
            return "" if one.is_answered_for else f"{one.id}: {deaths.of_one_that_left(one)}"
        if last is not None and last.state == State.ABANDONED.value and _rests(one, last.ended_us, now_us):
            return f"{one.id}: {one.ref} was handed out, and rotating it was given up: {last.reason}"
        try:
            self._service.desk.guard.ensure(Deed.RETURN)
            if key.stage is Stage.CURRENT:
                planned = draw_up(self._service, account, Slot.TRADE, WHY, now)
                self._journal.plan(planned, self._named(one, planned.id, now_us))
            else:  # an import replaced it
                planned = draw_up_retirement(self._service, one.ref, "retire", now)
                self._journal.begin(planned, self._named(one, planned.id, now_us))
        except BrokerError as fault:
            return f"{one.id}: {one.ref} was handed out and cannot be ended: {fault}"
        except Exception as fault:  # noqa: BLE001 - one must not stop the others; its text may quote
            name = type(fault).__name__
            _LOG.critical("ending the checkout %s failed unforeseen: %s", one.id, name)
            return f"{one.id}: {one.ref} was handed out and cannot be ended: it failed unforeseen ({name})"
        return ""

    @staticmethod
    def _named(one: Checkout, rotation: str, now_us: int) -> Callable[[Connection], None]:
        """Return what says which rotation ends a checkout, in the transaction that begins it."""
        return lambda connection: store.being_ended(connection, one.id, rotation, now_us)

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
