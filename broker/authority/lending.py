"""Budget slices lent to gateways, and taken back.

Rules:
1. A thread of their own: budgets wait for the call log, and nothing waits for budgets that does not spend them.
2. A slice is lent while somebody waits for it, and not after; what was lent too late, or to a gateway that is over,
   is taken back at once.
3. What could not be taken back is owed until it is: it counts as lent. Closing a slice twice changes nothing; a
   release given back twice would be a hole in the limit, so one that may have been written counts as spent.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TypeVar

from broker.authority.leases import Opening
from broker.authority.link import Link, slice_part
from broker.background import Background
from broker.budget import ZERO, Parts, Slice
from broker.errors import StoreUnavailable
from broker.link import frames
from broker.service import Service

T = TypeVar("T")
_MOST_OWED = 10_000
_LOAN_S = 0.9
"""A gateway waits a second for a slice."""

_FIRST_LOAN_S = 0.3
_LOG = logging.getLogger("portcullis.authority")


class Lending:
    """Lends to every gateway, and takes back."""

    def __init__(self, service: Service, beside: Background) -> None:
        self._calls, self._beside = service.calls, beside
        self._budgets = ThreadPoolExecutor(1, "budgets")
        self._taking_back = self._over = False
        self.owed: deque[tuple[str, Parts]] = deque(maxlen=_MOST_OWED)
        """Slices to take back, by gateway."""

    async def run(self, work: Callable[[], T]) -> T:
        """Do what touches budgets, one after the other, in the order in which it came."""
        return await asyncio.get_running_loop().run_in_executor(self._budgets, work)

    def close(self) -> None:
        """Let the thread end; what is owed then is lent until its gateway's next boot."""
        self._over = True
        self._budgets.shutdown(wait=True)

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

    async def lend(self, link: Link, frame: frames.AskSlice) -> None:
        """Lend a lease its next slice."""
        held = link.leases.get(frame.lease)
        grant = "" if held is None else held.grant
        loan = (
            None if held is None else await self._lent(link, grant, frame.wanted, _LOAN_S, ahead=frame.ahead)
        )
        if loan is not None and link.over:
            self.undelivered(link, loan)
            return
        part = None if loan is None else slice_part(loan)
        link.channel.send(frames.SliceLent(frame.ask, grant, part))

    # --- back -----------------------------------------------------------------------------

    async def close_slices(self, link: Link, frame: frames.CloseSlices) -> None:
        """Take back what a gateway gives back."""
        await self.run(lambda: self._calls.close_slices(link.gateway, frame.parts))

    async def release(self, link: Link, frame: frames.Release) -> None:
        """Take back reservations of slices that were closed before."""
        await self.run(lambda: self._calls.release(link.gateway, frame.parts))

    def undelivered(self, link: Link, loan: Slice) -> None:
        """Take a slice back that never got to its gateway."""
        self.owed.append((link.gateway, ((loan.id, loan.amount),)))
        self.take_back()

    def take_back(self) -> None:
        """Close slices that could not be closed when they came; closing them twice changes nothing. No beat waits."""
        if self.owed and not self._taking_back and not self._over:
            self._taking_back = True
            self._beside.begin(self._taken_back(), "taking budget slices back")

    async def _taken_back(self) -> None:
        try:
            while self.owed and not self._over:
                gateway, parts = self.owed[0]
                await self.run(lambda: self._calls.close_slices(gateway, parts))  # noqa: B023 - awaited here
                self.owed.popleft()
        finally:
            self._taking_back = False
