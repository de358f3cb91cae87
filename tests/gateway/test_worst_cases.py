"""Caps hold for what an order may become: each is executed by the exchange, in a market that went against the cap."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.world import POLICY, Answer, Bot, World, running_world

pytestmark = pytest.mark.usefixtures("very_patient")

CAP = Decimal(1000)
DAY = POLICY.replace('"10000"', '"1000"')
BUY = {"symbol": "BTCUSDT", "side": "BUY"}
NOW = 60_000
REQUESTS: dict[str, tuple[str, dict[str, Any], list[int]]] = {
    "a trailing take-profit": ("order", {**BUY, "type": "TAKE_PROFIT", "trailingDelta": 100}, [59_000, 74_000]),
    "a trailing stop-loss": ("order", {**BUY, "type": "STOP_LOSS", "trailingDelta": 2000}, [60_500, 73_000]),
    "a trailing stop with an activation": (
        "order", {**BUY, "type": "STOP_LOSS", "stopPrice": 61_000, "trailingDelta": 100}, [62_000, 80_000],
    ),
    "a stop-loss": ("order", {**BUY, "type": "STOP_LOSS", "stopPrice": 60_500}, [75_000]),
    "a stop-loss limit": (
        "order",
        {**BUY, "type": "STOP_LOSS_LIMIT", "stopPrice": 66_000, "price": 69_000, "timeInForce": "GTC"},
        [67_000],
    ),
    "a take-profit": ("order", {**BUY, "type": "TAKE_PROFIT", "stopPrice": 55_000}, [54_000]),
    "a limit": ("order", {**BUY, "type": "LIMIT", "price": 62_000, "timeInForce": "GTC"}, []),
    "a market order": ("order", {**BUY, "type": "MARKET"}, []),
    "by way of SOR": ("sor/order", {**BUY, "type": "LIMIT", "price": 62_000, "timeInForce": "GTC"}, []),
    "a replacement whose order is filled": (
        "order/cancelReplace",
        {**BUY, "type": "MARKET", "cancelReplaceMode": "ALLOW_FAILURE", "cancelOrderId": 0},
        [],
    ),
    "what follows a sale far above": (
        "orderList/oto",
        {"symbol": "BTCUSDT", "workingType": "LIMIT", "workingSide": "SELL", "workingPrice": 108_000,
         "workingQuantity": "0.0001", "workingTimeInForce": "GTC", "pendingType": "MARKET", "pendingSide": "BUY"},
        [110_000],
    ),
    "a stop that follows a sale": (
        "orderList/oto",
        {"symbol": "BTCUSDT", "workingType": "LIMIT", "workingSide": "SELL", "workingPrice": 70_000,
         "workingQuantity": "0.0001", "workingTimeInForce": "GTC", "pendingType": "STOP_LOSS", "pendingSide": "BUY",
         "pendingStopPrice": 90_000},
        [70_000, 99_000],
    ),
    "a pair of stops": (
        "orderList/oco",
        {**BUY, "aboveType": "STOP_LOSS", "aboveStopPrice": 61_000, "belowType": "LIMIT_MAKER",
         "belowPrice": 50_000},
        [78_000],
    ),
    "the old pair of stops": (
        "order/oco", {**BUY, "price": 50_000, "stopPrice": 61_000}, [78_000],
    ),
}  # fmt: skip


def bought(world: World) -> Decimal:
    return sum(
        (
            order.executed_quote
            for order in world.paper.exchange.engine.orders.values()
            if order.side == "BUY"
        ),
        Decimal(0),
    )


async def placed(bot: Bot, path: str, values: dict[str, Any], quantity: str) -> Answer:
    name = "pendingQuantity" if "pendingSide" in values else "quantity"
    return await bot.call("POST", f"/api/v3/{path}", **{**values, name: quantity})


@pytest.mark.parametrize(("path", "values", "prices"), REQUESTS.values(), ids=REQUESTS)
async def test_what_is_executed_never_exceeds_the_day(
    tmp_path: Path, path: str, values: dict[str, Any], prices: list[int]
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="5")
        bot = world.bot(policy=DAY)
        assert (
            await bot.order("BUY", "0.0001", symbol="ETHUSDT", type="LIMIT", price="100", timeInForce="GTC")
        ).code
        if "cancelOrderId" in values:
            old = await bot.call("POST", "/api/v3/order", **BUY, type="LIMIT", price=59_900, timeInForce="GTC",
                                 quantity="0.008")  # fmt: skip
            values = {**values, "cancelOrderId": old.body["orderId"]}
        passed = 0
        for quantity in ("0.0166", "0.012", "0.008", "0.004", "0.002"):
            answer = await placed(bot, path, values, quantity)
            passed += answer.status == 200
        assert passed, "none was small enough to pass"
        for price in prices:
            await world.paper.admin("POST", "price", {"symbol": "BTCUSDT", "price": str(price)})
        assert bought(world) <= CAP


async def test_what_follows_the_book_cannot_be_bounded_and_is_refused(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="5")
        bot = world.bot(policy=DAY)
        pegged = await bot.order(
            type="LIMIT", timeInForce="GTC", pegPriceType="PRIMARY_PEG", quantity="0.0001"
        )
        assert pegged.reason == "uncertain"
