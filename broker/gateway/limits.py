"""Order rate of grants, and request weight of venues. Pure, in memory.

Rules:
1. Order rate: at most so many new orders in any window of so many seconds. Exits do not count.
2. Weight is what the venue counts per address and minute: the larger of our sum and what its answers say. An answer
   to what was sent in the last minute, or while clocks may disagree on which it is, says nothing of this one.
3. A fifth of the weight is kept for writes and exits: reads stop first, with the venue's own 429.
4. A real 429 or 418 stops reads until the venue's `Retry-After` is over; 418 stops new orders too, because
   each further call makes the ban longer. Cancels and exits are always tried.
"""

from collections import deque

from broker.policy_document import Rate

MINUTE_US = 60_000_000
UNSURE_US = 1_000_000
"""For so long after a minute began the venue's clock may still be in the last one."""

_POOLS = {"ip": 6000, "sapi-ip": 12_000, "sapi-uid": 180_000}
_FOR_READS = 0.8
_BANNED = 418
_DEFAULT_PAUSE_S = 60.0


class OrderRate:
    """New orders of one grant within the last window."""

    def __init__(self) -> None:
        self._at: deque[int] = deque()

    def free(self, rate: Rate | None, count: int, now_us: int) -> bool:
        """Tell whether so many more may follow now."""
        if rate is None:
            return True
        start = now_us - rate.seconds * 1_000_000
        while self._at and self._at[0] <= start:
            self._at.popleft()
        return len(self._at) + count <= rate.orders

    def take(self, rate: Rate | None, count: int, now_us: int) -> None:
        """Count some."""
        if rate is not None:
            self._at.extend([now_us] * count)


class WeightMeter:
    """Request weight behind one egress at one venue."""

    def __init__(self) -> None:
        self._minute = -1
        self._used: dict[str, int] = {}
        self._reads_from_us = 0
        self._orders_from_us = 0

    def _turn(self, now_us: int) -> None:
        minute = now_us // MINUTE_US
        if minute != self._minute:
            self._minute = minute
            self._used.clear()

    def read_pause_s(self, pool: str, weight: int, now_us: int) -> int | None:
        """Return for how many seconds a read has to wait; None where it may go."""
        if now_us < self._reads_from_us:
            return (self._reads_from_us - now_us) // 1_000_000 + 1
        self._turn(now_us)
        limit = _POOLS.get(pool.partition(":")[0], 6000) * _FOR_READS
        if self._used.get(pool, 0) + weight <= limit:
            return None
        return (MINUTE_US - now_us % MINUTE_US) // 1_000_000 + 1

    def order_pause_s(self, now_us: int) -> int | None:
        """Return for how many seconds a new order has to wait; None where it may go."""
        if now_us >= self._orders_from_us:
            return None
        return (self._orders_from_us - now_us) // 1_000_000 + 1

    def spend(self, pool: str, weight: int, now_us: int) -> None:
        """Count what is being sent."""
        self._turn(now_us)
        self._used[pool] = self._used.get(pool, 0) + weight

    def told(self, used: int, sent_us: int, now_us: int) -> None:
        """Take in what an answer says of the general pool: others may be behind our address."""
        self._turn(now_us)
        if sent_us // MINUTE_US != self._minute or sent_us % MINUTE_US < UNSURE_US:
            return
        self._used["ip"] = max(self._used.get("ip", 0), used)

    def refused(self, status: int, retry_after_s: float | None, now_us: int) -> None:
        """Take in a 429 or 418 of the venue."""
        until = now_us + int((retry_after_s or _DEFAULT_PAUSE_S) * 1_000_000)
        self._reads_from_us = max(self._reads_from_us, until)
        if status == _BANNED:
            self._orders_from_us = max(self._orders_from_us, until)
