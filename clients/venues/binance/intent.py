"""What a Binance request would do. Pure, and the only judge of it.

Rules:
1. The endpoint decides the action; parameters decide symbols, orders, target and weight.
2. What its orders are `orders` reads; where two readers could read them differently it is malformed.
3. Pegged orders have no price of their own: recognised, `certain=False`. So are all writes that are named
   without a grammar (margin, convert, algo, transfers, withdrawals, key administration).
4. cancelReplace is `PLACE` with `target`: it may place although the cancel failed, so it is an order.
5. keepPriority can only reduce (`shrinks`); it names no side or price, so it carries no `orders`.

Source: Binance spot REST docs, rest-api.md sections "Trading endpoints" and "Account endpoints", faqs/opo.md,
faqs/pegged_orders.md, state of 2026-07-21.
"""

from collections.abc import Callable, Mapping

from clients.venue import Action, Intent, Malformed, OrderRef
from clients.venues.binance import orders
from clients.venues.binance.endpoints import Endpoint
from clients.venues.binance.endpoints_market import LISTINGS
from clients.venues.binance.form import Form
from clients.venues.binance.orders import PEGS, Orders, Unclear, Values, single
from clients.venues.binance.weights import named_symbols, weigh

UNKNOWN = Intent(Action.UNKNOWN, "unknown", "unknown", certain=False)


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
    except Unclear as fault:
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
    symbols = named_symbols(values)
    return Intent(
        endpoint.action,
        endpoint.name,
        endpoint.group,
        weigh(endpoint, values),
        symbols,
        certain=known or endpoint.action is Action.READ,
        account_wide=not known and endpoint.action in _ACCOUNT_WIDE,
        weight_pool="ip" if endpoint.pool == "ip" else f"{endpoint.pool}:{endpoint.name}",
        listing=endpoint.name in LISTINGS and not symbols,
    )


_ACCOUNT_WIDE = frozenset(
    {Action.TRANSFER, Action.WITHDRAW, Action.KEY_ADMIN, Action.SETTING, Action.LEVERAGE, Action.CANCEL}
)


# --- orders -----------------------------------------------------------------------------------


def _placing(endpoint: Endpoint, values: Values, groups: Orders, target: OrderRef | None = None) -> Intent:
    return Intent(
        endpoint.action,
        endpoint.name,
        endpoint.group,
        weigh(endpoint, values),
        (values["symbol"],),
        groups,
        target,
        certain=PEGS.isdisjoint(values),
        dry_run=endpoint.name in _DRY_RUNS,
        list_client_id=values.get("listClientOrderId"),
        persists=values.get("cancelReplaceMode") == "ALLOW_FAILURE",
    )


_DRY_RUNS = frozenset({"spot.order.test", "spot.sor.test"})


def _places(read: Callable[[Values], Orders]) -> Callable[[Endpoint, Values], Intent]:
    """Return the reader of an endpoint that places what a reader of orders finds."""
    return lambda endpoint, values: _placing(endpoint, values, read(values))


def _order(endpoint: Endpoint, values: Values) -> Intent:
    return _placing(endpoint, values, ((single(values),),))


def _replace(endpoint: Endpoint, values: Values) -> Intent:
    target = _target(values, "cancelOrderId", "cancelOrigClientOrderId")
    return _placing(endpoint, values, ((single(values),),), target)


# --- existing orders --------------------------------------------------------------------------


def _target(values: Values, id_name: str, client_name: str, *, is_list: bool = False) -> OrderRef:
    """Read which order a write is about. Both names may stand: it is own only where both are of one own order.

    So it does not matter which of them the venue goes by.
    """
    order_id, client_id = values.get(id_name), values.get(client_name)
    if order_id is None and client_id is None:
        raise Unclear("missing", id_name)
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
    "spot.order_list.oco_old": _places(orders.old_oco),
    "spot.order_list.oco": _places(orders.oco),
    "spot.order_list.oto": _places(orders.oto),
    "spot.order_list.otoco": _places(orders.otoco),
    "spot.order_list.opo": _places(orders.opo),
    "spot.order_list.opoco": _places(orders.opoco),
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
