"""Requests that left for the venue and have no answer yet. Pure; instants are the caller's microseconds.

Rules:
1. Every request that leaves is counted before its first byte, and no more once its answer came or never will. A
   second end of the same flight changes nothing.
2. Who closes a gate asks how many in its scope had left before, and is told when the last of them has its answer.
"""

from collections.abc import Collection
from dataclasses import dataclass

Chain = tuple[str, ...]


@dataclass(slots=True)
class _Watch:
    """The flights that were out when a change came in force, and when the last one of them landed."""

    left: set[int]
    since_us: int
    last_us: int = 0
    news: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How many of the flights that a change found are still out, and after how long the last one landed."""

    change: int
    left: int
    after_us: int


class Flights:
    """All requests in flight, by key version and scope."""

    def __init__(self) -> None:
        self._number = 0
        self._flying: dict[int, tuple[str, Chain]] = {}
        self._by_key: dict[str, int] = {}
        self._watches: dict[int, _Watch] = {}

    def __len__(self) -> int:
        return len(self._flying)

    def leaves(self, key: str, chain: Chain) -> int:
        """Count a request that is about to leave, signed with a key version; return its number."""
        self._number += 1
        self._flying[self._number] = (key, chain)
        self._by_key[key] = self._by_key.get(key, 0) + 1
        return self._number

    def on(self, key: str) -> int:
        """Return how many that were signed with a key version are out."""
        return self._by_key.get(key, 0)

    def lands(self, number: int, now_us: int) -> tuple[str, bool]:
        """A request has its answer, or never will.

        Returns:
            The key version of which nothing is out any more, if it was the last; and whether `progress` has news.
        """
        key, _ = self._flying.pop(number, ("", ()))
        if not key:
            return "", False
        left = self._by_key[key] - 1
        if left:
            self._by_key[key] = left
        else:
            del self._by_key[key]
        news = False
        for watch in self._watches.values():
            if number in watch.left:
                watch.left.discard(number)
                watch.last_us, watch.news = now_us, True
                news = True
        return ("" if left else key), news

    def progress(self) -> tuple[Progress, ...]:
        """Return what has changed since it was asked last; what is over is forgotten."""
        found = tuple(
            Progress(change, len(watch.left), watch.last_us - watch.since_us)
            for change, watch in self._watches.items()
            if watch.news
        )
        for one in found:
            self._watches[one.change].news = False
            if not one.left:
                del self._watches[one.change]
        return found

    def watch(self, change: int, scopes: Collection[str], now_us: int) -> int:
        """Watch the flights in some scopes until they are over; return how many there are."""
        wanted = frozenset(scopes)
        found = {number for number, (_, chain) in self._flying.items() if not wanted.isdisjoint(chain)}
        if found:
            self._watches[change] = _Watch(found, now_us)
        return len(found)
