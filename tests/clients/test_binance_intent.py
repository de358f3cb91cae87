"""What a request would do, in case tables."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from clients.venue import Action, Malformed, Order, OrderRef, Reading, Request, Security, Side
from clients.venues.binance import WIRE
from clients.venues.binance.endpoints import ENDPOINTS
from tests.clients.binance_cases import read, read_request, refused

D = Decimal
LIMIT = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=2&price=100"
SELL = "symbol=BTCUSDT&side=SELL&quantity=2"
ORDER = "/api/v3/order"


def _order(**more: object) -> Order:
    return Order(**({"symbol": "BTCUSDT", "side": Side.SELL, "market": False, "quantity": D(2)} | more))  # type: ignore[arg-type]


SINGLE = {
    "limit": (LIMIT, _order(side=Side.BUY, price=D(100))),
    "limit with client id": (
        LIMIT + "&newClientOrderId=x-1",
        _order(side=Side.BUY, price=D(100), client_order_id="x-1"),
    ),
    "maker": (SELL + "&type=LIMIT_MAKER&price=100", _order(price=D(100))),
    "iceberg": (LIMIT + "&icebergQty=0.5", _order(side=Side.BUY, price=D(100))),
    "market": (SELL + "&type=MARKET", _order(market=True)),
    "market in quote": (
        "symbol=BTCUSDT&side=BUY&type=MARKET&quoteOrderQty=50.5",
        _order(side=Side.BUY, market=True, quantity=None, quote_quantity=D("50.5")),
    ),
    "stop": (SELL + "&type=STOP_LOSS&stopPrice=90", _order(market=True, trigger=D(90), rises=False)),
    "trailing stop": (
        SELL + "&type=STOP_LOSS&trailingDelta=200",
        _order(market=True, drifts=True, rises=False, trails=True),
    ),
    "stop limit": (
        SELL + "&type=STOP_LOSS_LIMIT&timeInForce=GTC&stopPrice=90&price=89",
        _order(price=D(89), trigger=D(90), rises=False),
    ),
    "take profit": (
        SELL + "&type=TAKE_PROFIT&stopPrice=110",
        _order(market=True, trigger=D(110), rises=True, drifts=True),
    ),
    "take profit limit, trailing": (
        SELL + "&type=TAKE_PROFIT_LIMIT&timeInForce=GTC&stopPrice=110&trailingDelta=20&price=111",
        _order(price=D(111), trigger=D(110), rises=True, drifts=True, trails=True),
    ),
}


@pytest.mark.parametrize(("query", "order"), SINGLE.values(), ids=SINGLE.keys())
def test_single_orders(query: str, order: Order) -> None:
    """Every order type is read with its size, limit and trigger; the test endpoint is the same, never executed."""
    intent = read("POST", ORDER, query).intent
    assert (intent.action, intent.endpoint, intent.group) == (Action.PLACE, "spot.order.place", "trade")
    assert (intent.orders, intent.symbols, intent.weight) == (((order,),), ("BTCUSDT",), 1)
    assert (intent.certain, intent.dry_run, intent.account_wide) == (True, False, False)
    tested = read("POST", ORDER + "/test", "", query).intent
    assert (tested.endpoint, tested.orders, tested.dry_run) == ("spot.order.test", ((order,),), True)


CONTRADICTIONS = {
    "market with price": (SELL + "&type=MARKET&price=1", "unexpected", "price"),
    "market with stop": (SELL + "&type=MARKET&stopPrice=1", "unexpected", "stopPrice"),
    "market with trailing": (SELL + "&type=MARKET&trailingDelta=1", "unexpected", "trailingDelta"),
    "market, two sizes": (SELL + "&type=MARKET&quoteOrderQty=1", "ambiguous", "quoteOrderQty"),
    "market in quote with price": (
        "symbol=BTCUSDT&side=BUY&type=MARKET&quoteOrderQty=1&price=1",
        "unexpected",
        "price",
    ),
    "market without size": ("symbol=BTCUSDT&side=BUY&type=MARKET", "missing", "quantity"),
    "market pegged": (SELL + "&type=MARKET&pegPriceType=MARKET_PEG", "unexpected", "pegPriceType"),
    "limit in quote": (LIMIT.replace("quantity", "quoteOrderQty"), "unexpected", "quoteOrderQty"),
    "limit without price": (LIMIT.replace("&price=100", ""), "missing", "price"),
    "limit with stop": (LIMIT + "&stopPrice=1", "unexpected", "stopPrice"),
    "limit trailing": (LIMIT + "&trailingDelta=5", "unexpected", "trailingDelta"),
    "stop without trigger": (SELL + "&type=STOP_LOSS", "missing", "stopPrice"),
    "stop with price": (SELL + "&type=STOP_LOSS&stopPrice=1&price=1", "unexpected", "price"),
    "stop limit without price": (SELL + "&type=STOP_LOSS_LIMIT&stopPrice=1", "missing", "price"),
}


@pytest.mark.parametrize(("query", "reason", "field"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_contradictions(query: str, reason: str, field: str) -> None:
    """An order that two readers could size differently is malformed."""
    assert refused("POST", ORDER, query) == (reason, field)


@pytest.mark.parametrize(
    "query",
    [
        LIMIT.replace("&price=100", "") + "&pegPriceType=PRIMARY_PEG",
        LIMIT + "&pegPriceType=MARKET_PEG&pegOffsetType=PRICE_LEVEL&pegOffsetValue=5",
    ],
)
def test_pegged_orders_are_not_certain(query: str) -> None:
    """A pegged order's price follows the book, so nothing bounds its notional."""
    assert not read("POST", ORDER, query).intent.certain


