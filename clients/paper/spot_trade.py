"""Orders of the paper exchange, `/api/v3/order` and its kin: placed, asked for, cancelled, replaced, amended.

Source: Binance spot REST docs, "Trading endpoints" and "Account endpoints", state of 2026-07-21.
"""

import secrets

from clients.paper.errors import NO_SUCH_ORDER, UNKNOWN_ORDER, PaperError, mandatory
from clients.paper.exchange import Answer, PaperExchange, Route, Seen
from clients.paper.ledger import ZERO
from clients.paper.orders import STOPS, Order
from clients.paper.symbols import find, text

_TYPES = frozenset({"LIMIT", "LIMIT_MAKER", "MARKET", *STOPS})
_PRICED = frozenset({"LIMIT", "LIMIT_MAKER", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"})
_TIMED = frozenset({"LIMIT", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"})
_FULL = frozenset({"LIMIT", "MARKET"})


def fresh_client_id() -> str:
    """Return a client order id, as the venue makes one where the client gave none."""
    return secrets.token_urlsafe(16).replace("-", "a").replace("_", "b")


def read_order(
    exchange: PaperExchange, seen: Seen, prefix: str = "", *, side: str | None = None, size: str = "quantity"
) -> Order:
    """Read one order of a call; the legs of lists carry a prefix."""

    def name(word: str) -> str:
        return prefix + word[0].upper() + word[1:] if prefix else word

    params = seen.params
    symbol = find(exchange.symbols, params.need("symbol"))
    side = side or params.need(name("side"))
    kind = params.need(name("type"))
    if side not in {"BUY", "SELL"}:
        raise PaperError(-1117, "Invalid side.")
    if kind not in _TYPES:
        raise PaperError(-1116, "Invalid orderType.")
    quantity, quote = params.number(size), None if prefix else params.number("quoteOrderQty")
    price, stop = params.number(name("price")), params.number(name("stopPrice"))
    trailing = params.whole(name("trailingDelta"))
    if quantity is None and (quote is None or kind != "MARKET"):
        raise mandatory(size)
    if quantity is not None and quote is not None:
        raise PaperError(-1106, "Parameter 'quoteOrderQty' sent when not required.")
    if kind in _PRICED and price is None:
        raise mandatory(name("price"))
    if kind not in _PRICED and price is not None:
        raise PaperError(-1106, f"Parameter '{name('price')}' sent when not required.")
    if kind in STOPS and stop is None and trailing is None:
        raise mandatory(name("stopPrice"))
    if kind not in STOPS and stop is not None:
        raise PaperError(-1106, f"Parameter '{name('stopPrice')}' sent when not required.")
    force = params.get(name("timeInForce"))
    if kind in _TIMED and force is None:
        raise mandatory(name("timeInForce"))
    if force is not None and force not in {"GTC", "IOC", "FOK"}:
        raise PaperError(-1115, "Invalid timeInForce.")
    id_name = name("clientOrderId") if prefix else "newClientOrderId"
    client_id = params.get(id_name) or fresh_client_id()
    assert seen.account is not None and seen.key is not None  # noqa: S101, PT018 - signed routes have both
    return Order(
        exchange.engine.number(), seen.account.email, seen.key.key_id, symbol.name, side, kind, force or "GTC",
        client_id, seen.now_us, quantity or ZERO, quote or ZERO, price or ZERO, stop or ZERO, trailing or 0,
        stp=params.get("selfTradePreventionMode", "EXPIRE_MAKER"),
    )  # fmt: skip


def order_record(order: Order) -> dict[str, object]:
    """Return an order as the record of executions has it."""
    return {
        "symbol": order.symbol,
        "side": order.side,
        "type": order.kind,
        "quantity": text(order.quantity) if order.quantity else None,
        "quote_quantity": text(order.quote_quantity) if order.quote_quantity else None,
        "price": text(order.price) if order.price else None,
        "trigger": text(order.stop_price) if order.stop_price else None,
        "order_id": order.order_id,
        "client_order_id": order.client_order_id,
    }


def _place_one(exchange: PaperExchange, seen: Seen, order: Order, action: str) -> dict[str, object]:
    exchange.engine.check(order)
    exchange.limits.count_orders(order.account, 1, seen.now_us)
    shown = order_record(order)
    exchange.engine.place(order, seen.now_us)
    exchange.record(seen, action, shown, {"status": order.status, "executed": text(order.executed)})
    answer = seen.params.get("newOrderRespType") or ("FULL" if order.kind in _FULL else "ACK")
    if answer not in {"ACK", "RESULT", "FULL"}:
        raise PaperError(-1100, "Illegal characters found in parameter 'newOrderRespType'.")
    return order.placed(answer)


def place(exchange: PaperExchange, seen: Seen) -> object:
    """Place an order."""
    return _place_one(exchange, seen, read_order(exchange, seen), "place")


def try_out(exchange: PaperExchange, seen: Seen) -> object:
    """Check an order without placing it."""
    exchange.engine.check(read_order(exchange, seen))
    if seen.params.get("computeCommissionRates") == "true":
        rates = {"maker": "0.00100000", "taker": "0.00100000"}
        return {"standardCommissionForOrder": rates, "taxCommissionForOrder": rates, "discount": {}}
    return {}


def find_order(
    exchange: PaperExchange, seen: Seen, refusal: tuple[int, str], names: tuple[str, str]
) -> Order:
    """Return the account's order that a call names."""
    id_name, client_name = names
    symbol = find(exchange.symbols, seen.params.need("symbol"))
    order_id, client_id = seen.params.whole(id_name), seen.params.get(client_name)
    assert seen.account is not None  # noqa: S101 - signed routes have one
    if order_id is None and client_id is None:
        raise PaperError(
            -1102, f"Param '{client_name}' or '{id_name}' must be sent, but both were empty/null!"
        )
    if order_id is None:
        order_id = exchange.engine.by_client.get((seen.account.email, symbol.name, client_id or ""), -1)
    order = exchange.engine.orders.get(order_id)
    if order is None or order.account != seen.account.email or order.symbol != symbol.name:
        raise PaperError(*refusal)
    if client_id is not None and order.client_order_id != client_id:
        raise PaperError(*refusal)
    return order


_NAMES = ("orderId", "origClientOrderId")


def get(exchange: PaperExchange, seen: Seen) -> object:
    """Answer one order."""
    return find_order(exchange, seen, NO_SUCH_ORDER, _NAMES).shown()


def _cancelled(exchange: PaperExchange, seen: Seen, order: Order) -> dict[str, object]:
    if not order.open:
        raise PaperError(*UNKNOWN_ORDER)
    ended = exchange.engine.cancel(order, seen.now_us)
    exchange.record(seen, "cancel", order_record(order), {"cancelled": [entry.order_id for entry in ended]})
    cancel_id = seen.params.get("newClientOrderId") or fresh_client_id()
    if order.list_id < 0:
        return order.cancelled(cancel_id)
    shown = exchange.engine.lists[order.list_id].shown(exchange.engine.orders)
    return shown | {"orderReports": [entry.cancelled(cancel_id) for entry in ended]}


def cancel(exchange: PaperExchange, seen: Seen) -> object:
    """Cancel one order; of a list, all of it."""
    return _cancelled(exchange, seen, find_order(exchange, seen, UNKNOWN_ORDER, _NAMES))


def cancel_all(exchange: PaperExchange, seen: Seen) -> object:
    """Cancel every open order of a pair."""
    symbol = find(exchange.symbols, seen.params.need("symbol"))
    found = open_orders_of(exchange, seen, symbol.name)
    if not found:
        raise PaperError(*UNKNOWN_ORDER)
    return [_cancelled(exchange, seen, order) for order in found if order.open]


def open_orders_of(exchange: PaperExchange, seen: Seen, symbol: str | None) -> list[Order]:
    """Return the account's open orders."""
    assert seen.account is not None  # noqa: S101 - signed routes have one
    engine = exchange.engine
    wanted = [symbol] if symbol is not None else list(exchange.symbols)
    numbers = sorted(number for name in wanted for number in engine.open_ids.get(name, ()))
    return [
        engine.orders[number] for number in numbers if engine.orders[number].account == seen.account.email
    ]


def replace(exchange: PaperExchange, seen: Seen) -> object:
    """Cancel one order and place another; the answer tells of both halves."""
    mode = seen.params.need("cancelReplaceMode")
    if mode not in {"STOP_ON_FAILURE", "ALLOW_FAILURE"}:
        raise PaperError(-1100, "Illegal characters found in parameter 'cancelReplaceMode'.")
    new = read_order(exchange, seen)
    halves: dict[str, object] = {}
    failures = 0
    try:
        old = find_order(exchange, seen, UNKNOWN_ORDER, ("cancelOrderId", "cancelOrigClientOrderId"))
        halves |= {"cancelResult": "SUCCESS", "cancelResponse": _cancelled(exchange, seen, old)}
    except PaperError as fault:
        failures += 1
        halves |= {"cancelResult": "FAILURE", "cancelResponse": {"code": fault.code, "msg": fault.text}}
    if failures and mode == "STOP_ON_FAILURE":
        halves |= {"newOrderResult": "NOT_ATTEMPTED", "newOrderResponse": None}
        return Answer(400, {"code": -2022, "msg": "Order cancel-replace failed.", "data": halves})
    try:
        halves |= {"newOrderResult": "SUCCESS", "newOrderResponse": _place_one(exchange, seen, new, "place")}
    except PaperError as fault:
        failures += 1
        halves |= {"newOrderResult": "FAILURE", "newOrderResponse": {"code": fault.code, "msg": fault.text}}
    if failures == 2:  # noqa: PLR2004 - both halves
        return Answer(400, {"code": -2022, "msg": "Order cancel-replace failed.", "data": halves})
    if failures:
        text_of = "Order cancel-replace partially failed."
        return Answer(409, {"code": -2021, "msg": text_of, "data": halves})
    return halves


def amend(exchange: PaperExchange, seen: Seen) -> object:
    """Make an order smaller and keep its place in the queue."""
    order = find_order(exchange, seen, NO_SUCH_ORDER, _NAMES)
    quantity = seen.params.number("newQty")
    if quantity is None:
        raise mandatory("newQty")
    if not order.open:
        raise PaperError(-2038, "The order amend request is rejected.")
    if quantity >= order.quantity or quantity <= order.executed:
        raise PaperError(-2038, "The requested quantity is not smaller than the order's.")
    exchange.engine.reduce(order, quantity, seen.now_us)
    renamed = seen.params.get("newClientOrderId")
    if renamed:
        order.client_order_id = renamed
        exchange.engine.by_client[(order.account, order.symbol, renamed)] = order.order_id
    exchange.record(seen, "amend", order_record(order), {"quantity": text(quantity)})
    return {
        "transactTime": seen.now_us // 1000,
        "executionId": exchange.engine.number(),
        "amendedOrder": {
            **order.shown(), "preventedQty": "0.00000000", "cumulativeQuoteQty": text(order.executed_quote),
            "qty": text(quantity),
        },
    }  # fmt: skip


_T = "enableSpotAndMarginTrading"
ROUTES: dict[tuple[str, str], Route] = {
    ("POST", "/api/v3/order"): Route(place, "signed", 1, _T, write=True),
    ("POST", "/api/v3/order/test"): Route(try_out, "signed", 1, _T),
    ("POST", "/api/v3/sor/order"): Route(place, "signed", 1, _T, write=True),
    ("POST", "/api/v3/sor/order/test"): Route(try_out, "signed", 1, _T),
    ("GET", "/api/v3/order"): Route(get, "signed", 4),
    ("DELETE", "/api/v3/order"): Route(cancel, "signed", 1, _T, write=True),
    ("DELETE", "/api/v3/openOrders"): Route(cancel_all, "signed", 1, _T, write=True),
    ("POST", "/api/v3/order/cancelReplace"): Route(replace, "signed", 1, _T, write=True),
    ("PUT", "/api/v3/order/amend/keepPriority"): Route(amend, "signed", 4, _T, write=True),
}
