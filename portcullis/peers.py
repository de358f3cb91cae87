"""Who is connected to the gateway, by user id: a bot under our own user can read what we can.

Linux tells the owner of each socket in `/proc/net/tcp`; elsewhere we say that we do not know.
"""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from broker.api.context import Hazard

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ESTABLISHED = "01"
_REMOTE, _STATE, _UID = 2, 3, 7

REMEMBERED_US = 3_600_000_000
"""For so long a bot of our own user is told after it was seen last."""


def _utc() -> datetime:
    return datetime.now(UTC)


def _steady_us() -> int:
    return time.monotonic_ns() // 1000


class Peers:
    """Watches who connects to a port on this machine."""

    def __init__(
        self,
        port: Callable[[], int],
        tables: tuple[Path, ...] = _TABLES,
        now: Callable[[], datetime] = _utc,
        spans_us: Callable[[], int] = _steady_us,
    ) -> None:
        """Take the port, and the clocks: the wall's to say when, a steady one to say for how long."""
        self._port, self._tables = port, tables
        self._now, self._spans_us = now, spans_us
        self._seen: tuple[datetime, int] | None = None

    def look(self) -> None:
        """Look once; that a bot of our own user was there is remembered for an hour: connections are short."""
        if os.getuid() in self._users():
            self._seen = self._now(), self._spans_us()
        elif self._seen is not None and self._spans_us() - self._seen[1] > REMEMBERED_US:
            self._seen = None

    def hazards(self) -> tuple[Hazard, ...]:
        """Say what is not safe about who connects."""
        if not self._tables[0].exists():
            return (
                Hazard(
                    "this system does not tell which user a bot runs as",
                    "make sure that no bot runs as the user of Portcullis: it could read every key",
                ),
            )
        self.look()
        if self._seen is None:
            return ()
        who = "root" if os.getuid() == 0 else f"user {os.getuid()}"
        return (
            Hazard(
                f"a bot ran as our own user ({who}), seen last at {self._seen[0]:%H:%M} UTC: it, and whoever takes it "
                "over, can read the keys' files",
                "run bots as another user, or in a container of their own; an hour without one ends this line",
                "bot as our user",
            ),
        )

    def _users(self) -> set[int]:
        """Return the user ids at the other end of connections to the port."""
        suffix = f":{self._port():04X}"
        found = set()
        for path in self._tables:
            try:
                lines = path.read_text(encoding="ascii").splitlines()[1:]
            except OSError:
                continue
            for line in lines:
                fields = line.split()
                if fields[_STATE] == _ESTABLISHED and fields[_REMOTE].endswith(suffix):
                    found.add(int(fields[_UID]))
        return found