DRIFTS = {
    "a stop-loss buy": ("side=BUY&type=STOP_LOSS&stopPrice=110", True),
    "a stop-loss limit buy": ("side=BUY&type=STOP_LOSS_LIMIT&stopPrice=110&price=111&timeInForce=GTC", False),
    "a take-profit buy": ("side=BUY&type=TAKE_PROFIT&stopPrice=90", False),
    "a trailing take-profit buy": ("side=BUY&type=TAKE_PROFIT&trailingDelta=100", True),
    "a trailing stop-loss buy": ("side=BUY&type=STOP_LOSS&trailingDelta=100", True),
    "a trailing limit buy": (
        "side=BUY&type=TAKE_PROFIT_LIMIT&trailingDelta=100&price=101&timeInForce=GTC",
        False,
    ),
    "a stop-loss sale": ("side=SELL&type=STOP_LOSS&stopPrice=90", False),
    "a stop-loss limit sale": ("side=SELL&type=STOP_LOSS_LIMIT&stopPrice=90&price=89&timeInForce=GTC", False),
    "a trailing limit sale": (
        "side=SELL&type=STOP_LOSS_LIMIT&trailingDelta=100&price=89&timeInForce=GTC",
        True,
    ),
    "a market buy": ("side=BUY&type=MARKET", False),
}


@pytest.mark.parametrize(("query", "drifts"), DRIFTS.values(), ids=DRIFTS.keys())
def test_what_waits_for_a_rise_or_trails_it_may_execute_above_every_price_it_names(
    query: str, drifts: bool
) -> None:
    (group,) = read("POST", ORDER, "symbol=BTCUSDT&quantity=2&" + query).intent.orders
    assert [order.drifts for order in group] == [drifts]


@pytest.mark.parametrize(
    ("side", "pending", "drifts"),
    [
        ("SELL", "pendingSide=BUY&pendingType=MARKET", True),
        ("SELL", "pendingSide=BUY&pendingType=LIMIT&pendingPrice=120&pendingTimeInForce=GTC", False),
        ("SELL", "pendingSide=SELL&pendingType=LIMIT&pendingPrice=120&pendingTimeInForce=GTC", True),
        ("BUY", "pendingSide=BUY&pendingType=MARKET", False),
        ("BUY", "pendingSide=BUY&pendingType=STOP_LOSS&pendingStopPrice=120", True),
    ],
)
def test_what_follows_a_sale_starts_in_a_market_that_rose(side: str, pending: str, drifts: bool) -> None:
    query = WORK.replace("workingSide=BUY", f"workingSide={side}") + "&pendingQuantity=2&" + pending
    _, (leg,) = read("POST", "/api/v3/orderList/oto", query).intent.orders
    assert (leg.starts, leg.after_sale, leg.drifts) == (D(100), side == "SELL", drifts)


