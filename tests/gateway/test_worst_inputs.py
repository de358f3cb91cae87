"""No input within the size limits costs more than `MOST_MS` of CPU: every parser that meets strangers' text.

The cases are the worst that we could think of for each, at the limits, in front of a real gateway's parts. CPU time is
that of this thread, the best of many, so that a busy machine does not decide. To add a parser, add to `CASES`:
a name, a function, and its inputs.
"""

import asyncio
import gc
import random
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from broker.gateway import packed
from broker.gateway.connection import Connection
from broker.gateway.form import LARGEST_BODY, LARGEST_HEAD, Headers, Inbound, Reply, check_target
from broker.gateway.listener import Listener
from broker.gateway.packed import LARGEST_PACKED
from broker.gateway.venue_view import LARGEST_FACT
from clients.venue import Action, Intent, Malformed, OrderRef, Reading, Request, Security
from clients.venues.binance import WIRE, answers, form, grammar, market
from clients.venues.binance.endpoints import ENDPOINTS, Endpoint
from clients.wire import RefusalKind, Stamp
from tests.clients.binance_cases import AT, REAL, SECRET, VIRTUAL, hmac_hex
from tests.pace import slowness

MOST_MS = 5.0
TRIES = 30


def cpu_ms(work: Callable[[], object]) -> float:
    """Return the least CPU time of a few tries, as on an idle core."""
    best = 1e9
    gc.disable()
    try:
        for _ in range(TRIES):
            began = time.thread_time_ns()
            work()
            best = min(best, (time.thread_time_ns() - began) / 1e6 / slowness())
            if best < MOST_MS / 2:
                break
    finally:
        gc.enable()
    return best


# --- forms ------------------------------------------------------------------------------------


def filled(piece: str, size: int, *, joint: str = "&") -> str:
    """Return as many pieces as fit, numbered where they say so."""
    out: list[str] = []
    length = 0
    for number in range(size):
        text = piece.replace("#", format(number, "x"))
        length += len(text) + len(joint)
        if length > size:
            break
        out.append(text)
    return joint.join(out)


