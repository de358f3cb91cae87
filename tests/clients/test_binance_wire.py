"""Read, verify, seal: what changes and what must not."""

import base64
import re
from urllib.parse import unquote

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.secret import Secret
from clients.venue import Credential, KeyType, Malformed, Reading, Request, Security, Variant, Verifier
from clients.venues.binance import WIRE
from clients.venues.binance.wire import BinanceWire
from clients.wire import Sealed, Stamp
from tests.clients.binance_cases import (
    AT,
    PRIVATE,
    PUBLIC,
    REAL,
    REAL_SECRET,
    SECRET,
    VECTORS,
    VIRTUAL,
    hmac_hex,
    read,
    read_request,
    signed,
    verify_request,
)

STAMP = Stamp(1795358628000500, 2_000_000)
LIMIT = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=2&price=100&newClientOrderId=x1"


def _seal(request: Request, stamp: Stamp = STAMP, credential: Credential = REAL) -> Sealed:
    reading = read_request(request)
    assert isinstance(reading, Reading), reading
    assert verify_request(VIRTUAL, reading.request) is not None
    return WIRE.seal(credential, reading, stamp)


def _signature_holds(sealed: Sealed, secret: str = REAL_SECRET) -> bool:
    """Whether a sealed request verifies, computed from its bytes without the code under test."""
    _, _, query = sealed.target.decode().partition("?")
    found = re.findall(r"(?:^|&)signature=([0-9a-f]{64})", query) + re.findall(
        r"(?:^|&)signature=([0-9a-f]{64})", sealed.body.decode()
    )
    assert len(found) == 1

    def without(part: str) -> str:
        return "&".join(pair for pair in part.split("&") if not pair.startswith("signature="))

    return hmac_hex(secret, without(query) + without(sealed.body.decode())) == found[0]


@pytest.mark.parametrize("sample", VECTORS["recorded"], ids=lambda s: f"{s['client'].split()[0]}-{s['what']}")
def test_what_real_clients_send(sample: dict[str, str]) -> None:
    """Requests of unmodified client libraries are read as recorded, and those they signed verify."""
    request = Request(
        sample["method"], sample["path"], sample["query"].encode(), sample["body"].encode(), "VKEY"
    )
    reading = read_request(request)
    if isinstance(reading, Malformed):
        assert f"malformed {reading.reason} {reading.field}" == sample["expect"]
        return
    assert f"{reading.security} {reading.intent.action} {reading.intent.endpoint}" == sample["expect"]
    if reading.security is Security.SIGNED:
        assert _signature_holds(_seal(request))
    if reading.security is Security.PUBLIC:
        sealed = WIRE.forward_public(reading)
        assert sealed.target.decode() == sample["path"] + (f"?{sample['query']}" if sample["query"] else "")


def test_seal_changes_only_what_it_may() -> None:
    """Order, parts and bytes stay; timestamp, window, key id and signature are new."""
    body = f"timestamp={AT}&{LIMIT}&recvWindow=10000"
    sealed = _seal(signed("POST", "/api/v3/order", "", body.replace(f"timestamp={AT}&", "")))
    text = f"{LIMIT}&recvWindow=2000&timestamp=1795358628000"
    assert sealed.method == "POST"
    assert sealed.target == b"/api/v3/order"
    assert sealed.body.decode() == f"{text}&signature={hmac_hex(REAL_SECRET, text)}"
    assert sealed.headers == (
        (b"X-MBX-APIKEY", b"REALKEY"),
        (b"Content-Type", b"application/x-www-form-urlencoded"),
        (b"Accept", b"application/json"),
        (b"User-Agent", b"portcullis"),
        (b"Accept-Encoding", b"identity"),
    )