def test_smart_order_routing() -> None:
    intent = read("POST", "/api/v3/sor/order", LIMIT).intent
    assert (intent.endpoint, intent.orders[0][0].price, intent.dry_run) == ("spot.sor.place", D(100), False)
    assert read("POST", "/api/v3/sor/order/test", LIMIT).intent.dry_run
    assert refused("POST", "/api/v3/sor/order", SELL + "&type=STOP_LOSS") == ("bad_value", "type")


def test_commission_rates_cost_weight() -> None:
    assert read("POST", ORDER + "/test", LIMIT + "&computeCommissionRates=true").intent.weight == 20


def test_cancel_replace_is_an_order_with_a_target() -> None:
    query = LIMIT + "&cancelReplaceMode=STOP_ON_FAILURE"
    intent = read("POST", "/api/v3/order/cancelReplace", query + "&cancelOrderId=7").intent
    assert (intent.action, intent.endpoint) == (Action.PLACE, "spot.order.replace")
    assert intent.orders == ((_order(side=Side.BUY, price=D(100)),),)
    assert intent.target == OrderRef("BTCUSDT", "7")
    named = read("POST", "/api/v3/order/cancelReplace", query + "&cancelOrigClientOrderId=c1").intent
    assert named.target == OrderRef("BTCUSDT", client_order_id="c1")
    assert refused("POST", "/api/v3/order/cancelReplace", query) == ("missing", "cancelOrderId")


def test_amend_only_shrinks() -> None:
    intent = read("PUT", "/api/v3/order/amend/keepPriority", "symbol=BTCUSDT&orderId=7&newQty=1").intent
    assert (intent.action, intent.shrinks, intent.weight) == (Action.AMEND, True, 4)
    assert (intent.target, intent.orders) == (OrderRef("BTCUSDT", "7"), ())


ABOVE = _order(price=D(110))
BELOW = _order(market=True, trigger=D(90), rises=False)
WORK = "symbol=BTCUSDT&workingType=LIMIT&workingSide=BUY&workingPrice=100&workingQuantity=3&workingTimeInForce=GTC"
WORKING = _order(side=Side.BUY, quantity=D(3), price=D(100))
PAIR = (
    "pendingAboveType=LIMIT_MAKER&pendingAbovePrice=110&pendingBelowType=STOP_LOSS&pendingBelowStopPrice=90"
)
BOUND = D(3)


def _after(order: Order) -> Order:
    """Return an order as it stands once the working buy at 100 was filled."""
    return replace(order, starts=D(100))


LISTS = {
    "oco": (
        "orderList/oco",
        SELL + "&aboveType=LIMIT_MAKER&abovePrice=110&belowType=STOP_LOSS&belowStopPrice=90",
        ((ABOVE, BELOW),),
    ),
    "oco_old": ("order/oco", SELL + "&price=110&stopPrice=90", ((ABOVE, BELOW),)),
    "oco_old with limit": (
        "order/oco",
        SELL + "&price=110&stopPrice=90&stopLimitPrice=89&stopLimitTimeInForce=GTC",
        ((ABOVE, _order(price=D(89), trigger=D(90), rises=False)),),
    ),
    "oto": (
        "orderList/oto",
        WORK + "&pendingType=STOP_LOSS&pendingSide=SELL&pendingStopPrice=90&pendingQuantity=2",
        ((WORKING,), (_after(BELOW),)),
    ),
    "otoco": (
        "orderList/otoco",
        WORK + "&pendingSide=SELL&pendingQuantity=2&" + PAIR,
        ((WORKING,), (_after(ABOVE), _after(BELOW))),
    ),
    "otoco with one pending": (
        "orderList/otoco",
        WORK + "&pendingSide=SELL&pendingQuantity=2&pendingAboveType=LIMIT_MAKER&pendingAbovePrice=110",
        ((WORKING,), (_after(ABOVE),)),
    ),
    "opo": (
        "orderList/opo",
        WORK + "&pendingType=MARKET&pendingSide=SELL",
        ((WORKING,), (_after(_order(market=True, quantity=BOUND)),)),
    ),
    "opoco": (
        "orderList/opoco",
        WORK + "&pendingSide=SELL&" + PAIR,
        (
            (WORKING,),
            (
                _after(_order(price=D(110), quantity=BOUND)),
                _after(_order(market=True, trigger=D(90), rises=False, quantity=BOUND)),
            ),
        ),
    ),
}


