"""A client order id is used again: what a request named by it is the order that it led to when the request came."""

import asyncio
from pathlib import Path

import pytest

from broker.gateway import forward
from tests.gateway.test_slow_log import until
from tests.gateway.world import Answer, Bot, World, bots, exchange_bytes, running_world
from tests.paper.harness import held

pytestmark = pytest.mark.sockets

GRID = {"type": "LIMIT", "timeInForce": "GTC", "price": "49000", "newClientOrderId": "grid-1"}
OCO = {
    "symbol": "BTCUSDT", "side": "BUY", "quantity": "0.001", "listClientOrderId": "list-1",
    "aboveType": "STOP_LOSS_LIMIT", "aboveStopPrice": "63000", "abovePrice": "63001", "aboveTimeInForce": "GTC",
    "belowType": "LIMIT_MAKER", "belowPrice": "59000",
}  # fmt: skip


async def state_of(world: World, order_id: object) -> str:
    key = world.paper.key("main@paper.test")
    _, state = await world.paper.call("GET", "/api/v3/order", key, symbol="BTCUSDT", orderId=order_id)
    return str(state["status"])


async def placed(bot: Bot, **more: object) -> Answer:
    got = await bot.order("BUY", "0.001", **(GRID | more))
    assert got.status == 200, got
    return got


def grows_old(world: World) -> None:
    """Let the venue have said nothing of the price for six seconds."""
    (view,) = world.gateway.mounts.views.values()
    price, at_us = view._prices["BTCUSDT"]
    view._prices["BTCUSDT"] = (price, at_us - 6_000_000)


async def test_what_waits_for_a_price_ends_no_order_that_got_the_name_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "PREPARE_SECONDS", 60.0)
    async with running_world(tmp_path) as world:
        world.account()
        one, _ = await bots(world, "one", "two")
        mine = await placed(one)
        waits = world.gateway.forwarder._preparing
        with held(world.paper, "GET", "/api/v3/ticker/price") as prices:
            grows_old(world)
            asked = len(world.asked())
            replaces = asyncio.ensure_future(
                one.call(
                    "POST", "/api/v3/order/cancelReplace", body=True, symbol="BTCUSDT", side="BUY", type="LIMIT",
                    timeInForce="GTC", price="48000", quantity="0.001", cancelReplaceMode="STOP_ON_FAILURE",
                    cancelOrigClientOrderId="grid-1",
                )
            )  # fmt: skip
            await until(lambda: any(job.target_id or job.owner for job in waits.values()))
            assert len(world.asked()) > asked
            ended = await one.call("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=mine.body["orderId"])
            assert ended.status == 200
            key = world.paper.key("main@paper.test")
            order = {"symbol": "BTCUSDT", "side": "BUY", "quantity": "0.002"} | GRID
            status, other = await world.paper.call("POST", "/api/v3/order", key, **order)
            assert status == 200, other
            prices.let_go()
            got = await replaces
        assert got.status == 400, got
        assert await state_of(world, other["orderId"]) == "NEW"


async def test_a_cancel_by_name_leaves_with_the_id(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        one, _ = await bots(world, "one", "two")
        mine = await placed(one)
        got = await one.call("DELETE", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="grid-1")
        assert (got.status, got.body["origClientOrderId"]) == (200, "grid-1")
        assert got.body["orderId"] == mine.body["orderId"]


async def listed(bot: Bot, **more: object) -> Answer:
    got = await bot.call("POST", "/api/v3/orderList/oco", body=True, **(OCO | more))
    assert got.status == 200, got
    return got


@pytest.mark.parametrize("consumers", [("one",), ("one", "two")], ids=["alone", "shared"])
async def test_a_cancel_that_comes_again_ends_no_later_order_of_that_name(
    tmp_path: Path, consumers: tuple[str, ...]
) -> None:
    """Whoever got hold of its bytes could end the bot's next stop for as long as they are fresh."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = (await bots(world, *consumers))[0]
        await placed(bot)
        cancel = bot.signed("DELETE", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="grid-1")
        assert (await exchange_bytes(bot.port, cancel)).status == 200
        later = await placed(bot)
        assert (await exchange_bytes(bot.port, cancel)).status == 400
        assert await state_of(world, later.body["orderId"]) == "NEW"
        again = await bot.call("DELETE", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="grid-1")
        assert again.status == 200


@pytest.mark.parametrize("consumers", [("one",), ("one", "two")], ids=["alone", "shared"])
async def test_nor_does_the_cancel_of_a_list(tmp_path: Path, consumers: tuple[str, ...]) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = (await bots(world, *consumers))[0]
        await listed(bot)
        cancel = bot.signed("DELETE", "/api/v3/orderList", symbol="BTCUSDT", listClientOrderId="list-1")
        assert (await exchange_bytes(bot.port, cancel)).status == 200
        later = await listed(bot)
        assert (await exchange_bytes(bot.port, cancel)).status == 400
        for leg in later.body["orders"]:
            assert await state_of(world, leg["orderId"]) in {"NEW", "PENDING_NEW"}
        again = await bot.call("DELETE", "/api/v3/orderList", symbol="BTCUSDT", listClientOrderId="list-1")
        assert again.status == 200


async def test_a_cancel_by_name_whose_answer_was_lost_is_tried_again(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        (bot,) = await bots(world)
        mine = await placed(bot)
        cancel = bot.signed("DELETE", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="grid-1")
        with held(world.paper, "DELETE", "/api/v3/order") as cancels:
            first = asyncio.ensure_future(exchange_bytes(bot.port, cancel))
            await until(lambda: bool(cancels.waiting))
            second = asyncio.ensure_future(exchange_bytes(bot.port, cancel))
            cancels.let_go()
            answers = await asyncio.gather(first, second)
        assert sorted(one.status for one in answers) in ([200, 200], [200, 400])
        assert await state_of(world, mine.body["orderId"]) == "CANCELED"


async def test_a_lease_that_is_given_anew_meanwhile_does_not_bring_the_name_back(tmp_path: Path) -> None:
    """A rotation gives one, and so does a lease that was over: the request is checked once more, and nobody asked."""
    async with running_world(tmp_path) as world:
        world.account()
        one, _ = await bots(world, "one", "two")
        mine = await placed(one)
        key, book, link = world.paper.key("main@paper.test"), world.gateway.book, world.gateway.link
        opened, other = link.open_lease, dict[str, object]()

        async def open_lease(key_id: str) -> None:
            if not other:
                there = {"symbol": "BTCUSDT", "orderId": mine.body["orderId"]}
                assert (await world.paper.call("DELETE", "/api/v3/order", key, **there))[0] == 200
                order = {"symbol": "BTCUSDT", "side": "BUY", "quantity": "0.002"} | GRID
                other.update((await world.paper.call("POST", "/api/v3/order", key, **order))[1])
            await opened(key_id)

        link.open_lease = open_lease  # type: ignore[method-assign]
        with held(world.paper, "GET", "/api/v3/order") as asked:
            cancel = asyncio.ensure_future(
                one.call("DELETE", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="grid-1")
            )
            await until(lambda: bool(asked.waiting))
            book.drop(book.by_key[one.key_id].lease.id)
            asked.let_go()
            await cancel
        assert await state_of(world, other["orderId"]) == "NEW"
