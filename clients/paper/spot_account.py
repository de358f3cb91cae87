"""What an account of the paper exchange holds and did, `/api/v3/account` and its kin; and order lists.

Source: Binance spot REST docs, "Account endpoints" and "Order lists", state of 2026-07-21.
"""

from clients.paper.errors import NO_SUCH_ORDER, UNKNOWN_ORDER, PaperError
from clients.paper.exchange import PaperExchange, Route, Seen
from clients.paper.ledger import Account
from clients.paper.orders import STOPS, Fill, Order, OrderList
from clients.paper.spot_trade import fresh_client_id, open_orders_of, order_record, read_order
from clients.paper.symbols import find, text


def _account(seen: Seen) -> Account:
    assert seen.account is not None  # noqa: S101 - signed routes have one
    return seen.account


def account(exchange: PaperExchange, seen: Seen) -> object:
    """Answer balances and permissions."""
    del exchange
    held = _account(seen)
    skip = seen.params.get("omitZeroBalances") == "true"
    return {
        "makerCommission": 10, "takerCommission": 10, "buyerCommission": 0, "sellerCommission": 0,
        "commissionRates": {"maker": "0.00100000", "taker": "0.00100000", "buyer": "0.00000000",
                            "seller": "0.00000000"},
        "canTrade": True, "canWithdraw": True, "canDeposit": True, "brokered": False,
        "requireSelfTradePrevention": False, "preventSor": False, "updateTime": seen.now_us // 1000,
        "accountType": "SPOT",
        "balances": [
            {"asset": asset, "free": text(entry.free), "locked": text(entry.locked)}
            for asset, entry in sorted(held.balances.items())
            if not skip or entry.free or entry.locked
        ],
        "permissions": ["SPOT"], "uid": held.uid,
    }  # fmt: skip


def open_orders(exchange: PaperExchange, seen: Seen) -> object:
    """Answer open orders."""
    name = seen.params.get("symbol")
    if name is not None:
        find(exchange.symbols, name)
    return [order.shown() for order in open_orders_of(exchange, seen, name) if order.status != "PENDING_NEW"]


def _all_of(exchange: PaperExchange, seen: Seen) -> list[Order]:
    symbol = find(exchange.symbols, seen.params.need("symbol"))
    email = _account(seen).email
    found = exchange.engine.orders.values()
    return [order for order in found if order.account == email and order.symbol == symbol.name]


def all_orders(exchange: PaperExchange, seen: Seen) -> object:
    """Answer every order of a pair, newest last."""
    first, limit = seen.params.whole("orderId", 0) or 0, seen.params.whole("limit", 500) or 500
    return [order.shown() for order in _all_of(exchange, seen) if order.order_id >= first][-limit:]


def my_trades(exchange: PaperExchange, seen: Seen) -> object:
    """Answer the account's executions of a pair."""
    wanted, first = seen.params.whole("orderId"), seen.params.whole("fromId", 0) or 0
    limit = seen.params.whole("limit", 500) or 500
    rows = [
        _trade(order, fill)
        for order in _all_of(exchange, seen)
        if wanted is None or order.order_id == wanted
        for fill in order.fills
        if fill.trade_id >= first
    ]
    return sorted(rows, key=lambda row: int(str(row["id"])))[-limit:]


def _trade(order: Order, fill: Fill) -> dict[str, object]:
    return {
        "symbol": order.symbol, "id": fill.trade_id, "orderId": order.order_id, "orderListId": order.list_id,
        "price": text(fill.price), "qty": text(fill.quantity), "quoteQty": text(fill.price * fill.quantity),
        "commission": text(fill.commission), "commissionAsset": fill.commission_asset,
        "time": fill.at_us // 1000, "isBuyer": order.side == "BUY", "isMaker": fill.maker, "isBestMatch": True,
    }  # fmt: skip