@pytest.mark.parametrize(("path", "query", "orders"), LISTS.values(), ids=LISTS.keys())
def test_order_lists(path: str, query: str, orders: tuple[tuple[Order, ...], ...]) -> None:
    """Alternatives share a group, followers have their own; OPO's derived quantity is bounded by the working one."""
    intent = read("POST", "/api/v3/" + path, "", query).intent
    assert intent.orders == orders
    assert (intent.action, intent.certain, intent.target) == (Action.PLACE, True, None)


LIST_FAULTS = {
    "oco of two stops": (
        "orderList/oco",
        SELL + "&aboveType=STOP_LOSS&aboveStopPrice=110&belowType=STOP_LOSS&belowStopPrice=90",
        ("unexpected", "belowType"),
    ),
    "oco without below": (
        "orderList/oco",
        SELL + "&aboveType=LIMIT_MAKER&abovePrice=1",
        ("missing", "belowType"),
    ),
    "old oco without stop": ("order/oco", SELL + "&price=110&trailingDelta=5", ("missing", "stopPrice")),
    "otoco, below without type": (
        "orderList/otoco",
        WORK
        + "&pendingSide=SELL&pendingQuantity=2&pendingAboveType=LIMIT_MAKER&pendingAbovePrice=1&pendingBelowPrice=1",
        ("missing", "pendingBelowType"),
    ),
    "opo with a quantity": (
        "orderList/opo",
        WORK + "&pendingType=MARKET&pendingSide=SELL&pendingQuantity=1",
        ("unknown_parameter", "pendingQuantity"),
    ),
    "opo the wrong way round": (
        "orderList/opo",
        WORK.replace("BUY", "SELL") + "&pendingType=MARKET&pendingSide=BUY",
        ("unexpected", "workingSide"),
    ),
    "opo buying twice": (
        "orderList/opo",
        WORK + "&pendingType=MARKET&pendingSide=BUY",
        ("unexpected", "pendingSide"),
    ),
    "oto working at market": (
        "orderList/oto",
        WORK.replace("=LIMIT", "=MARKET") + "&pendingType=MARKET&pendingSide=SELL&pendingQuantity=1",
        ("bad_value", "workingType"),
    ),
    "pending limit without price": (
        "orderList/oto",
        WORK + "&pendingType=LIMIT&pendingSide=SELL&pendingQuantity=1",
        ("missing", "pendingPrice"),
    ),
}


@pytest.mark.parametrize(("path", "query", "fault"), LIST_FAULTS.values(), ids=LIST_FAULTS.keys())
def test_order_list_faults(path: str, query: str, fault: tuple[str, str]) -> None:
    assert refused("POST", "/api/v3/" + path, query) == fault


def test_a_pegged_leg_makes_a_list_uncertain() -> None:
    query = WORK + "&workingPegPriceType=PRIMARY_PEG&pendingType=MARKET&pendingSide=SELL&pendingQuantity=1"
    assert not read("POST", "/api/v3/orderList/oto", query).intent.certain


CANCELS = {
    "by id": (ORDER, "symbol=BTCUSDT&orderId=7", OrderRef("BTCUSDT", "7")),
    "by client id": (ORDER, "symbol=BTCUSDT&origClientOrderId=c1", OrderRef("BTCUSDT", client_order_id="c1")),
    "list": ("/api/v3/orderList", "symbol=BTCUSDT&orderListId=7", OrderRef("BTCUSDT", "7", is_list=True)),
    "list by client id": (
        "/api/v3/orderList",
        "symbol=BTCUSDT&listClientOrderId=l1",
        OrderRef("BTCUSDT", client_order_id="l1", is_list=True),
    ),
    "all": ("/api/v3/openOrders", "symbol=BTCUSDT", OrderRef("BTCUSDT", all_open=True)),
}


