"""The strict form: what passes is read alike by every kind of reader."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.venue import Malformed, Reading, Request
from clients.venues.binance import form
from clients.venues.binance.endpoints import ENDPOINTS
from tests.clients.binance_cases import AT, read, read_request, refused, six_readings

ORDER = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=2"
PLACE = ("POST", "/api/v3/order")

MALFORMED = {
    "same name twice": (ORDER + "&price=2", "", "duplicate", "price"),
    "same name in query and body": ("symbol=BTCUSDT", ORDER, "duplicate", "symbol"),
    "same name in other case": (ORDER + "&PRICE=9", "", "duplicate", "PRICE"),
    "other case alone": (ORDER.replace("price", "Price"), "", "unknown_parameter", "Price"),
    "two signatures": (ORDER + "&signature=ab", "", "duplicate", "signature"),
    "signature in other case": (ORDER + "&Signature=ab", "", "duplicate", "Signature"),
    "plus": (ORDER + "&newClientOrderId=a+b", "", "plus_sign", "newClientOrderId"),
    "semicolon": (ORDER + "&newClientOrderId=a;price=9", "", "semicolon", "newClientOrderId"),
    "second equals": (ORDER + "&newClientOrderId=a=b", "", "second_equals", "newClientOrderId"),
    "empty pair": (ORDER + "&&newClientOrderId=a", "", "empty_pair", ""),
    "leading ampersand": ("&" + ORDER, "", "empty_pair", ""),
    "pair without equals": (ORDER + "&newClientOrderId", "", "no_equals", "newClientOrderId"),
    "empty value": (ORDER + "&newClientOrderId=", "", "empty_value", "newClientOrderId"),
    "half an escape": (ORDER + "&newClientOrderId=a%2", "", "bad_escape", "newClientOrderId"),
    "no escape": (ORDER + "&newClientOrderId=a%zz", "", "bad_escape", "newClientOrderId"),
    "needless escape": (ORDER + "&newClientOrderId=%61", "", "needless_escape", "newClientOrderId"),
    "needless escape of a digit": (ORDER.replace("=1", "=%31"), "", "needless_escape", "quantity"),
    "not UTF-8": (ORDER.replace("BTCUSDT", "%ff%fe"), "", "not_utf8", "symbol"),
    "overlong UTF-8": (ORDER.replace("BTCUSDT", "%c0%af"), "", "not_utf8", "symbol"),
    "surrogate": (ORDER.replace("BTCUSDT", "%ed%a0%80"), "", "not_utf8", "symbol"),
    "escaped NUL": (ORDER + "&newClientOrderId=a%00", "", "control_character", "newClientOrderId"),
    "escaped line end": (ORDER + "&newClientOrderId=a%0d%0a", "", "control_character", "newClientOrderId"),
    "escaped ampersand": (ORDER + "&newClientOrderId=a%26price", "", "bad_value", "newClientOrderId"),
    "escaped plus": (ORDER + "&newClientOrderId=a%2Bb", "", "bad_value", "newClientOrderId"),
    "escaped name": (ORDER.replace("price", "pric%65"), "", "bad_name", ""),
    "array name": (ORDER + "&price[]=2", "", "bad_name", ""),
    "unknown parameter": (ORDER + "&isIsolated=TRUE", "", "unknown_parameter", "isIsolated"),
    "exponent": (ORDER.replace("price=2", "price=2e5"), "", "bad_value", "price"),
    "sign": (ORDER.replace("price=2", "price=-2"), "", "bad_value", "price"),
    "zero price": (ORDER.replace("price=2", "price=0.000"), "", "bad_value", "price"),
    "zero quantity": (ORDER.replace("quantity=1", "quantity=0"), "", "bad_value", "quantity"),
    "bare dot": (ORDER.replace("price=2", "price=.5"), "", "bad_value", "price"),
    "blank around": (ORDER.replace("price=2", "price=%202"), "", "bad_value", "price"),
    "other digits": (ORDER.replace("price=2", "price=%EF%BC%92"), "", "bad_value", "price"),
    "lower-case side": (ORDER.replace("BUY", "buy"), "", "bad_value", "side"),
    "lower-case symbol": (ORDER.replace("BTCUSDT", "btcusdt"), "", "bad_value", "symbol"),
    "transfer on self-trade": (
        ORDER + "&selfTradePreventionMode=TRANSFER",
        "",
        "bad_value",
        "selfTradePreventionMode",
    ),
    "window with four decimals": (ORDER + "&recvWindow=1.2345", "", "bad_value", "recvWindow"),
    "window too large": (ORDER + "&recvWindow=60001", "", "window_too_large", "recvWindow"),
    "window of three hours": (ORDER + "&recvWindow=10000000", "", "window_too_large", "recvWindow"),
    "window by a little": (ORDER + "&recvWindow=60000.001", "", "window_too_large", "recvWindow"),
    "window of twenty digits": (ORDER + "&recvWindow=" + "9" * 20, "", "window_too_large", "recvWindow"),
    "window of 21 digits": (ORDER + "&recvWindow=" + "9" * 21, "", "bad_value", "recvWindow"),
    "window below zero": (ORDER + "&recvWindow=-1", "", "bad_value", "recvWindow"),
    "empty mandatory": (
        ORDER.replace("side=SELL", "side=").replace("side=BUY", "side="),
        "",
        "missing",
        "side",
    ),
    "JSON body": ("", '{"symbol":"BTCUSDT"}', "json_body", ""),
    "JSON array body": ("", '[{"symbol":"BTCUSDT"}]', "json_body", ""),
    "missing type": (ORDER.replace("&type=LIMIT", ""), "", "missing", "type"),
}


@pytest.mark.parametrize(("query", "body", "reason", "field"), MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed(query: str, body: str, reason: str, field: str) -> None:
    """Whatever two readers could read differently is refused, with its reason and parameter."""
    assert refused(*PLACE, query, body) == (reason, field)
    if query and not body:
        assert refused(*PLACE, "", query) == (reason, field), "the same in the body"


def test_non_ascii_bytes_are_refused() -> None:
    request = Request(*PLACE, ORDER.encode() + b"&newClientOrderId=\xe5", b"", "V")
    assert read_request(request) == Malformed("not_ascii", "", "spot.order.place")


def test_body_on_get() -> None:
    """Servers differ on whether a GET has a body at all."""
    request = Request("GET", "/api/v3/openOrders", b"", b"symbol=BTCUSDT", "V")
    assert read_request(request) == Malformed("body_on_get", "", "spot.order.open")


@pytest.mark.parametrize("stamp", ["-1", "1e12", "0795358627105", "1795358627105.5", "9" * 21])
def test_a_timestamp_is_a_plain_number(stamp: str) -> None:
    request = Request("GET", "/api/v3/account", f"timestamp={stamp}&signature=aa".encode(), b"", "V")
    assert read_request(request) == Malformed("bad_value", "timestamp", "spot.account")


@pytest.mark.parametrize(
    "stamp",
    ["0", "1795358627", "179535862710", "17953586271050", "179535862710500", "17953586271050000", "9" * 20],
)
def test_a_number_that_is_neither_milliseconds_nor_microseconds_is_far_from_now(stamp: str) -> None:
    """Seconds, nanoseconds, a zero: the venue says that they are outside of the window (sheet, 2.2), not malformed."""
    request = Request("GET", "/api/v3/account", f"timestamp={stamp}&signature=aa".encode(), b"", "V")
    reading = read_request(request)
    assert isinstance(reading, Reading)
    assert reading.timestamp_us is not None
    assert abs(reading.timestamp_us - int(AT) * 1000) > 365 * 24 * 3600 * 1_000_000
    assert reading.timestamp_us < 2**63


@pytest.mark.parametrize(
    ("stamp", "window", "expected"),
    [
        (AT, "", (1795358627105000, 5_000_000)),
        ("1795358627105123", "", (1795358627105123, 5_000_000)),
        (AT, "&recvWindow=6000.346", (1795358627105000, 6_000_346)),
        (AT, "&recvWindow=60000", (1795358627105000, 60_000_000)),
        (AT, "&recvWindow=0", (1795358627105000, 0)),
    ],
)
def test_times_are_microseconds(stamp: str, window: str, expected: tuple[int, int]) -> None:
    request = Request("GET", "/api/v3/account", f"timestamp={stamp}{window}&signature=aa".encode(), b"", "V")
    reading = read_request(request)
    assert isinstance(reading, Reading)
    assert (reading.timestamp_us, reading.window_us) == expected


@pytest.mark.parametrize("missing", ["timestamp", "signature"])
def test_signed_endpoints_need_both(missing: str) -> None:
    query = {"timestamp": "signature=aa", "signature": f"timestamp={AT}"}[missing]
    reading = read_request(Request("GET", "/api/v3/account", query.encode(), b"", "V"))
    assert reading == Malformed("missing", missing, "spot.account")


def test_signature_may_stand_anywhere_and_be_anything() -> None:
    """Its value is stripped, so a plus sign or a second equals sign in it harms nobody."""
    request = Request("GET", "/api/v3/account", f"signature=a+b/c==&timestamp={AT}".encode(), b"", "V")
    reading = read_request(request)
    assert isinstance(reading, Reading)
    assert isinstance(reading.form, form.Form)
    assert (reading.form.signature, reading.form.signature_at) == ("a+b/c==", 0)
    assert reading.form.payload() == f"timestamp={AT}"


def test_pairs_keep_order_part_raw_and_text() -> None:
    reading = read("POST", "/api/v3/order", "symbol=%E5%B8%81USDT&side=SELL", "type=MARKET&quantity=1")
    assert isinstance(reading.form, form.Form)
    assert list(reading.form.pairs()) == [
        ("symbol", "%E5%B8%81USDT", "query", "币USDT"),
        ("side", "SELL", "query", "SELL"),
        ("type", "MARKET", "body", "MARKET"),
        ("quantity", "1", "body", "1"),
        ("timestamp", AT, "body", AT),
    ]


@pytest.mark.parametrize(
    "query",
    [
        'symbols=["BTCUSDT","ETHUSDT"]',
        "symbols=%5B%22BTCUSDT%22,%22ETHUSDT%22%5D",
        "symbols=%5B%22BTCUSDT%22%2C%20%22ETHUSDT%22%5D",
    ],
)
def test_lists_pass_raw_and_encoded(query: str) -> None:
    """Raw quotes and brackets arrive from some clients; the list is the same."""
    reading = read_request(Request("GET", "/api/v3/ticker/price", query.encode(), b"", None))
    assert isinstance(reading, Reading)
    assert reading.intent.symbols == ("BTCUSDT", "ETHUSDT")


@pytest.mark.parametrize("text", ["[]", '["A" , "B"]', '["A","b"]', '["A"', '["A","B";]', '["A",["B"]]'])
def test_other_lists_do_not(text: str) -> None:
    reading = read_request(Request("GET", "/api/v3/ticker/price", f"symbols={text}".encode(), b"", None))
    assert isinstance(reading, Malformed)


@pytest.mark.parametrize("name", ["\uff11\uff12\uff13\uff14\uff15\uff16", "币安人生USDT"])
def test_symbols_of_other_scripts_pass(name: str) -> None:
    encoded = "".join(f"%{byte:02X}" if byte > 127 else chr(byte) for byte in name.encode())
    assert read("GET", "/api/v3/openOrders", f"symbol={encoded}").intent.symbols == (name,)


@pytest.mark.parametrize("name", ["币\u200bUSDT", "e\u0301USDT".upper(), "币usdt", "币 USDT", "币" * 51])
def test_symbols_that_look_alike_do_not(name: str) -> None:
    """Invisible, decomposed or mixed-case letters would let two texts look like one symbol."""
    encoded = "".join(f"%{byte:02X}" if byte > 127 or byte == 32 else chr(byte) for byte in name.encode())
    assert refused("GET", "/api/v3/openOrders", f"symbol={encoded}") == ("bad_value", "symbol")


def test_recognised_endpoints_take_a_raw_at_sign() -> None:
    """The library ccxt sends e-mail addresses raw to sub-account paths; the refusal must name the right endpoint."""
    reading = read("DELETE", "/sapi/v1/sub-account/subAccountApi", "email=a@b.c&subAccountApiKey=x")
    assert (reading.intent.action, reading.intent.endpoint) == ("key-admin", "subaccount.key.delete")


def test_no_table_has_names_that_fold_alike_or_take_an_empty_value() -> None:
    """What `parse` relies on."""
    for endpoint in ENDPOINTS.values():
        grammars = endpoint.grammars or {}
        assert len({name.lower() for name in grammars}) == len(grammars), endpoint.name
        assert all(name.isascii() and name.isalnum() and name != "signature" for name in grammars)
        assert not [name for name, grammar in grammars.items() if grammar("")], endpoint.name
        assert set(endpoint.required) <= set(grammars), endpoint.name
        for bad in ("a+b", "a;b", "a&b", "a=b", "a#b", "a%b", "1\n", "\t1", "A\x00"):
            assert not [name for name, grammar in grammars.items() if grammar(bad)], (endpoint.name, bad)


# --- property: six readers agree --------------------------------------------------------------

_NAMES = [
    "symbol",
    "side",
    "type",
    "quantity",
    "price",
    "newClientOrderId",
    "Symbol",
    "PRICE",
    "recvWindow",
    "x",
    "",
]
_VALUES = [
    "BTCUSDT",
    "BUY",
    "SELL",
    "LIMIT",
    "MARKET",
    "1",
    "2.50",
    "a+b",
    "a;price=3",
    "%41",
    "%2B",
    "a%26b=c",
]
_VALUES += ["%E5%B8%81", "%", "%zz", "", "a=b", "A:b/c", "%20", "[1]", "%0A", "5000"]
_PAIR = st.tuples(
    st.sampled_from(_NAMES),
    st.sampled_from(["=", "=", "=", ""]),
    st.sampled_from(_VALUES) | st.text(string.printable, max_size=4),
).map("".join)
_PART = st.lists(_PAIR, max_size=7).map("&".join)
_GOOD = st.permutations(ORDER.split("&")).flatmap(
    lambda pairs: st.integers(0, len(pairs)).map(lambda cut: ("&".join(pairs[:cut]), "&".join(pairs[cut:])))
)
_JOINED = st.tuples(_GOOD, _PART, _PART).map(
    lambda parts: (
        "&".join(filter(None, (parts[0][0], parts[1]))),
        "&".join(filter(None, (parts[0][1], parts[2]))),
    )
)


_SPOILED = st.tuples(_GOOD, st.sampled_from(_VALUES)).map(
    lambda drawn: (
        "&".join(filter(None, (drawn[0][0], f"newClientOrderId={drawn[1]}"))),
        drawn[0][1],
    )
)


@settings(max_examples=600, deadline=None)
@given(
    parts=st.one_of(_GOOD, _SPOILED, _JOINED, st.tuples(_PART, _PART)),
    at=st.sampled_from(["/api/v3/order", "/sapi/v1/x"]),
)
def test_six_readers_agree_on_what_passes(parts: tuple[str, str], at: str) -> None:
    """First-wins, last-wins, query-wins, body-wins, case-folding and plus-decoding readers read one form."""
    query, body = parts
    query = f"{query}&timestamp={AT}" if query else f"timestamp={AT}"
    request = Request("POST", at, f"{query}&signature=00".encode(), body.encode(), "V")
    reading = read_request(request)
    if isinstance(reading, Malformed):
        return
    assert isinstance(reading.form, form.Form)
    ours = dict(reading.form.values)
    readings = six_readings(query, body)
    for index, other in enumerate(readings):
        expected = {name.lower(): value for name, value in ours.items()} if index == 4 else ours
        assert other == expected


def test_the_property_can_fail() -> None:
    """The six readers do disagree on what the form refuses."""
    for query in ("a=1&a=2", "a=1+2", "a=1;b=2"):
        first, *others = six_readings(query, "")
        assert any(other != first for other in others)
