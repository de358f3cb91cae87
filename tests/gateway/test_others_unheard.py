"""What another bot bought through another gateway, and nobody heard of, is not sold as nobody's, nor held for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import func, select

from broker.db import log_tables as t
from broker.gateway import settlement
from clients.paper.faults import Fault
from tests.gateway.test_followed import BIG, ORDERS, halt
from tests.gateway.test_fresh_gateway import gateway_at
from tests.gateway.test_paid import NAME, WIDE
from tests.gateway.test_sent_before_the_end import at
from tests.gateway.world import PATIENCE_S, Answer, Bot, World, bots, running_world, served

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("very_patient")]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """An absence is one after half a second."""
    monkeypatch.setattr(settlement, "SETTLING_US", 500_000)


def unheard(world: World, how: str = "lose-reply") -> None:
    world.paper.server.faults.append(Fault(how, "POST", "/api/v3/order", times=1))


def named(world: World) -> int:
    """Return of how many orders the record has no answer."""
    c = t.SENT_ORDERS.c
    with world.service.desk.database.log.read() as connection:
        found = connection.execute(
            select(func.count()).select_from(t.SENT_ORDERS).where(c.known_as.is_(None))
        )
        return int(found.scalar() or 0)


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not done():  # noqa: ASYNC110 - the record tells nobody
            await asyncio.sleep(0.02)


async def known(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask until there is a definite answer."""
    async with asyncio.timeout(PATIENCE_S):
        while (got := await ask()).status == 503:
            assert got.reason == "holdings_unknown", got
            await asyncio.sleep(0.1)
    return got


async def sent_through_one_that_ended(world: World, directory: Path, bot: Bot, how: str, *order: str) -> None:
    side, quantity, symbol = (*order, "BTCUSDT")[:3]
    async with gateway_at(world, directory) as port:
        there = await at(port, bot)
        unheard(world, how)
        assert (await there.order(side, quantity, symbol=symbol)).status == 504
    await until(lambda: named(world) == 1)


@pytest.mark.parametrize("ran", ["edge", "other", "local"])
async def test_anothers_purchase_is_no_stock_of_nobodys(tmp_path: Path, ran: str) -> None:
    """Whichever gateway the exit goes through; what is one's own leaves at once, and what is not is told for good."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=BIG)
        assert (await one.order("BUY", "0.5006")).status == 200
        await sent_through_one_that_ended(world, tmp_path / "edge", two, "lose-reply", "BUY", "0.5006")
        await halt(world)
        if ran == "local":
            await _is_kept(one)
        else:
            async with gateway_at(world, tmp_path / ran) as port:
                await _is_kept(await at(port, one))
        await until(lambda: not named(world))
        assert (await two.order("SELL", "0.49")).status == 200, "it is on record as two's"


async def _is_kept(bot: Bot) -> None:
    assert (await bot.order("SELL", "0.9")).status != 200, "0.4 of it are two's"
    assert (await known(lambda: bot.order("SELL", "0.9"))).status == 401
    assert (await known(lambda: bot.order("SELL", "0.49"))).status == 200


async def test_what_a_sale_brings_counts_as_well(tmp_path: Path) -> None:
    """In a pair that is quoted in the asset, the first of its pair."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0", ETH="10")
        one, two = await bots(world, "one", "two", policy=WIDE)
        assert (await one.order("BUY", "0.1001")).status == 200
        assert (await two.order("BUY", "10.01", symbol="ETHUSDT")).status == 200
        await sent_through_one_that_ended(world, tmp_path / "edge", two, "lose-reply", "SELL", "9", NAME)
        await halt(world)
        assert (await one.order("SELL", "0.4")).status != 200, "0.3 of it are two's"
        assert (await known(lambda: one.order("SELL", "0.4"))).status == 401
        assert (await one.order("SELL", "0.09")).status == 200


@pytest.mark.usefixtures("quick")
async def test_what_never_was_holds_nobodys_stock_no_longer_than_until_that_is_known(tmp_path: Path) -> None:
    """The gateway that sent it never comes back: the venue says twice that it has no such order."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0.5")
        one, two = await bots(world, "one", "two", policy=BIG)
        assert (await one.order("BUY", "0.5006")).status == 200
        await sent_through_one_that_ended(world, tmp_path / "edge", two, "close", "BUY", "0.5")
        await halt(world)
        assert (await one.order("SELL", "0.2")).status == 200, "it is its own"
        assert (await one.order("SELL", "0.7")).status == 503, "0.5 may be two's"
        assert (await known(lambda: one.order("SELL", "0.7"))).status == 200
        await until(lambda: not named(world))


async def test_own_stock_leaves_while_the_venue_tells_nothing(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0.2")
        one, two = await bots(world, "one", "two", policy=BIG)
        assert (await one.order("BUY", "0.5006")).status == 200
        await sent_through_one_that_ended(world, tmp_path / "edge", two, "lose-reply", "BUY", "0.5006")
        await halt(world)
        for path in sorted(ORDERS):
            world.paper.server.faults.append(Fault("error", "GET", path, times=100_000, status=500))
        got = await one.order("SELL", "0.9")
        assert (got.status, got.reason) == (503, "holdings_unknown")
        assert (await one.order("SELL", "0.49")).status == 200


async def test_whose_it_is_may_be_known_before_which_request_it_is_of(tmp_path: Path) -> None:
    """Its sender named it in a cancel, through another gateway."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=BIG)
        assert (await one.order("BUY", "0.5006")).status == 200
        async with gateway_at(world, tmp_path / "edge") as port:
            there = await at(port, two)
            unheard(world)
            price = world.paper.exchange.symbols["BTCUSDT"].price * Decimal("0.97")
            resting = {
                "type": "LIMIT",
                "timeInForce": "GTC",
                "price": f"{price:.2f}",
                "newClientOrderId": "n",
            }
            assert (await there.order("BUY", "0.3", **resting)).status == 504
        await until(lambda: named(world) == 1)
        gone = await served(
            lambda: two.call("DELETE", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="n")
        )
        assert gone.status == 200, gone
        await halt(world)
        assert (await known(lambda: one.order("SELL", "0.9"))).status == 401
        await until(lambda: not named(world))
        assert (await one.order("SELL", "0.49")).status == 200
