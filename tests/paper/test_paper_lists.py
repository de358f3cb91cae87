"""Order lists: which legs may stand together, what happens to the others, and that no money appears or is lost."""

from decimal import Decimal

import pytest

from tests.paper.harness import Paper, running_paper

PAIR = {"symbol": "BTCUSDT"}
SELL_PAIR = {"aboveType": "LIMIT_MAKER", "abovePrice": "70000", "belowType": "STOP_LOSS_LIMIT",
             "belowStopPrice": "50000", "belowPrice": "49000", "belowTimeInForce": "GTC"}  # fmt: skip
WORKING = PAIR | {"workingType": "LIMIT", "workingSide": "BUY", "workingPrice": "59000",
                  "workingQuantity": "0.1", "workingTimeInForce": "GTC"}  # fmt: skip


async def move(paper: Paper, price: str) -> None:
    await paper.admin("POST", "price", {"symbol": "BTCUSDT", "price": price})


def states(paper: Paper) -> list[str]:
    return [order.status for _, order in sorted(paper.exchange.engine.orders.items())]


def money(paper: Paper, email: str, asset: str) -> tuple[Decimal, Decimal]:
    entry = paper.exchange.accounts[email].balance(asset)
    return entry.free, entry.locked


async def test_a_pair_binds_the_larger_need_once() -> None:
    async with running_paper() as paper:
        email = paper.account(USDT="8000")
        key = paper.key(email)
        pair = {"aboveType": "STOP_LOSS_LIMIT", "aboveStopPrice": "70000", "abovePrice": "71000",
                "aboveTimeInForce": "GTC", "belowType": "LIMIT_MAKER", "belowPrice": "50000"}  # fmt: skip
        status, body = await paper.call(
            "POST", "/api/v3/orderList/oco", key, **PAIR, side="BUY", quantity="0.1", **pair
        )
        assert status == 200, body
        assert money(paper, email, "USDT") == (Decimal(900), Decimal(7100))
        await move(paper, "70500")
        assert sorted(states(paper)) == ["EXPIRED", "FILLED"]
        assert money(paper, email, "USDT") == (Decimal(950), Decimal(0))


async def test_the_trigger_of_one_leg_ends_the_other() -> None:
    async with running_paper() as paper:
        email = paper.account(BTC="1")
        key = paper.key(email)
        await paper.call("POST", "/api/v3/orderList/oco", key, **PAIR, side="SELL", quantity="1", **SELL_PAIR)
        await move(paper, "48500")  # below the stop leg's own limit: triggered, and it rests
        orders = {order.kind: order for order in paper.exchange.engine.orders.values()}
        assert orders["LIMIT_MAKER"].expiry == "OCO_TRIGGER"
        assert orders["STOP_LOSS_LIMIT"].status == "NEW"
        assert money(paper, email, "BTC") == (Decimal(0), Decimal(1))
        _, lists = await paper.call("GET", "/api/v3/openOrderList", key)
        assert len(lists) == 1
        await paper.call("DELETE", "/api/v3/order", key, **PAIR, orderId=orders["STOP_LOSS_LIMIT"].order_id)
        assert money(paper, email, "BTC") == (Decimal(1), Decimal(0))


@pytest.mark.parametrize(
    ("side", "change", "code"),
    [
        ("SELL", {"aboveType": "STOP_LOSS", "aboveStopPrice": "70000", "abovePrice": None}, -1197),
        ("BUY", {}, -1165),
        ("SELL", {"abovePrice": "50000", "belowStopPrice": "55000"}, -2010),
        ("SELL", {"abovePrice": "59000"}, -2010),
        ("SELL", {"belowStopPrice": "65000"}, -2010),
        ("SELL", {"aboveType": "MARKET", "abovePrice": None}, -1158),
    ],
)
async def test_legs_that_cannot_stand_together(side: str, change: dict[str, str | None], code: int) -> None:
    async with running_paper() as paper:
        key = paper.key(paper.account())
        legs = {name: value for name, value in (SELL_PAIR | change).items() if value is not None}
        status, body = await paper.call(
            "POST", "/api/v3/orderList/oco", key, **PAIR, side=side, quantity="0.1", **legs
        )
        assert (status, body["code"]) == (400, code), body
        assert paper.exchange.engine.orders == {}


