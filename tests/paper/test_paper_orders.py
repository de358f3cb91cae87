"""Orders beyond the plain ones: replaced, amended, trailing, pegged, filtered, counted."""

from decimal import Decimal

import pytest

from tests.paper.harness import Paper, running_paper

PAIR = {"symbol": "BTCUSDT"}
BUY = PAIR | {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "50000"}
STOP = PAIR | {"side": "SELL", "type": "STOP_LOSS", "quantity": "0.01"}


async def move(paper: Paper, *prices: str) -> None:
    for price in prices:
        await paper.admin("POST", "price", {"symbol": "BTCUSDT", "price": price})


def held(paper: Paper, email: str, asset: str) -> tuple[Decimal, Decimal]:
    entry = paper.exchange.accounts[email].balance(asset)
    return entry.free, entry.locked


async def test_cancel_replace_tells_of_both_halves() -> None:
    async with running_paper() as paper:
        key = paper.key(paper.account(USDT="1000"))
        _, first = await paper.call("POST", "/api/v3/order", key, **BUY)
        path, mode = "/api/v3/order/cancelReplace", {"cancelReplaceMode": "STOP_ON_FAILURE"}
        status, done = await paper.call("POST", path, key, **BUY, **mode, cancelOrderId=first["orderId"])
        assert (status, done["cancelResult"], done["newOrderResult"]) == (200, "SUCCESS", "SUCCESS")
        old, new = first["orderId"], done["newOrderResponse"]["orderId"]
        status, failed = await paper.call("POST", path, key, **BUY, **mode, cancelOrderId=old)
        assert (status, failed["code"]) == (400, -2022)
        assert failed["data"]["newOrderResult"] == "NOT_ATTEMPTED"
        more = BUY | {"cancelReplaceMode": "ALLOW_FAILURE"}
        status, half = await paper.call("POST", path, key, **more, cancelOrderId=old)
        assert (status, half["code"], half["data"]["cancelResult"]) == (409, -2021, "FAILURE")
        dear = more | {"quantity": "1"}
        status, half = await paper.call("POST", path, key, **dear, cancelOrderId=new)
        assert (status, half["data"]["cancelResult"], half["data"]["newOrderResult"]) == (
            409,
            "SUCCESS",
            "FAILURE",
        )
        status, none = await paper.call("POST", path, key, **dear, cancelOrderId=new)
        assert (status, none["code"]) == (400, -2022)


async def test_cancel_replace_over_the_order_limit() -> None:
    """All within the same ten seconds, however long it takes."""
    async with running_paper(clock=lambda: 1_795_000_000_000_000) as paper:
        key, at = paper.key(paper.account()), {"timestamp": "1795000000000"}
        _, first = await paper.call("POST", "/api/v3/order", key, **BUY | at)
        paper.exchange.limits.orders_10s = 1
        values = BUY | at | {"cancelReplaceMode": "STOP_ON_FAILURE", "cancelOrderId": first["orderId"]}
        path = "/api/v3/order/cancelReplace"
        status, body = await paper.call("POST", path, key, **values)
        assert (status, body["code"]) == (429, -1015)
        assert paper.exchange.engine.orders[first["orderId"]].open
        status, body = await paper.call("POST", path, key, **values, orderRateLimitExceededMode="CANCEL_ONLY")
        assert (status, body["code"], body["data"]["cancelResult"]) == (429, -2021, "SUCCESS")


async def test_an_amend_only_reduces_frees_money_and_renames() -> None:
    async with running_paper() as paper:
        email = paper.account(USDT="1000")
        key = paper.key(email)
        _, placed = await paper.call("POST", "/api/v3/order", key, **BUY, newClientOrderId="mine")
        path, named = "/api/v3/order/amend/keepPriority", PAIR | {"orderId": placed["orderId"]}
        status, body = await paper.call("PUT", path, key, **named, newQty="0.004")
        assert (status, body["amendedOrder"]["qty"]) == (200, "0.00400000")
        assert body["amendedOrder"]["origClientOrderId"] == "mine" != body["amendedOrder"]["clientOrderId"]
        assert held(paper, email, "USDT") == (Decimal(800), Decimal(200))
        for quantity in ("0.004", "0.005"):
            status, body = await paper.call("PUT", path, key, **named, newQty=quantity)
            assert (status, body["code"]) == (400, -2038)
        _, rows = await paper.call("GET", "/api/v3/order/amendments", key, **named)
        assert [(row["origQty"], row["newQty"]) for row in rows] == [("0.01000000", "0.00400000")]


async def test_a_cancel_can_be_restricted_to_untouched_orders() -> None:
    async with running_paper() as paper:
        key = paper.key(paper.account())
        _, placed = await paper.call("POST", "/api/v3/order", key, **BUY)
        named = PAIR | {"orderId": placed["orderId"]}
        for only, code in (("ONLY_PARTIALLY_FILLED", -2011), ("NOW", -1145)):
            status, body = await paper.call("DELETE", "/api/v3/order", key, **named, cancelRestrictions=only)
            assert (status, body["code"]) == (400, code)
        status, _ = await paper.call("DELETE", "/api/v3/order", key, **named, cancelRestrictions="ONLY_NEW")
        assert status == 200


