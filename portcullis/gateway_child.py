"""The gateway as our child: started on a socketpair, served by the authority, restarted when it dies.

Rules:
1. The child gets one end of a socketpair and no file of the home but its spool; keys reach it over the link.
2. A child that dies is restarted on the same port, at once the first time, then after 1, 2, 4 ... 30 s. Its
   grants are open again when it is ready; until then bots get no connection.
3. Nothing that fails around a restart ends the watch over it: a full disk may, and the next death has to be seen too.
4. It ends with us: by SIGTERM after the requests in flight, or because its link closes.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from broker.authority import LeaseAuthority
from broker.link.channel import over_socket
from portcullis import children
from portcullis.addresses import in_url, way_out
from portcullis.children import Child
from portcullis.settings import Home, SettingsError

NAME = "local"
LONGEST_PAUSE_S = 30.0
_STEADY_S = 60.0


@dataclass(frozen=True, slots=True)
class Doorway:
    """Where bots find the gateway: an address, and a Unix socket if one is named.

    Beyond loopback it needs the host names bots call it by.
    """

    host: str = "127.0.0.1"
    port: int = 0
    allowed_hosts: tuple[str, ...] = ()
    unix: Path | None = None


class GatewayChild:
    """Keeps one gateway running."""

    def __init__(
        self, home: Home, authority: LeaseAuthority, doorway: Doorway, moved: Callable[[], None]
    ) -> None:
        """Take what it needs; `moved` is called when the child's process id has changed."""
        self._home, self._authority, self._doorway, self._moved = home, authority, doorway, moved
        self._log = structlog.get_logger("gateway")
        self._serving: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self.child: Child | None = None
        self.host, self.port, self.names = doorway.host, doorway.port, doorway.allowed_hosts

    @property
    def pid(self) -> int:
        """The child's process id; 0 while there is none."""
        return 0 if self.child is None else self.child.pid

    async def start(self) -> None:
        """Start it, and keep it running.

        Raises:
            SettingsError: The port is taken.
            ChildFailed: It did not get ready.
        """
        _refuse_taken(self._doorway)
        self.child = await self._start()
        self.port = self.child.port
        self._keeping = asyncio.create_task(self._keep(), name="keep the gateway")

    async def end(self) -> None:
        """End it after the requests in flight."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self.child is not None:
            await self.child.end()
        if self._serving is not None:
            await asyncio.gather(self._serving, return_exceptions=True)

    async def _start(self) -> Child:
        ours, theirs = socket.socketpair()
        channel = await over_socket(ours)
        serving = asyncio.create_task(self._authority.serve(channel, _is_ours), name="serve the gateway")
        try:
            with theirs:
                child = await children.start(
                    "gateway", "portcullis.gateway", self._arguments(theirs), pass_fds=[theirs.fileno()]
                )
        except BaseException:
            channel.close()
            await asyncio.gather(serving, return_exceptions=True)
            raise
        self._serving = serving
        return child

    def _arguments(self, link: socket.socket) -> Sequence[str]:
        names = [part for name in self._doorway.allowed_hosts for part in ("--allowed-host", name)]
        return (
            *(
                "--link-fd",
                str(link.fileno()),
                "--name",
                NAME,
                "--listen",
                f"{in_url(self.host)}:{self.port}",
            ),
            *("--spool", str(self._home.spool), *names),
            *(() if self._doorway.unix is None else ("--socket", str(self._doorway.unix))),
        )

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        pause = 0.0
        while self.child is not None:
            began = loop.time()
            code = await self.child.ended()
            self.child = None
            if self._serving is not None:
                await asyncio.gather(self._serving, return_exceptions=True)
            self._tell(lambda: self._authority.changes.starts.dead(NAME))
            if loop.time() - began > _STEADY_S:
                pause = 0.0
            while self.child is None:
                self._log.error(
                    "the gateway is gone: no bot can trade until it is back", code=code, again_in_s=pause
                )
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE_S, max(1.0, pause * 2))
                try:
                    self.child = await self._start()
                except Exception as fault:  # noqa: BLE001 - whatever it was, without a gateway nobody trades
                    self._log.error("the gateway did not start", why=children.why(fault))
            self._log.warning("the gateway is back", pid=self.child.pid)
            self._tell(self._moved)

    def _tell(self, told: Callable[[], None]) -> None:
        """Tell of a death or a new place. What cannot be told (a full disk) must not end who keeps the gateway."""
        try:
            told()
        except Exception as fault:  # noqa: BLE001 - the gateway is to come back all the same
            self._log.error("a change of the gateway could not be told", why=children.why(fault))


def _refuse_taken(doorway: Doorway) -> None:
    """Say in plain words that a port is taken, before a child says it in its own."""
    family = socket.AF_INET6 if ":" in doorway.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((doorway.host, doorway.port))
        except OSError as fault:
            raise SettingsError(
                "--port",
                f"{doorway.host} port {doorway.port} cannot be had for the gateway ({fault.strerror}); "
                f"{way_out(fault, doorway.port)}. Or choose another with --port N (gateway_port of home.json is the "
                "one without the option), and name that in the configuration of every bot: each has this one there, "
                "and reaches nothing until then",
            ) from None


def _is_ours(name: str) -> bool:
    return name == NAME
