"""Budgets: what is lent counts, what is spent counts a window long, and nothing is spent twice."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import budget
from broker.budget import SLICE_LIFE_US, WINDOW_US, Limit, Purse, Rules, Slice

AMOUNTS = st.decimals("0.01", "500", places=2)


@given(
    st.lists(AMOUNTS, max_size=20),
    st.lists(st.tuples(AMOUNTS, st.sampled_from(["keep", "release"])), max_size=40),
)
def test_a_purse_never_gives_out_more_than_it_was_lent(
    lent: list[Decimal], asked: list[tuple[Decimal, str]]
) -> None:
    purse = Purse()
    for number, amount in enumerate(lent):
        purse.add(f"s{number}", amount, 0)
    out = Decimal(0)
    for amount, fate in asked:
        before = purse.left
        parts = purse.reserve(amount, 0)
        if parts is None:
            assert amount > before
            assert purse.left == before
            continue
        assert sum(part for _, part in parts) == amount
        if fate == "release":
            assert purse.release(parts) == ()
            assert purse.left == before
        else:
            out += amount
    assert out + purse.left == sum(lent, Decimal(0))


def test_a_slice_twice_counts_once() -> None:
    purse = Purse()
    purse.add("s", Decimal(5), 0)
    purse.add("s", Decimal(5), 0)
    assert purse.left == 5


def test_a_release_after_the_slice_has_left_goes_to_the_broker() -> None:
    purse = Purse()
    purse.add("s", Decimal(5), 0)
    parts = purse.reserve(Decimal(3), 0)
    assert parts is not None
    assert purse.close(SLICE_LIFE_US) == (("s", Decimal(2)),)
    assert purse.release(parts) == parts
    assert purse.left == 0


def test_only_old_or_empty_slices_are_given_back() -> None:
    purse = Purse()
    purse.add("old", Decimal(1), 0)
    purse.add("new", Decimal(1), SLICE_LIFE_US)
    assert purse.close(SLICE_LIFE_US - 1) == ()
    assert [name for name, _ in purse.close(SLICE_LIFE_US)] == ["old"]


def test_what_was_spent_counts_until_a_window_after_its_slice_was_closed() -> None:
    spent = Slice("s", Decimal(100), 0, Decimal(40), closed_us=10)
    assert budget.used([spent], 10 + WINDOW_US - 1) == 60
    assert budget.used([spent], 10 + WINDOW_US) == 0


def test_a_slice_that_nobody_gives_back_counts_for_its_life_and_a_window() -> None:
    """Its gateway is gone with its spool: it cannot have spent of it after its life."""
    lent = Slice("s", Decimal(100), 7)
    assert budget.used([lent], 7 + SLICE_LIFE_US + WINDOW_US - 1) == 100
    assert budget.used([lent], 7 + SLICE_LIFE_US + WINDOW_US) == 0


def test_nothing_is_reserved_from_a_slice_that_is_too_old() -> None:
    """Else it could be spent after it stopped counting."""
    purse = Purse()
    purse.add("old", Decimal(5), 0)
    purse.add("new", Decimal(2), SLICE_LIFE_US // 2)
    assert purse.spendable(SLICE_LIFE_US - 1) == 7
    assert purse.spendable(SLICE_LIFE_US) == 2
    assert purse.reserve(Decimal(3), SLICE_LIFE_US) is None
    assert purse.reserve(Decimal(2), SLICE_LIFE_US) == (("new", Decimal(2)),)
    assert purse.left == 5
    assert purse.wants(Decimal(1), SLICE_LIFE_US)


def test_a_slice_is_the_order_cap_or_a_tenth_and_never_more_than_is_left() -> None:
    limit, cap = Decimal(10_000), Decimal(1500)
    assert budget.to_lend(limit, None, Decimal(0)) == 1000
    assert budget.to_lend(limit, cap, Decimal(0)) == 1500
    assert budget.to_lend(limit, cap, Decimal(9500)) == 500
    assert budget.to_lend(limit, cap, Decimal(10_000)) == 0
    assert budget.to_lend(limit, None, Decimal(0), wanted=Decimal(1200)) == 1200


def test_a_portion_is_taken_from_the_last_parts() -> None:
    parts = (("a", Decimal(5)), ("b", Decimal(5)))
    assert budget.portion(parts, Decimal(7)) == (("b", Decimal(5)), ("a", Decimal(2)))


def test_what_was_used_in_another_asset_uses_the_window_up() -> None:
    """It cannot be compared: a policy that counts in another asset gets no fresh window by that."""
    limit = Limit(Decimal(1000), "USDT", frozenset(["grt"]))
    spent = Slice("s", Decimal(5), 0, Decimal(4), closed_us=10, grant="grt", asset="BTC")
    assert budget.taken(limit, "USDT", [spent], 10) == 1000
    assert budget.taken(limit, "USDT", [spent], 10 + WINDOW_US) == 0, "until it is a window old"
    lent = Slice("s", Decimal(5), 0, grant="grt", asset="BTC")
    assert budget.taken(limit, "USDT", [lent], 1) == 1000
    back = replace(spent, returned=Decimal(5))
    assert budget.taken(limit, "USDT", [back], 10) == 0, "what was not used counts in no asset"
    assert budget.taken(limit, "BTC", [], 10) == 1000, (
        "nor is anything lent in another asset than the limit's"
    )
    rules = Rules(1, "USDT", limits=(limit,))
    assert budget.lendable(rules, [spent], 10) == 0
    assert not budget.may_spare(rules, [spent], 10, Decimal(1))


@pytest.mark.parametrize("shared", [{"account": "main"}, {"consumer": "bot"}])
def test_nor_does_a_grant_beside_it_that_counts_in_another_asset_leave_anything(
    shared: dict[str, str],
) -> None:
    limit = Limit(Decimal(1000), "USDT", **shared)
    spent = Slice("s", Decimal(5), 0, grant="other", account="main", consumer="bot", asset="BTC")
    assert budget.lendable(Rules(1, "USDT", limits=(limit,)), [spent], 1) == 0
