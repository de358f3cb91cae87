"""Memories with an end, in which nobody's entries push out another's. Pure, in memory.

Rules:
1. Who has most makes room, from the oldest on: a bot that places thousands of orders an hour takes no place of the one
   that has placed a single one, and wants to leave by it.
2. A hundredth of the room is made at once: looking for who has most is not for each entry.
"""

from collections.abc import Hashable, Iterator
from itertools import islice, zip_longest
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Fair(Generic[K, V]):
    """Values by key, each of somebody; the least recently put of who has most fall out."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._of: dict[K, tuple[V, str]] = {}
        self._keys: dict[str, dict[K, None]] = {}

    def __len__(self) -> int:
        return len(self._of)

    def __iter__(self) -> Iterator[K]:
        return iter(self._of)

    def __contains__(self, key: K) -> bool:
        return key in self._of

    def get(self, key: K) -> V | None:
        """Return what is known under a key."""
        found = self._of.get(key)
        return None if found is None else found[0]

    def put(self, key: K, value: V, whose: str) -> tuple[K, ...]:
        """Keep a value; return the keys of what fell out."""
        self.drop(key)
        self._of[key] = value, whose
        self._keys.setdefault(whose, {})[key] = None
        return self._make_room() if len(self._of) > self._most else ()

    def drop(self, key: K) -> None:
        """Forget one."""
        found = self._of.pop(key, None)
        if found is not None:
            keys = self._keys[found[1]]
            del keys[key]
            if not keys:
                del self._keys[found[1]]

    def latest(self, most: int) -> Iterator[K]:
        """Yield the keys that were put last, of each in turn, so many in all."""
        turns = zip_longest(*(reversed(keys) for keys in self._keys.values()))
        return islice((key for turn in turns for key in turn if key is not None), most)

    def clear(self) -> None:
        """Forget all."""
        self._of.clear()
        self._keys.clear()

    def _make_room(self) -> tuple[K, ...]:
        largest = max(self._keys.values(), key=len)
        gone = tuple(islice(largest, min(max(1, self._most // 100), (len(largest) + 1) // 2)))
        for key in gone:
            self.drop(key)
        return gone
