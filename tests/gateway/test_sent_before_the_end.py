"""What a gateway sent before its end, and nobody heard of, is its bot's no more: a sale, and what a purchase pays."""

import asyncio
from pathlib import Path
from typing import Never

import pytest

from broker.errors import StoreUnavailable
from clients.paper.faults import Fault
from tests.gateway.test_followed import ORDERS, halt
from tests.gateway.test_fresh_gateway import gateway_at
from tests.gateway.test_paid import NAME, WIDE
from tests.gateway.world import Bot, World, bots, running_world

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("very_patient")]


def busy(*_: object, **__: object) -> Never:
    raise StoreUnavailable("busy")


def unheard(world: World) -> None:
    world.paper.server.faults.append(Fault("lose-reply", "POST", "/api/v3/order", times=1))


async def at(port: int, bot: Bot) -> Bot:
    here = Bot(port, bot.key_id, bot.secret)
    await here.ready()
    return here


async def leaves(bot: Bot, quantity: str) -> None:
    """Try until it is known what became of what was sent."""
    async with asyncio.timeout(30):
        while (got := await bot.order("SELL", quantity)).status != 200:
            assert got.status == 503, got
            await asyncio.sleep(0.5)


@pytest.mark.parametrize("ran", ["edge", "other"])
@pytest.mark.parametrize("kind", ["limit", "market"])
async def test_what_a_purchase_pays_that_is_the_first_of_its_pair(
    tmp_path: Path, kind: str, ran: str
) -> None:
    """The record knows of no order that moved it in that pair; also where the exit goes through another gateway."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=WIDE)
        for bot in (one, two):
            assert (await bot.order("BUY", "0.5006")).status == 200
        price = world.paper.exchange.symbols[NAME].price
        more = {} if kind == "market" else {"type": "LIMIT", "timeInForce": "GTC", "price": str(price)}
        async with gateway_at(world, tmp_path / "edge") as port:
            bot = await at(port, one)
            unheard(world)
            assert (await bot.order("BUY", "9", symbol=NAME, **more)).status == 504
        await halt(world)
        async with gateway_at(world, tmp_path / ran) as port:
            bot = await at(port, one)
            assert (await bot.order("SELL", "0.49")).status != 200, "0.45 of it were paid"
            assert (await two.order("SELL", "0.49")).status == 200
            if ran == "edge":
                await leaves(bot, "0.04")


@pytest.mark.parametrize("venue", ["tells", "slow"])
@pytest.mark.parametrize("pair", ["BTCUSDT", NAME])
async def test_it_counts_while_the_call_log_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pair: str, venue: str
) -> None:
    """The lines are read here, and the record has none of them."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=WIDE)
        for bot in (one, two):
            assert (await bot.order("BUY", "0.5006")).status == 200
        calls = type(world.service.calls)
        real = calls.ingest
        async with gateway_at(world, tmp_path / "edge") as port:
            bot = await at(port, one)
            assert (await bot.order("BUY", "0.01", symbol=NAME)).status == 200
            await asyncio.sleep(0.3)
            monkeypatch.setattr(calls, "ingest", busy)
            unheard(world)
            side, size = ("SELL", "0.45") if pair == "BTCUSDT" else ("BUY", "9")
            assert (await bot.order(side, size, symbol=pair)).status == 504
        await halt(world)
        async with gateway_at(world, tmp_path / "edge") as port:
            bot = await at(port, one)
            if venue == "slow":
                for path in ORDERS:
                    world.paper.server.faults.append(Fault("delay", "GET", path, times=50, ms=2500))
            assert (await bot.order("SELL", "0.45")).status != 200, "it is two's"
            monkeypatch.setattr(calls, "ingest", real)
            world.paper.server.faults.clear()
            assert (await two.order("SELL", "0.45")).status == 200
            await leaves(bot, "0.04")
