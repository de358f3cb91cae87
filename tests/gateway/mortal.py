"""A gateway that ends in order or is killed, and is started again where it left off."""

import asyncio
import os
from pathlib import Path

from broker.gateway.process import Gateway, Listen
from broker.link.channel import memory_pair
from clients.venues.binance import WIRE
from tests.gateway.world import World


class Mortal:
    """One gateway, one life after the other. What it wrote down stays; nothing else does."""

    def __init__(self, world: World, directory: Path) -> None:
        self._world, self._directory = world, directory

    async def start(self) -> None:
        """Start it; bots reach it at `port`."""
        self._here, there = memory_pair()
        self._serving = asyncio.ensure_future(self._world.authority.serve(self._here))
        self.gateway = Gateway(there, "edge", self._directory, {WIRE.name: WIRE})
        self.gateway.book.recent.lately.lag_us = 0  # this exchange answers all questions from one database
        ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._stop = asyncio.Event()
        self._running = asyncio.ensure_future(self.gateway.serve(Listen(), ready, self._stop))
        await asyncio.wait({ready, self._running}, return_when=asyncio.FIRST_COMPLETED)
        if self._running.done():
            await self._running
        self.port = await ready

    async def end(self) -> None:
        """End it in order."""
        self._stop.set()
        await self._running
        self._here.close()
        await asyncio.gather(self._serving, return_exceptions=True)

    async def kill(self) -> None:
        """End it as a killed process ends: from here on it says nothing, sends nothing and writes nothing."""
        link, spool, listener = self.gateway.link, self.gateway.spool, self.gateway.listener
        assert listener is not None

        def dead(_: str) -> int:
            raise OSError("killed on purpose")

        def nothing(_: object) -> bool:
            return False

        def files_closed() -> None:
            if spool._fd >= 0:
                os.close(spool._fd)
                spool._fd = -1
            for earlier, _, _ in link.upload._earlier.values():
                earlier.let_go()

        async def hung_up(_: float) -> None:
            for connection in list(listener.connections):
                connection.abort()

        link.close = link._channel.close  # type: ignore[method-assign]
        spool.write = dead  # type: ignore[method-assign]
        self.gateway.doubts._put = nothing  # type: ignore[method-assign]
        spool.close = files_closed  # type: ignore[method-assign]
        listener.drain = hung_up  # type: ignore[method-assign]
        link._channel.close()
        for view in self.gateway.mounts.views.values():
            view.pool.close()
        await self.end()