def test_an_absent_window_and_client_id_go_directly_after_the_timestamp() -> None:
    request = _request("POST", "/api/v3/order", f"symbol=A&timestamp={AT}&side=SELL&type=MARKET&quantity=1")
    reading = read_request(request)
    assert isinstance(reading, Reading)
    assert WIRE.client_id_slots(reading) == ("newClientOrderId",)
    sealed = _seal(request, Stamp(1795358628000500, 1_999_500, ("p1",)))
    assert sealed.target.decode().startswith(
        "/api/v3/order?symbol=A&timestamp=1795358628000&recvWindow=1999.5&newClientOrderId=p1"
        "&side=SELL&type=MARKET&quantity=1&signature="
    )
    assert _signature_holds(sealed)
    assert not any(name == b"Content-Type" for name, _ in sealed.headers)


def _request(method: str, path: str, query: str, body: str = "", at: int | None = None) -> Request:
    """A signed request whose signature stands at index `at` of its last part."""
    part = (body or query).split("&")
    part.insert(len(part) if at is None else at, f"signature={hmac_hex(SECRET, query + body)}")
    text = "&".join(part).encode()
    return Request(method, path, query.encode() if body else text, text if body else b"", "VKEY")


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("in_body", [False, True])
def test_signature_goes_back_to_its_place(at: int, in_body: bool) -> None:
    pairs = f"symbol=A&orderId=7&timestamp={AT}"
    request = _request("DELETE", "/api/v3/order", "" if in_body else pairs, pairs if in_body else "", at)
    sealed = _seal(request, STAMP)
    part = sealed.body.decode() if in_body else sealed.target.decode().partition("?")[2]
    names = [pair.partition("=")[0] for pair in part.split("&")]
    expected = ["symbol", "orderId", "timestamp", "recvWindow"]
    expected.insert(at if at < 3 else 4, "signature")
    assert names == expected
    assert _signature_holds(sealed)


def test_signature_in_the_query_with_a_body_after_it() -> None:
    """Signed text joins both parts, wherever the signature stands."""
    query, body = f"symbol=A&timestamp={AT}", "orderId=7"
    signature = hmac_hex(SECRET, query + body)
    request = Request(
        "DELETE", "/api/v3/order", f"{query}&signature={signature}".encode(), body.encode(), "V"
    )
    sealed = _seal(request)
    assert sealed.body == b"orderId=7"
    assert _signature_holds(sealed)


def test_microseconds_stay_microseconds() -> None:
    query = "timestamp=1795358627105123&recvWindow=6000.346"
    sealed = _seal(signed("GET", "/api/v3/account", query, stamp=False), Stamp(1795358628000507, 1_234_567))
    assert sealed.target.startswith(
        b"/api/v3/account?timestamp=1795358628000507&recvWindow=1234.567&signature="
    )


def test_sapi_windows_are_whole_milliseconds() -> None:
    """The wallet pages type the window LONG; it is cut down, never up."""
    sealed = _seal(signed("GET", "/sapi/v1/capital/config/getall"), Stamp(1795358628000507, 1_234_999))
    assert b"&recvWindow=1234&" in sealed.target


@pytest.mark.parametrize("variant", [Variant.RAW, Variant.DECODED])
def test_it_is_sealed_over_the_wire_text_whatever_the_client_signed(variant: Variant) -> None:
    """The venue refuses signatures over decoded text; a client that makes them goes on working here."""
    query = f"symbol=%E5%B8%81USDT&timestamp={AT}"
    text = query if variant is Variant.RAW else unquote(query)
    request = Request(
        "GET", "/api/v3/openOrders", f"{query}&signature={hmac_hex(SECRET, text)}".encode(), b"", "V"
    )
    reading = read_request(request)
    assert isinstance(reading, Reading)
    assert verify_request(VIRTUAL, reading.request) is variant
    sealed = WIRE.seal(REAL, reading, STAMP)
    wire, _, signature = sealed.target.decode().partition("?")[2].partition("&signature=")
    assert wire == "symbol=%E5%B8%81USDT&timestamp=1795358628000&recvWindow=2000"
    assert signature == hmac_hex(REAL_SECRET, wire)


