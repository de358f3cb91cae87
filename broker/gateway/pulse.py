"""Whether this gateway reads what the broker tells it. A process can stand still: stopped, starved, its host asleep.

What came meanwhile waits in sockets, bots' requests and the broker's word side by side, and nobody says which is taken
up first. A request that was taken up before the cut that had come before it would be served after it.

Rules:
1. Who stood still for `STALL_US` answers no request before it has caught up: the broker was asked something, and what
   it had sent before its answer is in force. A beat that did not come tells it, whatever is taken up first. A beat is
   of the instant that was looked at: who is stopped right behind that look is found by the next one.
2. A broker that says nothing is waited for `CATCH_UP_SECONDS`, not longer: leases that have not run out serve then.
3. Where the link has ended meanwhile there is nobody to ask, and another gateway may have our place: nothing is served.
"""

import asyncio
from collections.abc import Awaitable, Callable

from broker.gateway.clock import SystemClock

STALL_US = 1_000_000
BEAT_SECONDS = 0.25
CATCH_UP_SECONDS = 0.5
MOST_STALLS = 3
LONGEST_US = STALL_US + int(CATCH_UP_SECONDS * 1_000_000)


class Pulse:
    """Beats as long as the process runs. `catch_up` waits for the broker; it tells whether the link still stands."""

    def __init__(self, clock: SystemClock, catch_up: Callable[[], Awaitable[bool]]) -> None:
        self._clock, self._catch_up = clock, catch_up
        self._beat_us = clock.boot_us()
        self._behind = False
        self._caught_up = asyncio.Event()

    def behind(self, now_us: int) -> bool:
        """Tell whether the broker may have said something that is not in force here yet."""
        return self._behind or now_us - self._beat_us > STALL_US

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            now_us = self._clock.boot_us()
            if self.behind(now_us):
                self._behind = True
                self._caught_up.clear()
                now_us, self._behind = await self._caught()
                self._caught_up.set()
            self._beat_us = now_us
            await asyncio.sleep(BEAT_SECONDS)

    async def _caught(self) -> tuple[int, bool]:
        """Catch up, again where that stood still, too; return as of when, and whether we are behind all the same."""
        while True:
            began_us = self._clock.boot_us()
            stands = await self._catch_up()
            now_us = self._clock.boot_us()
            if not stands or now_us - began_us <= LONGEST_US:
                return now_us, not stands

    async def caught_up(self) -> None:
        """Wait until it is known whether we have caught up; who is not behind waits for nothing.

        Who stood still again before this went on waits again, not for ever.
        """
        for _ in range(MOST_STALLS):
            if not self.behind(self._clock.boot_us()):
                return
            self._behind = True  # the beat that comes now sees it
            self._caught_up.clear()
            await self._caught_up.wait()
