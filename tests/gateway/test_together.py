"""What a gateway adds up of orders of lists is what the broker would say of them, whatever comes in which order."""

import random
from decimal import Decimal

import pytest

from broker.calllog import progress
from broker.db.weighing import Fill, Whose, weigh
from broker.gateway.fills import RecentFills
from broker.gateway.sent import Sent
from broker.gateway.together import MOST
from broker.gateway.unseen import Doubt
from broker.listed import more_of
from broker.policy_facts import Stake
from clients.wire import OrderState


def order_of(chance: random.Random, number: int) -> Fill:
    """Tell of an order of which list, grant and side follow from its number: of pairs, or a purchase before a pair."""
    of, place = divmod(number, 3)
    pair = of % 2
    buys = place == 0 and not pair
    group = 0 if pair or place == 0 else 1
    listed = chance.choice([f"{of}/{group}", f"{of}/{group}", str(of)]) if of % 5 else ""
    executed = Decimal(chance.choice([0, 0, chance.randrange(9)]))
    left = chance.choice([Decimal(0), 9 - executed, executed - 9 if group and not executed else Decimal(0)])
    return Fill(
        "main", "BTCUSDT", str(number), f"g{of % 2}", "BTC", "BUY" if buys or not of % 7 else "SELL", executed, left,
        listed=listed,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(30))
def test_sums_are_those_of_the_orders(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a test
    recent, known = RecentFills(most=10_000), dict[str, Fill]()
    for _ in range(300):
        told = order_of(chance, chance.randrange(45))
        before = known.get(told.order_id, told)
        listed = more_of(before.listed, told.listed)
        further = progress(told.executed, told.open) >= progress(before.executed, before.open)
        now = told if further else before
        known[told.order_id] = Fill(
            *(getattr(now, name) for name in ("account", "symbol", "order_id", "grant", "base", "side")),
            now.executed, now.open, listed=listed,
        )  # fmt: skip
        recent.keep(
            ("main", "BTCUSDT", told.order_id), told.grant, "BTC", told.side, told.executed, told.open,
            listed=told.listed,
        )  # fmt: skip
        for grant in ("g0", "g1"):
            for replaces in ("", str(chance.randrange(45))):
                true = weigh(known.values(), Whose(frozenset([grant])), "BTCUSDT", replaces)
                seen = recent.seen_of("main", grant, "BTCUSDT", "BTC", replaces)
                assert (seen.own, seen.freed) == (true.own, true.freed)


def test_what_is_told_of_a_list_after_an_order_was_known_counts_from_then_on() -> None:
    recent = RecentFills()
    recent.keep(("main", "BTCUSDT", "1"), "g", "BTC", "BUY", Decimal(5), Decimal(0))
    for listed, own in (("?", 1), ("7", 3)):
        for number in ("8", "9"):
            recent.keep(
                ("main", "BTCUSDT", number), "g", "BTC", "SELL", Decimal(0), Decimal(2), listed=listed
            )
        assert recent.seen_of("main", "g", "BTCUSDT", "BTC", "").own == own


@pytest.mark.parametrize("listed", ["77", "77/0", "77/1"])
def test_what_can_be_no_list_costs_no_walk_of_all_of_it(listed: str) -> None:
    """An answer that names one list for all orders stood still for a minute with five hundred of them."""
    recent = RecentFills()
    recent.keep(("main", "BTCUSDT", "1"), "g", "BTC", "BUY", Decimal(1_000), Decimal(0))
    for number in range(100, 600):
        left = Decimal(-1 if listed.endswith("/1") else 1)
        recent.keep(("main", "BTCUSDT", str(number)), "g", "BTC", "SELL", Decimal(0), left, listed=listed)
    order = recent.known(("main", "BTCUSDT", "100"))
    assert order is not None
    assert len(recent._together.whole(("main", "BTCUSDT", "100"), order.listed)) == MOST
    own = recent.seen_of("main", "g", "BTCUSDT", "BTC", "").own
    assert own == 1_000 - (500 - MOST) - 1, "each beyond it counts for itself"
    recent.keep(("main", "BTCUSDT", "100"), "g", "BTC", "SELL", Decimal(1), Decimal(0), listed=listed)
    recent.keep(("main", "BTCUSDT", "599"), "g", "BTC", "SELL", Decimal(1), Decimal(0), listed=listed)
    assert recent.lists_of((("main", "BTCUSDT", "599", "BTC", "SELL", "1", "0"),)) == ()
    assert len(recent._together.whole(("main", "BTCUSDT", "100"), listed)) == MOST


def test_one_that_is_forgotten_leaves_what_the_others_hold() -> None:
    recent = RecentFills(most=3, most_spare=3)
    recent.keep(("main", "BTCUSDT", "1"), "g", "BTC", "BUY", Decimal(9), Decimal(0))
    for number in ("8", "9"):
        recent.keep(("main", "BTCUSDT", number), "g", "BTC", "SELL", Decimal(0), Decimal(2), listed="7/0")
    assert recent.seen_of("main", "g", "BTCUSDT", "BTC", "").own == 7
    for number in range(20, 23):  # the first purchase, then both of the pair
        recent.keep(("main", "BTCUSDT", str(number)), "g", "BTC", "BUY", Decimal(1), Decimal(0))
    assert not [key for key in recent._of if key[2] in "89"]
    assert recent.seen_of("main", "g", "BTCUSDT", "BTC", "").own == 12, "what is forgotten may come again"


def test_what_may_be_over_was_sold_with_all_that_ends_with_it() -> None:
    stake = Stake(own=Decimal(5), freed=Decimal(1))
    assert Doubt(True, replaced=True, offered=Decimal(3)).of(stake) == Stake(own=Decimal(2))
    both = Doubt(True, replaced=True, offered=Decimal(3)).beside(Doubt())
    assert both.of(stake) == Stake(own=Decimal(2))


def test_what_can_be_no_list_is_told_once_however_often_it_is_shown() -> None:
    """Each look at a ninth order of a list was news, and a line of the call log."""
    recent, lines = RecentFills(), 0
    for _ in range(5):
        for number in range(MOST + 3):
            sent = Sent(
                number, "g", "main", "BTCUSDT", f"o{number}", "SELL", Decimal(2), Decimal(5), 1, 2, base="BTC"
            )
            state = OrderState(
                "BTCUSDT", str(number), sent.name, final=False, price=Decimal(5), quantity=Decimal(2), side="SELL",
                executed_base=Decimal(1), list_id="77",
            )  # fmt: skip
            lines += bool(recent.learn(sent, state))
    assert lines == MOST + 3
