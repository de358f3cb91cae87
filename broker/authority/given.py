"""Answers whose an asset is that gateways may act on still: a sale by one of them is in no record yet.

Rules:
1. An answer is open from its question on until its gateway says that nobody acts on it any more, or its link ends:
   then nobody knows what it did, and `behind` says so. After `OPEN_S` no gateway acts on it (`guard`): one that stands
   still holds up nobody for longer.
2. Who asks later by another gateway waits for those that were asked before, and for the lines that tell what they did.
   Nobody waits for who came later: so two never wait for each other.
3. Of one asset of one account: no other is sold by such an answer.
"""

from collections.abc import Iterable
from typing import NamedTuple

from broker.authority.link import Link

OPEN_S = 5.0
_User = tuple[str, str]


class Answer(NamedTuple):
    """One that may be acted on: whose gateway, by which number it asked and when, on behalf of which consumer."""

    link: Link
    ask: int
    consumer: str
    asked_s: float = 0.0


class Given:
    """All that are open, by account and asset, in the order of their questions."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], dict[tuple[int, int], Answer]] = {}
        self._where: dict[tuple[int, int], tuple[str, str]] = {}

    def begin(self, account: str, base: str, answer: Answer) -> tuple[Answer, ...]:
        """A question came; return what other gateways were told before and may act on still."""
        open_here = self._open.setdefault((account, base), {})
        before = tuple(one for one in open_here.values() if one.link.gateway != answer.link.gateway)
        key = id(answer.link), answer.ask
        open_here[key] = answer
        self._where[key] = account, base
        return before

    def is_open(self, answer: Answer, now_s: float) -> bool:
        """Tell whether it may be acted on still."""
        return (id(answer.link), answer.ask) in self._where and now_s - answer.asked_s < OPEN_S

    def end(self, link: Link, asks: Iterable[int]) -> set[_User]:
        """Nobody acts on these any more; return whose they were, by account and consumer."""
        users = set[_User]()
        for ask in asks:
            place = self._where.pop((id(link), ask), None)
            if place is not None:
                users.add((place[0], self._open[place].pop((id(link), ask)).consumer))
                if not self._open[place]:
                    del self._open[place]
        return users

    def gone(self, link: Link) -> None:
        """A link has ended."""
        self.end(link, [ask for of, ask in self._where if of == id(link)])
