"""What a gateway does beside answering: time limits, warm prices, and settling. None waits for another."""

import asyncio

from broker.gateway.book import Book
from broker.gateway.link import LinkClient
from broker.gateway.listener import Listener
from broker.gateway.mounts import Mounts
from broker.gateway.settler import Settler
from broker.gateway.venue_view import VenueView


class Watchman:
    """Background work of one gateway."""

    def __init__(
        self,
        book: Book,
        mounts: Mounts,
        link: LinkClient,
        listener: Listener,
        settler: Settler,
    ) -> None:
        self._book, self._mounts, self._settler = book, mounts, settler
        self._link, self._listener = link, listener
        self._warming: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Run until cancelled."""
        settling = asyncio.ensure_future(self._settler.run())
        try:
            while True:
                now = asyncio.get_running_loop().time()
                self._listener.sweep(now)
                for view in list(self._mounts.views.values()):
                    view.pool.sweep(now)
                    self._warm(view)
                await asyncio.sleep(1.0)
        finally:
            settling.cancel()
            for task in self._warming.values():
                task.cancel()

    def _warm(self, view: VenueView) -> None:
        task = self._warming.get(id(view))
        if task is None or task.done():
            self._warming[id(view)] = asyncio.ensure_future(view.keep_warm())
