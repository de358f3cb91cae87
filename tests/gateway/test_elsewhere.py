"""Orders that the broker names, and that nobody heard of: in doubt until they are found out, or named no more."""

from decimal import Decimal
from typing import Any

from broker.calllog import Unheard
from broker.gateway.elsewhere import MOST_KNOWN, Elsewhere
from broker.gateway.owners import Owners
from broker.gateway.sent import Sent
from broker.gateway.settlement import SETTLING_US, Settlement
from clients.wire import OrderState

S = 1_000_000
UNTIL = 2 * S
LATER = UNTIL + S


class Clock:
    def boot_us(self) -> int:
        return 5


def unheard(seq: int = 1, name: str = "x", grant: str = "two", **more: Any) -> Unheard:
    given = {"symbol": "BTCUSDT", "side": "BUY", "base": "BTC"} | more
    return Unheard(
        gateway="edge", boot="b1", seq=seq, grant=grant, name=name, quantity="0.5", price="", exact=True, sent_us=S,
        until_us=UNTIL, **given,
    )  # fmt: skip


def state(order_id: str = "7", name: str = "x", *, at_us: int = S, size: str = "0.5") -> OrderState:
    return OrderState(
        "BTCUSDT", order_id, name, True, Decimal(1), Decimal(size), side="BUY", quantity=Decimal(size),
        created_us=at_us,
    )  # fmt: skip


class Place:
    def __init__(self) -> None:
        self.owners, self.settlement = Owners(), Settlement()
        self.elsewhere = Elsewhere(self.owners, self.settlement, Clock())  # type: ignore[arg-type]
        self.owners.on_confirmed = self.settlement.confirmed

    def take(self, *named: Unheard, base: str = "BTC", grant: str = "one") -> bool:
        """Take it in; tell whether the venue is to be asked."""
        self.elsewhere.take("main", base, grant, named)
        new = any(sent.looked_us < 0 for sent in self.open(base))
        for sent in self.open():
            sent.looked_us = 1
        return new

    def open(self, base: str = "BTC") -> list[Sent]:
        return [sent for _, sent in self.settlement.of_asset("main", base)]


def test_it_is_followed_from_when_it_is_named_until_it_is_not() -> None:
    place = Place()
    assert place.take(unheard())
    assert not place.take(unheard()), "it is known"
    (sent,) = place.open()
    assert (sent.gateway, sent.boot, sent.asked, sent.grant) == ("edge", "b1", 1, "two")
    assert place.owners.waiting.named(("main", "BTCUSDT", "x")) == (sent,)
    assert not place.take(grant="two"), "to its sender it is not named"
    assert place.open() == [sent]
    assert not place.take()
    assert not place.open()
    assert not place.owners.waiting.named(("main", "BTCUSDT", "x"))


def test_it_is_named_for_each_of_the_two_assets_that_it_moves() -> None:
    place = Place()
    sells = {"symbol": "ETHBTC", "side": "SELL", "base": "ETH", "quote": "BTC"}
    assert place.take(unheard(**sells))
    assert not place.take(base="ETH"), "it brings no ETH, so of that nobody is told"
    assert len(place.open()) == 1
    place.take()
    assert not place.open()


def test_a_sale_of_its_own_is_named_to_its_sender_and_to_nobody_else() -> None:
    place = Place()
    assert place.take(unheard(side="SELL"), grant="two")
    assert not place.take(grant="one"), "it brings others nothing"
    assert len(place.open()) == 1
    place.take(grant="two")
    assert not place.open()


def test_what_has_its_id_is_followed_on_when_the_broker_has_heard() -> None:
    place = Place()
    place.take(unheard())
    (sent,) = place.open()
    assert place.owners.identify("main", state(), UNTIL) is None, "the venue may take another one still"
    assert place.owners.identify("main", state(), LATER) is sent
    assert place.owners.find("main", "BTCUSDT", "#7") == "two"
    place.take()
    assert place.open() == [sent]


def test_whose_it_is_may_be_known_and_not_which_it_is() -> None:
    for owner, found in (("two", True), ("three", False)):
        place = Place()
        place.take(unheard())
        place.owners.record("main", "BTCUSDT", "#7", owner)
        assert (place.owners.identify("main", state(), LATER) is not None) is found
    place = Place()
    place.take(unheard(), unheard(2))
    place.owners.record("main", "BTCUSDT", "#7", "two")
    assert place.owners.identify("main", state(), LATER) is None, "which of two that are alike"


def test_an_order_that_is_known_to_be_another_of_ours_is_none_of_these() -> None:
    place = Place()
    place.take(unheard())
    ours = Sent(1, "two", "main", "BTCUSDT", "x", "BUY", Decimal("0.5"), Decimal(0), S, UNTIL)
    place.owners.waiting.add(ours)
    place.owners.confirm(ours, "7")
    assert place.owners.identify("main", state(), LATER) is None


def test_what_was_found_out_here_does_not_begin_anew() -> None:
    place = Place()
    place.take(unheard())
    (held, sent), *_ = place.settlement.of_asset("main", "BTC")
    at_us = UNTIL + SETTLING_US
    assert place.settlement.absent(held, sent, at_us) is None
    assert place.settlement.absent(held, sent, at_us + SETTLING_US) == ()
    assert not place.take(unheard()), "the broker has not heard yet"
    assert not place.open()


def test_of_one_request_none_is_absent_before_all_are() -> None:
    place = Place()
    place.take(unheard(), unheard(name="y"))
    (held, one), (same, two) = place.settlement.of_asset("main", "BTC")
    assert held is same
    at_us = UNTIL + SETTLING_US
    for when in (at_us, at_us + SETTLING_US):
        assert place.settlement.absent(held, one, when) is None
    place.take(unheard(name="y"))
    assert place.open() == [two]


def test_what_an_earlier_start_told_of_is_followed_as_that() -> None:
    place = Place()
    told = Sent(
        -3, "two", "main", "BTCUSDT", "x", "BUY", Decimal("0.5"), Decimal(0), S, UNTIL, asked=1, boot="b1"
    )
    place.owners.waiting.add(told)
    assert not place.take(unheard())
    assert place.take(unheard(2))


def test_no_more_are_known_than_there_is_room_for() -> None:
    place = Place()
    for first in range(0, MOST_KNOWN + 40, 40):
        base = f"B{first}"
        place.take(*(unheard(first + one, f"n{first + one}", base=base) for one in range(40)), base=base)
    assert len(place.elsewhere._known) == MOST_KNOWN
    assert len(place.settlement) == MOST_KNOWN
