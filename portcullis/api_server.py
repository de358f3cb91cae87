"""The API by uvicorn in our own event loop: on loopback, and on a socket in the home, each with places of its own.

uvicorn neither takes signals nor logs requests here: signals are the process's, and the call log says more. The socket
in the home is how this host's people speak: a flood of connections by TCP takes none of its places, files or threads.
"""

import asyncio
import functools
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from broker.api.context import Hazard
from broker.api.guard import ORIGIN
from broker.api.lanes import LOCAL, NETWORK
from portcullis import api_socket
from portcullis.addresses import way_out
from portcullis.api_doors import Connection, Door, places_at_home, places_by_network
from portcullis.settings import SettingsError

DRAIN_S = 4
_BACKLOG = 128
_SWEEP_S = 1.0


@dataclass(frozen=True, slots=True)
class _Listener:
    """A socket, where its connections come from, and their door."""

    socket: socket.socket
    origin: str
    door: Door


class _Server(uvicorn.Server):
    """A server with doors, which leaves signals alone and says when it listens."""

    def __init__(self, config: uvicorn.Config, listeners: Sequence[_Listener]) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self._listeners = listeners

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        del sockets
        await self.lifespan.startup()
        loop = asyncio.get_running_loop()
        self.servers = []
        for one in self._listeners:
            make = functools.partial(
                Connection, self.config, self.server_state, {ORIGIN: one.origin}, one.door
            )
            listen = loop.create_unix_server if one.socket.family == socket.AF_UNIX else loop.create_server
            self.servers.append(await listen(make, sock=one.socket, backlog=_BACKLOG))
        self.started = True
        self.listening.set()


def places() -> dict[str, int]:
    """Return how many connections we take, by where they come from."""
    return {LOCAL: places_at_home(), NETWORK: places_by_network()}


class ApiServer:
    """Serves one application."""

    def __init__(self, app: FastAPI, port: int, home: Path | None = None) -> None:
        """Take a port on loopback, 0 is any, and the socket of a home.

        Raises:
            SettingsError: The port is taken.
        """
        self._stack = ExitStack()
        self._socket = self._stack.enter_context(socket.socket())
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind(("127.0.0.1", port))
        except OSError as fault:
            self._stack.close()
            raise SettingsError(
                "--api-port",
                f"port {port} on loopback cannot be had ({fault.strerror}); {way_out(fault, port)}. Or name another "
                "(api_port of home.json is the one without the option): the commands on this host find it, what has a "
                "URL of it elsewhere, in $PORTCULLIS_ADDR or a probe, has to be told",
            ) from None
        self.port = int(self._socket.getsockname()[1])
        self.socket: Path | None = None
        self._listeners = [_Listener(self._socket, NETWORK, Door(places()[NETWORK]))]
        local = None if home is None else self._stack.enter_context(api_socket.bound(home))
        if local is not None:
            taken, self.socket = local
            self._listeners.append(_Listener(taken, LOCAL, Door(places()[LOCAL])))
        config = uvicorn.Config(
            app,
            loop="none",
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=DRAIN_S,
        )
        self._server = _Server(config, self._listeners)
        self._running: asyncio.Task[None] | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen."""
        self._running = asyncio.create_task(self._server.serve(), name="api")
        listening = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait({self._running, listening}, return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        if self._running.done():
            self._running.result()
            raise RuntimeError("the API ended before it listened")
        self._sweeping = asyncio.create_task(self._sweep(), name="api connections")

    async def end(self) -> None:
        """Stop after the requests in flight."""
        self._server.should_exit = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        if self._running is not None:
            await asyncio.gather(self._running, return_exceptions=True)
        self._stack.close()

    def hazards(self) -> Iterator[Hazard]:
        """Say what is not safe about how we listen."""
        if self.socket is None:
            yield Hazard(
                "this host takes no socket in the home: a flood of connections by TCP could keep a cut from us",
                "put the home, or the directory for temporary files, on a disk that takes Unix sockets",
            )

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            for one in self._listeners:
                one.door.sweep()
