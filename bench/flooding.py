"""A fast bot: orders without pause on N connections, signed as they go, until it is ended. One process, uvloop.

A refused order is followed by the next at once, as a bot in a loop does it. A connection that was closed is opened
again.
"""

import asyncio
import contextlib
import json
import sys
from typing import cast

import uvloop

from bench.bot import ORDER_PATH, Key, Writer

_AGAIN_S = 0.01


class _Connection(asyncio.Protocol):
    """One connection: the next order leaves when the last one is answered."""

    def __init__(self, writer: Writer, numbers: "list[int]") -> None:
        self._writer, self._numbers, self._held = writer, numbers, b""
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        del exc
        if not self.over.done():
            self.over.set_result(None)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        data = self._held + data
        end = data.find(b"\r\n\r\n")
        at = data.lower().find(b"content-length: ", 0, end)
        if end < 0 or at < 0 or len(data) < end + 4 + int(data[at + 16 : data.index(b"\r", at)]):
            self._held = data
            return
        self._held = b""
        self._next()

    def _next(self) -> None:
        self._numbers[0] += 1
        self._transport.write(self._writer.order(self._numbers[0]))


async def _serve(port: int, connections: int, keys: list[Key]) -> None:
    numbers = [0]
    loop = asyncio.get_running_loop()

    async def keep(number: int) -> None:
        writer = Writer(keys[number % len(keys)], "/binance" + ORDER_PATH, f"{number:02d}", "body")
        while True:
            with contextlib.suppress(OSError):
                _, made = await loop.create_connection(
                    lambda: _Connection(writer, numbers), "127.0.0.1", port
                )
                await made.over
            await asyncio.sleep(_AGAIN_S)

    sys.stdout.write(json.dumps({"ready": True}) + "\n")
    sys.stdout.flush()
    await asyncio.gather(*[keep(number) for number in range(connections)])


if __name__ == "__main__":
    given = json.loads(sys.stdin.readline())
    uvloop.run(_serve(given["port"], given["connections"], [Key(*key) for key in given["keys"]]))
