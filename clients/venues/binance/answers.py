"""What Binance's answers to orders mean. Pure: status, headers and body in, `Answer` out.

Rules:
1. A write is `unknown` unless the answer proves otherwise: 5xx, 408, a redirect, `-1000`, `-1001`, `-1006`, `-1007`, a
   4xx without a code of the venue's (but 403, 418, 429), or a 2xx whose body is not the JSON we expect.
2. Any other 4xx is a definite no, with one exception: cancelReplace reports both halves in `data`, whatever the
   status (409 mostly, 429 too): done halves are reported, a failed new order is a rejected one.
3. A cancel names the order `origClientOrderId`; its `clientOrderId` is the cancel's own.
4. Money is Decimal; `cummulativeQuoteQty` below zero means the venue does not know.
5. An id is a whole number, a side one of two words: what is something else is not taken for one.

Source: Binance spot REST docs, rest-api.md "Trading endpoints", state of 2026-07-21.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from clients.venue import Action, Intent, Reading
from clients.venues.binance.codes import order_in_doubt, outcome_unknown
from clients.venues.binance.pauses import number
from clients.wire import Answer, OrderState

LARGEST_READ = 128 * 1024
"""Of an answer, for it to be read whole: the largest without executions, the cancel of 200 orders of a symbol, has
110 KiB. It is read between two requests, so it is what they may have to wait for."""

LARGEST_ORDER = 1024 * 1024
"""Of an answer that tells of one order, alone or in a cancelReplace, and of its executions, for all but these to be
read: some ten thousand of them. What they cost is not told then, as in answers without them."""

MOST_ORDERS, MOST_FILLS = 500, 1000
"""Entries of one answer, each of which is taken in at once: a symbol has room for 200 open orders, and what is read has
room for 300 as a venue tells of them. And of one order's executions."""

_NO_CODE = 1_000_000
_LONGEST_AMOUNT, _LARGEST_EXPONENT = 40, 40
_LONGEST_SYMBOL = 40
_LARGEST_ID, _LONGEST_ID = 2**63, 20
_SIDES = ("BUY", "SELL")
FINAL = frozenset({"FILLED", "CANCELED", "REJECTED", "EXPIRED", "EXPIRED_IN_MATCH"})
_OK, _REDIRECT, _REFUSED = 200, 300, 400
_MICROSECONDS_FROM = 10**14
"""Read as milliseconds this is the year 5138, as microseconds 1973."""
_WEIGHT_NAMES = (b"x-mbx-used-weight-1m", b"X-MBX-USED-WEIGHT-1M", b"x-mbx-used-weight")
_RETRY_NAMES = (b"retry-after", b"Retry-After")