async def test_trailing_stops_follow_the_best_price() -> None:
    async with running_paper() as paper:
        key = paper.key(paper.account(BTC="1"))
        _, plain = await paper.call("POST", "/api/v3/order", key, **STOP, trailingDelta=1000)
        waits = STOP | {"type": "TAKE_PROFIT", "stopPrice": "66000", "trailingDelta": "100"}
        _, later = await paper.call("POST", "/api/v3/order", key, **waits)
        orders = paper.exchange.engine.orders
        await move(paper, "64000", "58000")
        assert not orders[later["orderId"]].triggered  # it never saw its stop price
        assert orders[plain["orderId"]].status == "NEW"
        await move(paper, "70000", "69400")
        assert orders[later["orderId"]].status == "NEW"
        await move(paper, "69300")
        assert orders[later["orderId"]].status == "FILLED"
        await move(paper, "63000")
        assert orders[plain["orderId"]].status == "FILLED"


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"price": "50000.001"}, -1013, "PRICE_FILTER"),
        ({"price": "400000"}, -1013, "PERCENT_PRICE_BY_SIDE"),
        ({"quantity": "0.000001"}, -1013, "LOT_SIZE"),
        ({"quantity": "9001"}, -1013, "LOT_SIZE"),
        ({"quantity": "0.00002"}, -1013, "NOTIONAL"),
        ({"icebergQty": "0.0001"}, -1013, "ICEBERG_PARTS"),
        ({"icebergQty": "0.01"}, -2010, "IcebergQty exceeds QTY."),
        ({"type": "STOP_LOSS_LIMIT", "trailingDelta": "5"}, -1013, "TRAILING_DELTA"),
        ({"type": "STOP_LOSS_LIMIT", "stopPrice": "50000"}, -2010, "trigger immediately"),
        ({"type": "LIMIT_MAKER", "price": "60000", "timeInForce": None}, -2010, "immediately match"),
        ({"price": "1e3"}, -1100, "price"),
        ({"quantity": "0.0100000001"}, -1111, "quantity"),
        ({"quantity": "9" * 40}, -1108, "quantity"),
        ({"side": "HOLD"}, -1117, "side"),
        ({"timeInForce": "GTX"}, -1115, "timeInForce"),
        ({"strategyType": "1"}, -1134, "strategyType"),
        ({"newOrderRespType": "MOST"}, -1130, "newOrderRespType"),
        ({"pegPriceType": "MID"}, -1210, "peg"),
        ({"quoteOrderQty": "100"}, -1106, "quoteOrderQty"),
        ({"symbol": "DOGEUSDT"}, -1121, "symbol"),
    ],
)
async def test_what_an_order_may_not_be(change: dict[str, str | None], code: int, words: str) -> None:
    async with running_paper() as paper:
        key = paper.key(paper.account())
        values = {name: value for name, value in (BUY | change).items() if value is not None}
        status, body = await paper.call("POST", "/api/v3/order", key, **values)
        assert (status, body["code"]) == (400, code), body
        assert words in body["msg"]
        assert paper.exchange.executed == []


async def test_pegged_orders_take_their_price_from_the_book() -> None:
    async with running_paper() as paper:
        key = paper.key(paper.account())
        values = {name: value for name, value in BUY.items() if name != "price"}
        _, same = await paper.call("POST", "/api/v3/order", key, **values, pegPriceType="PRIMARY_PEG")
        assert (same["peggedPrice"], same["status"]) == ("59999.99000000", "NEW")
        _, other = await paper.call(
            "POST", "/api/v3/order", key, **values, pegPriceType="MARKET_PEG", pegOffsetType="PRICE_LEVEL",
            pegOffsetValue="2",
        )  # fmt: skip
        assert (other["price"], other["status"]) == ("60000.02000000", "FILLED")


async def test_only_so_many_stops_may_wait() -> None:
    async with running_paper() as paper:
        key = paper.key(paper.account(BTC="1"))
        for number in range(6):
            status, body = await paper.call("POST", "/api/v3/order", key, **STOP, stopPrice="50000")
            assert (status, body.get("code")) == ((200, None) if number < 5 else (400, -1013)), body


async def test_orders_that_execute_do_not_count_against_the_limit() -> None:
    async with running_paper(clock=lambda: 1_795_000_000_000_000) as paper:
        key = paper.key(paper.account())
        paper.exchange.limits.orders_10s = 2
        market = PAIR | {"side": "BUY", "type": "MARKET", "quantity": "0.001", "timestamp": "1795000000000"}
        for _ in range(4):
            assert (await paper.call("POST", "/api/v3/order", key, **market))[0] == 200
        rest = BUY | {"quantity": "0.001", "timestamp": "1795000000000"}
        answers = [(await paper.call("POST", "/api/v3/order", key, **rest))[0] for _ in range(3)]
        assert answers == [200, 200, 429]


async def test_a_partial_fill_keeps_the_rest_open_and_the_money_right() -> None:
    async with running_paper() as paper:
        email = paper.account(USDT="100000")
        key = paper.key(email)
        await paper.admin("POST", "depth", {"symbol": "BTCUSDT", "quote": "6000"})
        values = BUY | {"quantity": "1", "price": "61000"}
        _, placed = await paper.call("POST", "/api/v3/order", key, **values)
        assert (placed["status"], placed["executedQty"]) == ("PARTIALLY_FILLED", "0.10000000")
        assert held(paper, email, "USDT") == (Decimal(39100), Decimal(54900))
        await paper.call("DELETE", "/api/v3/order", key, **PAIR, orderId=placed["orderId"])
        assert held(paper, email, "USDT") == (Decimal(94000), Decimal(0))
        for force, reason in (("IOC", "UNFILLED_IOC"), ("FOK", "UNFILLED_FOK")):
            _, gone = await paper.call("POST", "/api/v3/order", key, **(values | {"timeInForce": force}))
            assert gone["status"] == "EXPIRED"
            assert gone["expiryReason"].startswith(reason)
