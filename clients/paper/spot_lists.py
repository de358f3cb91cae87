"""Order lists of the paper exchange, `/api/v3/orderList/*`: OCO, OTO, OTOCO, and those that pay (OPO, OPOCO).

Source: Binance spot REST docs, "Order lists", and FAQ "One Pays the Other", state of 2026-07-21.
"""

from decimal import Decimal

from clients.paper.errors import NO_SUCH_ORDER, UNKNOWN_ORDER, PaperError, filter_failure, rejected
from clients.paper.exchange import PaperExchange, Route, Seen
from clients.paper.ledger import Account
from clients.paper.orders import STOPS, Order, OrderList
from clients.paper.spot_form import answer_kind, client_id, order_record, read_order
from clients.paper.symbols import MOST_LISTS, find

_PAIR = 2
_LIMITS = frozenset({"LIMIT_MAKER", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"})
_LOSSES = frozenset({"STOP_LOSS", "STOP_LOSS_LIMIT"})


def _account(seen: Seen) -> Account:
    assert seen.account is not None  # noqa: S101 - signed routes have one
    return seen.account


def _keep(
    exchange: PaperExchange,
    seen: Seen,
    working: Order | None,
    pending: list[Order],
    *,
    paying: bool = False,
) -> object:
    """Place a list: its orders are checked, counted, bound and written down together."""
    engine = exchange.engine
    members = ([working] if working is not None else []) + pending
    answer = answer_kind(seen.params, "RESULT")
    name = client_id(seen.params, "listClientOrderId")
    mine = [one for one in engine.lists.values() if one.account == members[0].account and not one.done]
    if any(one.client_id == name for one in mine):
        raise rejected("Duplicate order sent.")
    if sum(one.symbol == members[0].symbol for one in mine) >= MOST_LISTS:
        raise filter_failure("MAX_NUM_ORDER_LISTS")
    if len({order.client_order_id for order in members}) < len(members):
        raise rejected("Duplicate order sent.")
    for order in members:
        engine.check(order, waiting=working is not None and order is not working, count=len(members))
    exchange.limits.check_orders(members[0].account, len(members), seen.now_us)
    found = OrderList(
        engine.number(), members[0].account, members[0].symbol, name, "OCO" if working is None else "OTO",
        [order.order_id for order in members], None if working is None else working.order_id,
        [order.order_id for order in pending], seen.now_us, paying=paying,
    )  # fmt: skip
    records = [order_record(order) for order in members]
    if working is None:
        # both legs stand against one binding, the larger need: only one of them can execute
        engine.bind(pending[0], max(engine.need(order)[0] for order in pending))
    else:
        engine.bind(working)
    exchange.limits.count_orders(members[0].account, len(members), seen.now_us)
    engine.lists[found.list_id] = found
    for order in members:
        order.list_id = found.list_id
    for order in pending:
        if working is None:
            engine.place(order, seen.now_us, bind=False)
        else:
            engine.wait(order, seen.now_us)
    reports = [order.placed(answer) for order in pending]
    if working is not None:
        engine.place(working, seen.now_us, bind=False)
        reports = [working.placed(answer), *reports]
    for record in records:
        exchange.record(seen, "place", record, {"list": found.list_id})
    return found.shown(engine.orders) | {"orderReports": reports}


def _pair(
    exchange: PaperExchange, seen: Seen, legs: tuple[str, str], side: str, size: str | None
) -> list[Order]:
    """Read the two legs of a pair, above and below; the one that rests comes first."""
    above, below = (read_order(exchange, seen, leg, side=side, size=size) for leg in legs)
    kinds = (above.kind, below.kind)
    if not all(kind in _LIMITS | _LOSSES for kind in kinds):
        raise PaperError(-1158, "Order type not supported in OCO.")
    if all(kind == "LIMIT_MAKER" for kind in kinds):
        raise PaperError(-1168, "At least one OCO order must be contingent.")
    for order, is_above in ((above, True), (below, False)):
        sells = side == "SELL"
        if order.kind in _LIMITS and is_above != sells:
            if order.kind == "LIMIT_MAKER":
                raise (
                    PaperError(-1166, "A limit order in a sell OCO must be above.")
                    if sells
                    else PaperError(-1165, "A limit order in a buy OCO must be below.")
                )
            raise (
                PaperError(-1199, "A take profit order in a sell OCO must be above.")
                if sells
                else PaperError(-1198, "A take profit order in a buy OCO must be below.")
            )
        if order.kind in _LOSSES and is_above == sells:
            raise (
                PaperError(-1197, "A stop loss order in a sell OCO must be below.")
                if sells
                else PaperError(-1196, "A stop loss order in a buy OCO must be above.")
            )
    high, low = _level(above), _level(below)
    if high and low and high <= low:
        raise rejected("The relationship of the prices for the orders is not correct.")
    return sorted((above, below), key=lambda order: order.kind in STOPS)


def _level(order: Order) -> Decimal:
    return order.price if order.kind == "LIMIT_MAKER" else order.stop_price


def oco(exchange: PaperExchange, seen: Seen) -> object:
    """Place two orders of which one cancels the other."""
    pair = _pair(exchange, seen, ("above", "below"), seen.params.need("side"), "quantity")
    price = exchange.symbols[pair[0].symbol].price
    for order in pair:
        wrong = order.kind == "LIMIT_MAKER" and exchange.engine.marketable(order, price)
        if wrong or (order.kind in STOPS and not order.trailing and exchange.engine.triggers(order, price)):
            raise rejected("The relationship of the prices for the orders is not correct.")
    return _keep(exchange, seen, None, pair)


def _working(exchange: PaperExchange, seen: Seen) -> Order:
    if seen.params.need("workingType") not in {"LIMIT", "LIMIT_MAKER"}:
        raise PaperError(-1116, "Invalid orderType.")
    return read_order(exchange, seen, "working", size="workingQuantity")


def oto(exchange: PaperExchange, seen: Seen) -> object:
    """Place an order that waits for another."""
    working = _working(exchange, seen)
    return _keep(exchange, seen, working, [read_order(exchange, seen, "pending", size="pendingQuantity")])


def otoco(exchange: PaperExchange, seen: Seen) -> object:
    """Place a pair that waits for another order."""
    working, side = _working(exchange, seen), seen.params.need("pendingSide")
    pair = _pair(exchange, seen, ("pendingAbove", "pendingBelow"), side, "pendingQuantity")
    return _keep(exchange, seen, working, pair)


def _check_sides(seen: Seen) -> str:
    if seen.params.need("workingSide") != "BUY":
        raise PaperError(-1222, "The working order of an OPO must be a buy.")
    if seen.params.need("pendingSide") != "SELL":
        raise PaperError(-1223, "The pending order of an OPO must be a sale.")
    return "SELL"


def opo(exchange: PaperExchange, seen: Seen) -> object:
    """Place an order that sells what another one buys."""
    _check_sides(seen)
    working = _working(exchange, seen)
    pending = read_order(exchange, seen, "pending", size=None)
    return _keep(exchange, seen, working, [pending], paying=True)


def opoco(exchange: PaperExchange, seen: Seen) -> object:
    """Place a pair that sells what another order buys."""
    side = _check_sides(seen)
    working = _working(exchange, seen)
    pair = _pair(exchange, seen, ("pendingAbove", "pendingBelow"), side, None)
    return _keep(exchange, seen, working, pair, paying=True)


def old_oco(exchange: PaperExchange, seen: Seen) -> object:
    """Place a pair by the deprecated call: a limit maker and a stop."""
    params, old = seen.params, dict(seen.params)
    maker, stop = ("above", "below") if params.need("side") == "SELL" else ("below", "above")
    params[maker + "Type"], params[maker + "Price"] = "LIMIT_MAKER", params.need("price")
    params[stop + "Type"] = "STOP_LOSS_LIMIT" if "stopLimitPrice" in old else "STOP_LOSS"
    params[stop + "StopPrice"] = params.need("stopPrice")
    for here, there in (
        ("stopLimitPrice", stop + "Price"), ("stopLimitTimeInForce", stop + "TimeInForce"),
        ("stopClientOrderId", stop + "ClientOrderId"), ("stopIcebergQty", stop + "IcebergQty"),
        ("trailingDelta", stop + "TrailingDelta"), ("limitClientOrderId", maker + "ClientOrderId"),
        ("limitIcebergQty", maker + "IcebergQty"),
    ):  # fmt: skip
        if here in old:
            params[there] = old[here]
    return oco(exchange, seen)


# --- queries ----------------------------------------------------------------------------------


def _find(exchange: PaperExchange, seen: Seen, refusal: tuple[int, str], client_name: str) -> OrderList:
    number, name = seen.params.whole("orderListId"), seen.params.get(client_name)
    if number is None and name is None:
        raise PaperError(
            -1102, f"Param '{client_name}' or 'orderListId' must be sent, but both were empty/null!"
        )
    for found in reversed(exchange.engine.lists.values()):
        wanted = found.client_id == name if number is None else found.list_id == number
        if found.account == _account(seen).email and wanted and name in {None, found.client_id}:
            return found
    raise PaperError(*refusal)


def cancel(exchange: PaperExchange, seen: Seen) -> object:
    """Cancel a whole list."""
    symbol = find(exchange.symbols, seen.params.need("symbol"))
    found = _find(exchange, seen, UNKNOWN_ORDER, "listClientOrderId")
    if found.done or found.symbol != symbol.name:
        raise PaperError(*UNKNOWN_ORDER)
    name = client_id(seen.params, "newClientOrderId")
    ended = exchange.engine.cancel(exchange.engine.orders[found.orders[0]], seen.now_us)
    exchange.record(seen, "cancel", None, {"cancelled": [order.order_id for order in ended]})
    reports = [order.cancelled(name) for order in ended]
    return found.shown(exchange.engine.orders) | {"orderReports": reports}


def get(exchange: PaperExchange, seen: Seen) -> object:
    """Answer one list."""
    return _find(exchange, seen, NO_SUCH_ORDER, "origClientOrderId").shown(exchange.engine.orders)


def _of_account(exchange: PaperExchange, seen: Seen) -> list[OrderList]:
    email = _account(seen).email
    return [one for one in exchange.engine.lists.values() if one.account == email]


def open_lists(exchange: PaperExchange, seen: Seen) -> object:
    """Answer the lists that are not over."""
    return [one.shown(exchange.engine.orders) for one in _of_account(exchange, seen) if not one.done]


def all_lists(exchange: PaperExchange, seen: Seen) -> object:
    """Answer every list."""
    first, limit = seen.params.whole("fromId", 0) or 0, min(seen.params.whole("limit", 500) or 500, 1000)
    found = [one for one in _of_account(exchange, seen) if one.list_id >= first]
    found = found[:limit] if first else found[-limit:]
    return [one.shown(exchange.engine.orders) for one in found]


_S, _T = "signed", "enableSpotAndMarginTrading"
_L = "/api/v3/orderList"
ROUTES: dict[tuple[str, str], Route] = {
    ("POST", "/api/v3/order/oco"): Route(old_oco, _S, 1, _T, write=True, order=True),
    ("POST", _L + "/oco"): Route(oco, _S, 1, _T, write=True, order=True),
    ("POST", _L + "/oto"): Route(oto, _S, 1, _T, write=True, order=True),
    ("POST", _L + "/otoco"): Route(otoco, _S, 1, _T, write=True, order=True),
    ("POST", _L + "/opo"): Route(opo, _S, 1, _T, write=True, order=True),
    ("POST", _L + "/opoco"): Route(opoco, _S, 1, _T, write=True, order=True),
    ("DELETE", _L): Route(cancel, _S, 1, _T, write=True, order=True),
    ("GET", _L): Route(get, _S, 4),
    ("GET", "/api/v3/openOrderList"): Route(open_lists, _S, 6),
    ("GET", "/api/v3/allOrderList"): Route(all_lists, _S, 20),
}
