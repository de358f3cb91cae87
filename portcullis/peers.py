"""Who is connected to the gateway, by user id: a bot under our own user can read what we can.

Linux tells the owner of each socket in `/proc/net/tcp`; elsewhere we say that we do not know.
"""

import os
from collections.abc import Callable
from pathlib import Path

from broker.api.context import Hazard

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ESTABLISHED = "01"
_REMOTE, _STATE, _UID = 2, 3, 7


class Peers:
    """Watches who connects to a port on this machine."""

    def __init__(self, port: Callable[[], int], tables: tuple[Path, ...] = _TABLES) -> None:
        self._port, self._tables = port, tables
        self._seen_own = False

    def look(self) -> None:
        """Look once; a bot of our own user is remembered, for connections are short."""
        if os.getuid() in self._users():
            self._seen_own = True

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
        if not self._seen_own:
            return ()
        who = "root" if os.getuid() == 0 else f"user {os.getuid()}"
        return (
            Hazard(
                f"a bot runs as our own user ({who}): it, and whoever takes it over, can read the keys' files",
                "run bots as another user, or in a container of their own",
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
