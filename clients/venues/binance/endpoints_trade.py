"""Endpoints of `/api` that place, change and cancel orders, with every parameter they take."""

from clients.venue import Action
from clients.venues.binance import grammar as g
from clients.venues.binance.endpoint import ONE_ORDER, STAMP, SYMBOL, V3, Grammars, trade
from clients.venues.binance.grammar import Grammar

_ANSWER: Grammars = {"newOrderRespType": g.ANSWER_TYPE, "selfTradePreventionMode": g.PREVENTION}

_LEG_SUFFIXES: Grammars = {
    "ClientOrderId": g.CLIENT_ID,
    "Price": g.POSITIVE,
    "StopPrice": g.POSITIVE,
    "TrailingDelta": g.INTEGER,
    "IcebergQty": g.DECIMAL,
    "TimeInForce": g.TIME_IN_FORCE,
    "StrategyId": g.INTEGER,
    "StrategyType": g.INTEGER,
    "PegPriceType": g.PEG,
    "PegOffsetType": g.PEG_OFFSET,
    "PegOffsetValue": g.INTEGER,
}


def _leg(prefix: str, kind: Grammar, **more: Grammar) -> dict[str, Grammar]:
    """Return the grammars of one leg of an order list: `abovePrice`, `pendingBelowStopPrice`, ..."""
    suffixes = {**_LEG_SUFFIXES, "Type": kind, **more}
    return {prefix + suffix: grammar for suffix, grammar in suffixes.items()}


def _working() -> dict[str, Grammar]:
    legs = _leg("working", g.WORKING_TYPE, Side=g.SIDE, Quantity=g.POSITIVE)
    del legs["workingStopPrice"], legs["workingTrailingDelta"]
    return legs


_ORDER: Grammars = {
    "symbol": g.symbol,
    "side": g.SIDE,
    "type": g.ORDER_TYPE,
    "timeInForce": g.TIME_IN_FORCE,
    "quantity": g.POSITIVE,
    "quoteOrderQty": g.POSITIVE,
    "price": g.POSITIVE,
    "newClientOrderId": g.CLIENT_ID,
    "strategyId": g.INTEGER,
    "strategyType": g.INTEGER,
    "stopPrice": g.POSITIVE,
    "trailingDelta": g.INTEGER,
    "icebergQty": g.DECIMAL,
    "pegPriceType": g.PEG,
    "pegOffsetType": g.PEG_OFFSET,
    "pegOffsetValue": g.INTEGER,
    **_ANSWER,
    **STAMP,
}
_SOR: Grammars = {
    name: grammar
    for name, grammar in _ORDER.items()
    if name not in {"quoteOrderQty", "stopPrice", "trailingDelta"} and not name.startswith("peg")
} | {"type": g.SOR_TYPE}
_TEST: Grammars = {"computeCommissionRates": g.BOOLEAN}
_REPLACE: Grammars = {
    **_ORDER,
    "cancelReplaceMode": g.REPLACE_MODE,
    "cancelNewClientOrderId": g.CLIENT_ID,
    "cancelOrigClientOrderId": g.CLIENT_ID,
    "cancelOrderId": g.INTEGER,
    "cancelRestrictions": g.CANCEL_IF,
    "orderRateLimitExceededMode": g.EXCEEDED_MODE,
}
_LIST: Grammars = {"symbol": g.symbol, "listClientOrderId": g.CLIENT_ID, **_ANSWER, **STAMP}
_OLD_OCO: Grammars = {
    **_LIST,
    "side": g.SIDE,
    "quantity": g.POSITIVE,
    "limitClientOrderId": g.CLIENT_ID,
    "price": g.POSITIVE,
    "limitStrategyId": g.INTEGER,
    "limitStrategyType": g.INTEGER,
    "limitIcebergQty": g.DECIMAL,
    "trailingDelta": g.INTEGER,
    "stopClientOrderId": g.CLIENT_ID,
    "stopPrice": g.POSITIVE,
    "stopStrategyId": g.INTEGER,
    "stopStrategyType": g.INTEGER,
    "stopLimitPrice": g.POSITIVE,
    "stopIcebergQty": g.DECIMAL,
    "stopLimitTimeInForce": g.TIME_IN_FORCE,
}
_PENDING_PAIR: Grammars = {
    "pendingSide": g.SIDE,
    **_leg("pendingAbove", g.ABOVE_TYPE),
    **_leg("pendingBelow", g.ABOVE_TYPE),
}
_SIZE: Grammars = {"quantity": g.POSITIVE}
_PENDING_SIZE: Grammars = {"pendingQuantity": g.POSITIVE}