@pytest.mark.parametrize(("path", "query", "target"), CANCELS.values(), ids=CANCELS.keys())
def test_cancels(path: str, query: str, target: OrderRef) -> None:
    """A cancel names what it cancels; cancelling all is account-wide."""
    for intent in (read("DELETE", path, query).intent, read("DELETE", path, "", query).intent):
        assert (intent.action, intent.target, intent.certain) == (Action.CANCEL, target, True)
        assert intent.account_wide is target.all_open


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("symbol=BTCUSDT", ("missing", "orderId")),
        ("orderId=7", ("missing", "symbol")),
        ("symbol=BTCUSDT&orderId=07", ("bad_value", "orderId")),
    ],
)
def test_a_cancel_names_one_order_one_way(query: str, fault: tuple[str, str]) -> None:
    """With two names for one order, whose order it is could be read twice."""
    assert refused("DELETE", ORDER, query) == fault


def test_a_question_may_name_an_order_twice() -> None:
    intent = read("GET", ORDER, "symbol=BTCUSDT&orderId=7&origClientOrderId=c1").intent
    assert (intent.action, intent.target) == (Action.READ, OrderRef("BTCUSDT", "7", "c1"))


WEIGHTS = {
    ("/api/v3/depth", "symbol=BTCUSDT"): 5,
    ("/api/v3/depth", "symbol=BTCUSDT&limit=100"): 5,
    ("/api/v3/depth", "symbol=BTCUSDT&limit=101"): 25,
    ("/api/v3/depth", "symbol=BTCUSDT&limit=1000"): 50,
    ("/api/v3/depth", "symbol=BTCUSDT&limit=5000"): 250,
    ("/api/v3/ticker/24hr", "symbol=BTCUSDT"): 2,
    ("/api/v3/ticker/24hr", ""): 80,
    ("/api/v3/ticker/24hr", "symbols=[" + ",".join(['"AB"'] * 21) + "]"): 40,
    ("/api/v3/ticker/price", ""): 4,
    ("/api/v3/ticker/price", "symbol=BTCUSDT"): 2,
    ("/api/v3/ticker", 'symbols=["AB","CD"]'): 8,
    ("/api/v3/ticker/tradingDay", "symbols=[" + ",".join(['"AB"'] * 60) + "]"): 200,
    ("/api/v3/executionRules", ""): 40,
    ("/api/v3/exchangeInfo", ""): 20,
    ("/fapi/v1/exchangeInfo", ""): 1,
}


@pytest.mark.parametrize(("call", "weight"), WEIGHTS.items(), ids=str)
def test_public_weights(call: tuple[str, str], weight: int) -> None:
    reading = read_request(Request("GET", call[0], call[1].encode(), b"", "V"))
    assert isinstance(reading, Reading)
    assert (reading.security, reading.intent.group, reading.intent.weight) == (
        Security.PUBLIC,
        "market",
        weight,
    )


@pytest.mark.parametrize(
    ("path", "query", "weight"),
    [
        ("/api/v3/openOrders", "", 80),
        ("/api/v3/openOrders", "symbol=BTCUSDT", 6),
        ("/api/v3/myTrades", "symbol=BTCUSDT", 20),
        ("/api/v3/myTrades", "symbol=BTCUSDT&orderId=1", 5),
        ("/api/v3/myPreventedMatches", "symbol=BTCUSDT&orderId=1", 20),
        ("/api/v3/account", "", 20),
    ],
)
def test_account_weights(path: str, query: str, weight: int) -> None:
    assert read("GET", path, query).intent.weight == weight


NAMED = {
    ("POST", "/sapi/v1/capital/withdraw/apply"): ("wallet.withdraw.apply", Action.WITHDRAW),
    ("POST", "/sapi/v1/localentity/withdraw/apply"): ("localentity.withdraw.apply", Action.WITHDRAW),
    ("POST", "/sapi/v2/fiat/withdraw"): ("fiat.withdraw", Action.WITHDRAW),
    ("POST", "/sapi/v1/asset/transfer"): ("wallet.transfer", Action.TRANSFER),
    ("POST", "/sapi/v1/sub-account/transfer/subToMaster"): ("subaccount.transfer.to_master", Action.TRANSFER),
    ("POST", "/sapi/v1/sub-account/subAccountApi"): ("subaccount.key.create", Action.KEY_ADMIN),
    ("POST", "/sapi/v2/sub-account/subAccountApi"): ("subaccount.key.create", Action.KEY_ADMIN),
    ("POST", "/sapi/v2/sub-account/subAccountApi/ipRestriction"): ("subaccount.key.ip_set", Action.KEY_ADMIN),
    ("DELETE", "/sapi/v1/broker/subAccountApi"): ("broker.key.delete", Action.KEY_ADMIN),
    ("POST", "/sapi/v1/margin/apiKey"): ("margin.key.create", Action.KEY_ADMIN),
    ("POST", "/sapi/v1/margin/order"): ("margin.order.place", Action.PLACE),
    ("POST", "/sapi/v1/margin/borrow-repay"): ("margin.borrow_repay", Action.LEVERAGE),
    ("POST", "/sapi/v1/convert/acceptQuote"): ("convert.accept", Action.PLACE),
    ("POST", "/sapi/v1/algo/spot/newOrderTwap"): ("algo.spot.twap", Action.PLACE),
}


