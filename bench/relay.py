"""A bare TCP relay: bytes in, bytes out, nothing read. What any process in between costs at least."""

import asyncio
import json
import sys
from typing import cast

import uvloop


class Side(asyncio.Protocol):
    """One side of a pair."""

    def __init__(self, other: "Side | None", upstream: int) -> None:
        self._other, self._upstream = other, upstream
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._opening: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast("asyncio.Transport", transport)
        if self._other is None:
            self._opening = asyncio.ensure_future(self._open())

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        _, other = await loop.create_connection(lambda: Side(self, 0), "127.0.0.1", self._upstream)
        self._other = other
        for data in self._early:
            other.write(data)
        self._early.clear()

    def write(self, data: bytes) -> None:
        """Pass bytes on to this side's peer."""
        if self._transport is not None:
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if self._other is None:
            self._early.append(data)
        else:
            self._other.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        del exc
        if self._other is not None and self._other._transport is not None:  # noqa: SLF001 - its own kind
            self._other._transport.close()  # noqa: SLF001 - its own kind


async def _serve(upstream: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Side(None, upstream), "127.0.0.1", 0, backlog=512)
    sys.stdout.write(json.dumps({"port": server.sockets[0].getsockname()[1]}) + "\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
