"""A sale may bring more than its limit: it counts so against who wants to sell, until it was seen to rest."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.gateway.reported import left_at_most, paid_at_most, tells_all
from clients.paper.faults import Fault
from tests.gateway.test_followed import ORDERS, halt
from tests.gateway.test_paid import NAME, WIDE, sent, state
from tests.gateway.world import Bot, World, bots, running_world

SIZE = Decimal(10)
MARKET = {"market": Decimal("0.06")}
BOUNDS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "nobody has seen it rest": ("SELL", MARKET, "0", "0.12"),
    "by the price of now": ("SELL", MARKET, "0.07", "0.14"),
    "a limit above both": ("SELL", MARKET | {"price": "0.2"}, "0", "0.2"),
    "it rests": ("SELL", MARKET | {"rested": True}, "0.07", "0.05"),
    "it waits for another one": ("SELL", MARKET | {"rested": True, "waits": True}, "0", "0.12"),
    "it waits for a price": ("SELL", MARKET | {"rested": True, "trigger": Decimal("0.2")}, "0", "0.2"),
    "it follows the market": ("SELL", MARKET | {"rested": True, "trigger": Decimal(0)}, "0", "0.12"),
    "no price is known": ("SELL", {}, "0", "0.05"),
    "a purchase": ("BUY", MARKET, "0.07", "0.05"),
}


@pytest.mark.parametrize(("side", "more", "now", "price"), BOUNDS.values(), ids=BOUNDS)
def test_how_much_it_moves_still(side: str, more: dict[str, Any], now: str, price: str) -> None:
    one = sent(side, **more)
    for size in (SIZE, SIZE / 4):
        assert left_at_most(one, size * one.price, Decimal(now)) == size * Decimal(price)
    assert left_at_most(one, Decimal(0)) == 0


@pytest.mark.parametrize("more", [{"sent_us": 0}, {"boot": "b"}], ids=["another gateway", "an earlier start"])
def test_what_was_sent_elsewhere_may_wait_for_a_price(more: dict[str, Any]) -> None:
    one = sent("SELL", rested=True)
    for name, value in more.items():
        setattr(one, name, value)
    assert left_at_most(one, Decimal("0.5"), Decimal("0.07")) == Decimal("1.4")


def test_without_a_limit_it_is_the_market_that_counts() -> None:
    at_market = sent("SELL", price="0", **MARKET)
    assert left_at_most(at_market, Decimal("0.1")) == paid_at_most(at_market) == Decimal("1.2")
    assert paid_at_most(at_market, Decimal("0.07")) == Decimal("1.4")


def test_what_a_sale_brought_of_which_no_price_is_known_has_no_bound() -> None:
    one = sent("SELL")
    assert paid_at_most(one) is None
    assert paid_at_most(one, Decimal("0.07")) == Decimal("1.4")


TOLD = {
    "nothing": (None, None, False),
    "no": ("0", None, True),
    "in base": ("4", None, False),
    "all": ("4", "0.2", True),
}


@pytest.mark.parametrize(("executed", "quote", "tells"), TOLD.values(), ids=TOLD)
def test_what_an_answer_tells(executed: str | None, quote: str | None, tells: bool) -> None:
    assert tells_all(state(executed, quote)) is tells


async def _sells(world: World, bot: Bot, how: str, share: int) -> None:
    price = world.paper.exchange.symbols[NAME].price
    at = str((price * share / 100).quantize(price))
    form = {"symbol": NAME, "type": "LIMIT", "timeInForce": "GTC", "price": at}
    if how == "list":
        form = {
            "symbol": NAME, "workingType": "LIMIT", "workingSide": "SELL", "workingTimeInForce": "GTC",
            "workingPrice": at, "workingQuantity": "8", "pendingSide": "BUY", "pendingType": "LIMIT",
            "pendingTimeInForce": "GTC", "pendingPrice": str((price * 90 / 100).quantize(price)), "pendingQuantity": "1",
            "newOrderRespType": "ACK",
        }  # fmt: skip
        got = await bot.call("POST", "/api/v3/orderList/oto", **form)
    else:
        got = await bot.order("SELL", "8", **form, newOrderRespType=how)
    assert got.status == 200, got


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("how", ["ACK", "list", "FULL"])
async def test_what_it_brought_beyond_its_limit_is_not_sold_by_another(tmp_path: Path, how: str) -> None:
    """It brought .4, by its limit .384; one has .5, and the exchange does not say what became of it."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=WIDE)
        assert (await one.order("BUY", "0.5006")).status == 200
        assert (await two.order("BUY", "9", symbol="ETHUSDT")).status == 200
        await _sells(world, two, how, 96)
        await halt(world)
        for path in ORDERS:
            world.paper.server.faults.append(Fault("delay", "GET", path, times=50, ms=2500))
        assert (await one.order("SELL", "0.513")).status != 200
        assert (await one.order("SELL", "0.49")).status == 200, "its own"


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("how", ["RESULT", "FULL"])
async def test_one_that_rests_counts_at_its_limit(tmp_path: Path, how: str) -> None:
    """Of 1.5 that are there some .416 may be what it brought."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="1")
        one, two = await bots(world, "one", "two", policy=WIDE)
        assert (await one.order("BUY", "0.5006")).status == 200
        assert (await two.order("BUY", "9", symbol="ETHUSDT")).status == 200
        await _sells(world, two, how, 104)
        await halt(world)
        for path in ORDERS:
            world.paper.server.faults.append(Fault("delay", "GET", path, times=50, ms=2500))
        assert (await one.order("SELL", "1.1")).status != 200
        assert (await one.order("SELL", "1.05")).status == 200
