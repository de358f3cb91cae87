"""The API on loopback, by uvicorn in our own event loop.

uvicorn neither takes signals nor logs requests here: signals are the process's, and the call log says more.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from portcullis.settings import SettingsError

_DRAIN_S = 5
_BACKLOG = 128


class _Server(uvicorn.Server):
    """A server that leaves signals alone and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.listening.set()


class ApiServer:
    """Serves one application."""

    def __init__(self, app: FastAPI, port: int) -> None:
        """Take a port on loopback; 0 is any.

        Raises:
            SettingsError: The port is taken.
        """
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind(("127.0.0.1", port))
        except OSError as fault:
            self._socket.close()
            raise SettingsError(
                "api_port",
                f"port {port} on loopback cannot be had ({fault.strerror}); use another, or 0 for any",
            ) from None
        self.port = int(self._socket.getsockname()[1])
        config = uvicorn.Config(
            app,
            loop="none",
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=_DRAIN_S,
        )
        self._server = _Server(config)
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen."""
        self._running = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="api")
        listening = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait({self._running, listening}, return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        if self._running.done():
            self._running.result()
            raise RuntimeError("the API ended before it listened")

    async def end(self) -> None:
        """Stop after the requests in flight."""
        self._server.should_exit = True
        if self._running is not None:
            await asyncio.gather(self._running, return_exceptions=True)
        self._socket.close()
