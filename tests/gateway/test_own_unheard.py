"""What one's own sent through another gateway to be given is in doubt until it is known, and never a definite no."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.gateway import settlement
from clients.paper.faults import Fault
from tests.gateway.test_alternatives import oco, some_sold_by_hand
from tests.gateway.test_followed import halt, limit
from tests.gateway.test_found_later import halted_everywhere
from tests.gateway.test_fresh_gateway import gateway_at
from tests.gateway.test_others_unheard import named, until
from tests.gateway.test_paid import NAME, WIDE
from tests.gateway.test_sent_before_the_end import at
from tests.gateway.world import Answer, Bot, World, bots, running_world

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("very_patient")]
ORDER, REPLACE = "/api/v3/order", "/api/v3/order/cancelReplace"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """An absence is one after half a second."""
    monkeypatch.setattr(settlement, "SETTLING_US", 500_000)


async def known(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask until there is a definite answer."""
    async with asyncio.timeout(60):
        while (got := await ask()).status == 503:
            assert got.reason == "holdings_unknown", got
            await asyncio.sleep(0.2)
    return got


@asynccontextmanager
async def elsewhere(world: World, tmp_path: Path, bot: Bot, ran: str) -> AsyncIterator[Bot]:
    """Run the gateway that an exit goes through: one that was there, a new one, or one that has lost what it wrote."""
    if ran == "local":
        yield bot
        return
    async with gateway_at(world, tmp_path / "anew") as port:
        yield await at(port, bot)


def faulty(world: World, how: str, path: str = ORDER) -> None:
    world.paper.server.faults.append(Fault(how, "POST", path, times=1))


@pytest.mark.parametrize("ran", ["local", "without its spool"])
async def test_a_sale_that_was_never_made_is_ones_own_in_the_end(tmp_path: Path, ran: str) -> None:
    """The gateway that sent it never comes back."""
    async with some_sold_by_hand(tmp_path) as (world, one, _):
        async with gateway_at(world, tmp_path / "edge") as port:
            there = await at(port, one)
            faulty(world, "close")
            assert (await there.order("SELL", "0.2")).status == 504
        await until(lambda: named(world) == 1)
        await halt(world)
        async with elsewhere(world, tmp_path, one, ran) as bot:
            assert (await bot.order("SELL", "0.05")).status == 200, "it is its own whatever became of that"
            assert (await known(lambda: bot.order("SELL", "0.44"))).status == 200
        await until(lambda: not named(world))


@pytest.mark.parametrize("ran", ["local", "without its spool"])
async def test_a_sale_that_was_made_is_ones_own_no_more(tmp_path: Path, ran: str) -> None:
    async with some_sold_by_hand(tmp_path) as (world, one, two):
        async with gateway_at(world, tmp_path / "edge") as port:
            there = await at(port, one)
            faulty(world, "lose-reply")
            assert (await there.order("SELL", "0.2")).status == 504
        await until(lambda: named(world) == 1)
        await halt(world)
        async with elsewhere(world, tmp_path, one, ran) as bot:
            assert (await known(lambda: bot.order("SELL", "0.35"))).status == 401, "0.3 are left of it"
            assert (await known(lambda: bot.order("SELL", "0.29"))).status == 200
        assert (await two.order("SELL", "0.09")).status == 200, "it was two's"


async def test_what_a_purchase_would_have_paid_is_ones_own_in_the_end(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        one, _ = await bots(world, "one", "two", policy=WIDE)
        assert (await one.order("BUY", "0.5006")).status == 200
        price = str(world.paper.exchange.symbols[NAME].price)
        async with gateway_at(world, tmp_path / "edge") as port:
            there = await at(port, one)
            faulty(world, "close")
            resting = {"type": "LIMIT", "timeInForce": "GTC", "price": price}
            assert (await there.order("BUY", "9", symbol=NAME, **resting)).status == 504
        await until(lambda: named(world) == 1)
        await halt(world)
        assert (await known(lambda: one.order("SELL", "0.49"))).status == 200


@pytest.mark.parametrize("halted", [True, False])
async def test_a_replacement_that_is_under_way_elsewhere_gives_what_its_old_order_offers(
    tmp_path: Path, halted: bool
) -> None:
    """What is left beside both leaves at once."""
    async with some_sold_by_hand(tmp_path) as (world, one, _), gateway_at(world, tmp_path / "edge") as port:
        there = await at(port, one)
        rests = await there.order("SELL", "0.3", **limit(world, "1.03"))
        assert rests.status == 200
        await until(lambda: not named(world))
        if halted:
            await halted_everywhere(world)
        world.paper.server.faults.append(Fault("delay", "POST", REPLACE, times=1, ms=1500))
        moved = {
            "symbol": "BTCUSDT", "side": "SELL", "cancelReplaceMode": "STOP_ON_FAILURE", "quantity": "0.3",
            "cancelOrderId": rests.body["orderId"], **limit(world, "1.025"),
        }  # fmt: skip
        going = asyncio.ensure_future(there.call("POST", REPLACE, **moved))
        await until(lambda: named(world) == 1)
        assert (await one.order("SELL", "0.15")).status == 200
        assert not going.done()
        assert (await going).status == 200


async def test_one_that_is_placed_without_that_makes_no_definite_no(tmp_path: Path) -> None:
    async with some_sold_by_hand(tmp_path) as (world, one, _), gateway_at(world, tmp_path / "edge") as port:
        there = await at(port, one)
        rests = await there.order("SELL", "0.2", **limit(world, "1.03"))
        assert rests.status == 200
        await until(lambda: not named(world))
        world.paper.server.faults.append(Fault("delay", "POST", REPLACE, times=1, ms=1500))
        moved = {
            "symbol": "BTCUSDT", "side": "SELL", "cancelReplaceMode": "ALLOW_FAILURE", "quantity": "0.2",
            "cancelOrderId": rests.body["orderId"], **limit(world, "1.025"),
        }  # fmt: skip
        going = asyncio.ensure_future(there.call("POST", REPLACE, **moved))
        await until(lambda: named(world) == 1)
        await halted_everywhere(world)
        got = await one.order("SELL", "0.25")
        assert (got.status, got.reason) == (503, "holdings_unknown"), "it may be sold beside the old one"
        assert (await going).status == 200
        assert (await known(lambda: one.order("SELL", "0.25"))).status == 200


@pytest.mark.parametrize("end", ["living", "gone"])
async def test_the_other_leg_of_a_pair_of_which_one_was_found_makes_no_definite_no(
    tmp_path: Path, end: str
) -> None:
    """Its bot has read the one by its name."""
    async with some_sold_by_hand(tmp_path) as (world, one, _):
        async with gateway_at(world, tmp_path / "edge") as port:
            there = await at(port, one)
            faulty(world, "lose-reply", "/api/v3/orderList/oco")
            form = oco(world, "0.2") | {"aboveClientOrderId": "mine", "belowClientOrderId": "other"}
            assert (await there.call("POST", "/api/v3/orderList/oco", **form)).status == 504
            read = {"symbol": "BTCUSDT", "origClientOrderId": "mine"}
            assert (await known(lambda: there.call("GET", ORDER, **read))).status == 200
            await halted_everywhere(world)
            if end == "living":
                assert (await known(lambda: one.order("SELL", "0.29"))).status == 200
        if end == "gone":
            assert (await known(lambda: one.order("SELL", "0.29"))).status == 200
