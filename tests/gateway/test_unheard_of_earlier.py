"""What an earlier start sold or paid, and nobody heard of, is not sold once more: in whichever pair that was."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.gateway.fills import UNKNOWN, RecentFills
from broker.gateway.followed import Followed
from broker.gateway.sent import Sent
from broker.gateway.settlement import Reservation, Settlement
from broker.gateway.unseen import Asset
from tests.gateway.test_followed import BIG, halt
from tests.gateway.test_fresh_gateway import gateway_at
from tests.gateway.test_sent_before_the_end import at, unheard
from tests.gateway.world import bots, running_world

FIRST = "BTCUSDC"
WIDE = BIG.replace('"ETHUSDT"]', f'"ETHUSDT", "{FIRST}"]')


def less(*orders: Sent, grant: str = "one") -> Decimal:
    """Return how much less may be a grant's own, while nobody tells of orders of one request of one's."""
    settlement = Settlement()
    settlement.hold(Reservation(1, "one", "main", orders[0].symbol, (), None, orders))
    followed = Followed(settlement, None, RecentFills(), lambda: 9)  # type: ignore[arg-type]
    return followed.doubt(Asset("main", "BTC", grant, "key", "BTCUSDT", "", "bot"), 5).own


def an_order(
    name: str = "x", *, boot: str = "b1", side: str = "SELL", quantity: str = "0.2", **more: Any
) -> Sent:
    price = Decimal(more.pop("price", "0"))
    moved = {"base": "BTC", "symbol": "BTCUSDT", **more}
    symbol = moved.pop("symbol")
    return Sent(1, "one", "main", symbol, name, side, Decimal(quantity), price, 1, 2, boot=boot, **moved)


def test_of_ones_own_it_is_taken_off_what_an_earlier_start_may_have_given() -> None:
    paid = {"symbol": "ETHBTC", "base": "ETH", "quote": "BTC", "quantity": "9", "side": "BUY"}
    assert less(an_order()) == Decimal("0.2")
    assert less(an_order(boot="")) == 0, "of this start it counts as a sale"
    assert less(an_order(side="BUY")) == 0
    assert less(an_order(), an_order("y", quantity="0.3")) == Decimal("0.5"), "each of its orders"
    assert less(an_order(**paid, price="0.05")) == Decimal("0.45")
    assert less(an_order(**paid)) == UNKNOWN, "nobody knows for how much"
    assert less(an_order(**{**paid, "side": "SELL"})) == 0, "it brings some"


def test_of_an_heirs_own_it_is_taken_off_the_same() -> None:
    """Nobody knows whose bot sent it: of each of its orders it may be who came before."""
    paid = an_order(symbol="ETHBTC", base="ETH", quote="BTC", quantity="9", side="BUY", price="0.05")
    assert less(an_order(), an_order("y", quantity="0.3"), grant="heir") == Decimal("0.5")
    assert less(paid, grant="heir") == Decimal("0.45")


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("ran", ["edge", "other"])
async def test_a_sale_that_is_the_first_of_its_pair(tmp_path: Path, ran: str) -> None:
    async with running_world(tmp_path) as world:
        symbols = world.paper.exchange.symbols
        symbols[FIRST] = replace(symbols["BTCUSDT"], name=FIRST, quote="USDC")
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=WIDE)
        for bot in (one, two):
            assert (await bot.order("BUY", "0.5006")).status == 200
        async with gateway_at(world, tmp_path / "edge") as port:
            bot = await at(port, one)
            unheard(world)
            assert (await bot.order("SELL", "0.45", symbol=FIRST)).status == 504
        await halt(world)
        async with gateway_at(world, tmp_path / ran) as port:
            bot = await at(port, one)
            assert (await bot.order("SELL", "0.49")).status != 200, "0.45 of it are sold"
            assert (await two.order("SELL", "0.49")).status == 200
