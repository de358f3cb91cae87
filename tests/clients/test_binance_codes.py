"""Refusals in Binance's words, and what Binance's own words mean."""

import json
from decimal import Decimal

import pytest

from clients.errors import VenueAmbiguous, VenueRefused, VenueUnavailable
from clients.venues.binance import WIRE, codes
from clients.wire import Answer, OrderState, RefusalKind
from tests.clients.binance_cases import read

D = Decimal
REFUSALS = {
    RefusalKind.UNKNOWN_KEY: ("", 401, -2014, "API-key format invalid."),
    RefusalKind.BAD_SIGNATURE: ("", 400, -1022, "Signature for this request is not valid."),
    RefusalKind.STALE: ("", 400, -1021, "Timestamp for this request is outside of the recvWindow."),
    RefusalKind.ENDPOINT: ("withdrawals never", 403, -1002, "You don't have permission."),
    RefusalKind.SYMBOL: ("", 400, -1121, "Invalid symbol."),
    RefusalKind.ORDER: ("order cap 100 USDT", 400, -2010, "order cap 100 USDT"),
    RefusalKind.NO_SUCH_ORDER: ("", 400, -2011, "Unknown order sent."),
    RefusalKind.ORDER_RATE: ("", 400, -1015, "Too many new orders; current limit is set by policy."),
}


@pytest.mark.parametrize(("kind", "case"), REFUSALS.items())
def test_refusals(kind: RefusalKind, case: tuple[str, int, int, str]) -> None:
    """Status, code and words are those that make client libraries raise their final exception."""
    detail, status, code, text = case
    refusal = WIRE.refusal(kind, detail)
    assert refusal.status == status
    assert json.loads(refusal.body) == {"code": code, "msg": text}
    assert refusal.headers == ((b"Content-Type", b"application/json;charset=UTF-8"),)


def test_no_refusal_uses_the_retryable_key_code() -> None:
    """The library ccxt takes -2015 after a success for a ban and tries again."""
    for kind in RefusalKind:
        assert b"-2015" not in WIRE.refusal(kind, "").body


def test_a_question_about_no_order() -> None:
    assert json.loads(WIRE.refusal(RefusalKind.NO_SUCH_ORDER, "read").body)["code"] == -2013


def test_rate_refusals_say_when_to_come_back() -> None:
    refusal = WIRE.refusal(RefusalKind.RATE, "", retry_after_s=7)
    assert (refusal.status, json.loads(refusal.body)["code"]) == (429, -1003)
    assert (b"Retry-After", b"7") in refusal.headers
    assert (b"Retry-After", b"1") in WIRE.refusal(RefusalKind.RATE, "").headers


@pytest.mark.parametrize(
    ("kind", "status"), [(RefusalKind.UNAVAILABLE, 503), (RefusalKind.UNKNOWN_OUTCOME, 504)]
)
def test_outages_have_an_empty_body(kind: RefusalKind, status: int) -> None:
    """A body of our own would turn a retryable outage into a final error, or the other way round."""
    refusal = WIRE.refusal(kind, "anything")
    assert (refusal.status, refusal.body, refusal.headers) == (status, b"", ())


@pytest.mark.parametrize(
    ("detail", "code", "named"),
    [
        ("missing:symbol", -1102, "symbol"),
        ("duplicate:price", -1101, "price"),
        ("unknown_parameter:foo", -1104, "foo"),
        ("empty_value:price", -1105, "price"),
        ("unexpected:price", -1106, "price"),
        ("bad_value:price", -1100, "price"),
        ("window_too_large:recvWindow", -1131, "recvWindow"),
        ("plus_sign:price", -1100, "price"),
        ("json_body", -1100, "JSON"),
        ("missing:<script>", -1102, "request"),
    ],
)
def test_malformed_names_the_parameter(detail: str, code: int, named: str) -> None:
    refusal = WIRE.refusal(RefusalKind.MALFORMED, detail)
    said = json.loads(refusal.body)
    assert (refusal.status, said["code"]) == (400, code)
    assert named in said["msg"]


