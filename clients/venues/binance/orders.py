"""The orders that a request's parameters name. Pure.

Rules:
1. An order's parameters must be exactly those its type takes for size and price. Where two could contradict
   (price on MARKET, quantity beside quoteOrderQty, two names for one order in a write) it is unclear.
2. Groups: orders that cancel each other are alternatives in one group (OCO); orders that follow each other
   are groups of their own (OTO), because both may execute.
3. OPO sells what its working buy received, less commission, rounded down to the lot size. So the working
   quantity is an upper bound of the pending one: it stands as the pending quantity and the intent is certain.
4. An order `drifts` where the market may have risen above every price it names before it executes: what waits for a
   rise or trails it, and what follows a working sale; but a limit buy never pays more than its limit.

Source: as of `intent`.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from msgspec.structs import replace

from clients.venue import Order, Side

Values = Mapping[str, str]
Orders = tuple[tuple[Order, ...], ...]

_SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}
_MARKET = frozenset({"MARKET", "STOP_LOSS", "TAKE_PROFIT"})
_TRIGGERED = frozenset({"STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"})
_STOPS = frozenset({"STOP_LOSS", "STOP_LOSS_LIMIT"})


_LEGS = ("", "above", "below", "working", "pending", "pendingAbove", "pendingBelow")
PEGS = frozenset(
    prefix + ("P" if prefix else "p") + tail
    for prefix in _LEGS
    for tail in ("egPriceType", "egOffsetType", "egOffsetValue")
)


class Unclear(Exception):
    """An order that two readers could read differently, or no reader at all."""

    def __init__(self, reason: str, field: str) -> None:
        super().__init__(reason)
        self.reason, self.field = reason, field


def single(values: Values) -> Order:
    """Read the order of a call that places one. Only a MARKET order may be sized in the quote asset."""
    quote = values.get("quoteOrderQty")
    if quote is None:
        return _leg(values, _SINGLE, values["type"], values["side"], values.get("quantity"))
    if values["type"] != "MARKET":
        raise Unclear("unexpected", "quoteOrderQty")
    if "quantity" in values:
        raise Unclear("ambiguous", "quoteOrderQty")
    if "price" in values or not _SINGLE_EXTRAS.isdisjoint(values):
        raise Unclear("unexpected", next(name for name in values if name in {"price", *_SINGLE_EXTRAS}))
    return Order(
        values["symbol"],
        _SIDES[values["side"]],
        market=True,
        quote_quantity=Decimal(quote),
        client_order_id=values.get("newClientOrderId"),
    )


def old_oco(values: Values) -> Orders:
    """Read the deprecated OCO: a limit maker at `price`, and a stop with or without a limit."""
    side, quantity = _SIDES[values["side"]], Decimal(values["quantity"])
    if "stopPrice" not in values:
        raise Unclear("missing", "stopPrice")
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
    return ((limit, stop),)


def oco(values: Values) -> Orders:
    """Read two orders that cancel each other."""
    return (_pair(values, ("above", "below"), values["side"], values["quantity"]),)


def oto(values: Values) -> Orders:
    """Read an order and one that follows it."""
    working = _working(values)
    pending = _leg(
        values, _NAMES["pending"], values["pendingType"], values["pendingSide"], _pending_size(values)
    )
    return ((working,), (_after(working, pending),))


def otoco(values: Values) -> Orders:
    """Read an order and one or two that follow it, of which one cancels the other."""
    working = _working(values)
    side, size = values["pendingSide"], _pending_size(values)
    if "pendingBelowType" in values:
        pending = _pair(values, ("pendingAbove", "pendingBelow"), side, size)
    else:
        if any(name.startswith("pendingBelow") for name in values):
            raise Unclear("missing", "pendingBelowType")
        pending = (_leg(values, _NAMES["pendingAbove"], values["pendingAboveType"], side, size),)
    return ((working,), tuple(_after(working, leg) for leg in pending))


def opo(values: Values) -> Orders:
    """Read a buy, and a sale of what it buys (rule 3)."""
    _pays(values)
    return oto(values)


def opoco(values: Values) -> Orders:
    """Read a buy, and one or two sales of what it buys (rule 3)."""
    _pays(values)
    return otoco(values)


def _pays(values: Values) -> None:
    """Hold the sides that rule 3 depends on; the venue refuses others (-1222, -1223)."""
    if values["workingSide"] != "BUY":
        raise Unclear("unexpected", "workingSide")
    if values["pendingSide"] != "SELL":
        raise Unclear("unexpected", "pendingSide")


def _pending_size(values: Values) -> str:
    """Return the pending quantity; for OPO, which sends none, its upper bound (rule 3)."""
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
        raise Unclear("unexpected", below + "Type")
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
    """Read one order with a quantity in the base asset (rule 1)."""
    if size is None:
        raise Unclear("missing", "quantity")
    price, trigger = values.get(names.price), values.get(names.stop)
    if kind in _MARKET:
        _refuse_present(values, names.price, names.peg)
    elif price is None and names.peg not in values:
        raise Unclear("missing", names.price)
    if kind not in _TRIGGERED:
        _refuse_present(values, names.stop, names.trailing)
    elif trigger is None and names.trailing not in values:
        raise Unclear("missing", names.stop)
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
    """Tell whether an order may execute above every price it names (rule 4)."""
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
        raise Unclear("unexpected", first)
    if second in values:
        raise Unclear("unexpected", second)