def order_rates(exchange: PaperExchange, seen: Seen) -> object:
    """Answer how many orders were counted."""
    short, long = exchange.limits.counted_orders(_account(seen).email, seen.now_us)
    return [
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10,
         "limit": exchange.limits.orders_10s, "count": short},
        {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": exchange.limits.orders_day,
         "count": long},
    ]  # fmt: skip


def commission(exchange: PaperExchange, seen: Seen) -> object:
    """Answer commission rates."""
    symbol = find(exchange.symbols, seen.params.need("symbol"))
    rates = {"maker": "0.00100000", "taker": "0.00100000", "buyer": "0.00000000", "seller": "0.00000000"}
    none = dict.fromkeys(rates, "0.00000000")
    return {"symbol": symbol.name, "standardCommission": rates, "taxCommission": none,
            "specialCommission": none, "discount": {}}  # fmt: skip


def nothing(exchange: PaperExchange, seen: Seen) -> object:
    """Answer an empty list."""
    del exchange, seen
    return []


# --- lists ------------------------------------------------------------------------------------


def _keep_list(
    exchange: PaperExchange, seen: Seen, contingency: str, working: Order | None, pending: list[Order]
) -> object:
    engine = exchange.engine
    members = ([working] if working is not None else []) + pending
    for order in members:
        engine.check(order, waiting=working is not None and order is not working)
    exchange.limits.count_orders(members[0].account, len(members), seen.now_us)
    found = OrderList(
        engine.number(), members[0].account, members[0].symbol,
        seen.params.get("listClientOrderId") or fresh_client_id(), contingency,
        [order.order_id for order in members], None if working is None else working.order_id,
        [order.order_id for order in pending], seen.now_us,
    )  # fmt: skip
    for order in members:
        order.list_id = found.list_id
    shown = [order_record(order) for order in members]
    if working is None:
        # both legs stand against one binding: only one of them can execute
        engine.lists[found.list_id] = found
        engine.place(pending[0], seen.now_us)
        engine.place(pending[1], seen.now_us, bind=False)
    else:
        for order in pending:
            engine.wait(order, seen.now_us)
        engine.lists[found.list_id] = found
        engine.place(working, seen.now_us)
    for record in shown:
        exchange.record(seen, "place", record, {"list": found.list_id})
    answer = seen.params.get("newOrderRespType", "RESULT")
    return found.shown(engine.orders) | {"orderReports": [order.placed(answer) for order in members]}


def oco(exchange: PaperExchange, seen: Seen) -> object:
    """Place two orders of which one cancels the other."""
    side = seen.params.need("side")
    legs = [read_order(exchange, seen, leg, side=side) for leg in ("above", "below")]
    return _keep_list(exchange, seen, "OCO", None, sorted(legs, key=lambda order: order.kind in STOPS))


def oto(exchange: PaperExchange, seen: Seen) -> object:
    """Place an order that waits for another."""
    working = read_order(exchange, seen, "working", size="workingQuantity")
    pending = read_order(exchange, seen, "pending", size="pendingQuantity")
    return _keep_list(exchange, seen, "OTO", working, [pending])


def otoco(exchange: PaperExchange, seen: Seen) -> object:
    """Place a pair that waits for another order."""
    working = read_order(exchange, seen, "working", size="workingQuantity")
    side = seen.params.need("pendingSide")
    pending = [
        read_order(exchange, seen, leg, side=side, size="pendingQuantity")
        for leg in ("pendingAbove", "pendingBelow")
        if leg + "Type" in seen.params
    ]
    return _keep_list(exchange, seen, "OTO", working, sorted(pending, key=lambda order: order.kind in STOPS))


