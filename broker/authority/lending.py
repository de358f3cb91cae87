"""Budget slices lent to gateways, and taken back.

Rules:
1. A thread of their own: budgets wait for the call log, and nothing waits for budgets that does not spend them.
2. A slice is lent while somebody waits for it, and not after; what was lent too late, or to a gateway that is over,
   is taken back at once.
3. What could not be taken back is owed until it is: it counts as lent. Closing a slice twice changes nothing; a
   release given back twice would be a hole in the limit, so one that may have been written counts as spent.
4. What is owed of one gateway, or cannot be written at all, keeps nothing of another's from being taken back.
5. That nothing is left is said only where nothing is being taken back under the same limits: until it is, what is left
   cannot be told. What others owe keeps nobody waiting.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from decimal import Decimal
from typing import Any, TypeVar

from broker.authority.leases import Opening
from broker.authority.link import Link, slice_part
from broker.background import Background, described
from broker.budget import ZERO, Parts, Slice
from broker.errors import StoreUnavailable
from broker.link import frames
from broker.service import Service
from broker.threads import Threads

T = TypeVar("T")
_MOST_OWED, _AT_ONCE = 10_000, 500
_AGAIN_S = (0.05, 0.1, 0.2)
LOAN_SECONDS = 0.9
"""A gateway waits a second for a slice."""

_FIRST_LOAN_S = 0.3
_LOG = logging.getLogger("portcullis.authority")


class Lending:
    """Lends to every gateway, and takes back."""

    def __init__(self, service: Service, beside: Background) -> None:
        self._calls, self._beside = service.calls, beside
        self._budgets = Threads(1, "budgets")
        self._taking_back = self._over = False
        self._watching: list[set[str]] = []
        """What is owed while somebody is lent to, for each of them."""
        self.owed: dict[str, dict[str, Decimal]] = {}
        """Slices to take back, by gateway, with what is left of each."""

    async def run(self, work: Callable[[], T]) -> T:
        """Do what touches budgets, one after the other, in the order in which it came."""
        return await asyncio.get_running_loop().run_in_executor(self._budgets, work)

    def close(self, until_s: float) -> None:
        """Let the thread end; what is owed then is lent until its gateway's next boot."""
        self._over = True
        self._budgets.end(until_s)

    async def first(self, link: Link, opening: Opening, *, ahead: bool) -> Slice | None:
        """Lend a lease its first slice; None where the log is slow: the lease does not wait for it."""
        if not opening.rules.limits:
            return None
        try:
            return await self._lent(link, opening.grant.id, ZERO, _FIRST_LOAN_S, ahead=ahead)
        except StoreUnavailable as fault:
            _LOG.warning("a lease goes out without budget: %s", fault)
            return None

    async def _lent(
        self, link: Link, grant: str, wanted: Decimal, within_s: float, *, ahead: bool
    ) -> Slice | None:
        """Lend a slice while somebody waits for it, and not after."""
        until = time.monotonic() + within_s

        def work() -> Slice | None:
            left = until - time.monotonic()
            if left <= 0:
                raise StoreUnavailable("log_slow", "budgets wait for the call log: nothing was lent")
            return self._calls.lend(grant, link.gateway, link.boot, wanted, left, ahead=ahead)

        lending = asyncio.ensure_future(self.run(work))
        try:
            async with asyncio.timeout(within_s):
                return await asyncio.shield(lending)
        except (TimeoutError, asyncio.CancelledError) as fault:
            lending.add_done_callback(lambda done: self._lent_too_late(link, done))
            if isinstance(fault, asyncio.CancelledError):
                raise
            raise StoreUnavailable("log_slow", "budgets wait for the call log: nothing was lent") from None

    def _lent_too_late(self, link: Link, lending: "asyncio.Future[Slice | None]") -> None:
        """Take a slice back that was lent when nobody waited for it any more."""
        loan = None if lending.cancelled() or lending.exception() is not None else lending.result()
        if loan is not None:
            self.undelivered(link, loan)

    def lend(self, link: Link, frame: frames.AskSlice) -> Coroutine[Any, Any, None] | None:
        """Lend a lease its next slice: one that is held as the ask comes, its next frame may give it back."""
        held = link.leases.get(frame.lease)
        if held is None:  # nothing is said of its limits
            link.knows_not(frame.lease, frame.ask)
            return None
        return self._lend(link, frame, held.grant)

    async def _lend(self, link: Link, frame: frames.AskSlice, grant: str) -> None:
        until_s = time.monotonic() + LOAN_SECONDS
        loan, waits = await self._asked(link, frame, grant, LOAN_SECONDS)
        for pause_s in _AGAIN_S:  # what is on its way back is here in a moment, or for long not
            left_s = until_s - time.monotonic() - pause_s
            if not waits or link.over or left_s <= 0:
                break
            await asyncio.sleep(pause_s)
            loan, waits = await self._asked(link, frame, grant, left_s)
        if loan is not None and link.over:
            self.undelivered(link, loan)
            return
        if waits:
            raise StoreUnavailable("log_slow", "budget is being taken back: what is left cannot be told yet")
        part = None if loan is None else slice_part(loan)
        link.channel.send(frames.SliceLent(frame.ask, grant, part))

    async def _asked(
        self, link: Link, frame: frames.AskSlice, grant: str, within_s: float
    ) -> tuple[Slice | None, bool]:
        """Lend once; tell also whether there is none because something is being taken back."""
        owed = set[str]().union(*self.owed.values())
        self._watching.append(owed)
        try:
            loan = await self._lent(link, grant, frame.wanted, within_s, ahead=frame.ahead)
            return loan, loan is None and bool(owed) and await self._is_owed(grant, owed)
        finally:
            self._watching = [one for one in self._watching if one is not owed]

    async def _is_owed(self, grant: str, owed: set[str]) -> bool:
        """Tell whether something is being taken back that a grant's limits count; where nobody knows soon, it is."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOAN_SECONDS):
                return await self.run(lambda: self._calls.is_owed(grant, tuple(owed)))
        return True

    # --- back -----------------------------------------------------------------------------

    async def close_slices(self, link: Link, frame: frames.CloseSlices) -> None:
        """Take back what a gateway gives back."""
        await self.run(lambda: self._calls.close_slices(link.gateway, frame.parts))

    async def release(self, link: Link, frame: frames.Release) -> None:
        """Take back reservations of slices that were closed before."""
        await self.run(lambda: self._calls.release(link.gateway, frame.parts))

    def undelivered(self, link: Link, loan: Slice) -> None:
        """Take a slice back that never got to its gateway."""
        self.owe(link.gateway, ((loan.id, loan.amount),))
        self.take_back()

    def owe(self, gateway: str, parts: Parts) -> None:
        """Keep in mind what is to be taken back; of more than a gateway can have been lent the rest counts as spent."""
        owed = self.owed.setdefault(gateway, {}) if parts else {}
        for watched in self._watching:
            watched.update(slice_id for slice_id, _ in parts)
        for slice_id, amount in parts:
            if len(owed) >= _MOST_OWED and slice_id not in owed:
                _LOG.error("gateway %s gives back more than can be kept in mind: it counts as spent", gateway)
                return
            owed.setdefault(slice_id, amount)

    def take_back(self) -> None:
        """Close slices that could not be closed when they came; closing them twice changes nothing. No beat waits."""
        if self.owed and not self._taking_back and not self._over:
            self._taking_back = True
            self._beside.begin(self._taken_back(), "taking budget slices back")

    async def _taken_back(self) -> None:
        try:
            while self.owed and not self._over:
                for gateway in list(self.owed):
                    await self._closed(gateway, tuple(self.owed[gateway].items())[:_AT_ONCE])
        finally:
            self._taking_back = False

    async def _closed(self, gateway: str, parts: Parts) -> None:
        """Close slices of a gateway; of several, one of which cannot be written, each by itself."""
        try:
            await self.run(lambda: self._calls.close_slices(gateway, parts))
        except StoreUnavailable:
            raise  # a later heartbeat tries again
        except Exception as fault:  # noqa: BLE001 - what can never be written must not stand before the rest
            if len(parts) > 1:
                for part in parts:
                    await self._closed(gateway, (part,))
                return
            _LOG.error("what gateway %s gives back counts as spent: %s", gateway, described(fault))
        for slice_id, _ in parts:
            self.owed[gateway].pop(slice_id, None)
        if not self.owed[gateway]:
            del self.owed[gateway]
