"""What a gateway does beside answering: time limits, warm prices, reservations whose outcome is open.

A reservation is asked about at the venue, a few at a time, until its order is final; an order the venue never
heard of, once its receive window is long over, gives its reservation back.
"""

import asyncio

from broker.gateway.book import Book
from broker.gateway.clock import SystemClock
from broker.gateway.link import LinkClient
from broker.gateway.listener import Listener
from broker.gateway.mounts import Mounts
from broker.gateway.settlement import Settlement
from broker.gateway.venue_view import NotKnown, VenueView
from clients.venue import OrderRef
from clients.venues.binance.market import NO_SUCH_ORDER

ASK_AGAIN_US = 30_000_000
AT_ONCE = 5
_EVERY_S = 5.0


class Watchman:
    """Background work of one gateway."""

    def __init__(
        self,
        book: Book,
        mounts: Mounts,
        settlement: Settlement,
        link: LinkClient,
        listener: Listener,
        clock: SystemClock,
    ) -> None:
        self._book, self._mounts, self._settlement = book, mounts, settlement
        self._link, self._listener, self._clock = link, listener, clock
        self._warming: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Run until cancelled."""
        beats = 0
        try:
            while True:
                now = asyncio.get_running_loop().time()
                self._listener.sweep(now)
                for view in list(self._mounts.views.values()):
                    view.pool.sweep(now)
                    self._warm(view)
                beats += 1
                if beats % int(_EVERY_S) == 0:
                    await self._ask_about_open()
                await asyncio.sleep(1.0)
        finally:
            for task in self._warming.values():
                task.cancel()

    def _warm(self, view: VenueView) -> None:
        task = self._warming.get(id(view))
        if task is None or task.done():
            self._warming[id(view)] = asyncio.ensure_future(view.keep_warm())

    async def _ask_about_open(self) -> None:
        """Ask the venue about a few orders that hold budget."""
        for name, reservation in self._settlement.open(self._clock.boot_us(), ASK_AGAIN_US)[:AT_ONCE]:
            held = next((h for h in self._book.by_lease.values() if h.lease.grant == reservation.grant), None)
            credential = None if held is None else self._book.material.get(held.key_text)
            if held is None or credential is None:
                continue
            reservation.asked_us = self._clock.boot_us()
            account = self._mounts.account_of(held)
            order_id = name[1:] if name.startswith("#") else None
            ref = OrderRef(reservation.symbol, order_id, None if order_id else name)
            try:
                state = await account.fetch_order(credential, ref)
            except NotKnown as fault:
                parts = self._settlement.absent(reservation) if fault.code == NO_SUCH_ORDER else ()
            except (OSError, ValueError):
                continue
            else:
                _, parts = self._settlement.settle(reservation.account, state)
            if parts:
                self._link.give_back(held.standing.purse.release(parts))
