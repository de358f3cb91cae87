"""What a Binance request would do. Pure, and the only judge of it.

Rules:
1. The endpoint decides the action; parameters decide symbols, orders, target and weight.
2. An order's parameters must be exactly those its type takes for size and price. Where two could contradict
   (price on MARKET, quantity beside quoteOrderQty, two names for one order in a write) it is malformed.
3. Pegged orders have no price of their own: recognised, `certain=False`. So are all writes that are named
   without a grammar (margin, convert, algo, transfers, withdrawals, key administration).
4. Groups: orders that cancel each other are alternatives in one group (OCO); orders that follow each other
   are groups of their own (OTO), because both may execute.
5. OPO sells what its working buy received, less commission, rounded down to the lot size. So the working
   quantity is an upper bound of the pending one: it stands as the pending quantity and the intent is certain.
6. cancelReplace is `PLACE` with `target`: it may place although the cancel failed, so it is an order.
7. An order `drifts` where the market may have risen above every price it names before it executes: what waits for a
   rise or trails it, and what follows a working sale; but a limit buy never pays more than its limit.
8. keepPriority can only reduce (`shrinks`); it names no side or price, so it carries no `orders`.

Source: Binance spot REST docs, rest-api.md sections "Trading endpoints" and "Account endpoints", faqs/opo.md,
faqs/pegged_orders.md, state of 2026-07-21.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import NamedTuple

from msgspec.structs import replace

from clients.venue import Action, Intent, Malformed, Order, OrderRef, Side
from clients.venues.binance.endpoints import Endpoint
from clients.venues.binance.form import Form
from clients.venues.binance.weights import named_symbols, weigh

Values = Mapping[str, str]
Orders = tuple[tuple[Order, ...], ...]

UNKNOWN = Intent(Action.UNKNOWN, "unknown", "unknown", certain=False)

_SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}
_MARKET = frozenset({"MARKET", "STOP_LOSS", "TAKE_PROFIT"})
_TRIGGERED = frozenset({"STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"})
_STOPS = frozenset({"STOP_LOSS", "STOP_LOSS_LIMIT"})


class _Unclear(Exception):
    """An order that two readers could read differently, or no reader at all."""

    def __init__(self, reason: str, field: str) -> None:
        super().__init__(reason)
        self.reason, self.field = reason, field


def judge(endpoint: Endpoint | None, form: Form) -> Intent | Malformed:
    """Tell what a request would do.

    Args:
        endpoint: Row of the table; None where the path is not in it.
        form: Its form, parsed with that row's grammars.

    Returns:
        The intent; `Malformed` where readers could disagree on it.
    """
    if endpoint is None:
        return UNKNOWN
    values = form.values
    reader = _READERS.get(endpoint.name)
    try:
        if reader is not None:
            return reader(endpoint, values)
        return _plain(endpoint, values)
    except _Unclear as fault:
        return Malformed(fault.reason, fault.field, endpoint.name)


def client_id_names(endpoint_name: str, values: Values) -> tuple[str, ...]:
    """Name the client order id parameters that a request leaves out and that a new order would carry."""
    names = _CLIENT_IDS.get(endpoint_name)
    if names is None:
        return ()
    if endpoint_name in _OPTIONAL_BELOW and "pendingBelowType" not in values:
        names = names[:-1]
    return tuple(name for name in names if name not in values)


def _plain(endpoint: Endpoint, values: Values) -> Intent:
    """Read an endpoint that places nothing we size."""
    known = endpoint.grammars is not None
    return Intent(
        endpoint.action,
        endpoint.name,
        endpoint.group,
        weigh(endpoint, values),
        named_symbols(values),
        certain=known or endpoint.action is Action.READ,
        account_wide=not known and endpoint.action in _ACCOUNT_WIDE,
        weight_pool="ip" if endpoint.pool == "ip" else f"{endpoint.pool}:{endpoint.name}",
    )


_ACCOUNT_WIDE = frozenset(
    {Action.TRANSFER, Action.WITHDRAW, Action.KEY_ADMIN, Action.SETTING, Action.LEVERAGE, Action.CANCEL}
)


# --- orders -----------------------------------------------------------------------------------


def _placing(endpoint: Endpoint, values: Values, orders: Orders, target: OrderRef | None = None) -> Intent:
    return Intent(
        endpoint.action,
        endpoint.name,
        endpoint.group,
        weigh(endpoint, values),
        (values["symbol"],),
        orders,
        target,
        certain=_PEGS.isdisjoint(values),
        dry_run=endpoint.name in _DRY_RUNS,
        list_client_id=values.get("listClientOrderId"),
    )


_LEGS = ("", "above", "below", "working", "pending", "pendingAbove", "pendingBelow")
_PEGS = frozenset(
    prefix + ("P" if prefix else "p") + tail
    for prefix in _LEGS
    for tail in ("egPriceType", "egOffsetType", "egOffsetValue")
)
_DRY_RUNS = frozenset({"spot.order.test", "spot.sor.test"})


def _order(endpoint: Endpoint, values: Values) -> Intent:
    return _placing(endpoint, values, ((_single(values),),))


def _replace(endpoint: Endpoint, values: Values) -> Intent:
    target = _target(values, "cancelOrderId", "cancelOrigClientOrderId")
    return _placing(endpoint, values, ((_single(values),),), target)


def _single(values: Values) -> Order:
    """Read the order of a call that places one. Only a MARKET order may be sized in the quote asset."""
    quote = values.get("quoteOrderQty")
    if quote is None:
        return _leg(values, _SINGLE, values["type"], values["side"], values.get("quantity"))
    if values["type"] != "MARKET":
        raise _Unclear("unexpected", "quoteOrderQty")
    if "quantity" in values:
        raise _Unclear("ambiguous", "quoteOrderQty")
    if "price" in values or not _SINGLE_EXTRAS.isdisjoint(values):
        raise _Unclear("unexpected", next(name for name in values if name in {"price", *_SINGLE_EXTRAS}))
    return Order(
        values["symbol"],
        _SIDES[values["side"]],
        market=True,
        quote_quantity=Decimal(quote),
        client_order_id=values.get("newClientOrderId"),
    )


def _old_oco(endpoint: Endpoint, values: Values) -> Intent:
    """Read the deprecated OCO: a limit maker at `price`, and a stop with or without a limit."""
    side, quantity = _SIDES[values["side"]], Decimal(values["quantity"])
    if "stopPrice" not in values:
        raise _Unclear("missing", "stopPrice")
    limit = Order(
        values["symbol"],
        side,
        market=False,
        quantity=quantity,
        price=Decimal(values["price"]),
        client_order_id=values.get("limitClientOrderId"),
    )
    stop_limit = values.get("stopLimitPrice")
    stop = Order(
        values["symbol"],
        side,
        market=stop_limit is None,
        quantity=quantity,
        price=None if stop_limit is None else Decimal(stop_limit),
        trigger=Decimal(values["stopPrice"]),
        client_order_id=values.get("stopClientOrderId"),
        drifts=_drifts("STOP_LOSS", side, limit=stop_limit is not None, trails="trailingDelta" in values),
        rises=_rises("STOP_LOSS", side),
        trails="trailingDelta" in values,
    )
    return _placing(endpoint, values, ((limit, stop),))


def _oco(endpoint: Endpoint, values: Values) -> Intent:
    pair = _pair(values, ("above", "below"), values["side"], values["quantity"])
    return _placing(endpoint, values, (pair,))


def _oto(endpoint: Endpoint, values: Values) -> Intent:
    working = _working(values)
    pending = _leg(
        values, _NAMES["pending"], values["pendingType"], values["pendingSide"], _pending_size(values)
    )
    return _placing(endpoint, values, ((working,), (_after(working, pending),)))


def _otoco(endpoint: Endpoint, values: Values) -> Intent:
    working = _working(values)
    side, size = values["pendingSide"], _pending_size(values)
    if "pendingBelowType" in values:
        pending = _pair(values, ("pendingAbove", "pendingBelow"), side, size)
    else:
        if any(name.startswith("pendingBelow") for name in values):
            raise _Unclear("missing", "pendingBelowType")
        pending = (_leg(values, _NAMES["pendingAbove"], values["pendingAboveType"], side, size),)
    return _placing(endpoint, values, ((working,), tuple(_after(working, leg) for leg in pending)))


def _opo(endpoint: Endpoint, values: Values) -> Intent:
    _pays(values)
    return _oto(endpoint, values)


def _opoco(endpoint: Endpoint, values: Values) -> Intent:
    _pays(values)
    return _otoco(endpoint, values)


def _pays(values: Values) -> None:
    """Hold the sides that rule 5 depends on; the venue refuses others (-1222, -1223)."""
    if values["workingSide"] != "BUY":
        raise _Unclear("unexpected", "workingSide")
    if values["pendingSide"] != "SELL":
        raise _Unclear("unexpected", "pendingSide")


def _pending_size(values: Values) -> str:
    """Return the pending quantity; for OPO, which sends none, its upper bound (rule 5)."""
    return values.get("pendingQuantity") or values["workingQuantity"]


def _working(values: Values) -> Order:
    return _leg(
        values, _NAMES["working"], values["workingType"], values["workingSide"], values["workingQuantity"]
    )


def _pair(values: Values, prefixes: tuple[str, str], side: str, size: str) -> tuple[Order, ...]:
    """Read two orders that cancel each other: one a stop, the other not."""
    above, below = prefixes
    above_type, below_type = values[above + "Type"], values[below + "Type"]
    if (above_type in _STOPS) == (below_type in _STOPS):
        raise _Unclear("unexpected", below + "Type")
    return (
        _leg(values, _NAMES[above], above_type, side, size),
        _leg(values, _NAMES[below], below_type, side, size),
    )


class _Names(NamedTuple):
    """The parameter names of one order within a request."""

    price: str
    stop: str
    trailing: str
    peg: str
    client_id: str


def _names(prefix: str) -> _Names:
    return _Names(
        *(prefix + name for name in ("Price", "StopPrice", "TrailingDelta", "PegPriceType", "ClientOrderId"))
    )


_SINGLE = _Names("price", "stopPrice", "trailingDelta", "pegPriceType", "newClientOrderId")
_SINGLE_EXTRAS = frozenset({"stopPrice", "trailingDelta", "pegPriceType"})
_NAMES = {prefix: _names(prefix) for prefix in _LEGS if prefix}


def _leg(values: Values, names: _Names, kind: str, side: str, size: str | None) -> Order:
    """Read one order with a quantity in the base asset (rule 2)."""
    if size is None:
        raise _Unclear("missing", "quantity")
    price, trigger = values.get(names.price), values.get(names.stop)
    if kind in _MARKET:
        _refuse_present(values, names.price, names.peg)
    elif price is None and names.peg not in values:
        raise _Unclear("missing", names.price)
    if kind not in _TRIGGERED:
        _refuse_present(values, names.stop, names.trailing)
    elif trigger is None and names.trailing not in values:
        raise _Unclear("missing", names.stop)
    return Order(
        values["symbol"],
        _SIDES[side],
        kind in _MARKET,
        Decimal(size),
        None,
        None if price is None else Decimal(price),
        None if trigger is None else Decimal(trigger),
        values.get(names.client_id),
        drifts=_drifts(kind, _SIDES[side], limit=kind not in _MARKET, trails=names.trailing in values),
        rises=_rises(kind, _SIDES[side]),
        trails=names.trailing in values,
    )


def _rises(kind: str, side: Side) -> bool | None:
    """Tell whether an order waits for a rise or a fall of the market, if for either."""
    return (kind in _STOPS) == (side is Side.BUY) if kind in _TRIGGERED else None


def _drifts(kind: str, side: Side, *, limit: bool, trails: bool) -> bool:
    """Tell whether an order may execute above every price it names (rule 7)."""
    if side is Side.BUY:
        return not limit and (trails or kind in _STOPS)
    return trails or (kind in _TRIGGERED and kind not in _STOPS)


def _after(working: Order, leg: Order) -> Order:
    """Return a pending order as it is once its working order was filled."""
    rises = working.side is Side.SELL and not (leg.side is Side.BUY and leg.price is not None)
    return replace(
        leg, starts=working.price, after_sale=working.side is Side.SELL, drifts=leg.drifts or rises
    )


def _refuse_present(values: Values, first: str, second: str) -> None:
    if first in values:
        raise _Unclear("unexpected", first)
    if second in values:
        raise _Unclear("unexpected", second)


# --- existing orders --------------------------------------------------------------------------


def _target(values: Values, id_name: str, client_name: str, *, is_list: bool = False) -> OrderRef:
    """Read which order a write is about. Both names may stand: it is own only where both are of one own order.

    So it does not matter which of them the venue goes by.
    """
    order_id, client_id = values.get(id_name), values.get(client_name)
    if order_id is None and client_id is None:
        raise _Unclear("missing", id_name)
    return OrderRef(values["symbol"], order_id, client_id, is_list)


def _touching(endpoint: Endpoint, values: Values, target: OrderRef) -> Intent:
    return Intent(
        endpoint.action,
        endpoint.name,
        endpoint.group,
        endpoint.weight,
        (values["symbol"],),
        target=target,
        account_wide=target.all_open,
        shrinks=endpoint.action is Action.AMEND,
    )


def _one_order(endpoint: Endpoint, values: Values) -> Intent:
    return _touching(endpoint, values, _target(values, "orderId", "origClientOrderId"))


def _one_list(endpoint: Endpoint, values: Values) -> Intent:
    return _touching(endpoint, values, _target(values, "orderListId", "listClientOrderId", is_list=True))


def _all_open(endpoint: Endpoint, values: Values) -> Intent:
    return _touching(endpoint, values, OrderRef(values["symbol"], all_open=True))


def _asked_order(endpoint: Endpoint, values: Values) -> Intent:
    """Read a question about one order. Both names may stand: it changes nothing."""
    intent = _plain(endpoint, values)
    is_list = endpoint.name == "spot.order_list.get"
    target = OrderRef(
        values.get("symbol"),
        values.get("orderListId" if is_list else "orderId"),
        values.get("origClientOrderId"),
        is_list,
    )
    return Intent(intent.action, intent.endpoint, intent.group, intent.weight, intent.symbols, target=target)


_READERS: Mapping[str, Callable[[Endpoint, Values], Intent]] = {
    "spot.order.place": _order,
    "spot.order.test": _order,
    "spot.sor.place": _order,
    "spot.sor.test": _order,
    "spot.order.replace": _replace,
    "spot.order_list.oco_old": _old_oco,
    "spot.order_list.oco": _oco,
    "spot.order_list.oto": _oto,
    "spot.order_list.otoco": _otoco,
    "spot.order_list.opo": _opo,
    "spot.order_list.opoco": _opoco,
    "spot.order.amend": _one_order,
    "spot.order.cancel": _one_order,
    "spot.order.cancel_all": _all_open,
    "spot.order_list.cancel": _one_list,
    "spot.order.get": _asked_order,
    "spot.order_list.get": _asked_order,
}

_PENDING = ("listClientOrderId", "workingClientOrderId", "pendingClientOrderId")
_PENDING_BOTH = (
    "listClientOrderId",
    "workingClientOrderId",
    "pendingAboveClientOrderId",
    "pendingBelowClientOrderId",
)
_OPTIONAL_BELOW = frozenset({"spot.order_list.otoco", "spot.order_list.opoco"})

_CLIENT_IDS: Mapping[str, tuple[str, ...]] = {
    "spot.order.place": ("newClientOrderId",),
    "spot.sor.place": ("newClientOrderId",),
    "spot.order.replace": ("newClientOrderId",),
    "spot.order.amend": ("newClientOrderId",),
    "spot.order_list.oco_old": ("listClientOrderId", "limitClientOrderId", "stopClientOrderId"),
    "spot.order_list.oco": ("listClientOrderId", "aboveClientOrderId", "belowClientOrderId"),
    "spot.order_list.oto": _PENDING,
    "spot.order_list.otoco": _PENDING_BOTH,
    "spot.order_list.opo": _PENDING,
    "spot.order_list.opoco": _PENDING_BOTH,
}
