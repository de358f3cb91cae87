"""What orders take from a side of the public book, and what they leave of it. Pure.

Rules:
1. An order takes from the best on, whatever was paid last, as far as its limit reaches; one without a limit takes all
   that it needs.
2. One that is sized in quote takes as much base as its money makes necessary at each price that it comes through: never
   money by some price of before.
3. Of orders that cancel each other the one counts that may take most.
4. One that waits far from the market takes nothing as soon as it is there.
5. At once takes only what stands alone and waits for nothing: no trigger, no trail, no other order. An order without a
   limit that waits protects: it may never take anything.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from broker.policy_facts import ZERO, Levels, Page
from clients.venue import Order, Side

_FAR = Decimal("0.05")
"""A trigger that is further away than that share of the price is not reached while a look is used."""


class Take(NamedTuple):
    """What one order may take of a side: so much base, or for so much quote; no further than its limit."""

    side: Side
    quantity: Decimal
    money: Decimal | None = None
    limit: Decimal | None = None

    def reaches(self, price: Decimal) -> bool:
        """Tell whether it trades at a price of the other side."""
        if self.limit is None:
            return True
        return price <= self.limit if self.side is Side.BUY else price >= self.limit


def takes(groups: Iterable[tuple[Order, ...]], side: Side, market: Decimal | None = None) -> tuple[Take, ...]:
    """Return what the orders of a request that buy, or sell, may take as soon as they are there.

    Args:
        groups: The orders; those of a group cancel each other.
        side: Which of them.
        market: What was paid last; None where that is not known: then no trigger is far from it.
    """
    near = (
        [order for order in group if order.side is side and not _is_far(order, market)] for group in groups
    )
    found = (_of_group(orders, side) for orders in near)
    return tuple(take for take in found if take is not None)


def takes_at_once(groups: Iterable[tuple[Order, ...]], side: Side) -> tuple[Take, ...]:
    """Return what the orders of a request that buy, or sell, do take as soon as they are there: some of `takes`."""
    alone = (group[0] for group in groups if len(group) == 1)
    found = (_of_group([order], side) for order in alone if order.side is side and not _waits(order))
    return tuple(take for take in found if take is not None)


def left(levels: Levels, taken: Iterable[Take]) -> Levels:
    """Return what is left of some levels, the best of them first, behind what takes of them."""
    first, rest = 0, levels[0][1] if levels else ZERO
    for take in taken:
        quantity, money = take.quantity, take.money
        while first < len(levels) and take.reaches(price := levels[first][0]):
            wants = quantity if money is None else money / price if price else rest
            if wants < rest:
                rest -= wants
                break
            if money is None:
                quantity -= rest
            else:
                money -= rest * price
            first += 1
            rest = levels[first][1] if first < len(levels) else ZERO
    return levels if not first and levels and rest == levels[0][1] else _from(levels, first, rest)


def page_behind(page: Page, taken: Iterable[Take]) -> Page:
    """Return what is left of a page behind what takes of it."""
    taken = tuple(taken)
    more = None if page.more is None else left(page.more, taken)
    return page._replace(levels=left(page.levels, taken), more=more)


def within(levels: Levels, side: Side, limit: Decimal) -> Levels:
    """Return the levels that an order of a side takes from as far as a limit."""
    return tuple(level for level in levels if Take(side, ZERO, limit=limit).reaches(level[0]))


def size_of(levels: Levels) -> Decimal:
    """Return how much base asset levels are of."""
    return sum((size for _, size in levels), ZERO)


def worth_of(levels: Levels) -> Decimal:
    """Return what levels come to in the quote asset."""
    return sum((price * size for price, size in levels), ZERO)


def needed(levels: Levels, money: Decimal) -> Decimal:
    """Return how much base asset is traded at some levels for an amount of quote, or until there are no more."""
    base = ZERO
    for price, size in levels:
        if size * price >= money:
            return base + (money / price if price else ZERO)
        base += size
        money -= size * price
    return base


def _is_far(order: Order, market: Decimal | None) -> bool:
    if order.trigger is None or order.rises is None or market is None:
        return False
    away = order.trigger - market if order.rises else market - order.trigger
    return away > market * _FAR


def _waits(order: Order) -> bool:
    return order.trigger is not None or order.trails or order.starts is not None


def _of_group(orders: list[Order], side: Side) -> Take | None:
    if not orders:
        return None
    limits = [order.price for order in orders if order.price is not None]
    farthest = (max if side is Side.BUY else min)(limits) if len(limits) == len(orders) else None
    money = max((order.quote_quantity for order in orders if order.quote_quantity is not None), default=None)
    return Take(side, max((order.quantity or ZERO for order in orders), default=ZERO), money, farthest)


def _from(levels: Levels, first: int, rest: Decimal) -> Levels:
    if first >= len(levels):
        return ()
    return ((levels[first][0], rest), *levels[first + 1 :])
