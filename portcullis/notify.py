"""Telling systemd how we fare: ready, stopping, and alive. Nothing where systemd did not start us.

Protocol: sd_notify(3), datagrams to the socket in `$NOTIFY_SOCKET`; `@` names an abstract one.
"""

import asyncio
import os
import socket
from collections.abc import Mapping, MutableMapping
from contextlib import suppress

READY, STOPPING, ALIVE = "READY=1", "STOPPING=1", "WATCHDOG=1"
_TIMES = 3
"""Signs of life within the time after which systemd takes us for dead."""


class Notifier:
    """One way to systemd."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Take the socket's name out of the environment, so that children do not speak for us."""
        self._address = environ.pop("NOTIFY_SOCKET", "")
        self.watchdog_s = _watchdog_s(environ)
        environ.pop("WATCHDOG_USEC", None)
        environ.pop("WATCHDOG_PID", None)

    def tell(self, state: str) -> None:
        """Send one state; systemd that does not listen is no reason to fail."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.sendto(state.encode(), address)

    async def live(self) -> None:
        """Give signs of life for as long as the event loop turns."""
        while self.watchdog_s:
            self.tell(ALIVE)
            await asyncio.sleep(self.watchdog_s / _TIMES)


def _watchdog_s(environ: Mapping[str, str]) -> float:
    given, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not given.isdigit() or (pid.isdigit() and int(pid) != os.getpid()):
        return 0.0
    return int(given) / 1_000_000
