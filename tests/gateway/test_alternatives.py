"""Orders of one list of which only one is filled hold what they hold once: whose an asset is counts them once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from broker.db import log_tables as t
from broker.listed import NOT_SAID
from clients.paper.faults import Fault
from tests.gateway.test_followed import broken, halt, moved, price_of, shared
from tests.gateway.test_fresh_gateway import gateway_at
from tests.gateway.test_slow_log import until
from tests.gateway.world import Answer, Bot, World, bots, served

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("very_patient")]
MARKET = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET"}


def at(world: World, share: str) -> str:
    return str((price_of(world) * Decimal(share)).quantize(Decimal("0.01")))


def oco(world: World, quantity: str) -> dict[str, str]:
    return {
        "symbol": "BTCUSDT", "side": "SELL", "quantity": quantity, "aboveType": "LIMIT_MAKER",
        "abovePrice": at(world, "1.04"), "belowType": "STOP_LOSS", "belowStopPrice": at(world, "0.9"),
    }  # fmt: skip


def otoco(world: World, quantity: str) -> dict[str, str]:
    """Buy at the price of now, and offer what was bought by two orders of which one is filled."""
    return {
        "symbol": "BTCUSDT", "workingType": "LIMIT", "workingSide": "BUY", "workingTimeInForce": "GTC",
        "workingPrice": at(world, "1.001"), "workingQuantity": quantity, "pendingSide": "SELL",
        "pendingQuantity": quantity, "pendingAboveType": "LIMIT_MAKER", "pendingAbovePrice": at(world, "1.04"),
        "pendingBelowType": "STOP_LOSS", "pendingBelowStopPrice": at(world, "0.9"),
    }  # fmt: skip


def oto(world: World, working: str, pending: str) -> dict[str, str]:
    return {
        "symbol": "BTCUSDT", "workingType": "LIMIT", "workingSide": "SELL", "workingTimeInForce": "GTC",
        "workingPrice": at(world, "1.02"), "workingQuantity": working, "pendingSide": "SELL", "pendingType": "LIMIT",
        "pendingTimeInForce": "GTC", "pendingPrice": at(world, "1.04"), "pendingQuantity": pending,
    }  # fmt: skip


async def listed(bot: Bot, kind: str, form: dict[str, str], **more: Any) -> Answer:
    got = await bot.call("POST", f"/api/v3/orderList/{kind}", **form, **more)
    assert got.status == 200, got
    return got


async def by_hand(world: World, quantity: str) -> None:
    key = world.paper.key("main@paper.test")
    assert (await world.paper.call("POST", "/api/v3/order", key, **MARKET, quantity=quantity))[0] == 200


@asynccontextmanager
async def some_sold_by_hand(tmp_path: Path) -> AsyncIterator[tuple[World, Bot, Bot]]:
    """Both bought half a coin, and most of one half was sold by a person: nobody sells more than is surely its own."""
    async with shared(tmp_path) as (world, one, two):
        assert (await two.order("BUY", "0.5")).status == 200
        await by_hand(world, "0.4")
        assert (await one.order("BUY", "0.5")).status == 200
        yield world, one, two


@pytest.mark.parametrize("told", ["FULL", "ACK"])
async def test_what_two_alternatives_of_another_leave_free_is_not_sold(tmp_path: Path, told: str) -> None:
    async with shared(tmp_path) as (world, one, two):
        (small,) = await bots(world, "small")
        assert (await two.order("BUY", "0.5")).status == 200
        await listed(two, "oco", oco(world, "0.249"), newOrderRespType=told)
        assert (await small.order("SELL", "0.24")).reason == "order_notional"
        await halt(world)
        got = await one.order("SELL", "0.24")
        assert (got.status, got.reason) == (401, "halted")
        assert (await two.order("SELL", "0.24")).status == 200


async def test_nor_where_they_waited_for_a_purchase(tmp_path: Path) -> None:
    async with shared(tmp_path) as (world, one, two):
        assert (await two.order("BUY", "0.25")).status == 200
        await listed(two, "otoco", otoco(world, "0.25"))
        await halt(world)
        assert (await one.order("SELL", "0.24")).reason == "halted"
        assert (await two.order("SELL", "0.24")).status == 200


async def test_what_they_hold_is_not_taken_off_what_nobody_bought(tmp_path: Path) -> None:
    """All that two bought is bound: what is free was there before."""
    async with shared(tmp_path, there="0.5") as (world, one, two):
        assert (await two.order("BUY", "0.5")).status == 200
        await listed(two, "oco", oco(world, "0.499"))
        await halt(world)
        assert (await one.order("SELL", "0.499")).status == 200


@pytest.mark.parametrize("told", ["FULL", "ACK"])
async def test_what_ones_own_two_leave_can_be_sold(tmp_path: Path, told: str) -> None:
    async with some_sold_by_hand(tmp_path) as (world, one, _):
        await listed(one, "oco", oco(world, "0.249"), newOrderRespType=told)
        await halt(world)
        assert (await one.order("SELL", "0.26")).reason == "halted"
        assert (await one.order("SELL", "0.24")).status == 200
        assert (await one.order("SELL", "0.24")).reason == "halted", "no more than was bought"


def bracket(world: World, quantity: str, pending: str) -> dict[str, str]:
    """Buy far below, and offer what that brings."""
    return {
        "symbol": "BTCUSDT", "workingType": "LIMIT", "workingSide": "BUY", "workingTimeInForce": "GTC",
        "workingPrice": at(world, "0.96"), "workingQuantity": quantity, "pendingSide": "SELL", "pendingType": "LIMIT",
        "pendingTimeInForce": "GTC", "pendingPrice": at(world, "1.2"), "pendingQuantity": pending,
    }  # fmt: skip


async def test_what_an_open_purchase_will_bring_is_not_offered_of_what_was_bought_before(
    tmp_path: Path,
) -> None:
    async with some_sold_by_hand(tmp_path) as (world, one, _):
        await listed(one, "oto", bracket(world, "0.5", "0.49"))
        await halt(world)
        assert (await one.order("SELL", "0.51")).reason == "halted"
        assert (await one.order("SELL", "0.48")).status == 200
        assert (await one.order("SELL", "0.05")).reason == "halted"
        moved(world, "0.95")
        assert (await one.order("SELL", "0.05")).reason == "halted", "what it brought is offered now"


async def test_what_they_executed_they_offer_no_more(tmp_path: Path) -> None:
    async with some_sold_by_hand(tmp_path) as (world, one, _):
        await listed(one, "oco", oco(world, "0.249"))
        moved(world, "1.05")
        await halt(world)
        assert (await one.order("SELL", "0.24")).status == 200


@pytest.mark.parametrize("leg", [0, 1])
async def test_who_replaces_one_of_them_has_all_that_both_held(tmp_path: Path, leg: int) -> None:
    async with some_sold_by_hand(tmp_path) as (world, one, _):
        both = await listed(one, "oco", oco(world, "0.49"))
        await halt(world)
        order = both.body["orders"][leg]["orderId"]
        for quantity, status in (("0.52", 401), ("0.48", 200)):
            got = await one.call(
                "POST", "/api/v3/order/cancelReplace", body=True, **MARKET, quantity=quantity,
                cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId=str(order),
            )  # fmt: skip
            assert got.status == status, (quantity, got)


async def test_what_waits_frees_nothing_where_it_is_replaced(tmp_path: Path) -> None:
    """The order that it waits for holds what the venue frees; what others hold free is not its own for that."""
    async with shared(tmp_path) as (world, one, two):
        assert (await two.order("BUY", "0.5")).status == 200
        assert (await one.order("BUY", "0.2")).status == 200
        chain = await listed(one, "oto", oto(world, "0.1", "0.3"))
        await halt(world)
        waits = max(one["orderId"] for one in chain.body["orders"])
        for quantity, status in (("0.39", 401), ("0.19", 200)):
            got = await one.call(
                "POST", "/api/v3/order/cancelReplace", body=True, **MARKET, quantity=quantity,
                cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId=str(waits),
            )  # fmt: skip
            assert got.status == status, (quantity, got)


async def test_what_cannot_be_asked_is_bound_once_at_worst(tmp_path: Path) -> None:
    """The venue tells nothing of two's orders: they may hold nothing, and that is once what they held."""
    async with shared(tmp_path, there="0.25") as (world, one, two):
        assert (await two.order("BUY", "0.5")).status == 200
        await listed(two, "oco", oco(world, "0.249"))
        assert (await one.order("BUY", "0.5")).status == 200
        await halt(world)
        broken(world)
        got = await one.order("SELL", "0.9")
        assert got.status == 503, "nobody knows"
        assert (await one.order("SELL", "0.499")).status == 200


