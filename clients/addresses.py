"""Which of a host's addresses is tried first, and when the next one is.

Rules:
1. The families take turns, in the order that the resolver gave: where one family goes nowhere, the second try is the
   other one.
2. What failed lately goes last, the longest ago first. It is tried all the same.
3. The next is tried `STAGGER_S` after the one before it, or at once where that one failed. Who is first wins, and who
   began before the winner and did not answer counts as failed.

An address that swallows what is sent to it (a network without IPv6, an edge that is down) says nothing: who waits
for it before trying the next has no connection at all, while the next would answer.

Source: RFC 8305, sections 4 and 5.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

STAGGER_S = 0.25
LATELY_S = 300.0
_MOST_KEPT = 256

A = TypeVar("A")


class Tried:
    """Which addresses failed lately. Safe for use by several threads."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s, self._lock = now_s, threading.Lock()
        self._failed: dict[tuple[str, int], float] = {}

    def ordered(self, places: Iterable[A], name: Callable[[A], tuple[str, int]]) -> Sequence[A]:
        """Return the places in the order in which to try them; `name` gives a place's address and port."""
        now_s = self._now_s()
        with self._lock:
            failed = {key: at_s for key, at_s in self._failed.items() if now_s - at_s < LATELY_S}
        return sorted(_in_turn(places, name), key=lambda place: failed.get(name(place), float("-inf")))

    def failed(self, place: tuple[str, int]) -> None:
        """No use could be made of it."""
        with self._lock:
            self._failed.pop(place, None)
            if len(self._failed) >= _MOST_KEPT:
                del self._failed[next(iter(self._failed))]
            self._failed[place] = self._now_s()

    def answered(self, place: tuple[str, int]) -> None:
        """It could be used."""
        with self._lock:
            self._failed.pop(place, None)


TRIED = Tried()
"""Of this process."""


def same_family(address: str, other: str) -> bool:
    """Tell whether both are IPv4, or both IPv6: from the one only the like of it is reached."""
    return (":" in address) == (":" in other)


def _in_turn(places: Iterable[A], name: Callable[[A], tuple[str, int]]) -> list[A]:
    """Have the families take turns; the first stays the first."""
    left = list(dict.fromkeys(places))
    if not left:
        return []
    lead = name(left[0])[0]
    queues = (
        [one for one in left if same_family(name(one)[0], lead)],
        [one for one in left if not same_family(name(one)[0], lead)],
    )
    found: list[A] = []
    for at in range(max(map(len, queues))):
        found += [queue[at] for queue in queues if at < len(queue)]
    return found
