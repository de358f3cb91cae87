"""Budget slices that go back to the broker: what a gateway cannot or may not spend any more.

Rules:
1. A slice leaves the purse first, and is told of then: nothing is reserved from what was given back.
2. Back goes what is used up, what is old, what was lent under rules that are no more, and all that a grant holds which
   no gate lets trade here: after a cut, a revocation, a wiped key or a rotation that its lease did not follow.
3. What requests on their way have reserved stays reserved; it is released by itself once their outcome is known.
4. Requests come first: grants are looked through in small pieces. Who asks for budget does so behind what goes back.
"""

import asyncio
from collections.abc import Callable

from broker.background import Background
from broker.budget import Parts
from broker.gateway.book import Book, Standing
from broker.gateway.clock import SystemClock
from broker.link import frames
from broker.link.frames import Frame

SOON_SECONDS = 0.05
_PIECE = 200


class Returns:
    """Gives slices of every grant back."""

    def __init__(
        self, book: Book, clock: SystemClock, send: Callable[[Frame], None], beside: Background
    ) -> None:
        self._book, self._clock, self._send, self._beside = book, clock, send, beside
        self._coming = False

    def void(self) -> None:
        """Give back what was lent under rules that are no more, before any is asked for under new ones."""
        self._close(self._book.voided())

    def old(self) -> bool:
        """Give back what is used up, old or void; tell whether anything was."""
        now_us = self._clock.boot_us()
        worn = (part for standing in self._book.standing.values() for part in standing.purse.close(now_us))
        return self._close((*self._book.voided(), *worn))

    def of(self, standing: Standing) -> None:
        """Give back all that a grant holds."""
        self._close(self._all(standing))

    def everything(self) -> None:
        """Give back all there is: this gateway stops."""
        held = (part for standing in self._book.standing.values() for part in self._all(standing))
        self._close((*self._book.voided(), *held))

    def soon(self) -> None:
        """Look soon for grants that may not trade here any more, beside the requests."""
        if not self._coming:
            self._coming = True
            self._beside.begin(self._later(), "returning what a cut grant holds")

    async def due(self) -> None:
        """Give back now what goes back soon: somebody asks for budget that it may leave."""
        if self._coming:
            await self.idle()

    async def idle(self) -> None:
        """Give back what grants hold that may not trade here, and what came behind a cut."""
        self.void()
        for count, standing in enumerate(list(self._book.standing.values())):
            if count % _PIECE == _PIECE - 1:
                await asyncio.sleep(0)
            if not standing.purse.empty and not self._book.serves(standing):
                self._close(self._all(standing))

    async def _later(self) -> None:
        await asyncio.sleep(SOON_SECONDS)
        self._coming = False
        await self.idle()

    def _all(self, standing: Standing) -> Parts:
        return standing.purse.close(self._clock.boot_us(), everything=True)

    def _close(self, parts: Parts) -> bool:
        if parts:
            self._send(frames.CloseSlices(parts))
        return bool(parts)
