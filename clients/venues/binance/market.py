"""Requests and parsers for price, book, symbols, holdings, order state, trades and venue time. Pure.

A builder returns a `Call`: method, path and parameters, to send with `WIRE.own_request` (signed)
or as they are (public). A parser takes the body of a 2xx answer and raises ValueError where it is not what
Binance documents; it never shows the body.

Source: Binance spot REST docs, rest-api.md, state of 2026-07-21.
"""

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from clients.venue import OrderRef, SymbolInfo
from clients.venues.binance.answers import amount_of, order_state
from clients.wire import OrderState

_US_PER_MS = 1000
LONGEST_ORDER = 768
"""Bytes of an order in an answer that shows many, with every field that orders usually have and the longest names."""

MOST_OPEN = 200
"""Open orders of one symbol at most (MAX_NUM_ORDERS)."""

NO_SUCH_SYMBOL = -1121
"""Answers a question about exactly one symbol: the venue has no such pair."""

ILLEGAL_CHARACTERS = -1100
"""Answers a question whose parameters are not in form: a symbol, too, that no pair can have."""

NO_SUCH_ORDER = -2013
"""Answers a question about exactly one order. Order lists may answer so too; no source says that they do."""


class Call(NamedTuple):
    """A request of our own, not yet signed. Parameters in order, not percent-encoded."""

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = ()


class Holding(NamedTuple):
    """What an account has of one asset, in units of it. `locked` is bound in open orders."""

    free: Decimal
    locked: Decimal


class Paid(NamedTuple):
    """One execution: its number, its order, how much base asset, and what it cost in which asset."""

    number: int
    order_id: str
    quantity: Decimal
    asset: str
    fee: Decimal


class ListState(NamedTuple):
    """An order list: its id, its client id, and its orders by both of theirs."""

    list_id: str
    client_id: str
    orders: tuple[OrderRef, ...]


def venue_time() -> Call:
    """Ask for the venue's clock. Public, weight 1."""
    return Call("GET", "/api/v3/time")


def parse_venue_time(body: bytes) -> int:
    """Return the venue's time in microseconds since the epoch."""
    at = _document(body, dict).get("serverTime")
    if not isinstance(at, int) or isinstance(at, bool) or at <= 0:
        raise ValueError("the time answer carries no time")
    return at * _US_PER_MS


def price(symbol: str) -> Call:
    """Ask for the last price of one symbol. Public, weight 2."""
    return Call("GET", "/api/v3/ticker/price", (("symbol", symbol),))


def prices(symbols: Iterable[str]) -> Call:
    """Ask for the last prices of several symbols. Public, weight 4."""
    return Call("GET", "/api/v3/ticker/price", (("symbols", _json_list(symbols)),))


def parse_prices(body: bytes) -> Mapping[str, Decimal]:
    """Return prices by symbol, in quote asset per base unit, from either price answer.

    A price of zero is none: a pair that has not traded yet has it, and nothing can be counted by it.
    """
    document = _document(body, (dict, list))
    found = {_text(row, "symbol"): _decimal(row, "price") for row in _rows(document)}
    return {symbol: price for symbol, price in found.items() if price > 0}


def parse_price(body: bytes) -> Decimal:
    """Return the price of the one symbol that was asked for."""
    found = parse_prices(body)
    if len(found) != 1:
        raise ValueError("the price answer is not about one symbol")
    return next(iter(found.values()))


Levels = tuple[tuple[Decimal, Decimal], ...]
"""Price and quantity, best first."""

_LEVEL = 2


def depth(symbol: str, levels: int) -> Call:
    """Ask for a book. Public, weight 5 up to 100 levels, 25 up to 500, 50 up to 1000, 250 beyond."""
    return Call("GET", "/api/v3/depth", (("symbol", symbol), ("limit", str(levels))))


def parse_bids(body: bytes) -> Levels:
    """Return the bids of a book."""
    return _levels(body, "bids")


def parse_asks(body: bytes) -> Levels:
    """Return the asks of a book."""
    return _levels(body, "asks")


def _levels(body: bytes, side: str) -> Levels:
    listed = _document(body, dict).get(side)
    if not isinstance(listed, list):
        raise ValueError(f"the book carries no {side}")  # noqa: TRY004 - the venue's fault
    levels = []
    for level in listed:
        price, quantity = (
            map(amount_of, level) if isinstance(level, list) and len(level) == _LEVEL else (None, None)
        )
        if price is None or quantity is None:
            raise ValueError("a level is no price and quantity")
        levels.append((price, quantity))
    return tuple(levels)


def symbols(names: Iterable[str] = ()) -> Call:
    """Ask for pairs: those named, or all that trade on spot. Public, weight 20."""
    wanted = tuple(names)
    if wanted:
        return Call(
            "GET", "/api/v3/exchangeInfo", (("symbols", _json_list(wanted)), ("showPermissionSets", "false"))
        )
    return Call("GET", "/api/v3/exchangeInfo", (("permissions", "SPOT"), ("showPermissionSets", "false")))


def parse_symbols(body: bytes) -> tuple[SymbolInfo, ...]:
    """Return the pairs, in the venue's order."""
    listed = _document(body, dict).get("symbols")
    if not isinstance(listed, list):
        raise ValueError("the exchange information carries no symbols")  # noqa: TRY004 - the venue's fault
    return tuple(
        SymbolInfo(_text(row, "symbol"), _text(row, "baseAsset"), _text(row, "quoteAsset"))
        for row in _rows(listed)
    )


