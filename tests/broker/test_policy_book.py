"""What orders take of the book, by walking it."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from broker.policy_book import Take, left, needed, size_of, takes, takes_at_once, within, worth_of
from broker.policy_facts import ZERO, Levels
from clients.venue import Order, Side

BUY, SELL = Side.BUY, Side.SELL


def levels(*pairs: tuple[object, object]) -> Levels:
    return tuple((Decimal(str(price)), Decimal(str(size))) for price, size in pairs)


ASKS, BIDS = levels((100, 1), (101, 2), (200, 9)), levels((100, 1), (99, 2), (50, 9))
CASES: dict[str, tuple[Levels, list[Take], Levels]] = {
    "nothing": (ASKS, [], ASKS),
    "a part of the best": (ASKS, [Take(BUY, Decimal("0.4"))], levels((100, "0.6"), *ASKS[1:])),
    "all of the best": (ASKS, [Take(BUY, Decimal(1))], ASKS[1:]),
    "one after another": (ASKS, [Take(BUY, Decimal("0.5")), Take(BUY, Decimal("1.5"))], levels((101, 1), (200, 9))),
    "no further than its limit": (ASKS, [Take(BUY, Decimal(50), limit=Decimal("100.5"))], ASKS[1:]),
    "one that does not reach the best": (ASKS, [Take(BUY, Decimal(50), limit=Decimal(99))], ASKS),
    "nor a sale": (BIDS, [Take(SELL, Decimal(50), limit=Decimal(101))], BIDS),
    "a sale as far as its limit": (BIDS, [Take(SELL, Decimal(50), limit=Decimal(99))], BIDS[2:]),
    "for money, at each price": (BIDS, [Take(SELL, ZERO, Decimal(199))], levels((99, 1), (50, 9))),
    "for more money than there is": (BIDS, [Take(SELL, ZERO, Decimal(10_000))], ()),
    "of nothing": ((), [Take(BUY, Decimal(1))], ()),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_left_of_the_book(case: tuple[Levels, list[Take], Levels]) -> None:
    before, taken, after = case
    assert left(before, taken) == after


def test_an_amount_of_quote_needs_what_the_bids_that_it_comes_through_make_necessary() -> None:
    assert needed(BIDS, Decimal(50)) == Decimal("0.5")
    assert needed(BIDS, Decimal(100)) == 1
    assert needed(BIDS, Decimal(348)) == 4, "100 for one, 198 for two, 50 for the last"
    assert needed(BIDS, Decimal(10_000)) == 12, "all there is"
    assert needed((), Decimal(1)) == 0


def test_which_orders_take_how_much_as_soon_as_they_are_there() -> None:
    def order(side: Side = BUY, price: int | None = None, **more: Decimal) -> Order:
        values = more or {"quantity": Decimal(2)}
        return Order("X", side, price is None, price=None if price is None else Decimal(price), **values)

    two = Decimal(2)
    assert takes([(order(),), (order(quote_quantity=Decimal(300)),)], BUY) == (
        Take(BUY, two),
        Take(BUY, ZERO, Decimal(300)),
    )
    assert takes([(order(price=100), order(price=120, quantity=Decimal(3)))], BUY) == (
        Take(BUY, Decimal(3), None, Decimal(120)),
    )
    assert takes([(order(SELL, 100), order(SELL, 90))], SELL) == (Take(SELL, two, None, Decimal(90)),)
    assert takes([(order(SELL, 100), order(SELL))], SELL) == (Take(SELL, two),), "one of them at any price"
    assert takes([(order(price=99),), (order(SELL),)], SELL) == (Take(SELL, two),)


AT_ONCE = Order("X", SELL, market=True, quantity=Decimal(2))
LIMITED = Order("X", SELL, market=False, quantity=Decimal(2), price=Decimal(99))
STOP = Order("X", SELL, market=True, quantity=Decimal(2), trigger=Decimal(98), rises=False)
PROFIT = Order("X", SELL, market=True, quantity=Decimal(2), trigger=Decimal(102), rises=True)
TRAILING = Order("X", SELL, market=True, quantity=Decimal(2), rises=False, trails=True)
AFTER = Order("X", SELL, market=True, quantity=Decimal(2), starts=Decimal(100))
WAIT: dict[str, tuple[Order, ...]] = {
    "a stop": (STOP,),
    "a stop that the market has passed": (structs.replace(STOP, trigger=Decimal(100)),),
    "a stop with a limit": (structs.replace(STOP, market=False, price=Decimal(97)),),
    "a take profit": (PROFIT,),
    "a trailing one": (TRAILING,),
    "one after another": (AFTER,),
    "alternatives": (LIMITED, STOP),
    "alternatives of which one could": (LIMITED, AT_ONCE),
}


@pytest.mark.parametrize("group", WAIT.values(), ids=WAIT)
def test_what_waits_may_take_of_the_book_and_never_surely_does(group: tuple[Order, ...]) -> None:
    assert takes([group], SELL, Decimal(100)), "it may be filled soon"
    assert takes_at_once([group], SELL) == ()
    assert takes_at_once([group, (AT_ONCE,)], SELL) == (Take(SELL, Decimal(2)),)


def test_what_stands_alone_and_waits_for_nothing_takes_at_once() -> None:
    assert takes_at_once([(AT_ONCE,)], SELL) == takes([(AT_ONCE,)], SELL) == (Take(SELL, Decimal(2)),)
    assert takes_at_once([(LIMITED,)], SELL) == (Take(SELL, Decimal(2), None, Decimal(99)),)
    assert takes_at_once([(AT_ONCE,)], BUY) == ()


SOME = st.decimals("0.001", "100", places=3)
BOOK = st.lists(st.tuples(SOME, SOME), max_size=6, unique_by=lambda level: level[0])


@given(book=BOOK, money=SOME, price=SOME)
def test_whatever_is_taken_for_money_is_what_it_needs_and_comes_to_no_more(
    book: list[tuple[Decimal, Decimal]], money: Decimal, price: Decimal
) -> None:
    bids = tuple(sorted(book, reverse=True))
    rest = left(bids, [Take(SELL, ZERO, money)])
    assert abs(size_of(bids) - size_of(rest) - needed(bids, money)) < Decimal("1e-15")
    assert abs(worth_of(bids) - worth_of(rest) - min(money, worth_of(bids))) < Decimal("1e-15")
    limited = left(bids, [Take(SELL, ZERO, money, price)])
    assert size_of(limited) >= size_of(bids) - size_of(within(bids, SELL, price))