def old_oco(exchange: PaperExchange, seen: Seen) -> object:
    """Place a pair by the deprecated call: a limit maker and a stop."""
    params, old = seen.params, dict(seen.params)
    params["aboveType" if params.need("side") == "SELL" else "belowType"] = "LIMIT_MAKER"
    maker, stop = ("above", "below") if params["side"] == "SELL" else ("below", "above")
    params[maker + "Price"] = params.need("price")
    params[stop + "Type"] = "STOP_LOSS_LIMIT" if "stopLimitPrice" in old else "STOP_LOSS"
    params[stop + "StopPrice"] = params.need("stopPrice")
    for here, there in (("stopLimitPrice", "Price"), ("stopLimitTimeInForce", "TimeInForce"),
                        ("stopClientOrderId", "ClientOrderId")):  # fmt: skip
        if here in old:
            params[stop + there] = old[here]
    if "limitClientOrderId" in old:
        params[maker + "ClientOrderId"] = old["limitClientOrderId"]
    return oco(exchange, seen)


def _find_list(exchange: PaperExchange, seen: Seen, refusal: tuple[int, str], client_name: str) -> OrderList:
    number, name = seen.params.whole("orderListId"), seen.params.get(client_name)
    email = _account(seen).email
    for found in exchange.engine.lists.values():
        if found.account == email and (found.list_id == number or (name and found.client_id == name)):
            return found
    raise PaperError(*refusal)


def cancel_list(exchange: PaperExchange, seen: Seen) -> object:
    """Cancel a whole list."""
    found = _find_list(exchange, seen, UNKNOWN_ORDER, "listClientOrderId")
    if found.done:
        raise PaperError(*UNKNOWN_ORDER)
    ended = exchange.engine.cancel(exchange.engine.orders[found.orders[0]], seen.now_us)
    exchange.record(seen, "cancel", None, {"cancelled": [order.order_id for order in ended]})
    reports = [order.cancelled(fresh_client_id()) for order in ended]
    return found.shown(exchange.engine.orders) | {"orderReports": reports}


def get_list(exchange: PaperExchange, seen: Seen) -> object:
    """Answer one list."""
    return _find_list(exchange, seen, NO_SUCH_ORDER, "origClientOrderId").shown(exchange.engine.orders)


def open_lists(exchange: PaperExchange, seen: Seen) -> object:
    """Answer the lists that are not over."""
    email, engine = _account(seen).email, exchange.engine
    return [
        one.shown(engine.orders) for one in engine.lists.values() if one.account == email and not one.done
    ]


def all_lists(exchange: PaperExchange, seen: Seen) -> object:
    """Answer every list."""
    email, engine = _account(seen).email, exchange.engine
    return [one.shown(engine.orders) for one in engine.lists.values() if one.account == email]


_S, _T = "signed", "enableSpotAndMarginTrading"
ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/api/v3/account"): Route(account, _S, 20),
    ("GET", "/api/v3/openOrders"): Route(open_orders, _S, 6),
    ("GET", "/api/v3/allOrders"): Route(all_orders, _S, 20),
    ("GET", "/api/v3/myTrades"): Route(my_trades, _S, 20),
    ("GET", "/api/v3/rateLimit/order"): Route(order_rates, _S, 40),
    ("GET", "/api/v3/account/commission"): Route(commission, _S, 20),
    ("GET", "/api/v3/myPreventedMatches"): Route(nothing, _S, 2),
    ("GET", "/api/v3/myAllocations"): Route(nothing, _S, 20),
    ("GET", "/api/v3/order/amendments"): Route(nothing, _S, 4),
    ("POST", "/api/v3/order/oco"): Route(old_oco, _S, 1, _T, write=True),
    ("POST", "/api/v3/orderList/oco"): Route(oco, _S, 1, _T, write=True),
    ("POST", "/api/v3/orderList/oto"): Route(oto, _S, 1, _T, write=True),
    ("POST", "/api/v3/orderList/otoco"): Route(otoco, _S, 1, _T, write=True),
    ("DELETE", "/api/v3/orderList"): Route(cancel_list, _S, 1, _T, write=True),
    ("GET", "/api/v3/orderList"): Route(get_list, _S, 4),
    ("GET", "/api/v3/openOrderList"): Route(open_lists, _S, 6),
    ("GET", "/api/v3/allOrderList"): Route(all_lists, _S, 20),
}