def holdings() -> Call:
    """Ask for the balances that are not zero. Signed, weight 20."""
    return Call("GET", "/api/v3/account", (("omitZeroBalances", "true"),))


def parse_holdings(body: bytes) -> Mapping[str, Holding]:
    """Return holdings by asset. An asset that is absent is held at zero."""
    listed = _document(body, dict).get("balances")
    if not isinstance(listed, list):
        raise ValueError("the account answer carries no balances")  # noqa: TRY004 - the venue's fault
    return {
        _text(row, "asset"): Holding(_decimal(row, "free"), _decimal(row, "locked")) for row in _rows(listed)
    }


def parse_may_trade(body: bytes) -> bool:
    """Tell whether the account may trade: `canTrade` is the account's, whatever the key may. Unsaid, it may."""
    return _document(body, dict).get("canTrade") is not False


def order(ref: OrderRef) -> Call:
    """Ask for the state of one order or order list, by id where there is one. Signed, weight 4.

    Raises:
        ValueError: The reference names no order, or all of a symbol.
    """
    if ref.all_open or (ref.order_id is None and ref.client_order_id is None):
        raise ValueError("the reference does not name one order")
    if ref.is_list:
        if ref.order_id is not None:
            return Call("GET", "/api/v3/orderList", (("orderListId", ref.order_id),))
        return Call("GET", "/api/v3/orderList", (("origClientOrderId", ref.client_order_id or ""),))
    if ref.symbol is None:
        raise ValueError("Binance finds an order only with its symbol")
    if ref.order_id is not None:
        return Call("GET", "/api/v3/order", (("symbol", ref.symbol), ("orderId", ref.order_id)))
    return Call(
        "GET", "/api/v3/order", (("symbol", ref.symbol), ("origClientOrderId", ref.client_order_id or ""))
    )


def parse_order(body: bytes) -> OrderState:
    """Return the state of the order that was asked for."""
    state = order_state(_document(body, dict))
    if state is None:
        raise ValueError("the order answer carries no order")
    return state


def parse_order_list(body: bytes) -> ListState:
    """Return an order list and its orders; their states must be asked one by one."""
    document = _document(body, dict)
    listed, number = document.get("orders"), document.get("orderListId")
    if not isinstance(listed, list) or not isinstance(number, int) or isinstance(number, bool):
        raise ValueError("the order list answer carries no orders")  # noqa: TRY004 - the venue's fault
    orders = tuple(
        OrderRef(_text(row, "symbol"), str(row.get("orderId")), row.get("clientOrderId"))
        for row in _rows(listed)
    )
    return ListState(str(number), _text(document, "listClientOrderId"), orders)


def orders_from(symbol: str, order_id: str, most: int) -> Call:
    """Ask for the orders of a symbol from one id upwards, so many at most. Signed, weight 20.

    The venue reads them from its database, which lags: one that it shows as open may have ended by now.
    """
    params = (("symbol", symbol), ("orderId", order_id), ("limit", str(most)))
    return Call("GET", "/api/v3/allOrders", params)


def open_orders(symbol: str) -> Call:
    """Ask for the open orders of a symbol, as they are now. Signed, weight 6."""
    return Call("GET", "/api/v3/openOrders", (("symbol", symbol),))


def parse_orders(body: bytes) -> tuple[OrderState, ...]:
    """Return the states of orders, in the venue's order."""
    states = (order_state(row) for row in _rows(_document(body, list)))
    return tuple(state for state in states if state is not None)


def trades_of(symbol: str, order_id: str, first: int, most: int) -> Call:
    """Ask for the executions of one order from one id upwards, so many at most. Signed, weight 5."""
    params = (("symbol", symbol), ("orderId", order_id), ("fromId", str(first)), ("limit", str(most)))
    return Call("GET", "/api/v3/myTrades", params)


def parse_trades(body: bytes) -> tuple[Paid, ...]:
    """Return executions, in the venue's order."""
    return tuple(
        Paid(
            _whole(row, "id"), str(row.get("orderId")), _decimal(row, "qty"), _text(row, "commissionAsset"),
            _decimal(row, "commission"),
        )
        for row in _rows(_document(body, list))
    )  # fmt: skip


def error_code(body: bytes) -> int | None:
    """Return the code of an error answer; None where it carries none."""
    try:
        code = _document(body, dict).get("code")
    except ValueError:
        return None
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def _document(body: bytes, kinds: type | tuple[type, ...]) -> Any:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("the answer is not JSON") from None
    if not isinstance(document, kinds):
        raise ValueError("the answer has another shape than documented")  # noqa: TRY004 - the venue's fault
    return document


def _rows(document: Any) -> Iterable[Mapping[str, Any]]:
    for row in document if isinstance(document, list) else (document,):
        if not isinstance(row, dict):
            raise ValueError("the answer has another shape than documented")  # noqa: TRY004 - the venue's fault
        yield row


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise ValueError(f"the answer carries no {name}")  # noqa: TRY004 - the venue's fault
    return value


def _whole(row: Mapping[str, Any], name: str) -> int:
    value = row.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"the answer carries no {name}")
    return value


def _decimal(row: Mapping[str, Any], name: str) -> Decimal:
    number = amount_of(_text(row, name))
    if number is None:
        raise ValueError(f"{name} is not a number at or above zero that can be counted with")
    return number


def _json_list(names: Iterable[str]) -> str:
    return json.dumps(list(names), separators=(",", ":"), ensure_ascii=False)
