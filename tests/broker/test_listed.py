"""What orders hold together: alternatives once, whoever they are of, and what is in doubt errs to both sides."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.db.weighing import Fill, Whose, weigh
from broker.listed import Held, Leg, held, more_of
from broker.policy_facts import Stake


def leg(listed: str, executed: str, left: str) -> Leg:
    return Leg(listed, Decimal(executed), Decimal(left))


def holds(offered: str, bound: str, *, sure: bool = True) -> Held:
    return Held(Decimal(offered), Decimal(bound), sure)


HELD = {
    "nothing": ([], holds("0", "0")),
    "one order": ([leg("", "1", "2")], holds("2", "2")),
    "one that waits": ([leg("7/1", "0", "-2")], holds("2", "0")),
    "one of which nobody said it": ([leg("?", "0", "2")], holds("2", "2")),
    "alternatives": ([leg("7/0", "0", "2"), leg("7/0", "0", "2")], holds("2", "2")),
    "one of them made smaller": ([leg("7/0", "0", "1"), leg("7/0", "0", "2")], holds("2", "2")),
    "alternatives whose group nobody said": ([leg("7", "0", "2"), leg("7", "0", "2")], holds("2", "2")),
    "one was executed in part": ([leg("7/0", "1", "1"), leg("7/0", "0", "2")], holds("1", "1")),
    "one was executed": ([leg("7/0", "2", "0"), leg("7/0", "0", "2")], holds("0", "0")),
    "one ended, for the other was triggered": ([leg("7/0", "0", "0"), leg("7/0", "0", "2")], holds("2", "2")),
    "one was executed, and which group that is nobody said": (
        [leg("7", "2", "0"), leg("7/0", "0", "2")],
        holds("2", "0", sure=False),
    ),
    "two wait": ([leg("7/1", "0", "-2"), leg("7/1", "0", "-2")], holds("2", "0")),
    "one order, and two that wait for it": (
        [leg("7/0", "0", "1"), leg("7/1", "0", "-2"), leg("7/1", "0", "-2")],
        holds("3", "1"),
    ),
    "that one was executed": (
        [leg("7/0", "1", "0"), leg("7/1", "0", "2"), leg("7/1", "0", "2")],
        holds("2", "2"),
    ),
    "of one size, and nobody said it": (
        [leg("?", "0", "2"), leg("?", "0", "2"), leg("?", "0", "1")],
        holds("5", "3", sure=False),
    ),
    "of one size, and one was executed in part": (
        [leg("?", "1", "1"), leg("?", "0", "2")],
        holds("3", "1", sure=False),
    ),
    "of two sizes": ([leg("?", "0", "2"), leg("?", "0", "1")], holds("3", "3")),
}


@pytest.mark.parametrize(("legs", "what"), HELD.values(), ids=HELD)
def test_what_orders_hold_together(legs: list[Leg], what: Held) -> None:
    assert held(legs) == what
    assert held(reversed(legs)) == what


def held_one_by_one(given: list[Leg]) -> Held:
    """Say it by looking at each pair of orders."""
    at_most, at_least = Decimal(0), Decimal(0)
    for leg in given:
        others = [one for one in given if one is not leg and one.executed]
        if leg.left > 0 and not any(one.listed == leg.listed and "/" in one.listed for one in others):
            at_most = max(at_most, leg.left)
            if all("/" in one.listed and "/" in leg.listed for one in others):
                at_least = max(at_least, leg.left)
    waiting = max((-leg.left for leg in given if leg.left < 0), default=Decimal(0))
    return Held(at_most + waiting, at_least, at_most == at_least)


SIZES = st.integers(-2, 2).map(Decimal)
LEGS = st.lists(st.builds(Leg, st.sampled_from(["7", "7/0", "7/1"]), SIZES.map(abs), SIZES), max_size=6)


@given(LEGS)
def test_what_they_hold_is_what_each_pair_of_them_says(legs: list[Leg]) -> None:
    assert held(legs) == held_one_by_one(legs)


def test_what_an_order_buys_first_is_not_offered_by_those_that_wait_for_it() -> None:
    waits = [leg("7/1", "0", "-2"), leg("7/1", "0", "-2")]
    assert [held(waits, Decimal(buys)) for buys in ("0", "0.5", "2", "3")] == [
        holds("2", "0"), holds("1.5", "0"), holds("0", "0"), holds("0", "0")
    ]  # fmt: skip
    assert held([leg("7/1", "0", "2")], Decimal(2)) == holds("2", "2"), "it does not wait any more"


def fill(grant: str, side: str, executed: str, left: str = "0", listed: str = "", number: str = "1") -> Fill:
    return Fill(
        "main", "BTCUSDT", number, grant, "BTC", side, Decimal(executed), Decimal(left), listed=listed
    )


def pair(grant: str, listed: str, left: str, side: str = "SELL") -> list[Fill]:
    return [fill(grant, side, "0", left, listed, number) for number in ("8", "9")]


def stake(
    own: str = "0", others: str = "0", freed: str = "0", *, sure: bool = True, here: bool = False
) -> Stake:
    return Stake(here, Decimal(own), Decimal(others), Decimal(freed), sure=sure)


WEIGHED = {
    "another's alternatives": ([fill("you", "BUY", "5"), *pair("you", "7/0", "2")], "", stake(others="3")),
    "one's own": ([fill("me", "BUY", "5"), *pair("me", "7/0", "2")], "", stake("3", here=True)),
    "one of one's own is replaced": (
        [fill("me", "BUY", "5"), *pair("me", "7/0", "2")],
        "9",
        stake("5", freed="2", here=True),
    ),
    "one that waits is replaced": (
        [fill("me", "BUY", "5"), fill("me", "SELL", "0", "1", "7/0", "8"), fill("me", "SELL", "0", "-2", "7/1", "9")],
        "9",
        stake("5", freed="1", here=True),
    ),
    "one's own that wait for an open purchase": (
        [fill("me", "BUY", "5"), fill("me", "BUY", "1", "1", "7/0", "7"), *pair("me", "7/1", "-2")],
        "",
        stake("5", here=True),
    ),
    "and that purchase is of another list": (
        [fill("me", "BUY", "5"), fill("me", "BUY", "0", "2", "6/0", "7"), *pair("me", "7/1", "-2")],
        "",
        stake("3", here=True),
    ),
    "the purchase that they wait for is replaced": (
        [fill("me", "BUY", "5"), fill("me", "BUY", "1", "1", "7/0", "7"), fill("me", "SELL", "0", "-3", "7/1", "8")],
        "7",
        stake("6", here=True),
    ),
    "of two lists": (
        [fill("you", "BUY", "5"), *pair("you", "7/0", "2"), fill("you", "SELL", "0", "1", "8/0", "10")],
        "",
        stake(others="2"),
    ),
    "purchases of which one is filled": (pair("me", "7/0", "2", "BUY"), "", stake(here=True)),
    "another's of which nobody said it": (
        [fill("you", "BUY", "5"), *pair("you", "?", "2")],
        "",
        stake(others="3", sure=False),
    ),
    "one's own of which nobody said it": (
        [fill("me", "BUY", "5"), *pair("me", "?", "2")],
        "",
        stake("1", sure=False, here=True),
    ),
    "one of those is replaced": (
        [fill("me", "BUY", "5"), *pair("me", "?", "2")],
        "9",
        stake("3", freed="2", sure=False, here=True),
    ),
    "what nobody's hold does not matter": (
        [fill("me", "BUY", "5"), *pair("gone", "?", "2")],
        "",
        stake("5", here=True),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("fills", "replaces", "told"), WEIGHED.values(), ids=WEIGHED)
def test_whose_an_asset_is_counts_them_once(fills: list[Fill], replaces: str, told: Stake) -> None:
    assert weigh(fills, Whose(frozenset(["me"]), frozenset(["gone"])), "BTCUSDT", replaces) == told


def test_what_says_more_is_kept() -> None:
    assert [more_of(known, told) for known, told in (("?", "7"), ("7", "7/1"), ("7/1", "7"), ("?", ""), ("", "?"))] == [
        "7", "7/1", "7/1", "", ""
    ]  # fmt: skip
    assert more_of("", "7/0") == "7/0"
