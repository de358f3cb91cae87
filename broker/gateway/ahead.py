"""Leases opened before a bot asks: a first request waits for nothing.

Rules:
1. The broker says which virtual keys this gateway serves; each of them has a lease here, and keeps it.
2. Where none can be had now, the broker is asked again after pauses that double, up to half a minute. What is cut is
   not asked about until its gates say otherwise: a cut of ten thousand grants causes no ten thousand asks.
3. A few at once, and in small pieces: bots' own requests come first.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from broker.gate import Shut
from broker.gateway.book import Book, Held
from broker.gateway.clock import SystemClock

AT_ONCE = 8
LOOK_SECONDS = 5.0
_SHORTEST_US = 1_000_000
_LONGEST_US = 30_000_000
_PIECE = 200

Open = Callable[[str], Awaitable[Held | str]]


@dataclass(slots=True)
class _Wish:
    """One virtual key: when to ask again, and how often it was refused."""

    due_us: int = 0
    tries: int = 0


class Ahead:
    """Keeps a lease on every virtual key that this gateway serves."""

    def __init__(
        self, book: Book, clock: SystemClock, open_lease: Open, warm: Callable[[Held], None]
    ) -> None:
        self._book, self._clock, self._open, self._warm = book, clock, open_lease, warm
        self._wishes: dict[str, _Wish] = {}
        self._coming: list[str] = []
        self._stands: dict[str, tuple[str, ...]] = {}
        self._news = asyncio.Event()
        self._told = False
        self.first = asyncio.Event()
        """Set once every virtual key that we were told of first was asked for."""

    def serves(self, key_ids: Iterable[str], *, more: bool, scopes: Iterable[tuple[str, ...]] = ()) -> None:
        """Take in the virtual keys that the broker says are ours; they come in several parts where there are many.

        Args:
            key_ids: Of the keys.
            more: Whether others follow.
            scopes: Where each of them stands.
        """
        names = list(key_ids)
        self._coming += names
        self._stands.update(zip(names, scopes, strict=False))
        if more:
            return
        self._book.stand(self._stands)
        self._stands = {}
        before, self._wishes = self._wishes, {}
        for key_id in self._coming:
            known = before.get(key_id, _Wish())
            known.due_us = known.tries = 0  # something changed: what was refused may be had now
            self._wishes[key_id] = known
        self._coming, self._told = [], True
        self._book.wanted = frozenset(self._wishes)
        self.look()

    def look(self) -> None:
        """Look soon: gates or leases have changed."""
        self._news.set()

    async def run(self) -> None:
        """Open what is missing, again and again."""
        room = asyncio.Semaphore(AT_ONCE)
        while True:
            self._news.clear()
            told = self._told
            missing: list[str] = []
            for count, key_id in enumerate(list(self._wishes)):
                if count % _PIECE == _PIECE - 1:
                    await asyncio.sleep(0)
                if self._is_missing(key_id):
                    missing.append(key_id)
            for start in range(0, len(missing), _PIECE):
                await asyncio.gather(
                    *[self._have(room, key_id) for key_id in missing[start : start + _PIECE]]
                )
            if told:
                self.first.set()
            await self._pause()

    async def _pause(self) -> None:
        now_us = self._clock.boot_us()
        due = [wish.due_us for wish in self._wishes.values() if wish.due_us > now_us]
        seconds = min(LOOK_SECONDS, (min(due) - now_us) / 1_000_000 if due else LOOK_SECONDS)
        try:
            async with asyncio.timeout(max(0.01, seconds)):
                await self._news.wait()
        except TimeoutError:
            return

    def _is_missing(self, key_id: str) -> bool:
        wish, held = self._wishes.get(key_id), self._book.by_key.get(key_id)
        if wish is None or wish.due_us > self._clock.boot_us():
            return False
        if held is not None:
            shut = self._book.judge(held)
            return isinstance(shut, Shut) and shut.reason != "cut"
        return self._book.refused(key_id, self._clock.boot_us()) is None

    async def _have(self, room: asyncio.Semaphore, key_id: str) -> None:
        async with room:
            wish = self._wishes.get(key_id)
            if wish is None or not self._is_missing(key_id):
                return
            found = await self._open(key_id)
            if isinstance(found, Held):
                wish.tries = 0
                self._warm(found)
                return
            wish.due_us = self._clock.boot_us() + min(_LONGEST_US, _SHORTEST_US << min(wish.tries, 10))
            wish.tries += 1
            if found == "cut":  # asked again once its gates say otherwise, not after a while
                wish.due_us = 0