def forms(size: int) -> Iterator[tuple[str, str]]:
    """Yield forms that are as bad as they get, in this many bytes."""
    yield "names", filled("a#=", size)
    yield "names that differ in case", filled("aA#=1", size)
    yield "one name", filled("a=1", size)
    yield "nothing but joints", "&" * size
    yield "nothing but equals", "=" * size
    yield "signatures", filled("signature=0", size)
    yield (
        "a signature in the middle of few",
        filled("a#=1", 600) + "&signature=" + "a" * (size - 800) + "&b=1",
    )
    yield "one long name", "a" * (size - 1) + "="
    yield "one long value", "symbol=" + "A" * (size - 10)
    yield "digits", "quantity=" + "9" * (size - 10)
    yield "zeros", "quantity=" + "0" * (size - 10)
    yield "digits and dots", "price=" + "1." * (size // 2 - 10)
    yield "digits of a time", "timestamp=" + "9" * (size - 20)
    yield "escapes", "symbol=" + "%2C" * (size // 3 - 10)
    yield "escapes and letters", "symbol=" + "%2Ca" * (size // 4 - 10)
    yield "escapes of another script", "symbol=" + "%E5%B8%81" * (size // 9 - 10)
    yield "letters that grow", "symbol=" + "%EF%B7%BA" * (size // 9 - 10)
    yield "marks without end", "symbol=a" + "%CC%81" * (size // 6 - 10)
    yield "half escapes", "symbol=" + "%" * (size - 10)
    yield "escapes of joints", "symbol=" + "%26" * (size // 3 - 10)
    yield "plus signs", "symbol=" + "+" * (size - 10)
    yield "blanks and letters", "note=" + "a%20" * (size // 4 - 10)
    yield "symbols", 'symbols=["' + '","'.join(["A"] * (size // 4 - 10)) + '"]'
    yield "symbols, escaped", "symbols=%5B" + "%2C".join(["%22A%22"] * (size // 10 - 10)) + "%5D"
    yield "symbols of another script", 'symbols=["' + '","'.join(["%E5%B8%81"] * (size // 12 - 10)) + '"]'
    yield "symbols without end", 'symbols=["A' + '","A' * (size // 4 - 10)
    yield "json", "{" * size
    yield "batch", "batchOrders=" + "[" * (size - 20)
    yield "many values", filled("a#=%E5%B8%81", size)


def whole(request: Request, *, verified: bool) -> None:
    """Do to a request all that the gateway does, whatever its signature is worth."""
    opened = WIRE.open(WIRE.find(request))
    if isinstance(opened, Malformed):
        WIRE.refusal(RefusalKind.MALFORMED, f"{opened.reason}:{opened.field}")
        return
    WIRE.verify(VIRTUAL, opened)
    if not verified:
        return
    reading = WIRE.read(opened)
    if isinstance(reading, Reading) and reading.security is Security.SIGNED:
        WIRE.signed_text(reading)
        WIRE.seal(REAL, reading, Stamp(1795358628000500, 2_000_000))
    elif isinstance(reading, Reading) and reading.security is Security.PUBLIC:
        WIRE.forward_public(reading)


TARGETS = (
    ("POST", "/api/v3/order"),
    ("POST", "/api/v3/orderList/otoco"),
    ("GET", "/api/v3/ticker/price"),
    ("GET", "/api/v3/exchangeInfo"),
    ("POST", "/sapi/v1/capital/withdraw/apply"),
    ("GET", "/api/v3/account"),
    ("GET", "/nothing/known"),
    ("POST", "/nothing/known"),
)


@pytest.mark.parametrize("target", TARGETS, ids=[" ".join(target) for target in TARGETS])
def test_forms(target: tuple[str, str]) -> None:
    """Signed by the bot itself, and with the wrong signature; in query and body."""
    method, path = target
    slow = []
    for size in (LARGEST_BODY, LARGEST_HEAD):
        for name, text in forms(size - 200):
            stamped = f"{text}&timestamp={AT}"
            for tail in ("", f"&signature={'0' * 64}", f"&signature={hmac_hex(SECRET, stamped)}"):
                data = (stamped + tail).encode()
                parts = [(b"", data)] if method == "POST" else []
                if len(data) <= LARGEST_HEAD:
                    parts.append((data, b""))
                for query, body in parts:
                    request = Request(method, path, query, body, "V")
                    took = cpu_ms(lambda request=request: whole(request, verified=True))  # type: ignore[misc]
                    if took > MOST_MS:
                        slow.append((name, size, len(tail), round(took, 1)))
    assert slow == []


def test_every_endpoint_reads_a_full_form_of_its_own_names_in_time() -> None:
    """As many parameters as it takes, each as long as it may be."""
    slow = []
    for row in dict(ENDPOINTS).values():
        if not isinstance(row, Endpoint) or row.grammars is None:
            continue
        text = "&".join(f"{name}={'9' * (LARGEST_HEAD // len(row.grammars))}" for name in row.grammars)[
            : LARGEST_HEAD - 100
        ]
        request = Request(row.method, row.path, text.encode(), b"", "V")
        took = cpu_ms(lambda request=request: whole(request, verified=True))  # type: ignore[misc]
        if took > MOST_MS:
            slow.append((row.name, round(took, 1)))
    assert slow == []


def test_the_most_parameters_are_more_than_any_endpoint_takes() -> None:
    largest = max(len(row.grammars or ()) for row in dict(ENDPOINTS).values())
    assert largest < form.MOST_PARAMETERS <= 4 * largest


GRAMMARS = {
    name: value
    for name, value in vars(grammar).items()
    if callable(value) and (name.isupper() or "symbol" in name)
}


@pytest.mark.parametrize("name", [name for name in GRAMMARS if not name.startswith("_")])
def test_grammars(name: str) -> None:
    texts = (
        "A", "9", "0", ".", "a.", "0.", '"', '["', '","', '["A","', ", ", " ", "é", "币", "́", "ﷺ", "A\n", "\x00", "-", "/", ":", "%2C",
    )  # fmt: skip
    check = GRAMMARS[name]
    for text in texts:
        for shape in (text * (LARGEST_BODY // len(text)), '["' + text * (LARGEST_BODY // len(text)) + '"]'):
            assert cpu_ms(lambda shape=shape: check(shape)) < MOST_MS, text  # type: ignore[misc]


# --- heads ------------------------------------------------------------------------------------


class Nobody:
    """A handler that answers everything at once."""

    def __init__(self) -> None:
        self.seen = 0

    def handle(self, inbound: Inbound, reply: Reply) -> None:
        del inbound
        self.seen += 1
        reply(404, (), b"")

    def refuse_form(self, reason: str, peer: str) -> tuple[int, Headers, bytes]:
        del reason, peer
        return 400, (), b""


class Socket(asyncio.Transport):
    """A transport that takes everything."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.closing = False

    def write(self, data: object) -> None:
        del data

    def close(self) -> None:
        self.closing = True

    abort = close

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        return

    def resume_reading(self) -> None:
        return


HOST = b"Host: 127.0.0.1\r\n"


def heads() -> Iterator[tuple[str, bytes]]:
    """Yield what a stranger can send in one go."""
    size = LARGEST_HEAD - 200

    def get(target: bytes = b"/binance/api/v3/ping", headers: bytes = b"") -> bytes:
        return b"GET " + target + b" HTTP/1.1\r\n" + HOST + headers + b"\r\n"

    yield "a long target", get(b"/" + b"a" * size)
    yield "many parts", get(b"/a" * (size // 2))
    yield "many dots", get(b"/.a" * (size // 3))
    yield "many slashes", get(b"/" * size)
    yield "many escapes", get(b"/" + b"%61" * (size // 3))
    yield "many question marks", get(b"/?" + b"?" * size)
    yield "many headers", get(headers=b"".join(b"X-%d: y\r\n" % n for n in range(60)))
    yield "far too many headers", get(headers=b"a:\r\n" * (size // 4))
    yield "one long header", get(headers=b"X: " + b"y" * size + b"\r\n")
    yield "one long name", get(headers=b"x" * size + b": y\r\n")
    yield "cookies", get(headers=b"Cookie: " + b"a=b; " * (size // 5) + b"\r\n")
    yield "blanks", get(headers=b"X:" + b" " * size + b"y\r\n")
    yield "a long offer", get(headers=b"Connection: upgrade\r\nUpgrade: " + b"h2c, " * (size // 5) + b"\r\n")
    yield "connection words", get(headers=b"Connection: " + b"a," * (size // 2) + b"\r\n")
    yield "a long host", b"GET / HTTP/1.1\r\nHost: " + b"a:" * (size // 2) + b"\r\n\r\n"
    yield "a length of digits", get(headers=b"Content-Length: " + b"1" * size + b"\r\n")
    yield "line ends before it", b"\r\n" * (size // 2) + get()
    yield "no line end", b"GET /" + b"a" * (4 * size)
    yield "a handshake", b"\x16\x03\x01" * (size // 3)
    yield (
        "a body",
        b"POST /x/y HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % LARGEST_BODY + b"a" * LARGEST_BODY,
    )
    yield "requests behind each other", get(b"/x/y") * 4000
    yield "requests with bodies", (b"POST /x/y HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\na") * 4000


@pytest.mark.parametrize(("name", "data"), list(heads()), ids=[name for name, _ in heads()])
async def test_heads(name: str, data: bytes) -> None:
    """What comes in one read; what is left of many requests has its turn after the others'."""
    del name

    def work() -> None:
        connection = Connection(Listener(Nobody(), frozenset({"127.0.0.1"})))
        connection.connection_made(Socket())
        connection.data_received(data)

    assert cpu_ms(work) < MOST_MS


@pytest.mark.parametrize("piece", [1, 7])
async def test_a_request_in_many_pieces_costs_little_each(piece: int) -> None:
    handler = Nobody()
    connection = Connection(Listener(handler, frozenset({"127.0.0.1"})))
    connection.connection_made(Socket())
    data = (
        b"POST /x/y HTTP/1.1\r\n"
        + HOST
        + b"X: "
        + b"y" * 14_000
        + b"\r\nContent-Length: 60000\r\n\r\n"
        + b"a" * 60_000
    )
    worst = 0.0
    began = time.thread_time_ns()
    for at in range(0, len(data), piece):
        connection.data_received(data[at : at + piece])
    worst = (time.thread_time_ns() - began) / 1e6 / (len(data) / piece)
    assert handler.seen == 1
    assert worst < MOST_MS / 50


@pytest.mark.parametrize(
    "target", [b"/" + b"a/" * 8000, b"/%2" * 5000, b"/" + b"." * 16000, b"/?" + b"%" * 16000]
)
def test_targets(target: bytes) -> None:
    def work() -> None:
        try:
            check_target(target)
        except Exception:  # noqa: BLE001 - only its cost counts
            return

    assert cpu_ms(work) < MOST_MS


# --- answers of the venue -----------------------------------------------------------------------


def documents(size: int) -> Iterator[tuple[str, bytes]]:
    """Yield answers that are as bad as they get."""
    order = '{"symbol":"BTCUSDT","orderId":#,"clientOrderId":"x#","executedQty":"1.0","cummulativeQuoteQty":"2","status":"FILLED"}'
    yield "arrays", b"[" * size
    yield "closed arrays", b"[" * (size // 2) + b"]" * (size // 2)
    yield "objects", b'{"a":' * (size // 5)
    yield "numbers", b"[" + b"1," * (size // 2 - 2) + b"1]"
    yield "a long number", b'{"code":-' + b"9" * (size - 20) + b"}"
    yield "a long text", b'{"symbol":"' + b"a" * (size - 40) + b'","orderId":1}'
    yield "a long amount", b'{"symbol":"a","orderId":1,"executedQty":"' + b"9" * (size - 60) + b'"}'
    yield "a huge exponent", b'{"symbol":"a","orderId":1,"executedQty":"1e999999999"}'
    yield "orders", ("[" + filled(order, size - 2, joint=",") + "]").encode()
    yield (
        "an order list",
        ('{"contingencyType":"OCO","orderReports":[' + filled(order, size - 60, joint=",") + "]}").encode(),
    )
    yield "halves", ('{"data":{"cancelResult":"SUCCESS","cancelResponse":' + "[" * (size - 80)).encode()
    halves = '{"cancelResult":"SUCCESS","newOrderResult":"SUCCESS","cancelResponse":{"orderReports":['
    yield "reports of a half", (halves + filled(order, size - 200, joint=",") + "]}}").encode()
    fills = '"newOrderResponse":{"orderId":1,"fills":[' + filled('{"qty":"#"}', size - 300, joint=",") + "]}"
    yield (
        "executions of a half",
        ('{"data":{"cancelResponse":null,' + fills + ',"cancelResult":"SUCCESS"}}').encode(),
    )
    yield "escapes", b'{"msg":"' + b"\\u0041" * (size // 6 - 4) + b'"}'
    yield "names", ("{" + filled('"a#":1', size - 2, joint=",") + "}").encode()


def reading_of(action: Action) -> Reading:
    intent = Intent(action, "spot.order.place", "trade", target=OrderRef("BTCUSDT", "1"))
    return Reading(Request("POST", "/api/v3/order", b"", b"", "V"), intent, Security.SIGNED, None)


@pytest.mark.parametrize("size", [answers.LARGEST_READ, answers.LARGEST_ORDER, 32 * 1024 * 1024])
@pytest.mark.parametrize("action", [Action.PLACE, Action.CANCEL, Action.READ])
def test_answers(action: Action, size: int) -> None:
    """However large the answer is, we look at no more than a bounded part of it."""
    for name, body in documents(size):
        for status in (200, 400, 409):
            reading = reading_of(action)
            took = cpu_ms(
                lambda body=body, status=status, reading=reading: answers.understand(
                    reading, status, {}, body
                )
            )  # type: ignore[misc]
            assert took < MOST_MS, (name, status)


def packed_answers() -> Iterator[tuple[str, bytes]]:
    """Yield compressed answers that cost the most: blocks that yield nothing, and a table for each few bytes."""
    yield "blocks of nothing", b"\x00\x00\x00\xff\xff" * (LARGEST_PACKED // 5)
    nothing, count = 0, 8 * LARGEST_PACKED // 10
    for at in range(40):  # a block of ten bits, again and again; forty are fifty bytes
        nothing |= 0b10 << (10 * at)
    yield "short blocks of nothing", nothing.to_bytes(50, "little") * (count // 40)
    letters, parts = random.Random(1), []  # noqa: S311 - no secret
    packing = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
    while sum(map(len, parts)) < LARGEST_PACKED:
        parts.append(
            packing.compress(bytes(letters.choices(b"abcdefgh", k=60))) + packing.flush(zlib.Z_FULL_FLUSH)
        )
    yield "tables", b"".join(parts)[:LARGEST_PACKED]
    yield "zeros", zlib.compress(bytes(32 * 1024 * 1024))
    yield "larger", b"".join(parts) * (32 * 1024 * 1024 // LARGEST_PACKED)


def test_packed_answers() -> None:
    for name, body in packed_answers():
        for encoding in (b"gzip", b"deflate"):
            took = cpu_ms(
                lambda body=body, encoding=encoding: packed.plain({b"content-encoding": encoding}, body)
            )  # type: ignore[misc]
            assert took < MOST_MS, (name, encoding)


PARSERS: tuple[Callable[[bytes], Any], ...] = (
    market.parse_venue_time, market.parse_prices, market.parse_symbols, market.parse_holdings, market.parse_order,
    market.parse_order_list, market.error_code,
)  # fmt: skip


@pytest.mark.parametrize("parser", PARSERS, ids=[parser.__name__ for parser in PARSERS])
def test_facts(parser: Callable[[bytes], Any]) -> None:
    """What we ask ourselves is bounded where it comes in; up to there it is read in time, or refused in time."""

    def work(body: bytes) -> None:
        try:
            parser(body)
        except ValueError:
            return

    pair = '{"symbol":"A#","baseAsset":"A","quoteAsset":"B","price":"1","asset":"A#","free":"1","locked":"1"}'
    more = {
        "symbols": ('{"symbols":[' + filled(pair, LARGEST_FACT - 20, joint=",") + "]}").encode(),
        "balances": ('{"balances":[' + filled(pair, LARGEST_FACT - 20, joint=",") + "]}").encode(),
        "prices": ("[" + filled(pair, LARGEST_FACT - 20, joint=",") + "]").encode(),
    }
    for name, body in [*documents(LARGEST_FACT), *more.items()]:
        assert cpu_ms(lambda body=body: work(body)) < MOST_MS, name  # type: ignore[misc]
