"""What another grant of the account bought is never sold as an exit, however often the own part is named."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.gate import Mode
from broker.gateway.sales import TAKEN_US
from broker.link import frames
from tests.gateway.test_exits import account_of
from tests.gateway.test_namesakes import Later, lose
from tests.gateway.world import POLICY, Answer, Bot, World, running_world

pytestmark = pytest.mark.usefixtures("very_patient")

LIMIT = {"type": "LIMIT", "timeInForce": "GTC"}
PIECE = "0.0101"


async def two_bots(world: World) -> tuple[Bot, Bot]:
    """`one` bought 0.0101, `two` five times that; the account is halted, so that only exits pass."""
    world.account(USDT="100000")
    one, two = world.bot("one"), world.bot("two")
    assert (await one.order("BUY", PIECE)).status == 200
    for _ in range(5):
        assert (await two.order("BUY", PIECE)).status == 200
    await world.cut("account:main", mode=Mode.HALT)
    return one, two


def passed(answers: list[Answer]) -> int:
    return sum(answer.status == 200 for answer in answers)


async def test_sales_that_rest_in_the_book_are_not_sold_once_more(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        one, two = await two_bots(world)
        resting = [await one.order("SELL", "0.01", price="70000", **LIMIT) for _ in range(4)]
        assert passed(resting) == 1, resting
        assert resting[1].reason == "halted"
        gone = await one.call("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=resting[0].body["orderId"])
        assert gone.status == 200
        assert (await one.order("SELL", "0.01")).status == 200
        assert (await two.order("SELL", "0.05")).status == 200


async def test_sales_whose_answers_tell_no_execution_are_not_sold_once_more(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        one, _ = await two_bots(world)
        sales = [await one.order("SELL", "0.01", newOrderRespType="ACK") for _ in range(4)]
        assert passed(sales) == 1, sales


async def test_sales_at_the_same_moment_are_not_each_the_whole_of_it(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        one, _ = await two_bots(world)
        sales = await asyncio.gather(*(one.order("SELL", "0.01") for _ in range(4)))
        assert passed(sales) == 1, sales


async def test_a_silent_broker_makes_nobody_the_owner_of_what_was_sold(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        one, _ = await two_bots(world)
        assert (await one.order("SELL", "0.002")).status == 200  # the broker said whose it is
        send = world.gateway.link._channel.send

        def deaf(frame: frames.Frame) -> None:
            if isinstance(frame, frames.StakeQuery):
                answer = frames.AskFailed(frame.ask)
                asyncio.get_running_loop().call_soon(world.gateway.link._asking.answer, answer)
            else:
                send(frame)

        world.gateway.link._channel.send = deaf  # type: ignore[method-assign]
        sales = [await one.order("SELL", "0.004") for _ in range(5)]
        world.gateway.link._channel.send = send  # type: ignore[method-assign]
        assert passed(sales) == 2, sales


async def test_a_replacement_frees_its_own_order_and_no_other(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        one, two = await two_bots(world)
        bound = await two.order("SELL", "0.03", price="70000", **LIMIT)
        assert bound.status == 200
        small = await one.order("SELL", "0.001", price="70000", **LIMIT)
        assert small.status == 200
        values: dict[str, Any] = {
            "symbol": "BTCUSDT",
            "side": "SELL",
            "cancelReplaceMode": "STOP_ON_FAILURE",
            **LIMIT,
        }
        answer = await one.call(
            "POST", "/api/v3/order/cancelReplace", cancelOrderId=small.body["orderId"], quantity="0.03",
            price="59000", **values,
        )  # fmt: skip
        assert answer.reason == "halted", answer
        answer = await one.call(
            "POST", "/api/v3/order/cancelReplace", cancelOrderId=small.body["orderId"], quantity="0.01",
            price="59500", **values,
        )  # fmt: skip
        assert answer.status == 200, answer
        assert Decimal(answer.body["newOrderResponse"]["executedQty"]) == Decimal("0.01")


async def test_resting_sales_are_replaced_one_by_one_and_never_all_by_the_whole(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        one, _ = await two_bots(world)
        resting = [await one.order("SELL", "0.005", price="70000", **LIMIT) for _ in range(2)]
        assert passed(resting) == 2, resting
        values = {
            "symbol": "BTCUSDT",
            "side": "SELL",
            "cancelReplaceMode": "STOP_ON_FAILURE",
            "type": "MARKET",
        }
        path = "/api/v3/order/cancelReplace"
        first, second = (answer.body["orderId"] for answer in resting)
        assert (
            await one.call("POST", path, cancelOrderId=first, quantity="0.01", **values)
        ).reason == "halted"
        assert (await one.call("POST", path, cancelOrderId=first, quantity="0.005", **values)).status == 200
        assert (await one.call("POST", path, cancelOrderId=second, quantity="0.005", **values)).status == 200


OCO: dict[str, dict[str, str]] = {
    "/api/v3/orderList/oco": {
        "aboveType": "LIMIT_MAKER", "abovePrice": "70000", "belowType": "STOP_LOSS", "belowStopPrice": "50000",
    },
    "/api/v3/order/oco": {"price": "70000", "stopPrice": "50000"},
}  # fmt: skip


@pytest.mark.parametrize("path", OCO)
async def test_sales_of_a_list_whose_answer_names_only_ids_are_not_sold_once_more(
    tmp_path: Path, path: str
) -> None:
    async with running_world(tmp_path) as world:
        one, _ = await two_bots(world)
        values = {"symbol": "BTCUSDT", "side": "SELL", "quantity": "0.01", "newOrderRespType": "ACK"}
        lists = [await one.call("POST", path, **values, **OCO[path]) for _ in range(3)]
        assert passed(lists) == 1, lists
        assert (await one.order("SELL", "0.01")).reason == "halted"


async def test_a_sale_sized_in_quote_whose_answer_names_only_ids_is_not_sold_once_more(
    tmp_path: Path,
) -> None:
    async with running_world(tmp_path) as world:
        one, _ = await two_bots(world)
        values = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quoteOrderQty": "600"}
        sales = [await one.call("POST", "/api/v3/order", newOrderRespType="ACK", **values) for _ in range(3)]
        assert passed(sales) == 1, sales


async def test_a_sale_whose_answer_was_lost_is_not_made_once_more_with_what_another_bought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        one, two = await two_bots(world)
        later = Later(world, monkeypatch)
        await lose(world)
        assert (await one.order("SELL", "0.01")).status == 504
        assert (await one.order("SELL", "0.01")).reason == "halted"
        await later.settle()  # it is found, and so it stays
        assert (await one.order("SELL", "0.01")).reason == "halted"
        assert (await two.order("SELL", "0.05")).status == 200


async def test_a_sale_that_never_arrived_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the exchange makes it no more: its receive window is over."""
    async with running_world(tmp_path) as world:
        one, two = await two_bots(world)
        later = Later(world, monkeypatch)
        fault = {"do": "close", "match": {"path": "/api/v3/order", "method": "POST"}}
        await world.paper.admin("POST", "faults", fault)
        assert (await one.order("SELL", "0.005")).status == 504
        assert (await one.order("SELL", "0.01")).reason == "holdings_unknown"
        for sale in account_of(world)._sales:
            sale.sent_us -= TAKEN_US
        assert (await one.order("SELL", "0.01")).status == 200  # the venue still shows it as free
        assert (await two.order("SELL", "0.05")).status == 200
        for _ in range(3):
            await later.settle()
        assert later.held == 0