@pytest.mark.parametrize(
    "detail",
    [
        *("Filter failure: LOT_SIZE", "price_filter", "MAX_POSITION", "key has no operation privilege", ""),
        *("Order does not exist.", "Account has insufficient balance for requested action.", "\x00\n"),
    ],
)
def test_free_text_avoids_what_libraries_search_for(detail: str) -> None:
    """Some words change which exception a client raises, so text with them is replaced."""
    assert json.loads(WIRE.refusal(RefusalKind.ORDER, detail).body)["msg"] == codes.ORDER_TEXT


def test_free_text_is_short_and_ascii() -> None:
    text = json.loads(WIRE.refusal(RefusalKind.ORDER, "é\n" + "x" * 999).body)["msg"]
    assert text.isascii()
    assert len(text) <= 160


# --- answers ----------------------------------------------------------------------------------

PLACE = read(
    "POST", "/api/v3/order", "symbol=BTCUSDT&side=SELL&type=MARKET&quantity=10&newClientOrderId=mine"
)
CANCEL = read("DELETE", "/api/v3/order", "symbol=BTCUSDT&orderId=28")
REPLACE = read(
    "POST",
    "/api/v3/order/cancelReplace",
    "symbol=BTCUSDT&side=SELL&type=MARKET&quantity=10&newClientOrderId=mine"
    "&cancelReplaceMode=ALLOW_FAILURE&cancelOrderId=9",
)
ASK = read("GET", "/api/v3/order", "symbol=BTCUSDT&orderId=28")
AMEND = read("PUT", "/api/v3/order/amend/keepPriority", "symbol=BTCUSDT&orderId=33&newQty=5")
ALL = read("DELETE", "/api/v3/openOrders", "symbol=BTCUSDT")

ACK = {"symbol": "BTCUSDT", "orderId": 28, "orderListId": -1, "clientOrderId": "mine", "transactTime": 1}
RESULT = ACK | {"executedQty": "10.0", "cummulativeQuoteQty": "10.5", "status": "FILLED"}
CANCELLED = {
    "symbol": "BTCUSDT",
    "origClientOrderId": "first",
    "orderId": 9,
    "clientOrderId": "cancel-1",
    "executedQty": "1.0",
    "cummulativeQuoteQty": "2.5",
    "status": "CANCELED",
}
DONE = OrderState("BTCUSDT", "28", "mine", final=True, executed_quote=D("10.5"), executed_base=D("10.0"))
GONE = OrderState(
    "BTCUSDT", "9", "first", final=True, executed_quote=D("2.5"), executed_base=D("1.0"), of_cancel=True
)
NEVER = OrderState(
    "BTCUSDT", None, "mine", final=True, executed_quote=D(0), executed_base=D(0), rejected=True
)
RESTING = OrderState("BTCUSDT", "28", "mine", final=False)
NO = {"code": -2010, "msg": "no"}


def _halves(cancel: str, new: str, cancelled: object, placed: object) -> dict[str, object]:
    return {
        "cancelResult": cancel,
        "newOrderResult": new,
        "cancelResponse": cancelled,
        "newOrderResponse": placed,
    }