@pytest.mark.parametrize(("call", "expected"), NAMED.items(), ids=str)
def test_named_writes_are_never_certain(call: tuple[str, str], expected: tuple[str, Action]) -> None:
    """What must not pass is refused by its right name, and never sized."""
    intent = read(*call, "", "asset=BTC&amount=1").intent
    assert (intent.endpoint, intent.action) == expected
    assert not intent.certain
    assert intent.orders == ()


def test_every_write_that_is_certain_is_in_the_trade_group() -> None:
    """The table lets nothing else through by accident."""
    for endpoint in ENDPOINTS.values():
        if endpoint.grammars is not None and endpoint.action is not Action.READ:
            assert (endpoint.group, endpoint.security) == ("trade", Security.SIGNED), endpoint


@pytest.mark.parametrize("path", ["/api/v3/userDataStream", "/sapi/v1/userListenToken", "/fapi/v1/listenKey"])
def test_bearers_of_streams_need_only_a_key(path: str) -> None:
    """Their answers open a stream to whoever holds them, so they are an action of their own."""
    reading = read_request(Request("POST", path, b"", b"", "V"))
    assert isinstance(reading, Reading)
    assert (reading.security, reading.intent.action) == (Security.KEY, Action.STREAM)
    assert (reading.timestamp_us, reading.window_us) == (None, None)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v3/unheard"),
        ("POST", "/api/v3/order/"),
        ("POST", "/api/v3/Order"),
        ("POST", "/api/v3/order%2Ftest"),
        ("POST", "/api/v3//order"),
        ("POST", "///api/v3/order"),
        ("PATCH", "/api/v3/order"),
        ("HEAD", "/api/v3/order"),
        ("get", "/api/v3/account"),
        ("GET", "/fapi/v1/account"),
        ("GET", ""),
    ],
)
def test_unknown_paths_are_unknown(method: str, path: str) -> None:
    """Only exact paths are known; a GET is not harmless for being a GET."""
    reading = read(method, path)
    assert (reading.intent.action, reading.intent.certain) == (Action.UNKNOWN, False)
    assert reading.security is Security.SIGNED


def test_unknown_paths_have_to_be_signed() -> None:
    """A write is never public, whoever sends it."""
    cases = (("GET", "V", Security.SIGNED), ("GET", None, Security.PUBLIC), ("POST", None, Security.SIGNED))
    for method, key_id, security in cases:
        addressee = WIRE.find(Request(method, "/x", b"a=1", b"", key_id))
        assert (addressee.security, addressee.action, addressee.row) == (security, Action.UNKNOWN, None)


@pytest.mark.parametrize(
    "path", ["//api/v3/order", "/api//v3/order", "/api/v3/order/", "/API/v3/order", "/%61pi/v3/order"]
)
def test_a_path_has_one_spelling_here(path: str) -> None:
    """The mount collapses a leading double slash; whatever comes here otherwise is in no table."""
    assert WIRE.find(Request("POST", path, b"", b"", "V")).row is None


def test_wallet_reads_have_weight_pools_of_their_own() -> None:
    """Else one look at the withdrawal history would eat three minutes of the general budget."""
    history = read("GET", "/sapi/v1/capital/withdraw/history").intent
    assert (history.weight, history.weight_pool) == (18000, "sapi-uid:wallet.withdraw.history")
    assert read("GET", "/api/v3/account").intent.weight_pool == "ip"


def test_public_calls_take_no_signature() -> None:
    reading = read_request(Request("GET", "/api/v3/ping", b"signature=aa", b"", "V"))
    assert reading == Malformed("unknown_parameter", "signature", "spot.ping")
