"""Exits that come at the same moment, or while another is under way: none takes what another has, none is refused for it."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from broker.gate import Mode
from broker.gateway.sales import TAKEN_US
from clients.paper.faults import Fault
from tests.gateway.test_exits import account_of, halt, view_of
from tests.gateway.world import PATIENCE_S, Bot, World, bots, running_world
from tests.paper.harness import held

pytestmark = pytest.mark.usefixtures("very_patient")


async def size_of_book(bot: Bot) -> Decimal:
    """Return what the book takes within the collar, as a refusal says it."""
    refused = await bot.order("SELL", "5000")
    assert refused.reason == "exit_size", refused
    return Decimal(refused.body["msg"].partition("takes ")[2].split()[0])


async def reasons_beside_one(world: World, bots: list[Bot], size: str) -> list[str | None]:
    """Let bots sell at the same moment; return what the others were told while one sale was on its way."""
    with held(world.paper, "POST", "/api/v3/order") as sales:
        asked = [asyncio.ensure_future(bot.order("SELL", size)) for bot in bots]
        async with asyncio.timeout(PATIENCE_S):
            while len(sales.waiting) + sum(one.done() for one in asked) < len(bots):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        assert len(sales.waiting) == 1
        told = [(await one).reason for one in asked if one.done()]
    await asyncio.gather(*asked)
    return told


async def test_market_exits_at_the_same_moment_do_not_each_take_the_whole_book(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="10000")
        (bot,) = await bots(world)
        await halt(world)
        size = await size_of_book(bot)
        half = str((size * Decimal("0.6")).quantize(Decimal("0.01")))
        assert await reasons_beside_one(world, [bot] * 4, half) == ["exit_size"] * 3
        assert (await bot.order("SELL", half)).status == 200, "the book was asked anew"


async def test_nor_do_those_of_two_accounts(tmp_path: Path) -> None:
    """The book is the venue's: whoever sells into it takes it from all who sell through this gateway."""
    async with running_world(tmp_path) as world:
        for name in ("main", "second"):
            world.account(name, USDT="100000", BTC="10000")
        found = [*await bots(world, "one"), *await bots(world, "two", account="second")]
        await world.cut("everything", mode=Mode.HALT)
        most = str((await size_of_book(found[0]) * Decimal("0.6")).quantize(Decimal("0.01")))
        assert await reasons_beside_one(world, [*found, *found], most) == ["exit_size"] * 3


async def test_a_sale_under_way_refuses_no_exit_of_the_rest(tmp_path: Path) -> None:
    """The exchange has made it and not answered yet: its holdings show it, and it is not taken off once more."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="0.5")
        (bot,) = await bots(world)
        await halt(world)
        assert (await bot.order("SELL", "0.1")).status == 200
        account_of(world).sells("BTC", Decimal("0.6"))  # of 1, of which 0.4 are left
        account_of(world)._asked_us -= 3_000_000
        assert (await bot.order("SELL", "0.3")).status == 200


async def test_a_sale_that_left_after_holdings_were_asked_for_is_taken_off(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        (bot,) = await bots(world)
        assert (await bot.order("SELL", "0.5")).status == 200
        account = account_of(world)
        account.sells("BTC", Decimal("0.3"))
        assert account.free("BTC", alone=True) <= Decimal("0.7")


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
async def test_an_exit_that_hangs_keeps_nobody_from_trying_again(tmp_path: Path, *, shared: bool) -> None:
    """What the exchange has not taken within the receive window it never will."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="0" if shared else "5000")
        (bot,) = await bots(world)
        quantity = "0.02"
        if shared:
            world.bot("other")
            await world.settled()
            for _ in range(2):
                assert (await bot.order("BUY", "0.0101")).status == 200
        await halt(world)
        if not shared:
            quantity = str((await size_of_book(bot)).quantize(Decimal("0.01")) - 1)
        world.paper.server.faults.append(Fault("hang", method="POST", path="/api/v3/order", times=1))
        hanging = asyncio.ensure_future(bot.order("SELL", quantity))
        account = account_of(world)
        while not (sales := [one for one in account._sales if one.landed_us is None]):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        refused = await bot.order("SELL", quantity)
        assert refused.reason == ("holdings_unknown" if shared else "exit_size"), refused
        for sale in sales:
            sale.sent_us -= TAKEN_US
        assert (await bot.order("SELL", quantity)).status == 200
        view_of(world).pool.close()
        assert (await hanging).status == 504