ANSWERS = {
    "ack": (PLACE, 200, ACK, Answer(False, False, None, (RESTING,))),
    "result": (PLACE, 200, RESULT, Answer(False, False, None, (DONE,))),
    "full": (PLACE, 200, RESULT | {"fills": [{"price": "1"}]}, Answer(False, False, None, (DONE,))),
    "historic order without quote": (
        ASK,
        200,
        RESULT | {"cummulativeQuoteQty": "-1.0"},
        Answer(False, False, None, (OrderState("BTCUSDT", "28", "mine", True, None, D("10.0")),)),
    ),
    "rejected": (PLACE, 400, NO, Answer(True, False, "-2010")),
    "waf": (PLACE, 403, "<html>", Answer(True, False)),
    "timeout": (PLACE, 400, {"code": -1007, "msg": ""}, Answer(False, True, "-1007")),
    "unexpected": (PLACE, 400, {"code": -1006, "msg": ""}, Answer(False, True, "-1006")),
    "server error": (PLACE, 502, "", Answer(False, True)),
    "server error with code": (PLACE, 503, {"code": -1001}, Answer(False, True, "-1001")),
    "request timeout": (PLACE, 408, "", Answer(False, True)),
    "redirect": (PLACE, 302, "", Answer(False, True)),
    "not JSON": (PLACE, 200, "ok?", Answer(False, True)),
    "limited": (PLACE, 429, {"code": -1003}, Answer(True, False, "-1003")),
    "cancel": (CANCEL, 200, CANCELLED, Answer(False, False, None, (GONE,))),
    "cancel of nothing": (CANCEL, 400, {"code": -2011}, Answer(True, False, "-2011")),
    "replaced": (
        *(REPLACE, 200),
        _halves("SUCCESS", "SUCCESS", CANCELLED, RESULT),
        Answer(False, False, None, (GONE, DONE)),
    ),
    "cancelled, not placed": (
        *(REPLACE, 409),
        {"code": -2021, "data": _halves("SUCCESS", "FAILURE", CANCELLED, NO)},
        Answer(False, False, "-2021", (GONE, NEVER)),
    ),
    "cancelled, not placed, over the rate": (
        *(REPLACE, 429),
        {"code": -2021, "data": _halves("SUCCESS", "FAILURE", CANCELLED, {"code": -1015})},
        Answer(False, False, "-2021", (GONE, NEVER)),
    ),
    "placed, not cancelled": (
        *(REPLACE, 409),
        {"code": -2021, "data": _halves("FAILURE", "SUCCESS", {"code": -2011}, ACK)},
        Answer(False, False, "-2021", (RESTING,)),
    ),
    "neither": (
        *(REPLACE, 400),
        {"code": -2022, "data": _halves("FAILURE", "NOT_ATTEMPTED", {"code": -2011}, None)},
        Answer(True, False, "-2022", (NEVER,)),
    ),
    "cancelled, placed or not": (
        *(REPLACE, 409),
        {"code": -2021, "data": _halves("SUCCESS", "FAILURE", CANCELLED, {"code": -1007})},
        Answer(False, True, "-2021", (GONE,)),
    ),
    "cancelled, and nothing said of the new order": (
        *(REPLACE, 409),
        {"code": -2021, "data": {"cancelResult": "SUCCESS", "cancelResponse": CANCELLED}},
        Answer(False, True, "-2021", (GONE,)),
    ),
    "a new order that failed without a code": (
        *(REPLACE, 409),
        {"code": -2021, "data": _halves("FAILURE", "FAILURE", {"code": -2011}, None)},
        Answer(False, True, "-2021"),
    ),
    "amended": (
        *(AMEND, 200),
        {"amendedOrder": ACK | {"origClientOrderId": "old", "cumulativeQuoteQty": "0.0", "status": "NEW"}},
        Answer(False, False, None, (OrderState("BTCUSDT", "28", "mine", False, D("0.0")),)),
    ),
    "cancel all": (
        *(ALL, 200),
        [CANCELLED, {"contingencyType": "OCO", "orders": [{"orderId": 9}], "orderReports": [CANCELLED]}],
        Answer(False, False, None, (GONE, GONE)),
    ),
    "list placed": (
        *(PLACE, 200),
        {"contingencyType": "OTO", "orders": [ACK, ACK | {"orderId": 29}], "orderReports": [RESULT]},
        Answer(False, False, None, (DONE, OrderState("BTCUSDT", "29", "mine", False))),
    ),
    "read fails": (ASK, 400, {"code": -2013}, Answer(True, False, "-2013")),
    "read meets an outage": (ASK, 502, "", Answer(True, False)),
}


