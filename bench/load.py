"""The load: orders signed beforehand, sent one after another on each of N connections. One process, uvloop.

A line of JSON in is one run. It warms up, which also tells how many orders to sign; then `{"event": "begin"}` is
written, the orders go out, and the figures follow. Nothing is signed, parsed as JSON or written in between.
"""

import asyncio
import gc
import json
import sys
import time
from array import array
from collections import Counter
from typing import Any, cast

import uvloop

from bench.bot import Key, Writer

_ROOM = 1.6
"""How many more orders are signed than the warm-up suggests: a run must not end for want of them."""

_SECONDS_SIGNED = 7.0
"""An order is sent within this time of being signed: the receive window is ten seconds."""


class Bot(asyncio.Protocol):
    """One connection: the next order leaves when the last one is answered."""

    def __init__(self) -> None:
        self.orders: list[bytes] = []
        self.took = array("q")
        self.status: Counter[bytes] = Counter()
        self.other = b""
        self.until = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sent = 0
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        if not self.done.done():
            self.done.set_exception(ConnectionError(f"the connection ended early: {exc or 'closed'}"))

    def begin(self, orders: list[bytes], until_ns: int) -> "asyncio.Future[None]":
        """Send these, the last first, until they are gone or the time is."""
        self.orders, self.until = orders, until_ns
        self.took, self.status = array("q"), Counter()
        self.done = asyncio.get_running_loop().create_future()
        self._next()
        return self.done

    def _next(self) -> None:
        self._sent = time.perf_counter_ns()
        if not self.orders or self._sent >= self.until:
            self.done.set_result(None)
            return
        self._transport.write(self.orders.pop())

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        now = time.perf_counter_ns()
        if self._held:
            data = self._held + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._held = data
            return
        at = data.find(b"ontent-Length: ", 0, end)
        if at < 0:
            at = data.find(b"ontent-length: ", 0, end)
        if len(data) < end + 4 + int(data[at + 15 : data.index(b"\r", at)]):
            self._held = data
            return
        self._held = b""
        self.took.append(now - self._sent)
        status = data[9:12]
        self.status[status] += 1
        if status != b"200":
            self.other = data[:600]
        self._next()

    def close(self) -> None:
        """Hang up."""
        if not self.done.done():
            self.done.cancel()
        self._transport.close()


def _dealt(run: dict[str, Any], count: int, first: int) -> list[list[bytes]]:
    """Sign so many orders and deal them to the connections, each keeping to one key."""
    connections, keys = run["connections"], run["keys"]
    writers = [Writer(Key(*key), run["path"], run["run"], run["place"]) for key in keys]
    each = count // connections + 1
    dealt: list[list[bytes]] = []
    for one in range(connections):
        write = writers[one % len(writers)].order
        dealt.append([write(first + one * each + number) for number in range(each)])
    return dealt


async def _round(bots: list[Bot], dealt: list[list[bytes]], seconds: float) -> float:
    """Run to the end; return how long it took."""
    began = time.perf_counter_ns()
    until = began + int(seconds * 1e9)
    await asyncio.gather(*[bot.begin(orders, until) for bot, orders in zip(bots, dealt, strict=True)])
    return (time.perf_counter_ns() - began) / 1e9


def _say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


async def _run(run: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    bots = [
        (await loop.create_connection(Bot, "127.0.0.1", run["port"]))[1] for _ in range(run["connections"])
    ]
    try:
        warm = max(run["warm"], 10 * run["connections"])
        _dealt(run, 100, 0)
        took = await _round(bots, _dealt(run, warm, 1_000_000), _SECONDS_SIGNED)
        seconds = run["seconds"]
        count = min(int(sum(len(bot.took) for bot in bots) / took * seconds * _ROOM), 400_000)
        dealt = _dealt(run, count, 2_000_000)
        gc.collect()
        gc.freeze()
        gc.disable()
        _say({"event": "begin"})
        took = await _round(bots, dealt, min(seconds, _SECONDS_SIGNED))
        gc.enable()
        every = sorted(one for bot in bots for one in bot.took)
        status = sum((bot.status for bot in bots), Counter())
        other = next((bot.other.decode("latin-1") for bot in bots if bot.other), "")
        _say(
            {
                "event": "end",
                "seconds": took,
                "requests": len(every),
                "status": {name.decode("latin-1"): number for name, number in status.items()},
                "other": other,
                "us": [
                    every[min(len(every) - 1, int(len(every) * part))] / 1000 for part in (0.5, 0.9, 0.99)
                ],
            }
        )
    finally:
        gc.unfreeze()
        for bot in bots:
            bot.close()


async def _serve() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        try:
            await _run(json.loads(line))
        except (OSError, ValueError) as fault:
            _say({"event": "failed", "why": str(fault)})


if __name__ == "__main__":
    uvloop.run(_serve())
