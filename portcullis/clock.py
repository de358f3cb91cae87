"""The machine's clocks, as the broker asks for them."""

import time
from datetime import UTC, datetime

_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """See `broker.ports.Clock`."""

    def now(self) -> datetime:
        """Aware UTC."""
        return datetime.now(UTC)

    def now_us(self) -> int:
        """Microseconds since the epoch."""
        return time.time_ns() // 1000

    def boot_us(self) -> int:
        """Microseconds on a clock that never goes back and also runs while the machine sleeps."""
        return time.clock_gettime_ns(_BOOT) // 1000