_WORKING_NEEDS = ("symbol", "workingType", "workingSide", "workingPrice", "workingQuantity")

_TYPED = ("symbol", "side", "type")

TRADE = (
    trade("POST", V3 + "order", "spot.order.place", Action.PLACE, _ORDER, *_TYPED),
    trade("POST", V3 + "order/test", "spot.order.test", Action.PLACE, {**_ORDER, **_TEST}, *_TYPED),
    trade("POST", V3 + "sor/order", "spot.sor.place", Action.PLACE, _SOR, *_TYPED, "quantity"),
    trade(
        *("POST", V3 + "sor/order/test", "spot.sor.test", Action.PLACE),
        {**_SOR, **_TEST},
        *(*_TYPED, "quantity"),
    ),
    trade(
        *("POST", V3 + "order/cancelReplace", "spot.order.replace", Action.PLACE),
        _REPLACE,
        *(*_TYPED, "cancelReplaceMode"),
    ),
    trade(
        *("PUT", V3 + "order/amend/keepPriority", "spot.order.amend", Action.AMEND),
        {**ONE_ORDER, "newClientOrderId": g.CLIENT_ID, "newQty": g.POSITIVE},
        *("symbol", "newQty"),
        weight=4,
    ),
    trade(
        *("POST", V3 + "order/oco", "spot.order_list.oco_old", Action.PLACE),
        _OLD_OCO,
        *("symbol", "side", "quantity", "price"),
    ),
    trade(
        *("POST", V3 + "orderList/oco", "spot.order_list.oco", Action.PLACE),
        {**_LIST, **_SIZE, "side": g.SIDE, **_leg("above", g.ABOVE_TYPE), **_leg("below", g.ABOVE_TYPE)},
        *("symbol", "side", "quantity", "aboveType", "belowType"),
    ),
    trade(
        *("POST", V3 + "orderList/oto", "spot.order_list.oto", Action.PLACE),
        {**_LIST, **_working(), **_leg("pending", g.ORDER_TYPE, Side=g.SIDE), **_PENDING_SIZE},
        *(*_WORKING_NEEDS, "pendingType", "pendingSide", "pendingQuantity"),
    ),
    trade(
        *("POST", V3 + "orderList/otoco", "spot.order_list.otoco", Action.PLACE),
        {**_LIST, **_working(), **_PENDING_PAIR, **_PENDING_SIZE},
        *(*_WORKING_NEEDS, "pendingSide", "pendingQuantity", "pendingAboveType"),
    ),
    trade(
        *("POST", V3 + "orderList/opo", "spot.order_list.opo", Action.PLACE),
        {**_LIST, **_working(), **_leg("pending", g.ORDER_TYPE, Side=g.SIDE)},
        *(*_WORKING_NEEDS, "pendingType", "pendingSide"),
    ),
    trade(
        *("POST", V3 + "orderList/opoco", "spot.order_list.opoco", Action.PLACE),
        {**_LIST, **_working(), **_PENDING_PAIR},
        *(*_WORKING_NEEDS, "pendingSide", "pendingAboveType"),
    ),
    trade(
        *("DELETE", V3 + "order", "spot.order.cancel", Action.CANCEL),
        {**ONE_ORDER, "newClientOrderId": g.CLIENT_ID, "cancelRestrictions": g.CANCEL_IF},
        "symbol",
    ),
    trade("DELETE", V3 + "openOrders", "spot.order.cancel_all", Action.CANCEL, SYMBOL, "symbol"),
    trade(
        *("DELETE", V3 + "orderList", "spot.order_list.cancel", Action.CANCEL),
        {
            **SYMBOL,
            "orderListId": g.INTEGER,
            "listClientOrderId": g.CLIENT_ID,
            "newClientOrderId": g.CLIENT_ID,
        },
        "symbol",
    ),
)
