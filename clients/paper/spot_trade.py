"""Orders of the paper exchange, `/api/v3/order` and its kin: placed, asked for, cancelled, replaced, amended.

Source: Binance spot REST docs, "Trading endpoints" and "Account endpoints", state of 2026-07-21.
"""

from typing import Any

from clients.paper.errors import NO_SUCH_ORDER, UNKNOWN_ORDER, PaperError, filter_failure, mandatory
from clients.paper.exchange import Answer, PaperExchange, Route, Seen
from clients.paper.orders import Order
from clients.paper.spot_form import answer_kind, client_id, order_record, read_order
from clients.paper.symbols import MOST_AMENDS, find, text

_FULL = frozenset({"LIMIT", "MARKET"})
_BOTH = 2
_NAMES = ("orderId", "origClientOrderId")
_RESTRICTIONS = {"ONLY_NEW": "NEW", "ONLY_PARTIALLY_FILLED": "PARTIALLY_FILLED"}


def _place_one(exchange: PaperExchange, seen: Seen, order: Order, answer: str) -> dict[str, object]:
    """Place a checked and counted order."""
    shown = order_record(order)
    exchange.engine.place(order, seen.now_us)
    exchange.record(seen, "place", shown, {"status": order.status, "executed": text(order.executed)})
    return order.placed(answer)


def _checked(exchange: PaperExchange, seen: Seen, order: Order, *, sor: bool = False) -> str:
    """Refuse an order that may not be placed; return which answer is wanted."""
    if sor:
        if order.kind not in _FULL:
            raise PaperError(-1116, "Invalid orderType.")
        if order.quote_quantity:
            raise PaperError(-1106, "Parameter 'quoteOrderQty' sent when not required.")
        order.sor = True
    answer = answer_kind(seen.params, "FULL" if order.kind in _FULL else "ACK")
    exchange.engine.check(order)
    return answer


def place(exchange: PaperExchange, seen: Seen, *, sor: bool = False) -> object:
    """Place an order."""
    order = read_order(exchange, seen)
    answer = _checked(exchange, seen, order, sor=sor)
    exchange.limits.count_orders(order.account, 1, seen.now_us)
    return _place_one(exchange, seen, order, answer)


def place_sor(exchange: PaperExchange, seen: Seen) -> object:
    """Place an order by smart order routing: here there is one book, so it is an ordinary order."""
    return place(exchange, seen, sor=True)


def try_out(exchange: PaperExchange, seen: Seen, *, sor: bool = False) -> object:
    """Check an order without placing it."""
    _checked(exchange, seen, read_order(exchange, seen), sor=sor)
    if not seen.params.flag("computeCommissionRates"):
        return {}
    rates = {"maker": "0.00100000", "taker": "0.00100000"}
    none = dict.fromkeys(rates, "0.00000000")
    return {
        "standardCommissionForOrder": rates, "specialCommissionForOrder": none, "taxCommissionForOrder": none,
        "discount": {"enabledForAccount": False, "enabledForSymbol": False, "discountAsset": "BNB",
                     "discount": "0.00000000"},
    }  # fmt: skip


def try_out_sor(exchange: PaperExchange, seen: Seen) -> object:
    """Check an order for smart order routing."""
    return try_out(exchange, seen, sor=True)


# --- one order --------------------------------------------------------------------------------


def _check_cancel(seen: Seen, names: tuple[str, str], cancel_name: str) -> None:
    """Refuse the parameters of a cancel that are not in form: nothing is half done for them."""
    params, (id_name, client_name) = seen.params, names
    if params.whole(id_name) is None and params.get(client_name) is None:
        raise PaperError(
            -1102, f"Param '{client_name}' or '{id_name}' must be sent, but both were empty/null!"
        )
    only = params.get("cancelRestrictions")
    if only is not None and only not in _RESTRICTIONS:
        raise PaperError(-1145, "Invalid cancelRestrictions")
    client_id(params, cancel_name)


def find_order(
    exchange: PaperExchange, seen: Seen, refusal: tuple[int, str], names: tuple[str, str]
) -> Order:
    """Return the account's order that a call names."""
    id_name, client_name = names
    symbol = find(exchange.symbols, seen.params.need("symbol"))
    order_id, given = seen.params.whole(id_name), seen.params.get(client_name)
    assert seen.account is not None  # noqa: S101 - signed routes have one
    if order_id is None and given is None:
        raise PaperError(
            -1102, f"Param '{client_name}' or '{id_name}' must be sent, but both were empty/null!"
        )
    if order_id is None:
        order_id = exchange.engine.by_client.get((seen.account.email, symbol.name, given or ""), -1)
    order = exchange.engine.orders.get(order_id)
    if order is None or order.account != seen.account.email or order.symbol != symbol.name:
        raise PaperError(*refusal)
    if (
        given is not None
        and order.client_order_id != given
        and exchange.switches["both_order_names"] == "match"
    ):
        raise PaperError(*refusal)
    return order


