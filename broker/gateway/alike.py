"""Listings of a whole market that several bots ask for at once: the venue is asked once, and all have the same bytes.

Rules:
1. Shared is an unsigned listing (`Intent.listing`) alone, with who asks for the very same bytes by the same way out
   while the answer is still to come. Nothing is kept: who comes after it asks anew. A clock, a price or a book is never
   shared: what is told of those has to be of after the question.
2. Each bot is judged and written down by itself. Weight and a line are used once. So many at most wait for others'
   questions, a share of the connections of their own: places of those who wait for an exit's facts are none of theirs.
   Beyond that each asks for himself.
3. Who asked first is like the others: that one of them hangs up takes the answer from nobody. What became of the
   question is told to all as what it was; it is not asked again.
4. They are told one after another, each in a turn of the loop.
"""

import asyncio
import time
from collections import deque
from functools import partial

from broker.gateway.venue_line import ANSWER_SECONDS, Broken, Done, Reply
from clients.wire import Sealed


class Coming:
    """A listing that the venue was asked for; `others` wait for it beside who asked."""

    __slots__ = ("others", "sent_ns", "until_s")

    def __init__(self, now_s: float) -> None:
        self.sent_ns, self.until_s = time.perf_counter_ns(), now_s + ANSWER_SECONDS
        self.others: deque[Done] = deque()


class Alike:
    """The listings that are on their way by one egress, by what the venue was sent for them."""

    def __init__(self, most_sharing: int) -> None:
        self._most_sharing = most_sharing
        self._coming: dict[Sealed, Coming] = {}
        self.sharing = 0
        """How many wait for what others asked."""

    def coming(self, sealed: Sealed) -> Coming | None:
        """Return what is on its way already; None where the venue has to be asked."""
        found = self._coming.get(sealed)
        if found is None or self.sharing >= self._most_sharing:
            return None
        # no line waits longer than that: it is about to be over
        return None if asyncio.get_running_loop().time() >= found.until_s else found

    def join(self, coming: Coming, done: Done) -> None:
        """Tell one more what becomes of it."""
        self.sharing += 1
        coming.others.append(done)

    def first(self, sealed: Sealed, done: Done) -> Done:
        """The venue is about to be asked: return who is told, and tells all that come meanwhile."""
        coming = self._coming[sealed] = Coming(asyncio.get_running_loop().time())
        return partial(self._came, sealed, coming, done)

    def never_left(self, sealed: Sealed) -> None:
        """The question did not get on its way."""
        self._coming.pop(sealed, None)

    def _came(self, sealed: Sealed, coming: Coming, done: Done, result: Reply | Broken) -> None:
        if self._coming.get(sealed) is coming:
            del self._coming[sealed]
        if coming.others:
            asyncio.get_running_loop().call_soon(self._tell, coming.others, result)
        done(result)

    def _tell(self, others: deque[Done], result: Reply | Broken) -> None:
        """Tell the next one; the rest after whatever else the loop has to do."""
        self.sharing -= 1
        done = others.popleft()
        if others:
            asyncio.get_running_loop().call_soon(self._tell, others, result)
        done(result)