def test_a_decoded_match_is_refused_where_a_value_could_split_the_form() -> None:
    query = f"note=a%26amount%3D9&timestamp={AT}"
    raw, decoded = hmac_hex(SECRET, query), hmac_hex(SECRET, unquote(query))
    for signature, expected in ((raw, Variant.RAW), (decoded, None)):
        request = Request(
            "POST", "/sapi/v1/capital/withdraw/apply", f"{query}&signature={signature}".encode(), b"", "V"
        )
        reading = read_request(request)
        assert isinstance(reading, Reading)
        assert verify_request(VIRTUAL, reading.request) is expected


@pytest.mark.parametrize(
    "signature", ["0" * 64, "", "zz", "a" * 63, "%zz", "%ff", "é".encode().hex(), "=" * 64, "A" * 4096]
)
def test_wrong_signatures_do_not_verify(signature: str) -> None:
    request = Request("GET", "/api/v3/account", f"timestamp={AT}&signature={signature}".encode(), b"", "V")
    reading = read_request(request)
    assert isinstance(reading, Reading)
    assert verify_request(VIRTUAL, reading.request) is None
    assert verify_request(Verifier(KeyType.ED25519, public_key=PUBLIC), reading.request) is None


def test_one_changed_byte_breaks_the_signature() -> None:
    good = signed("POST", "/api/v3/order", LIMIT)
    bad = Request(good.method, good.path, good.query.replace(b"price=100", b"price=101"), b"", "V")
    reading = read_request(bad)
    assert isinstance(reading, Reading)
    assert verify_request(VIRTUAL, reading.request) is None


def test_an_hmac_bot_is_sealed_with_ed25519() -> None:
    """The real key's type is not the bot's concern; the signature is base64, percent-encoded."""
    sealed = _seal(
        signed("POST", "/api/v3/order", LIMIT), STAMP, Credential("ED", Secret(PRIVATE), KeyType.ED25519)
    )
    text, _, signature = sealed.target.decode().partition("?")[2].partition("&signature=")
    assert not set(signature) & set("+/=")
    key = load_pem_public_key(PUBLIC.encode())
    key.verify(base64.b64decode(unquote(signature)), text.encode())  # type: ignore[union-attr, call-arg]


def test_only_signed_requests_are_sealed() -> None:
    reading = read_request(Request("POST", "/api/v3/userDataStream", b"", b"", "V"))
    assert isinstance(reading, Reading)
    with pytest.raises(ValueError, match="only signed"):
        WIRE.seal(REAL, reading, STAMP)


def test_more_client_ids_than_absent_are_a_bug() -> None:
    with pytest.raises(ValueError, match="more client order ids"):
        _seal(signed("POST", "/api/v3/order", LIMIT), Stamp(1, 1000, ("a",)))


SLOTS = {
    ("POST", "/api/v3/order/test", "symbol=A&side=SELL&type=MARKET&quantity=1"): (),
    ("POST", "/api/v3/order", "symbol=A&side=SELL&type=MARKET&quantity=1"): ("newClientOrderId",),
    ("DELETE", "/api/v3/order", "symbol=A&orderId=1"): (),
    ("PUT", "/api/v3/order/amend/keepPriority", "symbol=A&orderId=1&newQty=1"): ("newClientOrderId",),
    (
        "POST",
        "/api/v3/orderList/oco",
        "symbol=A&side=SELL&quantity=1&aboveType=LIMIT_MAKER&abovePrice=2&belowType=STOP_LOSS&belowStopPrice=1&belowClientOrderId=b",
    ): ("listClientOrderId", "aboveClientOrderId"),
    ("POST", "/api/v3/order/oco", "symbol=A&side=SELL&quantity=1&price=2&stopPrice=1"): (
        "listClientOrderId",
        "limitClientOrderId",
        "stopClientOrderId",
    ),
    (
        "POST",
        "/api/v3/orderList/otoco",
        "symbol=A&workingType=LIMIT&workingSide=BUY&workingPrice=1&workingQuantity=1&pendingSide=SELL&pendingQuantity=1&pendingAboveType=LIMIT_MAKER&pendingAbovePrice=2",
    ): ("listClientOrderId", "workingClientOrderId", "pendingAboveClientOrderId"),
}