@pytest.mark.parametrize(("reading", "status", "body", "expected"), ANSWERS.values(), ids=ANSWERS.keys())
def test_answers(reading: object, status: int, body: object, expected: Answer) -> None:
    """A definite no, a done deed, and what cannot be known are told apart."""
    raw = body if isinstance(body, str) else json.dumps(body)
    assert WIRE.answer(reading, status, {}, raw.encode()) == expected  # type: ignore[arg-type]


def test_headers_tell_weight_and_pause() -> None:
    headers = {b"x-mbx-used-weight-1m": b"5990", b"retry-after": b"13"}
    answer = WIRE.answer(PLACE, 418, headers, b"")
    assert (answer.used_weight, answer.retry_after_s, answer.refused) == (5990, 13.0, True)
    assert WIRE.answer(PLACE, 200, {b"retry-after": b"soon"}, b"{}").retry_after_s is None


@pytest.mark.parametrize(
    "body", [b"[]", b"[1]", b'"x"', b"null", b'{"orderId":null}', b'{"data":{"cancelResult":3}}']
)
def test_odd_answers_do_no_harm(body: bytes) -> None:
    for reading in (PLACE, CANCEL, REPLACE, ASK, AMEND, ALL):
        WIRE.answer(reading, 200, {}, body)


# --- errors for the control plane -------------------------------------------------------------

ERRORS = [
    (401, -2015, True, VenueRefused, "key_refused"),
    (400, -2008, True, VenueRefused, "unknown_key"),
    (400, -2011, True, VenueRefused, "cancel_rejected"),
    (400, None, True, VenueRefused, "refused"),
    (429, -1003, True, VenueUnavailable, "rate_limited"),
    (418, None, True, VenueUnavailable, "rate_limited"),
    (400, -1021, True, VenueUnavailable, "stale_timestamp"),
    (500, None, True, VenueAmbiguous, "outcome_unknown"),
    (400, -1007, True, VenueAmbiguous, "outcome_unknown"),
    (500, None, False, VenueUnavailable, "server_error"),
]


@pytest.mark.parametrize(("status", "code", "write", "kind", "reason"), ERRORS)
def test_errors_of_the_control_plane(
    status: int, code: int | None, write: bool, kind: type[Exception], reason: str
) -> None:
    """Only what is certainly undone may be tried again."""
    error = codes.to_error("spot.order.place", status, code, write=write)
    assert type(error) is kind
    assert (error.reason, error.status, error.endpoint) == (reason, status, "spot.order.place")


JSON, HTML, GZIP = b"application/json", b"text/html; charset=UTF-8", b"\x1f\x8b\x08"
PAGE = b"<html><head><title>403 Forbidden</title></head></html>"
DOORS = [
    (451, JSON, b"", b'{"code": 0, "msg": "Service unavailable from a restricted location"}', True),
    (451, JSON, b"", b"", True),
    (403, HTML, b"", PAGE, True),
    (403, HTML, b"gzip", GZIP, True),
    (403, JSON, b"", b'{"code": 0}', True),
    (403, JSON, b"", b"[]", True),
    (403, b"", b"", b"", True),
    (202, HTML, b"", b"\n <html>challenge</html>", True),
    (200, JSON, b"", b"{}", False),
    (200, JSON, b"", b"not JSON", False),
    (403, JSON, b"", b'{"code": -1002, "msg": "You are not authorized"}', False),
    (403, JSON, b"gzip", GZIP, False),
    (400, JSON, b"", b'{"code": -1021}', False),
    (404, HTML, b"", PAGE, False),
    (418, HTML, b"", PAGE, False),
    (429, HTML, b"", PAGE, False),
    (502, HTML, b"", PAGE, False),
]


@pytest.mark.parametrize(("status", "kind", "packed", "body", "away"), DOORS)
def test_who_is_turned_away_is_told_from_who_is_refused(
    status: int, kind: bytes, packed: bytes, body: bytes, *, away: bool
) -> None:
    """The venue's own no has its own code; a page, or a no without one, is meant for everybody from here."""
    headers = {b"content-type": kind} | ({b"content-encoding": packed} if packed else {})
    assert codes.turned_away(status, headers, body) is away
