"""What a gateway asks its broker: leases, budget slices, owners of orders.

Rules:
1. An ask fails after a second: a bot is waiting. One for a lease, or for whose something is, goes on for
   `LONG_SECONDS`: whoever comes next is served by it, however long a slow broker takes. Several requests that need the
   same lease share the ask; so do those that need budget (`borrowing`), or the owner of an order (`words`). Where a
   shared ask ends without the broker's word, those who came later ask anew: it was old when they came.
2. An answer that comes when nobody waits any more is given back: nothing is held that nobody knows of. So is a lease
   that another one takes the place of: what was asked on it before still counts.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import astuple, replace
from decimal import Decimal

from broker.background import Background
from broker.calllog import Unheard
from broker.errors import LinkDown
from broker.gateway.acting import Acting
from broker.gateway.book import Book, Held
from broker.gateway.borrowing import Borrowing
from broker.gateway.clock import SystemClock
from broker.gateway.waits import Wait
from broker.link import frames
from broker.link.frames import Down, Frame, Up
from broker.policy_facts import Stake

ASK_SECONDS = 1.0
LONG_SECONDS = 10.0
ANSWERS = (
    frames.LeaseGranted, frames.LeaseRefused, frames.SliceLent, frames.OwnerAnswer, frames.AskFailed,
    frames.StakeAnswer,
)  # fmt: skip


class Asking:
    """Asks and their answers."""

    def __init__(
        self, book: Book, clock: SystemClock, send: Callable[[Frame], None], beside: Background,
        give_back_void: Callable[[], None], lacks: Callable[[str], None] = lambda _: None,
        comes_back: Callable[[], bool] = lambda: False, give_back_due: Callable[[], Awaitable[None]] | None = None,
        acted: Callable[[tuple[int, ...]], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._book, self._clock, self._send, self._beside = book, clock, send, beside
        self._give_back_void, self._lacks = give_back_void, lacks
        self.acting = Acting(acted)
        self._asks: dict[int, asyncio.Future[Down]] = {}
        self._number = 0
        self._opening: dict[str, asyncio.Future[Held | str | None]] = {}
        self.budget = Borrowing(
            book, clock, self._ask_slice, beside, give_back_void, comes_back, give_back_due
        )

    def next(self) -> int:
        """Return the number of the next ask."""
        self._number += 1
        return self._number

    # --- leases ---------------------------------------------------------------------------

    async def open_lease(self, key_id: str, *, ahead: bool = False) -> Held | str:
        """Ask for a lease.

        Args:
            key_id: The virtual key.
            ahead: No bot waits for it.

        Returns:
            The lease, or the short reason why there is none.
        """
        running = self._opening.get(key_id)
        if running is not None:
            found = await asyncio.shield(running)
            if found is not None:
                return found
            running = self._opening.get(
                key_id
            )  # nobody said anything: we ask anew, or share what another began
        if running is None:
            running = self._beside.begin(self._open(key_id, ahead=ahead), "opening a lease")
            self._opening[key_id] = running
            running.add_done_callback(lambda _: self._opening.pop(key_id, None))
        return await asyncio.shield(running) or "unavailable"

    async def _open(self, key_id: str, *, ahead: bool) -> Held | str | None:
        """Return what the broker says; None where it says nothing in time."""
        number, sent_us = self.next(), self._clock.boot_us()
        try:
            frame = await self._ask(number, frames.OpenLease(number, key_id, ahead), LONG_SECONDS)
        except LinkDown:
            return None
        if isinstance(frame, frames.LeaseGranted):
            replaced = self._book.by_key.get(frame.key_id)
            held = self._book.grant(frame, sent_us)
            self._give_back_void()
            if held is not None and replaced is not None:
                self._send(frames.EndLease((replaced.lease.id,)))
            if held is None:
                self._give_back(frame)
                if frame.key not in self._book.material:
                    self._lacks(frame.key)
            return held or "unavailable"
        if not isinstance(frame, frames.LeaseRefused):
            return "unavailable"
        self._book.refuse(frame, self._clock.boot_us())
        return frame.reason

    # --- owners and budgets ---------------------------------------------------------------

    async def ask_owner(self, query: frames.OwnerQuery) -> frames.OwnerAnswer:
        """Ask whose order it is, by its id or by a name.

        Raises:
            LinkDown: The broker did not answer in time.
        """
        number = self.next()
        asked = frames.OwnerQuery(
            number, query.account, query.symbol, query.order_id, query.client_order_id, query.is_list
        )
        frame = await self._ask(number, asked, LONG_SECONDS)
        if not isinstance(frame, frames.OwnerAnswer):
            raise LinkDown("no_answer", "the broker answered something else")
        return frame

    async def _ask_slice(self, held: Held, wanted: Decimal, ahead: bool) -> frames.SliceLent:
        """Ask for the next budget slice.

        Raises:
            LinkDown: The broker did not answer in time.
        """
        number = self.next()
        frame = await self._ask(number, frames.AskSlice(number, held.lease.id, wanted, ahead))
        if not isinstance(frame, frames.SliceLent):
            raise LinkDown("no_answer", "the broker could not say")
        return frame

    async def ask_stake(self, query: frames.StakeQuery) -> Stake:
        """Ask whose a base asset is.

        Raises:
            LinkDown: The broker did not answer in time, or could not.
        """
        number = self.next()
        kept = self.acting.asked(number)
        try:
            frame = await self._ask(number, replace(query, ask=number), LONG_SECONDS)
        finally:
            if not kept:
                self.acting.over((number,))
        if not isinstance(frame, frames.StakeAnswer):
            raise LinkDown("no_answer", "the broker could not say whose it is")
        return Stake(
            frame.bought_here, frame.own, frame.others, frame.freed, frame.resting, frame.more, frame.upto,
            sure=frame.sure, unheard=tuple(Unheard(*astuple(one)) for one in frame.unheard),
        )  # fmt: skip

    # --- answers --------------------------------------------------------------------------

    def answer(self, frame: Down) -> None:
        """Hand an answer to whoever waits for it, or give back what it brings."""
        if not isinstance(frame, ANSWERS):
            return
        future = self._asks.get(frame.ask)
        if future is not None and not future.done():
            future.set_result(frame)
        else:
            self._give_back(frame)

    def end(self) -> None:
        """The link is over: nobody need wait longer."""
        for ask in list(self._asks.values()):
            ask.cancel()

    def _give_back(self, frame: Down) -> None:
        if isinstance(frame, frames.LeaseGranted):
            self._send(frames.EndLease((frame.lease,)))
        if isinstance(frame, frames.LeaseGranted | frames.SliceLent) and frame.slice is not None:
            self._send(frames.CloseSlices(((frame.slice.id, frame.slice.amount),)))

    async def _ask(self, number: int, frame: Up, seconds: float | None = None) -> Down:
        future: asyncio.Future[Down] = asyncio.get_running_loop().create_future()
        self._asks[number] = future
        self._send(frame)
        try:
            async with Wait(ASK_SECONDS if seconds is None else seconds).runs():
                return await future
        except (TimeoutError, asyncio.CancelledError) as fault:
            if future.done() and not future.cancelled():  # the answer came in this very pass of the loop
                if isinstance(fault, TimeoutError):
                    return future.result()
                self._give_back(future.result())
            if isinstance(fault, asyncio.CancelledError) and not future.cancelled():
                raise  # the asking task was cancelled, not the ask
            raise LinkDown("no_answer", "the broker did not answer in time") from None
        finally:
            self._asks.pop(number, None)