def understand(reading: Reading, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Answer:
    """Understand an upstream answer.

    Args:
        reading: The request it answers.
        status: HTTP status.
        headers: Lower-case names (the venue's own spelling of the two we read is understood too).
        body: The whole body, decompressed.
    """
    used, pause = _number(headers, _WEIGHT_NAMES), _number(headers, _RETRY_NAMES)
    if reading.intent.action is Action.READ:
        return _of_read(reading, status, body, pause, used)
    document = _parse(body)
    code = _code(document)
    halves = _halves_of(document)
    if halves is not None:
        orders = tuple(_halves(halves, reading))
        nothing = all(halves.get(name) != "SUCCESS" for name in ("cancelResult", "newOrderResult"))
        unknown = outcome_unknown(status, code) or any(
            (found := _code(halves.get(name))) is not None and order_in_doubt(_REFUSED, found)
            for name in ("cancelResponse", "newOrderResponse")
        )
        unknown = unknown or not (halves.get("newOrderResult") == "SUCCESS" or _not_placed(halves))
        if unknown:  # what it says was done was done; what it says was not may have been
            orders = tuple(state for state in orders if not state.rejected or state.order_id is not None)
        return Answer(nothing and not unknown, unknown, _words(code), orders, pause, used)
    if status >= _REFUSED or (code is not None and code < 0):
        unknown = order_in_doubt(status, code)
        return Answer(not unknown, unknown, _words(code), (), pause, used)
    if document is None or not _OK <= status < _REDIRECT:
        return Answer(refused=False, unknown=True, retry_after_s=pause, used_weight=used)
    states = tuple(_states(document, reading.intent))
    return Answer(refused=False, unknown=False, orders=states, retry_after_s=pause, used_weight=used)


def _of_read(reading: Reading, status: int, body: bytes, pause: float | None, used: int | None) -> Answer:
    """A read is never in doubt: nothing was done."""
    if status >= _REFUSED:
        return Answer(True, False, _words(_code(_parse(body))), (), pause, used)
    about_order = reading.intent.target is not None
    states = tuple(_states(_parse(body), reading.intent)) if about_order else ()
    return Answer(refused=False, unknown=False, orders=states, retry_after_s=pause, used_weight=used)


def _halves_of(document: Any) -> Mapping[str, Any] | None:
    """Return the part of a cancelReplace answer that tells of both halves; None in other answers."""
    if not isinstance(document, dict):
        return None
    inner = document.get("data", document)
    return inner if isinstance(inner, dict) and "cancelResult" in inner else None


_Plain = str | int | bool | float | None
_NOTHING = msgspec.Raw(b"null")


class _LongOrder(msgspec.Struct, gc=False, omit_defaults=True):
    """What is read of one order that met many others."""

    symbol: _Plain = None
    orderId: _Plain = None  # noqa: N815 - the venue's names
    clientOrderId: _Plain = None  # noqa: N815
    origClientOrderId: _Plain = None  # noqa: N815
    orderListId: _Plain = None  # noqa: N815
    status: _Plain = None
    side: _Plain = None
    price: _Plain = None
    stopPrice: _Plain = None  # noqa: N815
    origQty: _Plain = None  # noqa: N815
    executedQty: _Plain = None  # noqa: N815
    cummulativeQuoteQty: _Plain = None  # noqa: N815
    code: _Plain = None


class _LongHalves(msgspec.Struct, gc=False, omit_defaults=True):
    """What is read of a cancelReplace whose new order met many others."""

    cancelResult: _Plain = None  # noqa: N815
    newOrderResult: _Plain = None  # noqa: N815
    cancelResponse: msgspec.Raw = _NOTHING  # noqa: N815
    newOrderResponse: _LongOrder | None = None  # noqa: N815


class _LongAnswer(_LongOrder, gc=False, omit_defaults=True):
    """One order, or both halves of a cancelReplace, which stand in `data` where one of them failed."""

    cancelResult: _Plain = None  # noqa: N815
    newOrderResult: _Plain = None  # noqa: N815
    cancelResponse: msgspec.Raw = _NOTHING  # noqa: N815
    newOrderResponse: _LongOrder | None = None  # noqa: N815
    data: _LongHalves | None = None


_long_answer = msgspec.json.Decoder(_LongAnswer)


def _parse(body: bytes) -> Any:
    if len(body) > LARGEST_READ:
        return _parse_long(body)
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return None if isinstance(document, list) and len(document) > MOST_ORDERS else document


def _parse_long(body: bytes) -> Any:
    if len(body) > LARGEST_ORDER:
        return None
    try:
        answer = _long_answer.decode(body)
        halves = answer if answer.data is None else answer.data
        cancelled = halves.cancelResponse
        if len(memoryview(cancelled)) > LARGEST_READ:
            return None
        halves.cancelResponse = _NOTHING
        found: Any = msgspec.to_builtins(answer)
        if halves.cancelResult is not None:
            told = found if answer.data is None else found["data"]
            told["cancelResponse"] = msgspec.json.decode(cancelled)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if "orderId" in found or halves.cancelResult is not None else None


def _code(document: Any) -> int | None:
    code = document.get("code") if isinstance(document, dict) else None
    return code if type(code) is int and abs(code) < _NO_CODE else None


def _words(code: int | None) -> str | None:
    return None if code is None else str(code)


def _number(headers: Mapping[bytes, bytes], names: tuple[bytes, ...]) -> int | None:
    found = (number(headers.get(name)) for name in names)
    return next((one for one in found if one is not None), None)


def _halves(halves: Mapping[str, Any], reading: Reading) -> Iterator[OrderState]:
    """Read both halves of a cancelReplace. A failed new order was never placed."""
    if halves.get("cancelResult") == "SUCCESS":
        yield from _cancelled(halves.get("cancelResponse"))
    new = halves.get("newOrderResponse")
    if halves.get("newOrderResult") == "SUCCESS":
        yield from _order(new, of_cancel=False)
    elif _not_placed(halves):
        placed = reading.intent.orders[0][0] if reading.intent.orders else None
        if placed is not None:
            yield OrderState(
                placed.symbol,
                None,
                placed.client_order_id,
                final=True,
                executed_quote=Decimal(0),
                executed_base=Decimal(0),
                rejected=True,
            )


def _not_placed(halves: Mapping[str, Any]) -> bool:
    """Tell whether the new order was certainly not placed: not tried, or refused by a code that leaves nothing open."""
    result, code = halves.get("newOrderResult"), _code(halves.get("newOrderResponse"))
    return result == "NOT_ATTEMPTED" or (
        result == "FAILURE" and code is not None and not order_in_doubt(_REFUSED, code)
    )


def _cancelled(document: Any) -> Iterator[OrderState]:
    if isinstance(document, dict) and "orderReports" in document:
        for report in _rows(document["orderReports"]):
            yield from _order(report, of_cancel=True)
    else:
        yield from _order(document, of_cancel=True)


def _states(document: Any, intent: Intent) -> Iterator[OrderState]:
    """Yield the orders of one answer: a single order, a list, an array of both, an amendment."""
    of_cancel = intent.action is Action.CANCEL
    if isinstance(document, list):
        for item in document:
            if isinstance(item, dict):
                yield from _states(item, intent)
        return
    if not isinstance(document, dict):
        return
    if "amendedOrder" in document:
        yield from _order(document["amendedOrder"], of_cancel=False)
    elif "contingencyType" in document:
        yield from _list(document, of_cancel=of_cancel)
    else:
        yield from _order(document, of_cancel=of_cancel)


def _list(document: Mapping[str, Any], *, of_cancel: bool) -> Iterator[OrderState]:
    """Yield the orders of an order list: those with a report, then those only named."""
    reported, number = set(), {"orderListId": document.get("orderListId")}
    for report in _rows(document.get("orderReports")):
        for state in _order(report, of_cancel=of_cancel):
            reported.add(state.order_id)
            yield state
    for entry in _rows(document.get("orders")):
        named = number | entry if isinstance(entry, dict) else entry
        yield from (state for state in _order(named, of_cancel=of_cancel) if state.order_id not in reported)


def _rows(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _entries(document: Mapping[str, Any], name: str) -> list[Any]:
    entries = document.get(name)
    return entries[:MOST_ORDERS] if isinstance(entries, list) else []


def _order(report: Any, *, of_cancel: bool) -> Iterator[OrderState]:
    order_id = _id(report.get("orderId")) if isinstance(report, dict) else None
    if order_id is None:
        return
    client_id = report.get("clientOrderId")
    if of_cancel:
        client_id = report.get("origClientOrderId", client_id)
    status = report.get("status")
    quote = report.get("cummulativeQuoteQty", report.get("cumulativeQuoteQty"))
    side, symbol = report.get("side"), report.get("symbol")
    yield OrderState(
        symbol if isinstance(symbol, str) and len(symbol) <= _LONGEST_SYMBOL and symbol.isprintable() else "",
        order_id,
        client_id if isinstance(client_id, str) else None,
        isinstance(status, str) and status in FINAL,
        amount_of(quote),
        amount_of(report.get("executedQty")),
        status == "REJECTED",
        of_cancel,
        _id(report.get("orderListId")),
        side if side in _SIDES else None,
        amount_of(report.get("origQty", report.get("qty"))),  # an amended order names it otherwise
        amount_of(report.get("price")),
        _instant(report.get("time")),
        status == "PENDING_NEW",
        _fees(report.get("fills")),
        amount_of(report.get("stopPrice")) or None,
    )


def _fees(fills: Any) -> tuple[tuple[str, Decimal], ...] | None:
    """Read what the executions of an order cost; None where they are not told, or not each of them."""
    if not isinstance(fills, list) or not 0 < len(fills) <= MOST_FILLS:
        return None
    found: dict[str, Decimal] = {}
    for fill in fills:
        asset, amount = (
            (fill.get("commissionAsset"), amount_of(fill.get("commission")))
            if isinstance(fill, dict)
            else (None, None)
        )
        if not isinstance(asset, str) or amount is None:
            return None
        found[asset] = found.get(asset, Decimal(0)) + amount
    return tuple(found.items())


def _instant(at: Any) -> int | None:
    """Read a time in milliseconds, or in microseconds where the client asked for those."""
    if not isinstance(at, int) or isinstance(at, bool) or at <= 0:
        return None
    return at if at >= _MICROSECONDS_FROM else at * 1000


def order_state(report: Any) -> OrderState | None:
    """Read one order object, as a query answers it; None where it is none."""
    return next(_order(report, of_cancel=False), None)


def _id(value: Any) -> str | None:
    """Read an order's id: a whole number. What is none names no order that could be asked for again."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < _LONGEST_ID:
        value = int(value)
    return str(value) if type(value) is int and 0 <= value < _LARGEST_ID else None


def amount_of(text: Any) -> Decimal | None:
    """Read a number that can be counted with; None where it is none, or so large or small that sums may fail."""
    if not isinstance(text, str) or len(text) > _LONGEST_AMOUNT:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    if not amount.is_finite() or amount < 0 or abs(amount.adjusted()) > _LARGEST_EXPONENT:
        return None
    return amount


def cancelled_orders(body: bytes) -> tuple[OrderState, ...]:
    """Read the answer of a cancel-all: an array of orders and order lists.

    Raises:
        ValueError: It is not an array.
    """
    document = _parse(body)
    if not isinstance(document, list):
        raise ValueError("the answer is not an array")  # noqa: TRY004 - the venue's fault
    return tuple(state for item in document for state in _cancelled(item))
