"""What of the log store is not kept for ever, looked at once an hour, a few rows at a time.

Rules:
1. Every piece is a write of its own, the least urgent, and gives up soon: nothing waits for it. What was not done is
   done the next time.
2. A closed order is kept for `KEPT_US` after the last word of it; see `broker.db.retention` for what stays. Whose it
   was is kept for `PAST_US`.
3. A call is kept for `KEPT_US` after it was sealed, and longer where it still counts (`broker.db.old_calls`). That its
   run is given up is in the audit trail first (`call_seal.give_up`), an hour before: whoever verifies the trail
   meanwhile finds one of the two.
4. Age is told by the clock of money, too, which no step of the wall clock moves: one that is set forward by a year
   takes nothing away.
"""

from broker.audit.verify import KEPT_DAYS
from broker.db import clocks, early, old_calls
from broker.db import retention as store
from broker.db.turns import Urgency
from broker.service import call_seal
from broker.service.call_seal import CallSeal
from broker.service.desk import Desk

KEPT_US = KEPT_DAYS * 24 * 3600 * 1_000_000
PAST_US = 7 * 366 * 24 * 3600 * 1_000_000
EVERY_US = 3600 * 1_000_000
AT_ONCE = 200
_PIECES = 5
_PATIENCE_S = 0.5


class Retention:
    """Takes away what can no longer matter."""

    def __init__(self, desk: Desk, seal: CallSeal) -> None:
        self._desk, self._seal = desk, seal
        self._place, self._call = store.START, old_calls.START
        self._orders_due_us = self._calls_due_us = self._through = 0

    def tidy(self) -> None:
        """Take a few pieces away, where it is time; call it every few seconds.

        Raises:
            StoreUnavailable: The log store is busy or away; it is tried again.
        """
        wall_us = self._desk.clock.now_us()
        for _ in range(_PIECES):
            if wall_us >= self._orders_due_us and not self._piece(self._age_us(wall_us)):
                self._place, self._orders_due_us = store.START, wall_us + EVERY_US
        for _ in range(_PIECES):
            if wall_us >= self._calls_due_us and not self._calls(wall_us):
                self._call, self._calls_due_us = old_calls.START, wall_us + EVERY_US

    def _age_us(self, wall_us: int) -> int:
        """Return the instant that ages count to."""
        with self._desk.database.log.read() as connection:
            counted = clocks.get(connection, clocks.MONEY)
        return wall_us if counted is None else min(wall_us, counted.us)

    def _piece(self, now_us: int) -> bool:
        """Take one piece of closed orders and slices away; tell whether there is more to look at."""
        log = self._desk.database.log
        with log.read() as connection:
            places = store.closed_orders(connection, now_us - KEPT_US, self._place, AT_ONCE)
        with log.write(Urgency.UPKEEP, patience_s=_PATIENCE_S) as connection:
            store.forget_orders(connection, places)
            slices = store.forget_slices(connection, now_us, AT_ONCE)
            past = store.forget_past(connection, now_us - PAST_US, AT_ONCE)
            told = early.forget(connection, now_us - KEPT_US, AT_ONCE)
        if places:
            self._place = places[-1]
        return AT_ONCE in {len(places), slices, past, told}

    def _calls(self, wall_us: int) -> bool:
        """Take one piece of calls away; tell whether there is more to look at."""
        before_us, database = self._age_us(wall_us) - KEPT_US, self._desk.database
        with database.log.read() as connection:
            rows = old_calls.older(connection, before_us, self._call, AT_ONCE)
        if not rows:
            return False
        if self._call == old_calls.START:
            call_seal.give_up(database, wall_us, before_us)
            with database.read() as connection:
                self._through = call_seal.settled(connection, wall_us)
        boots = {(row.gateway, row.boot) for row in rows}
        with database.read() as connection:
            upto = call_seal.given_up(connection, boots, self._through)
        for boot in sorted(
            {(row.gateway, row.boot) for row in rows if row.seq > upto.get((row.gateway, row.boot), 0)}
        ):
            self._seal.touch(*boot)  # of before there were seals: sealed now, and kept from now on
        if upto:
            with database.log.write(Urgency.UPKEEP, patience_s=_PATIENCE_S) as connection:
                old_calls.forget(connection, rows, upto)
        last = rows[-1]
        self._call = (last.at_us, last.gateway, last.boot, last.seq)
        return len(rows) == AT_ONCE