@pytest.mark.parametrize("tells", ["RESULT", "ACK"])
async def test_what_another_offered_and_lost_without_a_word_is_still_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tells: str
) -> None:
    """Its order ended by hand, or against another of the account: nobody asked the gateway to cancel it."""
    async with running_world(tmp_path) as world:
        one, two = await two_bots(world)
        later = Later(world, monkeypatch)
        resting = await two.order("SELL", "0.05", price="70000", newOrderRespType=tells, **LIMIT)
        assert resting.status == 200, resting
        engine = world.paper.exchange.engine
        engine.expire(engine.orders[resting.body["orderId"]], world.paper.exchange.now_us())
        await later.settle()
        assert (await one.order("SELL", "0.05")).reason == "halted"
        assert (await one.order("SELL", "0.01")).status == 200
        assert (await two.order("SELL", "0.05")).status == 200


async def test_a_buy_that_is_not_filled_gives_no_right_to_what_another_bought(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        one, two = world.bot("one"), world.bot("two")
        for _ in range(3):
            assert (await two.order("BUY", PIECE)).status == 200
            assert (await one.order("BUY", PIECE, price="30000", **LIMIT)).status == 200
        await world.cut("account:main", mode=Mode.HALT)
        assert (await one.order("SELL", "0.03")).reason == "halted"
        exchange = world.paper.exchange
        exchange.engine.set_price(exchange.symbols["BTCUSDT"], Decimal(29_000), exchange.now_us())
        # they are filled, and nobody has told of it
        assert (await one.order("SELL", "0.03")).status == 200
        assert (await two.order("SELL", "0.03")).status == 200


async def test_a_sale_that_waits_for_another_order_binds_nothing_yet(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        one, two = world.bot("one"), world.bot("two")
        for bot in (one, two):
            assert (await bot.order("BUY", PIECE)).status == 200
        for kind, name in (("ACK", "a"), ("RESULT", "b")):
            answer = await two.call(
                "POST", "/api/v3/orderList/oto", symbol="BTCUSDT", workingType="LIMIT", workingSide="BUY",
                workingPrice="50000", workingQuantity="0.005", workingTimeInForce="GTC", pendingType="LIMIT_MAKER",
                pendingSide="SELL", pendingPrice="70000", pendingQuantity="0.005", listClientOrderId=name,
                newOrderRespType=kind,
            )  # fmt: skip
            assert answer.status == 200, answer
        await world.cut("account:main", mode=Mode.HALT)
        assert (await one.order("SELL", "0.015")).reason == "halted"
        assert (await one.order("SELL", "0.01")).status == 200
        assert (await two.order("SELL", "0.01")).status == 200, "nor does it keep its own grant from leaving"


async def test_a_sale_that_was_made_smaller_is_offered_still(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        one, two = await two_bots(world)
        resting = await one.order("SELL", "0.01", price="70000", **LIMIT)
        which = {"symbol": "BTCUSDT", "orderId": resting.body["orderId"]}
        for quantity in ("0.009", "0.008"):
            amended = await one.call("PUT", "/api/v3/order/amend/keepPriority", **which, newQty=quantity)
            assert amended.status == 200, amended
        assert (await one.order("SELL", "0.01")).reason == "halted"
        assert (await one.order("SELL", "0.002")).status == 200
        assert (await two.order("SELL", "0.05")).status == 200


@pytest.mark.parametrize("tells", ["FULL", "RESULT"])
async def test_fees_that_are_taken_from_what_is_bought_are_nobodys_to_sell(
    tmp_path: Path, tells: str
) -> None:
    """After thirty rounds the fees would be a part of their own, and the other's to lose."""
    many = POLICY.replace('"10000"', '"100000"')
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000")
        one, two = world.bot("one", policy=many), world.bot("two", policy=many)
        for _ in range(3):
            assert (await two.order("BUY", "0.0165")).status == 200
        assert (await one.order("BUY", "0.0165")).status == 200
        assert (await one.order("SELL", "0.01648")).status == 200
        for _ in range(30):
            answer = await one.order("BUY", "0.0165", newOrderRespType=tells, recvWindow="60000")
            assert answer.status == 200, answer
            answer = await one.order("SELL", "0.01648", recvWindow="60000")
            assert answer.status == 200, answer
        await world.cut("account:main", mode=Mode.HALT)
        assert (await one.order("SELL", "0.0005")).reason == "halted"
        assert (await two.order("SELL", "0.0494")).status == 200