async def test_a_waiting_order_is_rejected_when_it_cannot_be_paid() -> None:
    async with running_paper() as paper:
        email = paper.account(USDT="10000")
        key = paper.key(email)
        pending = {"pendingType": "MARKET", "pendingSide": "SELL", "pendingQuantity": "0.1"}
        status, body = await paper.call("POST", "/api/v3/orderList/oto", key, **WORKING, **pending)
        assert (status, [row["status"] for row in body["orderReports"]]) == (200, ["NEW", "PENDING_NEW"])
        await move(paper, "58000")  # the fee leaves less than it is to sell
        assert states(paper) == ["FILLED", "REJECTED"]
        _, lists = await paper.call("GET", "/api/v3/openOrderList", key)
        assert lists == []


@pytest.mark.parametrize("how", ["fill", "cancel", "partial"])
async def test_a_list_that_pays_sells_what_it_bought(how: str) -> None:
    async with running_paper() as paper:
        email = paper.account(USDT="10000")
        key = paper.key(email)
        pending = {"pendingSide": "SELL", "pendingAboveType": "LIMIT_MAKER", "pendingAbovePrice": "70000",
                   "pendingBelowType": "STOP_LOSS", "pendingBelowStopPrice": "50000"}  # fmt: skip
        status, body = await paper.call("POST", "/api/v3/orderList/opoco", key, **WORKING, **pending)
        assert status == 200, body
        assert "origQty" not in body["orderReports"][1]
        if how == "partial":
            await paper.admin("POST", "depth", {"symbol": "BTCUSDT", "quote": "590"})
        if how != "cancel":
            await move(paper, "58000")
        if how == "fill":
            assert states(paper) == ["FILLED", "NEW", "NEW"]
            assert money(paper, email, "BTC") == (Decimal(0), Decimal("0.0999"))
            await paper.admin("POST", "depth", {"symbol": "BTCUSDT", "quote": "1000000"})
            await move(paper, "71000")
            assert money(paper, email, "BTC") == (Decimal(0), Decimal(0))
            return
        if how == "partial":
            assert money(paper, email, "BTC") == (Decimal(0), Decimal("0.00999"))
        await paper.call("DELETE", "/api/v3/orderList", key, **PAIR, orderListId=body["orderListId"])
        assert money(paper, email, "BTC")[1] == 0
        assert money(paper, email, "USDT")[1] == 0
        assert set(states(paper)) == {"CANCELED"}


async def test_a_paying_list_buys_first() -> None:
    async with running_paper() as paper:
        key = paper.key(paper.account())
        pending = {"pendingType": "MARKET", "pendingSide": "BUY"}
        status, body = await paper.call("POST", "/api/v3/orderList/opo", key, **WORKING, **pending)
        assert (status, body["code"]) == (400, -1223)
        selling = WORKING | {"workingSide": "SELL"}
        status, body = await paper.call("POST", "/api/v3/orderList/opo", key, **selling, **pending)
        assert (status, body["code"]) == (400, -1222)
        sized = pending | {"pendingSide": "SELL", "pendingQuantity": "1"}
        status, body = await paper.call("POST", "/api/v3/orderList/opo", key, **WORKING, **sized)
        assert (status, body["code"]) == (400, -1225)


async def test_a_list_is_found_by_number_and_name_and_cancelled_by_any_member() -> None:
    async with running_paper() as paper:
        key = paper.key(paper.account())
        values = PAIR | {"side": "SELL", "quantity": "0.1", "listClientOrderId": "pair-1"} | SELL_PAIR
        _, placed = await paper.call("POST", "/api/v3/orderList/oco", key, **values)
        status, body = await paper.call("POST", "/api/v3/orderList/oco", key, **values)
        assert (status, body["msg"]) == (400, "Duplicate order sent.")
        _, found = await paper.call("GET", "/api/v3/orderList", key, origClientOrderId="pair-1")
        assert found["orderListId"] == placed["orderListId"]
        number = placed["orders"][0]["orderId"]
        status, body = await paper.call("DELETE", "/api/v3/order", key, **PAIR, orderId=number)
        assert (status, len(body["orderReports"]), body["listOrderStatus"]) == (200, 2, "ALL_DONE")