def get(exchange: PaperExchange, seen: Seen) -> object:
    """Answer one order."""
    return find_order(exchange, seen, NO_SUCH_ORDER, _NAMES).shown()


def _cancelled(exchange: PaperExchange, seen: Seen, order: Order, id_name: str) -> dict[str, object]:
    if not order.open:
        raise PaperError(*UNKNOWN_ORDER)
    only = seen.params.get("cancelRestrictions")
    if only is not None and only not in _RESTRICTIONS:
        raise PaperError(-1145, "Invalid cancelRestrictions")
    if only is not None and order.status != _RESTRICTIONS[only]:
        raise PaperError(-2011, "Order was not canceled due to cancel restrictions.")
    cancel_id = client_id(seen.params, id_name)
    ended = exchange.engine.cancel(order, seen.now_us)
    exchange.record(seen, "cancel", order_record(order), {"cancelled": [entry.order_id for entry in ended]})
    if order.list_id < 0:
        return order.cancelled(cancel_id)
    shown = exchange.engine.lists[order.list_id].shown(exchange.engine.orders)
    return shown | {"orderReports": [entry.cancelled(cancel_id) for entry in ended]}


def cancel(exchange: PaperExchange, seen: Seen) -> object:
    """Cancel one order; of a list, all of it."""
    order = find_order(exchange, seen, UNKNOWN_ORDER, _NAMES)
    return _cancelled(exchange, seen, order, "newClientOrderId")


def cancel_all(exchange: PaperExchange, seen: Seen) -> object:
    """Cancel every open order of a pair."""
    symbol = find(exchange.symbols, seen.params.need("symbol"))
    found = open_orders_of(exchange, seen, symbol.name)
    if not found:
        raise PaperError(*UNKNOWN_ORDER)
    return [_cancelled(exchange, seen, order, "newClientOrderId") for order in found if order.open]


def open_orders_of(exchange: PaperExchange, seen: Seen, symbol: str | None) -> list[Order]:
    """Return the account's open orders."""
    assert seen.account is not None  # noqa: S101 - signed routes have one
    engine = exchange.engine
    wanted = [symbol] if symbol is not None else list(exchange.symbols)
    numbers = sorted(number for name in wanted for number in engine.open_ids.get(name, ()))
    return [
        engine.orders[number] for number in numbers if engine.orders[number].account == seen.account.email
    ]


# --- changed orders ---------------------------------------------------------------------------


def replace(exchange: PaperExchange, seen: Seen) -> object:
    """Cancel one order and place another; the answer tells of both halves."""
    params = seen.params
    params.need("cancelReplaceMode")
    mode = params.one_of("cancelReplaceMode", frozenset({"STOP_ON_FAILURE", "ALLOW_FAILURE"}))
    exceeded = params.one_of("orderRateLimitExceededMode", frozenset({"DO_NOTHING", "CANCEL_ONLY"}))
    _check_cancel(seen, ("cancelOrderId", "cancelOrigClientOrderId"), "cancelNewClientOrderId")
    new = read_order(exchange, seen)
    answer = answer_kind(params, "FULL" if new.kind in _FULL else "ACK")
    over: PaperError | None = None
    try:
        exchange.limits.count_orders(new.account, 1, seen.now_us)
    except PaperError as fault:
        if exceeded != "CANCEL_ONLY":
            raise
        over = fault
    halves: dict[str, object] = {}
    failures = 0
    try:
        old = find_order(exchange, seen, UNKNOWN_ORDER, ("cancelOrderId", "cancelOrigClientOrderId"))
        response = _cancelled(exchange, seen, old, "cancelNewClientOrderId")
        halves |= {"cancelResult": "SUCCESS", "cancelResponse": response}
    except PaperError as fault:
        failures += 1
        halves |= {"cancelResult": "FAILURE", "cancelResponse": {"code": fault.code, "msg": fault.text}}
    if failures and (over is not None or mode == "STOP_ON_FAILURE"):
        halves |= {"newOrderResult": "NOT_ATTEMPTED", "newOrderResponse": None}
        return _replaced(halves, _BOTH, over)
    try:
        if over is not None:
            raise over
        exchange.engine.check(new)
        response = _place_one(exchange, seen, new, answer)
        halves |= {"newOrderResult": "SUCCESS", "newOrderResponse": response}
    except PaperError as fault:
        failures += 1
        halves |= {"newOrderResult": "FAILURE", "newOrderResponse": {"code": fault.code, "msg": fault.text}}
    return _replaced(halves, failures, over)


