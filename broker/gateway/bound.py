"""What holdings have to show as bound as long as followed orders rest: where they show less, one was executed.

Exchanges answer questions for orders and for holdings from different databases: holdings may show what an order brought
while it is told as untouched. But one answer for holdings is of one moment: as long as an order rests, what it pays
with is bound in the very answer that would show what it brings.

Rules:
1. An order binds what is left of it as it was told last: a sale that much, a purchase as much as its limit says. One
   without a limit, or that waits for another one, binds nothing for certain; of alternatives what needs least does.
   Of orders of which nobody said whether they are of one list, those of one size may be alternatives.
2. What had left when holdings were asked for, and was not answered, or was found since, they may not show: it is passed
   over. So is what was never told.
3. More may be bound: by hand, by other systems, by orders that nobody here follows. That hides what was executed, and
   says nothing wrong. Less is so for a moment where an order ended that is followed still: until that is told.
4. Every request of an exit looks at that again and again: no more than `MOST_WEIGHED` orders are looked at each time.
   Of more nobody says what they bind: then it is as if less were bound.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from decimal import Decimal
from itertools import islice
from typing import TypeVar

from broker.gateway.bought import BUY, ZERO, Known
from broker.gateway.sent import Sent
from broker.gateway.settlement import Reservation
from broker.listed import NOT_SAID, list_of
from clients.venue import SymbolInfo

GRAIN = Decimal("1e-8")
"""Exchanges tell amounts to so many places."""

MOST_WEIGHED = 200
"""Takes less than a millisecond (rule 4)."""

T = TypeVar("T")

Pairs = Mapping[str, SymbolInfo | None]
Told = Callable[[Sent], Known | None]
"""What was told of an order, as it moves the base asset of its pair."""


def pays_with(sent: Sent, pairs: Pairs) -> str:
    """Return which asset an order pays with, and binds; empty where that is not known."""
    pair = pairs.get(sent.symbol)
    return "" if pair is None else pair.quote if sent.side == BUY else pair.base


def paying(asset: str, symbols: Iterable[str], pairs: Pairs) -> set[str]:
    """Return in which of these pairs orders may bind an asset."""
    found = ((symbol, pairs.get(symbol)) for symbol in symbols)
    return {symbol for symbol, pair in found if pair is not None and asset in {pair.base, pair.quote}}


def weighed(orders: Iterable[T]) -> list[T] | None:
    """Return orders that are few enough to look at each of them; None where they are more (rule 4)."""
    found = list(islice(orders, MOST_WEIGHED + 1))
    return None if len(found) > MOST_WEIGHED else found


def bound(
    orders: Iterable[tuple[Reservation, Sent]], asset: str, asked_us: int, pairs: Pairs, told: Told
) -> Decimal | None:
    """Return how much of an asset open orders bind at least, in holdings that were asked for then; None: too many."""
    few, found = weighed(orders), dict[Hashable, Decimal]()
    if few is None:
        return None
    for held, sent in few:
        known = told(sent)
        late = sent.flying or max(sent.landed_us, held.held_us) >= asked_us
        if known is None or known.left <= 0 or late or sent.waits or pays_with(sent, pairs) != asset:
            continue
        amount = known.left * sent.price if sent.side == BUY else known.left
        beside: Hashable = sent
        if known.listed == NOT_SAID:
            beside = (sent.symbol, sent.side, known.left)
        elif listed := list_of(known.listed):
            beside = (sent.symbol, sent.side, listed)
        found[beside] = min(found.get(beside, amount), amount)
    return sum((max(ZERO, amount - GRAIN) for amount in found.values()), ZERO)
