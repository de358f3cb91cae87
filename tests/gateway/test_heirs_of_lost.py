"""Whose an order is whose answer was lost is not said from memory of a revoked grant: another may stand for that."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from clients.paper.faults import Fault
from tests.gateway.test_followed import BIG, halt, limit
from tests.gateway.test_heirs import revoke
from tests.gateway.world import PATIENCE_S, Answer, Bot, World, bots, running_world

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("very_patient")]
REPLACE = {"side": "SELL", "type": "MARKET", "quantity": "0.3", "cancelReplaceMode": "STOP_ON_FAILURE"}


@asynccontextmanager
async def lost(tmp_path: Path, *, alone: bool) -> AsyncIterator[tuple[World, Bot, Bot | None, str]]:
    """A sale rests of which its bot heard nothing; its grant is made anew, and all is halted."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        (one,) = await bots(world, "one", policy=BIG)
        two = None if alone else (await bots(world, "two", policy=BIG))[0]
        assert (await one.order("BUY", "0.31")).status == 200
        world.paper.server.faults.append(Fault("lose-reply", "POST", "/api/v3/order", times=1))
        sale = await one.order("SELL", "0.3", newClientOrderId="mine", **limit(world, "1.04"))
        assert sale.status == 504
        (order,) = (one for one in world.paper.exchange.engine.orders.values() if one.side == "SELL")
        revoke(world, "one")
        await world.settled()
        (heir,) = await bots(world, "one", policy=BIG)
        await halt(world)
        yield world, heir, two, str(order.order_id)


async def leaves(bot: Bot, how: str, order_id: str) -> Answer:
    pair = {"symbol": "BTCUSDT"}
    if how == "replace":
        return await bot.call(
            "POST", "/api/v3/order/cancelReplace", **pair, **REPLACE, cancelOrderId=order_id
        )
    named = {"orderId": order_id} if how == "cancel" else {"origClientOrderId": "mine"}
    return await bot.call("DELETE", "/api/v3/order", **pair, **named)


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "shared"])
@pytest.mark.parametrize("how", ["cancel", "by name", "replace"])
async def test_who_comes_after_it_leaves_what_it_left(tmp_path: Path, how: str, *, alone: bool) -> None:
    async with lost(tmp_path, alone=alone) as (_, heir, _, order_id), asyncio.timeout(PATIENCE_S):
        while (got := await leaves(heir, how, order_id)).status != 200:
            assert (got.status, got.reason) == (503, "owner_unknown"), "an outage, until the broker has it"
            await asyncio.sleep(0.2)


async def test_it_is_nobody_elses_meanwhile(tmp_path: Path) -> None:
    async with lost(tmp_path, alone=False) as (world, heir, two, order_id):
        assert two is not None
        for how in ("cancel", "by name", "replace"):
            got = await leaves(two, how, order_id)
            assert got.status in {400, 503}, got
            assert got.reason in {"not_own_order", "owner_unknown"}, got
        assert world.paper.exchange.engine.orders[int(order_id)].open
        async with asyncio.timeout(PATIENCE_S):
            while (await leaves(heir, "cancel", order_id)).status != 200:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.2)
