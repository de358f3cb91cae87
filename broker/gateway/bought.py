"""What grants bought and sold of assets, added up from the orders that answers told of. Pure, in memory, bounded.

Of an order that was only shown counts what it bought since: who reads what it bought once, and not what it sold, would
own it again.
"""

from collections import OrderedDict
from decimal import Decimal
from typing import NamedTuple

ZERO = Decimal(0)
BUY, SELL = "BUY", "SELL"
MOST_SUMS = 20_000


class Known(NamedTuple):
    """What is known of an order, and whether the grant placed it as far as is known here.

    `before` is what one that was only shown had executed when it was known first. `listed`: of which list it is
    (`broker.listed`).
    """

    whose: str
    base: str
    side: str
    executed: Decimal
    left: Decimal
    placed: bool
    before: Decimal = ZERO
    listed: str = ""


class Sum:
    """What a grant's orders of an asset come to: what is left of it, what it bought and where."""

    __slots__ = ("bought_in", "own")

    def __init__(self) -> None:
        self.own = ZERO
        self.bought_in: set[str] = set()

    def count(self, symbol: str, order: Known, offered: Decimal, sign: int) -> None:
        """Add an order and what it offers, or take it off again; of one that was only shown, what it bought since."""
        if not order.placed:
            if order.side == BUY and order.executed > order.before:
                self.own += sign * (order.executed - order.before)
                self.bought_in.add(symbol)
        elif order.side == BUY:
            self.own += sign * order.executed
            self.bought_in.add(symbol)
        else:
            self.own -= sign * (order.executed + offered)


class Bought:
    """Sums by account, base asset and grant."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], dict[str, Sum]] = {}
        self._order: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    def clear(self) -> None:
        """Forget all of it."""
        self._of.clear()
        self._order.clear()

    def count(self, account: str, symbol: str, order: Known, offered: Decimal, sign: int) -> None:
        """Add an order and what it offers of what it holds with others of its list, or take it off again."""
        if not (order.placed or order.executed > order.before):
            return
        known = self._of.setdefault((account, order.base), {})
        if order.whose not in known:
            known[order.whose] = Sum()
            self._order[account, order.base, order.whose] = None
            self._make_room()
        known[order.whose].count(symbol, order, offered, sign)

    def of(self, account: str, base: str, grant: str) -> Sum | None:
        """Return what a grant's come to."""
        return self._of.get((account, base), {}).get(grant)

    def others(self, account: str, base: str, grant: str) -> tuple[tuple[str, Decimal], ...]:
        """Return what each other grant has, less what its open sales hold: less than nothing where it sold more."""
        known = self._of.get((account, base), {})
        return tuple((whose, one.own) for whose, one in known.items() if whose != grant)

    def _make_room(self) -> None:
        if len(self._order) <= MOST_SUMS:
            return
        (account, base, grant), _ = self._order.popitem(last=False)
        known = self._of[account, base]
        del known[grant]
        if not known:
            del self._of[account, base]