@pytest.mark.parametrize(("call", "slots"), SLOTS.items(), ids=lambda value: str(value)[:60])
def test_client_id_slots(call: tuple[str, str, str], slots: tuple[str, ...]) -> None:
    """Every new order gets a name; a leg that is not placed gets none."""
    reading = read(*call)
    assert WIRE.client_id_slots(reading) == slots
    sealed = WIRE.seal(REAL, reading, Stamp(1, 1000, tuple(f"id{n}" for n in range(len(slots)))))
    added = "".join(f"&{name}=id{n}" for n, name in enumerate(slots))
    assert f"timestamp=0&recvWindow=1{added}&signature=" in sealed.target.decode()
    again = read_request(
        Request(
            sealed.method,
            call[1],
            sealed.target.partition(b"?")[2].replace(b"=0&", b"=1795358627105&"),
            b"",
            "R",
        )
    )
    assert isinstance(again, Reading)
    assert WIRE.client_id_slots(again) == ()


def test_public_calls_carry_no_credential() -> None:
    reading = read_request(Request("GET", "/api/v3/depth", b"symbol=BTCUSDT&limit=5", b"", "VKEY"))
    assert isinstance(reading, Reading)
    sealed = WIRE.forward_public(reading)
    assert sealed.target == b"/api/v3/depth?symbol=BTCUSDT&limit=5"
    assert [name for name, _ in sealed.headers] == [b"Accept", b"User-Agent", b"Accept-Encoding"]
    with pytest.raises(ValueError, match="only public"):
        WIRE.forward_public(read("GET", "/api/v3/account"))


def test_own_requests_are_signed_in_the_query() -> None:
    sealed = WIRE.own_request(REAL, "GET", "/api/v3/order", (("symbol", "币USDT"), ("orderId", "7")), STAMP)
    query = sealed.target.decode().partition("?")[2]
    assert query.startswith(
        "symbol=%E5%B8%81USDT&orderId=7&recvWindow=2000&timestamp=1795358628000&signature="
    )
    assert _signature_holds(sealed)
    assert (sealed.body, sealed.headers[0]) == (b"", (b"X-MBX-APIKEY", b"REALKEY"))


@settings(max_examples=200, deadline=None)
@given(
    order=st.permutations([*LIMIT.split("&"), f"timestamp={AT}", "recvWindow=5000"]),
    cut=st.integers(0, 9),
    at=st.integers(0, 9),
    window=st.integers(1000, 60_000_000),
)
def test_whatever_is_sealed_verifies(order: list[str], cut: int, at: int, window: int) -> None:
    """Round trip: any order of parameters, any split, any place of the signature."""
    query, body = "&".join(order[:cut]), "&".join(order[cut:])
    sealed = _seal(
        _request("POST", "/api/v3/order", query, body, min(at, len(order) - cut)),
        Stamp(1795358628000500, window),
    )
    assert _signature_holds(sealed)
    ours = [
        pair
        for pair in (sealed.target.decode().partition("?")[2] + "&" + sealed.body.decode()).split("&")
        if pair
    ]
    kept = [pair for pair in ours if not pair.startswith(("signature=", "timestamp=", "recvWindow="))]
    assert kept == [pair for pair in order if not pair.startswith(("timestamp=", "recvWindow="))]


def test_no_secret_in_any_repr() -> None:
    reading = read("POST", "/api/v3/order", LIMIT)
    shown = repr((WIRE, reading, VIRTUAL, REAL, WIRE.seal(REAL, reading, STAMP)))
    assert SECRET not in shown
    assert REAL_SECRET not in shown


def test_forget_reaches_the_key_ring() -> None:
    """One key under two ids is forgotten under each by its own."""
    wire = BinanceWire()
    for name in ("one", "two"):
        wire.own_request(Credential(name, Secret(PRIVATE), KeyType.ED25519), "GET", "/x", (), STAMP)
    wire.forget("two")
    assert repr(wire) == "BinanceWire(KeyRing(1 private, 0 public))"
    wire.forget()
    assert repr(wire) == "BinanceWire(KeyRing(0 private, 0 public))"
