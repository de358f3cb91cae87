"""Time at the gateway: our own clocks, and the venue's by measured offset.

Rules:
1. Leases run on CLOCK_BOOTTIME: it never goes back, and it runs while the machine sleeps.
2. What is signed carries venue time: our wall clock plus the offset of that venue, measured through the same
   egress. The best of the last few measurements counts: the one with the shortest way there and back.
3. A bot's timestamp is fresh by our clock or by the venue's: bots are set by either.
"""

import time
from collections import deque

AHEAD_US = 1_000_000
"""How far ahead of us a timestamp may be; venues allow a second."""

_KEPT = 8
_STALE_US = 60_000_000
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """The machine's clocks."""

    def wall_us(self) -> int:
        """Microseconds since the epoch."""
        return time.time_ns() // 1000

    def boot_us(self) -> int:
        """Microseconds on the boot clock."""
        return time.clock_gettime_ns(_CLOCK) // 1000


class VenueClock:
    """The offset of one venue's clock from ours."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int]] = deque(maxlen=_KEPT)
        self._measured_us = 0
        self.offset_us = 0

    @property
    def known(self) -> bool:
        """Whether it was ever measured."""
        return bool(self._samples)

    def due(self, wall_us: int) -> bool:
        """Tell whether to measure again."""
        return not self._samples or wall_us - self._measured_us >= _STALE_US

    def measured(self, sent_us: int, received_us: int, venue_us: int) -> None:
        """Take in one measurement; all three in microseconds since the epoch."""
        self._samples.append((received_us - sent_us, venue_us - (sent_us + received_us) // 2))
        self._measured_us = received_us
        self.offset_us = min(self._samples)[1]

    def distrust(self) -> None:
        """Forget the past: the venue refused our time."""
        self._samples.clear()


def fresh(stamp_us: int, window_us: int, wall_us: int, offset_us: int) -> bool:
    """Tell whether a bot's timestamp lies in its window, by our clock or by the venue's."""
    age_us = wall_us - stamp_us
    return -AHEAD_US < age_us <= window_us or -AHEAD_US < age_us + offset_us <= window_us