def forget_lists(world: World) -> None:
    """Let the record be one from before it said of which list an order is."""
    with world.service.desk.database.log.write() as connection:
        connection.execute(t.FILLS.update().values(listed=NOT_SAID))


@pytest.mark.parametrize("said", [True, False], ids=["on record", "recorded before lists were"])
async def test_after_a_new_start_ones_own_count_once(tmp_path: Path, *, said: bool) -> None:
    async with some_sold_by_hand(tmp_path) as (world, one, _):
        async with gateway_at(world, tmp_path / "edge") as port:
            offers = Bot(port, one.key_id, one.secret)
            await offers.ready()
            await listed(offers, "oco", oco(world, "0.249"))
        if not said:
            forget_lists(world)
        await halt(world)
        async with gateway_at(world, tmp_path / "edge") as port:
            leaves = Bot(port, one.key_id, one.secret)
            await leaves.ready()
            assert (await served(lambda: leaves.order("SELL", "0.26"))).reason == "halted"
            assert (await served(lambda: leaves.order("SELL", "0.24"))).status == 200
            assert (await served(lambda: leaves.order("SELL", "0.11"))).reason == "halted"


@pytest.mark.parametrize("said", [True, False], ids=["on record", "recorded before lists were"])
@pytest.mark.parametrize("silent", [False, True])
async def test_after_a_new_start_another_ones_count_once(tmp_path: Path, *, said: bool, silent: bool) -> None:
    async with shared(tmp_path) as (world, one, two):
        assert (await two.order("BUY", "0.5")).status == 200
        await listed(two, "oco", oco(world, "0.249"))
        await until(lambda: not world.gateway.spool.waiting)
        if not said:
            forget_lists(world)
        await halt(world)
        async with gateway_at(world, tmp_path / "edge") as port:
            bot = Bot(port, one.key_id, one.secret)
            await bot.ready()
            for path in ("/api/v3/order", "/api/v3/openOrders", "/api/v3/allOrders") if silent else ():
                gone = Fault("error", method="GET", path=path, times=100_000, status=500)
                world.paper.server.faults.append(gone)
            got = (
                await bot.order("SELL", "0.24") if silent else await served(lambda: bot.order("SELL", "0.24"))
            )
            assert (got.status, got.reason) == ((503, "holdings_unknown") if silent else (401, "halted"))


async def test_where_nobody_can_say_whether_they_are_alternatives_that_is_no_no(tmp_path: Path) -> None:
    async with some_sold_by_hand(tmp_path) as (world, one, _):
        await listed(one, "oco", oco(world, "0.249"))
        await until(lambda: not world.gateway.spool.waiting)
        forget_lists(world)
        await halt(world)
        async with gateway_at(world, tmp_path / "edge") as port:
            bot = Bot(port, one.key_id, one.secret)
            await bot.ready()
            for path in ("/api/v3/order", "/api/v3/openOrders", "/api/v3/allOrders"):
                gone = Fault("error", method="GET", path=path, times=100_000, status=500)
                world.paper.server.faults.append(gone)
            got = await bot.order("SELL", "0.24")
            assert (got.status, got.reason) == (503, "holdings_unknown")
            world.paper.server.faults.clear()
            assert (await bot.order("SELL", "0.24")).status == 200

            def said() -> bool:
                with world.service.desk.database.log.read() as connection:
                    return (
                        NOT_SAID
                        not in connection.execute(
                            select(t.FILLS.c.listed).where(t.FILLS.c.open != "0")
                        ).scalars()
                    )

            await until(said)
