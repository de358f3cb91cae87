"""Until when a venue asks everybody behind one of our ways out to wait, as its answers say. In memory, of one process.

Rules:
1. `clients.http` asks here before it sends anything, whoever calls. What is urgent (an incident) is always tried.
2. What stops everything (418, or a 429 of the general pool) stops everything by that way; a 429 of an endpoint that
   is counted by itself stops that endpoint.
3. A later word never shortens an earlier one.
4. Pauses are counted by a clock that nobody sets: wall time as it was when we started, carried on by the boot clock.
"""

import threading
import time
from collections.abc import Callable, Mapping

from clients.venues.binance import pauses as binance

Reader = Callable[[int, Mapping[bytes, bytes], bytes, int], float | None]
READERS: Mapping[str, Reader] = {"binance": binance.pause_s}
_EVERYTHING = ""
_APART = "/sapi/"
_S_US = 1_000_000
_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_AHEAD_NS = time.time_ns() - time.clock_gettime_ns(_BOOT)


def steady_us() -> int:
    """Return microseconds since the epoch, by rule 4."""
    return (time.clock_gettime_ns(_BOOT) + _AHEAD_NS) // 1000


class Pauses:
    """Pauses by way out and venue."""

    def __init__(self, now_us: Callable[[], int] = steady_us) -> None:
        self._now_us, self._lock = now_us, threading.Lock()
        self._until_us: dict[tuple[str, str], int] = {}

    def left_s(self, way: str, path: str) -> float:
        """Return how long a call has to wait; 0 where it may go."""
        with self._lock:
            known = [self._until_us.get((way, pool), 0) for pool in (_EVERYTHING, path)]
            return max(0.0, (max(known) - self._now_us()) / _S_US) if any(known) else 0.0

    def heed(
        self, venue: str, way: str, path: str, status: int, headers: Mapping[bytes, bytes], body: bytes
    ) -> None:
        """Take in an answer that is no yes."""
        reader = READERS.get(venue)
        now_us = self._now_us()
        pause_s = None if reader is None else reader(status, headers, body, now_us)
        if pause_s is None:
            return
        pool = path if path.startswith(_APART) and status != binance.BANNED else _EVERYTHING
        with self._lock:
            until_us = now_us + round(pause_s * _S_US)
            self._until_us[way, pool] = max(self._until_us.get((way, pool), 0), until_us)
