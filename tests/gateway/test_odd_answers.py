"""What the exchange says oddly is no yes: an error that proves nothing frees no budget, a price of zero counts nothing."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.gateway.limits import Need
from clients.paper.faults import Fault
from clients.venue import Reading, Request
from clients.venues.binance import WIRE, market
from clients.wire import Answer
from tests.gateway.test_namesakes import DAY_1000
from tests.gateway.world import POLICY, Bot, World, bots, running_world

PAIR = POLICY.replace('"ETHUSDT"]', '"ETHUSDT", "ETHBTC"]')


@pytest.mark.parametrize(
    ("status", "code"), [(400, -1000), (400, -1001), (400, -1006), (400, -1007), (404, -1000), (409, -1001)]
)
async def test_an_order_may_be_in_the_book_where_an_error_does_not_say_that_it_is_not(
    tmp_path: Path, status: int, code: int
) -> None:
    """The day's cap holds, though the exchange takes each order and answers with an error."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        (bot,) = await bots(world, policy=DAY_1000)
        fault = Fault("error-after", "POST", "/api/v3/order", times=9, status=status, code=code)
        world.paper.server.faults.append(fault)
        first = await bot.order()
        assert (first.status, first.reason, first.code) == (status, "unknown_outcome", code)
        assert (await bot.order()).reason == "day_notional"
        assert len(world.executed()) == 1


@pytest.mark.parametrize(
    ("status", "body", "refused"),
    [
        (400, b'{"code":-2010,"msg":"Account has insufficient balance for requested action."}', True),
        (400, b'{"code":-1013,"msg":"Filter failure: NOTIONAL"}', True),
        (401, b'{"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."}', True),
        (403, b"<html>Request blocked.</html>", True),
        (418, b"", True),
        (429, b"<html>slow down</html>", True),
        (400, b"<html>Bad Request</html>", False),
        (400, b"", False),
        (400, b'{"msg":"no code"}', False),
        (400, b'{"code":"-2010"}', False),
        (404, b"not here", False),
        (413, b"", False),
        (499, b"", False),
    ],
)
def test_a_no_is_the_venues_own_or_it_is_none(status: int, body: bytes, refused: bool) -> None:
    answer = told(status, body)
    assert (answer.refused, answer.unknown) == (refused, not refused)


def told(status: int, body: bytes) -> Answer:
    query = b"symbol=BTCUSDT&side=BUY&type=MARKET&quantity=1&timestamp=1700000000000&signature=" + b"0" * 64
    opened = WIRE.open(WIRE.find(Request("POST", "/api/v3/order", query, b"", "k" * 64)))
    reading = WIRE.read(opened)  # type: ignore[arg-type]
    assert isinstance(reading, Reading)
    return WIRE.answer(reading, status, {}, body)


@pytest.mark.parametrize("code", [-1000, -1001, -1006, -1007])
def test_of_a_replacement_too(code: int) -> None:
    halves = (
        b'{"code":-2021,"msg":"x","data":{"cancelResult":"SUCCESS","newOrderResult":"FAILURE","cancelResponse":{},'
        b'"newOrderResponse":{"code":%d,"msg":"x"}}}' % code
    )
    assert told(409, halves).unknown


def test_a_price_of_zero_is_none() -> None:
    rows = b'[{"symbol":"A","price":"0.00000000"},{"symbol":"B","price":"2"}]'
    assert market.parse_prices(rows) == {"B": Decimal(2)}
    with pytest.raises(ValueError, match="price"):
        market.parse_price(b'{"symbol":"A","price":"0"}')


async def with_price(world: World, bot: Bot, symbol: str, price: str) -> None:
    """Let the exchange say a price that it does not trade at."""
    (view,) = world.gateway.mounts.views.values()
    public = view._public

    async def lying(call: market.Call, weight: int, need: Need, whose: str = "") -> bytes:
        body = await public(call, weight, need, whose)
        known = world.paper.exchange.symbols[symbol].price
        return body.replace(b'"%.8f"' % known, b'"%s"' % price.encode()) if "ticker" in call.path else body

    view._public = lying  # type: ignore[method-assign]
    view._prices.clear()
    assert (await bot.call("GET", "/api/v3/account")).status == 200


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHBTC"])
async def test_a_pair_without_a_price_is_bought_by_amount_only(tmp_path: Path, symbol: str) -> None:
    """Newly listed pairs have the price 0 until they trade; for the order's own pair, and for its conversion."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="100")
        (bot,) = await bots(world, policy=PAIR)
        await with_price(world, bot, "BTCUSDT", "0.00000000")
        order: dict[str, Any] = {"symbol": symbol, "side": "BUY", "type": "MARKET"}
        refused = await bot.call("POST", "/api/v3/order", **order, quantity="50")
        assert (refused.status, refused.reason) == (503, "no_reference_price"), refused
        assert world.executed() == []


async def test_nor_is_it_sold_by_any_limit(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="5")
        (bot,) = await bots(world)
        await with_price(world, bot, "BTCUSDT", "0.00000000")
        answer = await bot.order("SELL", "1", type="LIMIT", timeInForce="GTC", price="1000")
        assert answer.status != 200, answer
        assert (await bot.order("SELL", "1")).status == 200, "a market exit needs no price"


FILLED = '{"symbol":"BTCUSDT","orderId":1,"status":"FILLED","executedQty":"1","fills":%s}'


@pytest.mark.parametrize(
    ("fills", "fees"),
    [
        ('[{"commission":"0.001","commissionAsset":"BTC"},{"commission":"0.002","commissionAsset":"BTC"}]',
         (("BTC", Decimal("0.003")),)),
        ('[{"commission":"0.01","commissionAsset":"BNB"}]', (("BNB", Decimal("0.01")),)),
        ("[]", None), ("{}", None), ("7", None), ("[7]", None), ('[{"commission":"0.01"}]', None),
        ('[{"commission":"NaN","commissionAsset":"BTC"}]', None), ('[{"commission":1,"commissionAsset":"BTC"}]', None),
        ('[{"commission":"-1","commissionAsset":"BTC"}]', None), ('[{"commission":"1","commissionAsset":["BTC"]}]', None),
    ],
)  # fmt: skip
def test_fees_are_told_whole_or_not_at_all(fills: str, fees: tuple[tuple[str, Decimal], ...] | None) -> None:
    (state,) = told(200, (FILLED % fills).encode()).orders
    assert state.fees == fees
