"""What answers told lately that came free of an asset, or was bought: holdings may not show it yet. In memory, bounded.

Exchanges answer orders and questions for holdings from different databases, and these lag by seconds. Until holdings
show it nobody knows whether they do. So what was told within `LATELY_US` before they were asked for is no part of what
is free, and none of a definite no either (`AccountView.perhaps`).
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from decimal import Decimal

from broker.gateway.bought import BUY, ZERO, Known
from broker.gateway.clock import SystemClock

LATELY_US = 30_000_000
"""How far holdings may lag behind what answers to orders told."""

MOST_KEPT = 5_000
"""Of how many assets of accounts it is kept; what was told of the others for longest goes first."""

_STEP_US, _OLDEST_US = 1_000_000, 10_000_000
_NOW_US = SystemClock().boot_us
_Sum = tuple[int, int, Decimal]


class Lately:
    """Sums by account and asset, one for each second: since when, until when, how much."""

    def __init__(self, now_us: Callable[[], int] = _NOW_US, lag_us: int = LATELY_US) -> None:
        self._now_us, self.lag_us = now_us, lag_us
        self._of: OrderedDict[tuple[str, str], deque[_Sum]] = OrderedDict()

    def add(self, account: str, asset: str, amount: Decimal) -> None:
        """So much of it is free as of now that was not."""
        if amount <= 0:
            return
        now_us, sums = self._now_us(), self._of.setdefault((account, asset), deque())
        self._of.move_to_end((account, asset))
        while sums and sums[0][1] < now_us - self.lag_us - _OLDEST_US:
            sums.popleft()
        if sums and now_us - sums[-1][0] < _STEP_US:
            since_us, _, before = sums.pop()
            sums.append((since_us, now_us, before + amount))
        else:
            sums.append((now_us, now_us, amount))
        if len(self._of) > MOST_KEPT:
            self._of.popitem(last=False)

    def since(self, account: str, asset: str, asked_us: int) -> Decimal:
        """Return how much holdings may lack that were asked for then."""
        sums = self._of.get((account, asset), ())
        return sum((amount for _, until_us, amount in sums if until_us >= asked_us - self.lag_us), ZERO)


def came_free(before: Known | None, now: Known) -> Decimal:
    """Return how much of its asset an order brought, or binds no more and did not sell, by what was told of it before.

    What only was shown, and is known by nothing else, may be of long ago.
    """
    if before is None:
        return now.executed if now.side == BUY and now.placed else ZERO
    more = max(ZERO, now.executed - before.executed)
    if now.side == BUY:
        return more
    return max(ZERO, before.left) - max(ZERO, now.left) - more  # what waits binds nothing
