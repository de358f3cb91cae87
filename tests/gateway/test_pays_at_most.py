"""What a purchase on its way pays is known as a bound only: that is enough for a yes beside it, and for no definite no."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from broker.gateway.sales import Sale, Stakes
from broker.policy_facts import Stake
from clients.paper.faults import Fault
from tests.gateway.test_followed import halt
from tests.gateway.test_paid import NAME, WIDE
from tests.gateway.test_slow_log import until
from tests.gateway.world import POLICY, World, bots, running_world

CAPPED = POLICY.replace('"ETHUSDT"]', '"ETHUSDT", "ETHBTC"]')
SLOW = ("/api/v3/order", "/api/v3/orderList/oco")


def test_it_lowers_what_is_ones_own_until_more_is_known() -> None:
    stakes = Stakes()
    sale = Sale("BTC", Decimal("0.3"), 10, at_most=True)
    stakes.learn("BTCUSDT", "BTC", Stake(own=Decimal("0.5")), 5)
    stakes.sells(sale)
    found = stakes.of("BTCUSDT")
    assert found is not None
    assert (found.own, found.at_most) == (Decimal("0.2"), Decimal("0.5"))
    sale.lands(20, took_place=True)
    stakes.learn("BTCUSDT", "BTC", Stake(own=Decimal("0.4")), 30)
    found = stakes.of("BTCUSDT")
    assert found is not None
    assert (found.own, found.at_most) == (Decimal("0.4"), 0)


def purchase(world: World, kind: str, quantity: str) -> dict[str, str]:
    price = world.paper.exchange.symbols[NAME].price
    at = {share: str((price * share / 100).quantize(price)) for share in (96, 97, 100, 102)}
    if kind == "oco":
        return {
            "symbol": NAME, "side": "BUY", "quantity": quantity, "belowType": "LIMIT_MAKER", "belowPrice": at[97],
            "aboveType": "STOP_LOSS_LIMIT", "aboveStopPrice": at[102], "abovePrice": at[102],
            "aboveTimeInForce": "GTC",
        }  # fmt: skip
    form = {"symbol": NAME, "side": "BUY", "quantity": quantity, "type": "MARKET"}
    if kind != "market":
        form |= {"type": "LIMIT", "timeInForce": "GTC", "price": at[96 if kind == "far" else 100]}
    return form


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("kind", ["market", "limit", "far"])
@pytest.mark.parametrize("shared", [False, True])
async def test_an_exit_above_the_caps_is_not_refused_beside_one(
    tmp_path: Path, kind: str, shared: bool
) -> None:
    """It leaves between the question for holdings and the verdict; 0.5 are there, and some 0.0125 are spent."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0.5")
        one, *_ = await bots(world, *(("one", "two") if shared else ("one",)), policy=CAPPED)
        assert (await one.order("BUY", "0.01", symbol=NAME)).status == 200
        await asyncio.sleep(2.1)
        world.paper.server.faults.append(Fault("delay", "GET", "/api/v3/account", times=1, ms=200))
        exits = asyncio.ensure_future(one.order("SELL", "0.482"))
        await asyncio.sleep(0.05)
        spent = await one.call("POST", "/api/v3/order", **purchase(world, kind, "0.25"))
        got = await exits
        assert (spent.status, got.status in {200, 503}) == (200, True), (spent, got)
        if got.status == 503:
            assert (await one.order("SELL", "0.482")).status == 200, "its answer ends that"


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("kind", ["market", "limit", "oco"])
async def test_what_it_leaves_of_ones_own_leaves_in_a_halt(tmp_path: Path, kind: str) -> None:
    """Of 0.5 some 0.1 may be spent by a purchase whose answer takes a while."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=WIDE)
        for bot in (one, two):
            assert (await bot.order("BUY", "0.5006")).status == 200
        assert (await one.order("BUY", "0.01", symbol=NAME)).status == 200
        world.paper.server.faults.extend(Fault("delay", "POST", path, times=1, ms=1500) for path in SLOW)
        path = SLOW[kind == "oco"]
        buys = asyncio.ensure_future(one.call("POST", path, **purchase(world, kind, "2")))
        await until(lambda: len(world.gateway.book.flights) > 0)
        await halt(world)
        assert (await one.order("SELL", "0.49")).status != 200, "the rest may be another's by then"
        got = await one.order("SELL", "0.35")
        assert got.status in {200, 503}, got
        assert (await buys).status == 200
        if got.status == 503:
            assert (await one.order("SELL", "0.35")).status == 200
