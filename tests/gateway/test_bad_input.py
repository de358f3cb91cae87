"""Bad input on the bots' side: a native 4xx, no crash, and a record; the next bot is served as before."""

import asyncio
import dataclasses
import hashlib
import hmac
from pathlib import Path

import pytest

from broker.gateway import connection
from broker.gateway.form import LARGEST_BODY, BadForm, check_target
from portcullis.gateway import parse_listen
from tests.gateway.world import Answer, World, exchange_bytes, running_world

HOST = b"Host: 127.0.0.1\r\n"
PING = b"/binance/api/v3/ping"


def get(target: bytes = PING, headers: bytes = HOST, version: bytes = b"HTTP/1.1") -> bytes:
    return b"GET " + target + b" " + version + b"\r\n" + headers + b"\r\n"


BAD = [
    ("absolute form", get(b"http://127.0.0.1/binance/api/v3/ping"), "target_form"),
    ("dots", get(b"/binance/api/v3/../v3/ping"), "target_dots"),
    ("encoded dots", get(b"/binance/api/%2e%2e/ping"), "target_escapes"),
    ("encoded slash", get(b"/binance/api%2Fv3/ping"), "target_escapes"),
    ("backslash", get(b"/binance/api\\v3/ping"), "target_bytes"),
    ("fragment", get(b"/binance/api/v3/ping#x"), "target_bytes"),
    ("raw UTF-8", get("/binance/api/v3/ping?a=\u00e9".encode()), None),
    ("no Host", get(headers=b""), "no_host"),
    ("two Hosts", get(headers=HOST + HOST), "repeated_header"),
    ("foreign Host", get(headers=b"Host: evil.test\r\n"), "foreign_host"),
    ("rebound Host", get(headers=b"Host: 127.0.0.1.evil.test:80\r\n"), "foreign_host"),
    ("wrong method", b"PATCH " + PING + b" HTTP/1.1\r\n" + HOST + b"\r\n", "method"),
    ("CONNECT", b"CONNECT api.binance.com:443 HTTP/1.1\r\n" + HOST + b"\r\n", None),
    ("both framings", get(headers=HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), None),
    ("chunked", get(headers=HOST + b"Transfer-Encoding: chunked\r\n"), "body_framing"),
    ("two lengths", get(headers=HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n"), None),
    ("negative length", get(headers=HOST + b"Content-Length: -3\r\n"), None),
    ("huge body", get(headers=HOST + b"Content-Length: %d\r\n" % (LARGEST_BODY + 1)), "body_too_large"),
    (
        "header flood",
        get(headers=HOST + b"".join(b"X-%d: y\r\n" % n for n in range(200))),
        "too_many_headers",
    ),
    ("huge header", get(headers=HOST + b"X: " + b"y" * 100_000 + b"\r\n"), None),
    ("huge target", get(b"/binance/" + b"a" * 100_000), None),
    ("header bytes", get(headers=HOST + "X-MBX-APIKEY: \u00e9\r\n".encode()), "header_bytes"),
    ("a Host of no ASCII", get(headers="Host: \u00e9\r\n".encode()), "header_bytes"),
    ("two keys", get(headers=HOST + b"X-MBX-APIKEY: a\r\nx-mbx-apikey: b\r\n"), "repeated_header"),
    ("two units", get(headers=HOST + b"X-MBX-TIME-UNIT: MILLISECOND\r\n" * 2), "repeated_header"),
    ("two expectations", get(headers=HOST + b"Expect: 100-continue\r\n" * 2), "repeated_header"),
    ("a length with underscore", get(headers=HOST + b"Content_Length: 3\r\n"), "header_bytes"),
    (
        "a key beside what decides nothing",
        get(headers=HOST + b"X_Mbx_Apikey: k\r\nVia: a\r\nVia: b\r\n"),
        "header_bytes",
    ),
    ("a control character", get(headers=HOST + b"X-Y: a\x01b\r\n"), None),
    ("a zero", get(headers=HOST + b"X-Y: a\x00b\r\n"), None),
    ("a line end in a value", get(headers=HOST + b"X-Y: a\rb\r\n"), None),
    ("websocket offered second", get(headers=HOST + b"Upgrade: h2c\r\nUpgrade: websocket\r\n"), "websocket"),
    ("a packed body", get(headers=HOST + b"Content-Encoding: gzip\r\n"), "body_framing"),
    ("header with underscore", get(headers=HOST + b"X_MBX_APIKEY: k\r\n"), "header_bytes"),
    ("websocket", get(headers=HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"), "websocket"),
    ("an expectation", get(headers=HOST + b"Expect: 200-ok\r\n"), "expectation"),
    ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50, "http"),
    ("bare line feeds", b"GET " + PING + b" HTTP/1.1\nHost: 127.0.0.1\n\n", None),
    ("blank in target", b"GET " + PING + b" x HTTP/1.1\r\n" + HOST + b"\r\n", None),
]


async def served(world: World) -> Answer:
    return await exchange_bytes(world.port, get())


@pytest.mark.parametrize(("data", "reason"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
async def test_a_request_that_is_not_in_form_gets_a_native_4xx(
    tmp_path: Path, data: bytes, reason: str | None
) -> None:
    async with running_world(tmp_path) as world:
        answer = await exchange_bytes(world.port, data)
        assert 400 <= answer.status < 500, answer
        assert isinstance(answer.code, int)
        if reason is not None:
            assert answer.reason == reason
        assert (await served(world)).status == 200
        assert world.gateway.ledger.refusals == 1
        assert world.executed() == []


SIGNED = [
    ("no key", {"key": False}, "&signature=" + "0" * 64, (401, -2014)),
    ("unknown key", {"key_id": "A" * 64}, "&signature=" + "0" * 64, (401, -2014)),
    ("own prefix, wrong checksum", {"key_id": "PCLS" + "A" * 60}, "&signature=" + "0" * 64, (401, -2014)),
    ("wrong signature", {}, "&signature=" + "0" * 64, (400, -1022)),
    ("malformed signature", {}, "&signature=zz", (400, -1022)),
    ("empty signature", {}, "&signature=", (400, -1022)),
    ("no signature", {}, "", (400, -1102)),
    ("no timestamp", {"stamp": False, "sign": True}, "", (400, -1102)),
    ("an empty timestamp", {"stamp": False, "sign": True}, "&timestamp=", (400, -1102)),
    ("a timestamp in seconds", {"stamp": False, "sign": True}, "&timestamp=1795358627", (400, -1021)),
    (
        "a timestamp in nanoseconds",
        {"stamp": False, "sign": True},
        "&timestamp=1795358627105000000",
        (400, -1021),
    ),
    ("a window of three hours", {"sign": True}, "&recvWindow=10000000", (400, -1131)),
    ("a parameter twice", {"sign": True}, "&recvWindow=1&recvWindow=2", (400, -1101)),
    ("an unknown parameter", {"sign": True}, "&colour=red", (400, -1104)),
    ("an unknown parameter that nobody signed", {}, "&colour=red&signature=" + "0" * 64, (400, -1022)),
]


@pytest.mark.parametrize(
    ("change", "tail", "expected"), [case[1:] for case in SIGNED], ids=[case[0] for case in SIGNED]
)
async def test_a_signed_request_that_is_not_right_is_refused_natively_and_written_down(
    tmp_path: Path, change: dict[str, object], tail: str, expected: tuple[int, int | None]
) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        key_id = change.get("key_id", bot.key_id)
        stamp = (
            f"timestamp={world.paper.exchange.now_us() // 1000}"
            if change.get("stamp", True)
            else "recvWindow=5000"
        )
        if change.get("sign"):
            text = (stamp + tail).encode()
            tail += "&signature=" + hmac.new(bot.secret.encode(), text, hashlib.sha256).hexdigest()
        header = f"X-MBX-APIKEY: {key_id}\r\n" if change.get("key", True) else ""
        raw = f"GET /binance/api/v3/account?{stamp}{tail} HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}\r\n"
        answer = await exchange_bytes(world.port, raw.encode())
        status, code = expected
        assert answer.status == status, answer
        assert code is None or answer.code == code, answer
        assert world.gateway.ledger.refusals == 1
        assert world.gateway.spool.seq >= 1
        assert (await bot.order()).status == 200


async def test_half_a_request_is_answered_when_the_client_closes_its_side(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(b"GET /binance/api/v3/ping HTTP/1.1\r\nHos")
        writer.write_eof()
        head = await reader.read()
        assert head.startswith(b"HTTP/1.1 400")
        writer.close()
        assert (await served(world)).status == 200


async def test_a_whole_request_is_answered_although_the_client_closed_its_side(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(get())
        writer.write_eof()
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_a_slow_request_is_ended(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(
            b"POST /binance/api/v3/order HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\nabc"
        )
        await served(world)
        assert world.gateway.listener is not None
        (slow,) = [one for one in world.gateway.listener.connections if one.reading]
        slow.check_time(asyncio.get_running_loop().time() + connection.REQUEST_SECONDS + 1)
        assert (await reader.read()).startswith(b"HTTP/1.1 408")
        writer.close()


async def test_pipelined_requests_are_answered_in_order_and_many_do_not_fill_memory(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(get(b"/binance/api/v3/time") + get() + get(b"/nowhere/x"))
        data = b""
        while data.count(b"HTTP/1.1 ") < 3:
            data += await reader.read(65536)
        statuses = [part[:3] for part in data.split(b"HTTP/1.1 ")[1:]]
        assert statuses == [b"200", b"200", b"404"]
        writer.close()


@pytest.mark.parametrize("target", [b"/a", b"/a/b?c=d", b"/a//b", b"/a?x=/../y", b"/a.b/c..d"])
def test_plain_targets_pass(target: bytes) -> None:
    path, query = check_target(target)
    assert path.encode() + (b"?" + query if query else b"") == target


@pytest.mark.parametrize(
    "target", [b"", b"*", b"a", b"/a b", b"/a\x7f", b"/.", b"/a/./b", b"/a/..", b"/%5Cx"]
)
def test_odd_targets_do_not(target: bytes) -> None:
    with pytest.raises(BadForm):
        check_target(target)


async def test_a_unix_socket_serves_whatever_name_it_is_called_by(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "gateway.sock"))
        writer.write(get(headers=b"Host: portcullis\r\n"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.close()
        assert (tmp_path / "gateway.sock").stat().st_mode & 0o007 == 0
        assert (await served(world)).status == 200
    assert not (tmp_path / "gateway.sock").exists()


@pytest.mark.parametrize(
    ("text", "allowed", "fine"),
    [
        ("127.0.0.1:8700", [], True),
        ("[::1]:0", [], True),
        ("0.0.0.0:8700", ["gateway"], True),
        ("0.0.0.0:8700", [], False),
        ("8700", [], False),
        ("127.0.0.1:port", [], False),
        ("gateway:8700", [], False),
    ],
)
def test_a_gateway_listens_beyond_loopback_only_under_names(
    text: str, allowed: list[str], fine: bool
) -> None:
    if fine:
        assert parse_listen(text, allowed).allowed_hosts >= set(allowed)
    else:
        with pytest.raises(ValueError, match=r"--listen|address"):
            parse_listen(text, allowed)


FORM = "&".join(f"a{number}=" for number in range(8_000))


async def test_no_form_is_read_of_who_may_not_have_it_read(tmp_path: Path) -> None:
    """Unknown mounts, endpoints and keys, keys that were cut, and forms that nobody signed."""
    async with running_world(tmp_path) as world:
        world.account()
        bot, other = world.bot(), world.bot("other")
        assert (await bot.order()).status == 200
        assert (await other.order()).status == 200
        await world.cut("consumer:other")
        stranger = dataclasses.replace(bot, key_id="A" * 64)
        nobody = dataclasses.replace(bot, secret="0" * 64)
        unknown = (
            b"POST /nowhere/api/v3/order HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(FORM)
        )
        cases = {
            "unknown_mount": unknown + FORM.encode(),
            "no_key": unknown.replace(b"/nowhere/api/v3/order", b"/binance/api/v3/nothing") + FORM.encode(),
            "unknown_key": stranger.plain("POST", "/api/v3/order", FORM, body=True),
            "cut": other.plain("POST", "/api/v3/order", FORM, body=True),
            "unknown_endpoint": bot.plain("POST", "/api/v3/nothing", FORM, body=True),
            "bad_signature": nobody.signed("POST", "/api/v3/order", body=True, colour="red"),
            "too_many_parameters": bot.plain("POST", "/api/v3/order", FORM[:12_000], body=True),
            "form_too_large": bot.plain("POST", "/api/v3/order", FORM, body=True),
        }
        for reason, data in cases.items():
            assert (await exchange_bytes(world.port, data)).reason == reason
        assert len(world.executed()) == 2
