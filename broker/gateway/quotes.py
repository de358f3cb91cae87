"""Prices: which are kept of what a venue answers, for how long, and as quotes, with their ages.

Rules:
1. Of two answers the one counts that was asked for later, whichever comes last. Only what was asked for is kept.
2. The last known price of a pair sets the collar of exits after a quiet hour, so it does not end by its age. Beyond
   what a venue has pairs first goes what was asked for least lately and is not in use.
"""

from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from heapq import nsmallest

from broker.policy import Quote

MOST_PRICES = 5_000
"""More than a venue has pairs."""


class Prices(dict[str, tuple[Decimal, int]]):
    """By pair, the last known price, and when it was asked for: microseconds of the boot clock."""

    def learn(self, found: Mapping[str, Decimal], asked: Collection[str], sent_us: int) -> None:
        """Take an answer in to what was asked at an instant."""
        for symbol in found.keys() & set(asked):
            known = self.get(symbol)
            if known is None or known[1] <= sent_us:
                self[symbol] = found[symbol], sent_us

    def forget(self, used: Collection[str]) -> None:
        """Let go of what is too much, but for pairs in use."""
        if len(self) <= MOST_PRICES:
            return
        unused = [(at_us, symbol) for symbol, (_, at_us) in self.items() if symbol not in used]
        for _, symbol in nsmallest(len(self) - MOST_PRICES, unused):
            del self[symbol]


class Quotes(Mapping[str, Quote]):
    """Prices as quotes, made when one is asked for."""

    def __init__(self, prices: Mapping[str, tuple[Decimal, int]], now_us: int) -> None:
        self._prices, self._now_us = prices, now_us

    def __getitem__(self, symbol: str) -> Quote:
        price, at_us = self._prices[symbol]
        return Quote(price, self._now_us - at_us)

    def __iter__(self) -> Iterator[str]:
        return iter(self._prices)

    def __len__(self) -> int:
        return len(self._prices)
