"""How long a request waits. What this process did not run in is no time in which anybody was waited for.

Rules:
1. Time is counted in steps. One that ends late was a standstill (stopped, starved, a loop that was held): it counts as
   the step that it was meant to be, and another one follows, so that what came meanwhile is taken up before the time
   is over: an answer may lie in a socket.
2. Not for ever: standstills of `MOST_LOST` seconds in all count for nothing, and the one that exceeds it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

STEP, MOST_LOST = 0.2, 3.0


class Wait:
    """So many seconds, in one piece or in several. `over`: they are used up."""

    def __init__(self, seconds: float) -> None:
        self._left, self._may_lose, self.over = max(0.0, seconds), MOST_LOST, False
        self._limit: asyncio.Timeout | None = None
        self._from, self._step = 0.0, 0.0
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def runs(self) -> AsyncIterator[None]:
        """Let it run; a TimeoutError where it is used up first."""
        async with asyncio.timeout(None) as self._limit:
            self._begin()
            try:
                yield
            finally:
                if self._timer is not None:
                    self._timer.cancel()
                self._count()

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._from, self._step = loop.time(), min(STEP, self._left)
        self._timer = loop.call_later(self._step, self._end)

    def _end(self) -> None:
        """A step is over."""
        self._count()
        if self._left > 0:
            self._begin()
        elif self._limit is not None:
            self.over, self._timer = True, None
            self._limit.reschedule(asyncio.get_running_loop().time())

    def _count(self) -> None:
        """Count the time since the step began."""
        now = asyncio.get_running_loop().time()
        took, self._from = now - self._from, now
        late = took - self._step
        if late > STEP and self._may_lose > 0:
            self._may_lose -= late
            self._left = max(self._left - self._step, STEP)
        else:
            self._left = max(0.0, self._left - took)
