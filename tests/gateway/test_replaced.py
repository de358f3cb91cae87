"""What a replaced order frees is its owner's to sell once: where it need not be cancelled it may have been filled."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.gate import Mode
from clients.paper.faults import Fault
from tests.gateway.test_alternatives import oco, some_sold_by_hand
from tests.gateway.test_followed import BIG, halt, limit, moved, shared
from tests.gateway.test_slow_log import until
from tests.gateway.world import Answer, Bot, World, bots, running_world
from tests.paper.harness import held

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("very_patient")]
OWNER = BIG.replace("allow =", "account_owner = true\nallow =", 1)
BY_HAND = {"symbol": "BTCUSDT", "side": "SELL", "type": "LIMIT", "timeInForce": "GTC", "price": "62000"}


async def replaces(bot: Bot, quantity: str, mode: str = "STOP_ON_FAILURE", **named: Any) -> Answer:
    return await bot.call(
        "POST", "/api/v3/order/cancelReplace", body=True, symbol="BTCUSDT", side="SELL", type="MARKET",
        quantity=quantity, cancelReplaceMode=mode, **named,
    )  # fmt: skip


async def test_what_was_filled_on_the_way_is_not_sold_again(tmp_path: Path) -> None:
    async with shared(tmp_path) as (world, one, two):
        assert (await two.order("BUY", "0.5")).status == 200
        assert (await one.order("BUY", "0.5")).status == 200
        rests = await one.order("SELL", "0.499", **limit(world, "1.03"))
        await halt(world)
        refused = await replaces(one, "0.49", "ALLOW_FAILURE", cancelOrderId=rests.body["orderId"])
        assert (refused.status, refused.reason) == (400, "halted")
        assert "STOP_ON_FAILURE" in refused.body["msg"], "how it leaves, and not that its key is malformed"
        with held(world.paper, "POST", "/api/v3/order/cancelReplace") as wire:
            sale = asyncio.ensure_future(replaces(one, "0.49", cancelOrderId=rests.body["orderId"]))
            async with asyncio.timeout(20):
                while not wire.waiting:  # noqa: ASYNC110 - nobody tells that it has left
                    await asyncio.sleep(0.005)
            moved(world, "1.04")
        assert (await sale).status != 200
        assert (await two.order("SELL", "0.49")).status == 200


async def test_what_is_left_of_ones_own_beside_it_leaves_whatever_becomes_of_it(tmp_path: Path) -> None:
    async with shared(tmp_path) as (world, one, two):
        assert (await two.order("BUY", "0.5")).status == 200
        assert (await one.order("BUY", "0.5")).status == 200
        rests = await one.order("SELL", "0.2", **limit(world, "1.03"))
        await halt(world)
        assert (
            await replaces(one, "0.29", "ALLOW_FAILURE", cancelOrderId=rests.body["orderId"])
        ).status == 200


async def test_who_is_alone_leaves_by_either(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0.5")
        (bot,) = await bots(world, policy=BIG)
        rests = await bot.order("SELL", "0.499", **limit(world, "1.03"))
        await world.cut("account:main", mode=Mode.HALT)
        assert (
            await replaces(bot, "0.499", "ALLOW_FAILURE", cancelOrderId=rests.body["orderId"])
        ).status == 200


async def placed_by_hand(world: World, quantity: str, **more: str) -> dict[str, Any]:
    key = world.paper.key("main@paper.test")
    status, body = await world.paper.call("POST", "/api/v3/order", key, **BY_HAND, quantity=quantity, **more)
    assert status == 200, body
    return dict(body)


@pytest.mark.parametrize("by_name", [False, True])
async def test_who_speaks_for_the_account_replaces_what_was_placed_by_hand(
    tmp_path: Path, *, by_name: bool
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0.5")
        owner, two = world.bot("owner", policy=OWNER), world.bot("two", policy=BIG)
        await owner.ready()
        assert (await two.order("BUY", "0.2")).status == 200
        order = await placed_by_hand(world, "0.5", newClientOrderId="byhand")
        await halt(world)
        named = {"cancelOrigClientOrderId": "byhand"} if by_name else {"cancelOrderId": order["orderId"]}
        assert (await replaces(two, "0.1", **named)).status != 200, "it is not its own"
        assert (await replaces(owner, "0.6", **named)).reason == "halted", "the rest is two's"
        assert (await replaces(owner, "0.5", **named)).status == 200
        assert (await two.order("SELL", "0.19")).status == 200


async def test_what_holds_anothers_stock_by_hand_frees_none_of_it(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        owner, two = world.bot("owner", policy=OWNER), world.bot("two", policy=BIG)
        await owner.ready()
        assert (await two.order("BUY", "0.5")).status == 200
        order = await placed_by_hand(world, "0.4")
        await halt(world)
        assert (await replaces(owner, "0.4", cancelOrderId=order["orderId"])).reason == "halted"


async def test_above_the_caps_it_is_said_how_that_leaves(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        one, _ = await bots(world, "one", "two")
        for _ in range(3):
            assert (await one.order("BUY", "0.0101")).status == 200
        rests = await one.order("SELL", "0.03", **limit(world, "1.03"))
        refused = await replaces(one, "0.03", "ALLOW_FAILURE", cancelOrderId=rests.body["orderId"])
        assert refused.reason == "order_notional"
        assert "STOP_ON_FAILURE" in refused.body["msg"]
        assert (await replaces(one, "0.03", cancelOrderId=rests.body["orderId"])).status == 200


async def test_of_alternatives_whose_answer_never_came_one_counts_as_sold(tmp_path: Path) -> None:
    """A gateway died before it heard of them: that they were made is not known, and only one of them sells."""
    async with some_sold_by_hand(tmp_path) as (world, one, _):
        world.paper.server.faults.append(Fault("lose", method="POST", path="/api/v3/orderList/oco", times=1))
        assert (await one.call("POST", "/api/v3/orderList/oco", **oco(world, "0.249"))).status == 504
        await until(lambda: not world.gateway.spool.waiting)
        (grant,) = (row.id for row in world.service.grants.list().items if row.consumer == "one")
        stake = world.service.calls.stake("main", grant, "BTCUSDT", "BTC", boot="another")
        assert Decimal("0.25") < stake.own < Decimal("0.251"), "what is left of half a coin"
