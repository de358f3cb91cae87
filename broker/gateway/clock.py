"""Time at the gateway: our own clocks, and the venue's by measured offset.

Rules:
1. Leases run on CLOCK_BOOTTIME: it never goes back, and it runs while the machine sleeps.
2. What is signed carries venue time: our steady clock plus the offset of that venue, measured through the same
   egress. The best of the last few measurements counts: the one with the shortest way there and back.
   The steady clock is the wall clock as it was when we started, carried on by the boot clock: who sets the wall clock
   moves no order, no pause and no minute of the venue's. Where the two clocks go apart, time is measured anew.
3. A bot's timestamp is fresh by our clock or by the venue's: bots are set by either.
"""

import time
from collections import deque
from typing import Protocol

AHEAD_US = 1_000_000
"""How far ahead of us a timestamp may be; venues allow a second."""

_KEPT = 8
_STALE_US = 60_000_000
_STEP_US = 2_000_000
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """The machine's clocks."""

    def wall_us(self) -> int:
        """Microseconds since the epoch."""
        return time.time_ns() // 1000

    def boot_us(self) -> int:
        """Microseconds on the boot clock."""
        return time.clock_gettime_ns(_CLOCK) // 1000


class Clock(Protocol):
    """The clocks of a machine, as `SystemClock` has them."""

    def wall_us(self) -> int:
        """Microseconds since the epoch."""
        ...

    def boot_us(self) -> int:
        """Microseconds on the boot clock."""
        ...


class SteadyClock:
    """Wall time that nobody sets: as it was when this was made, carried on by the boot clock (rule 2)."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._ahead_us = clock, clock.wall_us() - clock.boot_us()

    def now_us(self) -> int:
        """Microseconds since the epoch."""
        return self.at_us(self._clock.boot_us())

    def at_us(self, boot_us: int) -> int:
        """Return what it shows at an instant of the boot clock."""
        return boot_us + self._ahead_us

    def set_by_us(self) -> int:
        """Return by how much the wall clock was set since, forward or (negative) back."""
        return self._clock.wall_us() - self.now_us()


class VenueClock:
    """The offset of one venue's clock from our steady one."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int]] = deque(maxlen=_KEPT)
        self._measured_us = self._set_by_us = 0
        self.offset_us = 0

    @property
    def known(self) -> bool:
        """Whether it was ever measured."""
        return bool(self._samples)

    def due(self, now_us: int, set_by_us: int = 0) -> bool:
        """Tell whether to measure again. `set_by_us`: see `stands`."""
        return not self.stands(set_by_us) or not 0 <= now_us - self._measured_us < _STALE_US

    def stands(self, set_by_us: int) -> bool:
        """Tell whether what was measured still counts.

        Where the wall clock went away from the steady one (`set_by_us` is how far it is ahead), one of them was set, or
        stood still while the machine did: nothing from before counts.
        """
        if abs(set_by_us - self._set_by_us) > _STEP_US:
            self._set_by_us = set_by_us
            self.distrust()
        return self.known

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
