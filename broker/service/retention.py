"""What of the log store is not kept for ever, looked at once an hour, a few rows at a time.

Rules:
1. Every piece is a write of its own, the least urgent, and gives up soon: nothing waits for it. What was not done is
   done the next time.
2. A closed order is kept for `KEPT_US` after the last word of it; see `broker.db.retention` for what stays.
"""

from broker.db import retention as store
from broker.db.turns import Urgency
from broker.service.desk import Desk

KEPT_US = 90 * 24 * 3600 * 1_000_000
EVERY_US = 3600 * 1_000_000
AT_ONCE = 200
_PIECES = 5
_PATIENCE_S = 0.5


class Retention:
    """Takes away what can no longer matter."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._place = store.START
        self._due_us = 0

    def tidy(self) -> None:
        """Take a few pieces away, where it is time; call it every few seconds.

        Raises:
            StoreUnavailable: The log store is busy or away; it is tried again.
        """
        now_us = self._desk.clock.now_us()
        if now_us < self._due_us:
            return
        for _ in range(_PIECES):
            if not self._piece(now_us):
                self._place, self._due_us = store.START, now_us + EVERY_US
                return

    def _piece(self, now_us: int) -> bool:
        """Take one piece away; tell whether there is more to look at."""
        log = self._desk.database.log
        with log.read() as connection:
            places = store.closed_orders(connection, now_us - KEPT_US, self._place, AT_ONCE)
        with log.write(Urgency.UPKEEP, patience_s=_PATIENCE_S) as connection:
            store.forget_orders(connection, places)
            slices = store.forget_slices(connection, now_us, AT_ONCE)
        if places:
            self._place = places[-1]
        return len(places) == AT_ONCE or slices == AT_ONCE
