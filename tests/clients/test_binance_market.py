"""Our own questions to Binance and what their answers mean."""

import json
from decimal import Decimal

import pytest

from clients.venue import OrderRef, SymbolInfo
from clients.venues.binance import market
from clients.wire import OrderState

D = Decimal


def _bytes(document: object) -> bytes:
    return json.dumps(document).encode()


CALLS = {
    "time": (market.venue_time(), ("GET", "/api/v3/time", ())),
    "price": (market.price("BTCUSDT"), ("GET", "/api/v3/ticker/price", (("symbol", "BTCUSDT"),))),
    "prices": (market.prices(["A", "B"]), ("GET", "/api/v3/ticker/price", (("symbols", '["A","B"]'),))),
    "all symbols": (
        market.symbols(),
        ("GET", "/api/v3/exchangeInfo", (("permissions", "SPOT"), ("showPermissionSets", "false"))),
    ),
    "named symbols": (
        market.symbols(["币USDT"]),
        ("GET", "/api/v3/exchangeInfo", (("symbols", '["币USDT"]'), ("showPermissionSets", "false"))),
    ),
    "holdings": (market.holdings(), ("GET", "/api/v3/account", (("omitZeroBalances", "true"),))),
    "order by id": (
        market.order(OrderRef("A", "7", "c")),
        ("GET", "/api/v3/order", (("symbol", "A"), ("orderId", "7"))),
    ),
    "order by client id": (
        market.order(OrderRef("A", client_order_id="c")),
        ("GET", "/api/v3/order", (("symbol", "A"), ("origClientOrderId", "c"))),
    ),
    "list": (
        market.order(OrderRef("A", "7", is_list=True)),
        ("GET", "/api/v3/orderList", (("orderListId", "7"),)),
    ),
    "list by client id": (
        market.order(OrderRef("A", client_order_id="l", is_list=True)),
        ("GET", "/api/v3/orderList", (("origClientOrderId", "l"),)),
    ),
}


@pytest.mark.parametrize(("call", "expected"), CALLS.values(), ids=CALLS.keys())
def test_calls(call: market.Call, expected: tuple[object, ...]) -> None:
    assert call == expected


@pytest.mark.parametrize("ref", [OrderRef("A"), OrderRef("A", all_open=True), OrderRef(None, "7")])
def test_an_order_must_be_named(ref: OrderRef) -> None:
    with pytest.raises(ValueError, match=r"name one order|with its symbol"):
        market.order(ref)


def test_parsers() -> None:
    """Each parser reads the documented answer."""
    assert market.parse_venue_time(b'{"serverTime": 1499827319559}') == 1499827319559000
    assert market.parse_price(b'{"symbol":"LTCBTC","price":"4.00000200"}') == D("4.00000200")
    rows = [{"symbol": "A", "price": "1"}, {"symbol": "B", "price": "2"}]
    assert market.parse_prices(_bytes(rows)) == {"A": D(1), "B": D(2)}
    info = {"symbols": [{"symbol": "ETHBTC", "baseAsset": "ETH", "quoteAsset": "BTC", "filters": []}]}
    assert market.parse_symbols(_bytes(info)) == (SymbolInfo("ETHBTC", "ETH", "BTC"),)
    account = {"balances": [{"asset": "BTC", "free": "4.5", "locked": "0.5"}]}
    assert market.parse_holdings(_bytes(account)) == {"BTC": (D("4.5"), D("0.5"))}
    order = {"symbol": "A", "orderId": 1, "clientOrderId": "c", "status": "NEW", "executedQty": "0.0"}
    assert market.parse_order(_bytes(order)) == OrderState("A", "1", "c", final=False, executed_base=D("0.0"))
    listed = {
        "orderListId": 7, "listClientOrderId": "l", "orders": [{"symbol": "A", "orderId": 4, "clientOrderId": "c"}],
    }  # fmt: skip
    assert market.parse_order_list(_bytes(listed)) == ("7", "l", (OrderRef("A", "4", "c"),))
    shown = market.parse_order(
        _bytes(order | {"time": 5, "side": "BUY", "origQty": "2", "price": "3", "orderListId": 7})
    )
    assert (shown.created_us, shown.side, shown.quantity, shown.price, shown.list_id) == (
        5000,
        "BUY",
        D(2),
        D(3),
        "7",
    )
    assert market.parse_order(_bytes(order | {"time": 5 * 10**14})).created_us == 5 * 10**14, (
        "in microseconds"
    )
    assert [one.order_id for one in market.parse_orders(_bytes([order, order | {"orderId": 2}]))] == [
        "1",
        "2",
    ]


PARSERS = [
    *(market.parse_venue_time, market.parse_price, market.parse_prices, market.parse_symbols),
    *(market.parse_holdings, market.parse_order, market.parse_order_list, market.parse_orders),
]
ODD = [
    "",
    "[",
    "null",
    "3",
    '"planted"',
    "[3]",
    '{"serverTime":true}',
    '{"serverTime":"1"}',
    '{"symbols":{}}',
]
ODD += [
    '{"balances":[{"asset":"A","free":"x","locked":"0"}]}',
    '{"symbol":"A","price":"NaN"}',
    '{"orders":[1]}',
]
ODD += ['{"symbol":"A","price":"-1"}', '{"symbol":"A","price":1.5}', '{"symbols":[{"symbol":"planted"}]}']


@pytest.mark.parametrize("body", ODD)
@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
def test_odd_answers_are_value_errors_that_show_nothing(parse: object, body: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse(body.encode())  # type: ignore[operator]
    assert "planted" not in str(caught.value)


FAR = ["1E+999999", "1E-999999", "0E+999999", "1E+41", "9" * 41]


@pytest.mark.parametrize("number", FAR)
def test_a_number_that_nothing_can_be_counted_with_is_none(number: str) -> None:
    """Sums of such numbers overflow: whoever is judged by them would be refused by an error."""
    for side, parse in (("bids", market.parse_bids), ("asks", market.parse_asks)):
        for level in ([number, "1"], ["1", number], ["1"], ["1", "2", "3"], ["1", 2], "12"):
            with pytest.raises(ValueError, match="no price and quantity"):
                parse(_bytes({side: [["1", "2"], level]}))
        assert parse(_bytes({side: [["1", "2"], ["0.5", "0"]]})) == ((D(1), D(2)), (D("0.5"), D(0)))
    with pytest.raises(ValueError, match="price"):
        market.parse_prices(_bytes({"symbol": "A", "price": number}))
    with pytest.raises(ValueError, match="free"):
        market.parse_holdings(_bytes({"balances": [{"asset": "A", "free": number, "locked": "0"}]}))