def _replaced(halves: dict[str, Any], failures: int, over: PaperError | None) -> object:
    if not failures:
        return halves
    if failures == _BOTH:
        code, words, status = -2022, "Order cancel-replace failed.", 400
    else:
        code, words, status = -2021, "Order cancel-replace partially failed.", 409
    return Answer(status if over is None else 429, {"code": code, "msg": words, "data": halves})


def amend(exchange: PaperExchange, seen: Seen) -> object:
    """Make an order smaller and keep its place in the queue."""
    order = find_order(exchange, seen, (-2038, UNKNOWN_ORDER[1]), _NAMES)
    quantity = seen.params.number("newQty")
    if not quantity:
        raise mandatory("newQty")
    engine = exchange.engine
    found = engine.lists.get(order.list_id)
    if not order.open:
        raise PaperError(-2038, UNKNOWN_ORDER[1])
    if found is not None and found.paying and order.status == "PENDING_NEW":
        raise PaperError(-2038, "Order amend (pending OPO order) is not supported.")
    if quantity == order.quantity:
        raise PaperError(-2038, "The requested action would change no state; rejecting.")
    if quantity > order.quantity or quantity <= order.executed:
        raise PaperError(-2038, "Order amend (quantity increase) is not supported.")
    exchange.symbols[order.symbol].check_quantity(quantity)
    if len(order.amendments) >= MOST_AMENDS:
        raise PaperError(-2038, filter_failure("MAX_NUM_ORDER_AMENDS").text)
    before, was = order.client_order_id, order.quantity
    renamed = client_id(seen.params, "newClientOrderId")
    try:
        engine.rename(order, renamed)
    except PaperError as fault:
        raise PaperError(-2038, fault.text) from None
    engine.reduce(order, quantity, seen.now_us)
    execution = engine.number()
    order.amendments.append(
        {"symbol": order.symbol, "orderId": order.order_id, "executionId": execution,
         "origClientOrderId": before, "newClientOrderId": renamed, "origQty": text(was),
         "newQty": text(quantity), "time": seen.now_us // 1000}
    )  # fmt: skip
    effect: dict[str, object] = {"quantity": text(quantity), "was": text(was), "was_client_order_id": before}
    exchange.record(seen, "amend", order_record(order), effect)
    answer: dict[str, object] = {
        "transactTime": seen.now_us // 1000,
        "executionId": execution,
        "amendedOrder": order.amended(before),
    }
    if found is not None:
        shown = found.shown(engine.orders)
        answer["listStatus"] = {
            name: shown[name]
            for name in ("orderListId", "contingencyType", "listOrderStatus", "listClientOrderId", "symbol", "orders")
        }  # fmt: skip
    return answer


def amendments(exchange: PaperExchange, seen: Seen) -> object:
    """Answer how an order was amended."""
    seen.params.need("orderId")
    order = find_order(exchange, seen, NO_SUCH_ORDER, _NAMES)
    first, limit = seen.params.whole("fromExecutionId", 0) or 0, seen.params.whole("limit", 500) or 500
    return [row for row in order.amendments if int(str(row["executionId"])) >= first][:limit]


_T = "enableSpotAndMarginTrading"
ROUTES: dict[tuple[str, str], Route] = {
    ("POST", "/api/v3/order"): Route(place, "signed", 1, _T, write=True, order=True),
    ("POST", "/api/v3/order/test"): Route(try_out, "signed", 1, _T),
    ("POST", "/api/v3/sor/order"): Route(place_sor, "signed", 1, _T, write=True, order=True),
    ("POST", "/api/v3/sor/order/test"): Route(try_out_sor, "signed", 1, _T),
    ("GET", "/api/v3/order"): Route(get, "signed", 4),
    ("DELETE", "/api/v3/order"): Route(cancel, "signed", 1, _T, write=True, order=True),
    ("DELETE", "/api/v3/openOrders"): Route(cancel_all, "signed", 1, _T, write=True, order=True),
    ("POST", "/api/v3/order/cancelReplace"): Route(replace, "signed", 1, _T, write=True, order=True),
    ("PUT", "/api/v3/order/amend/keepPriority"): Route(amend, "signed", 4, _T, write=True),
    ("GET", "/api/v3/order/amendments"): Route(amendments, "signed", 4),
}
