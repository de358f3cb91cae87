"""Ways to a venue, tried through small proxies on loopback."""

import asyncio
import ssl
import traceback
from pathlib import Path

import pytest

from clients.egress import DIRECT, Egress, EgressError, Way, open_connection
from clients.secret import Secret
from tests.clients.proxies import ConnectProxy, SocksProxy, certificate, echo, serving

HOST = "venue.test"


class _Line(asyncio.Protocol):
    """Collects what comes until the connection ends."""

    def __init__(self) -> None:
        self.data = b""
        self.done = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def _talk(egress: Egress, host: str, port: int, tls: ssl.SSLContext | None = None) -> bytes:
    transport, line = await open_connection(egress, host, port, tls, _Line)
    transport.write(b"hello\n")
    await asyncio.wait_for(line.done, 60)
    transport.close()
    return line.data


def _proxy(way: Way, port: int, **more: object) -> Egress:
    return Egress("e1", ("203.0.113.5",), way, proxy_host="127.0.0.1", proxy_port=port, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values",
    [
        {"addresses": ("not an address",)},
        {"source": "nowhere"},
        {"proxy_host": "p", "proxy_port": 1},
        {"way": Way.CONNECT},
        {"way": Way.CONNECT, "proxy_host": "p", "proxy_port": 0},
        {"way": Way.SOCKS5H, "proxy_host": "p", "proxy_port": 1, "source": "127.0.0.1"},
        {"way": Way.SOCKS5H, "proxy_host": "p", "proxy_port": 1, "proxy_user": "u"},
    ],
)
def test_an_egress_is_checked_when_it_is_made(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Egress("e1", **values)  # type: ignore[arg-type]


def test_login_is_not_shown() -> None:
    egress = _proxy(Way.CONNECT, 1, proxy_user="planted", proxy_password=Secret("planted"))
    assert "planted" not in repr(egress)


@pytest.mark.parametrize("host", ["", "a b", "a\r\nX: y", "-a", "a/", "a:1", "x" * 300, "ü.test"])
async def test_host_names_are_plain(host: str) -> None:
    """A name with a line end in it would write headers into the proxy's request."""
    with pytest.raises(ValueError, match="host name"):
        await open_connection(DIRECT, host, 443, None, _Line)


@pytest.mark.sockets
async def test_direct_from_a_source_address() -> None:
    """The other side sees the address that was chosen."""
    async with serving(echo) as port:
        assert await _talk(DIRECT, "127.0.0.1", port) == b"127.0.0.1|hello\n"
        egress = Egress("second", ("127.0.0.9",), source="127.0.0.9")
        assert await _talk(egress, "127.0.0.1", port) == b"127.0.0.9|hello\n"


@pytest.mark.sockets
@pytest.mark.parametrize("way", [Way.CONNECT, Way.SOCKS5H])
async def test_tls_is_end_to_end(way: Way, tmp_path: Path) -> None:
    """The name goes to the proxy unresolved, and the certificate is checked against the venue's host."""
    server, client = certificate(tmp_path, HOST)
    async with serving(echo, server) as upstream:
        proxy = ConnectProxy(upstream) if way is Way.CONNECT else SocksProxy(upstream)
        async with serving(proxy) as port:
            assert await _talk(_proxy(way, port), HOST, 443, client) == b"127.0.0.1|hello\n"
            with pytest.raises(ssl.SSLCertVerificationError):
                await _talk(_proxy(way, port), "other.test", 443, client)
    if isinstance(proxy, ConnectProxy):
        assert proxy.heads[0] == b"CONNECT venue.test:443 HTTP/1.1\r\nHost: venue.test:443\r\n\r\n"
    else:
        assert proxy.asked[0] == (b"venue.test", 443)


@pytest.mark.sockets
@pytest.mark.parametrize("way", [Way.CONNECT, Way.SOCKS5H])
async def test_proxy_login(way: Way) -> None:
    """User and password open the way; a wrong one is told apart, and shown nowhere."""
    async with serving(echo) as upstream:
        proxy = (
            ConnectProxy(upstream, login="user:planted")
            if way is Way.CONNECT
            else SocksProxy(upstream, login=(b"user", b"planted"))
        )
        async with serving(proxy) as port:
            good = _proxy(way, port, proxy_user="user", proxy_password=Secret("planted"))
            assert await _talk(good, HOST, 80) == b"127.0.0.1|hello\n"
            bad = _proxy(way, port, proxy_user="user", proxy_password=Secret("plantedplanted"))
            with pytest.raises(EgressError) as caught:
                await _talk(bad, HOST, 80)
    assert caught.value.reason == "proxy_login_refused"
    assert "planted" not in "".join(traceback.format_exception(caught.value)).replace("Secret", "")


REFUSALS = {
    "not 200": (b"HTTP/1.1 403 Forbidden\r\n\r\n", "proxy_refused"),
    "another 2xx": (b"HTTP/1.1 204 No Content\r\n\r\n", "proxy_refused"),
    "200 in another place": (b"HTTP/1.1 500 200\r\n\r\n", "proxy_refused"),
    "not HTTP": (b"SSH-2.0-x\r\n\r\n", "proxy_refused"),
    "HTTP 2": (b"HTTP/2 200\r\n\r\n", "proxy_refused"),
    "speaks first": (b"HTTP/1.1 200 OK\r\n\r\nhello", "proxy_spoke_first"),
    "closes": (b"HTTP/1.1 200 OK\r\n", "proxy_closed"),
    "endless head": (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 2000, "proxy_talks_too_much"),
}


@pytest.mark.sockets
@pytest.mark.parametrize(("reply", "reason"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_connect_takes_only_a_plain_yes(reply: bytes, reason: str) -> None:
    async with serving(ConnectProxy(0, reply)) as port:
        with pytest.raises(EgressError) as caught:
            await _talk(_proxy(Way.CONNECT, port), HOST, 443)
    assert caught.value.reason == reason


SOCKS_REFUSALS = {
    "other version": ((b"\x04\x00",), "proxy_refused"),
    "no method": ((b"\x05\xff",), "proxy_refused"),
    "wants a login": ((b"\x05\x02",), "proxy_refused"),
    "not allowed": ((b"\x05\x00", b"\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"), "proxy_refused"),
    "unknown address kind": ((b"\x05\x00", b"\x05\x00\x00\x09\x00\x00\x00\x00\x00\x00"), "proxy_refused"),
}


@pytest.mark.sockets
@pytest.mark.parametrize(("replies", "reason"), SOCKS_REFUSALS.values(), ids=SOCKS_REFUSALS.keys())
async def test_socks_takes_only_a_plain_yes(replies: tuple[bytes, ...], reason: str) -> None:
    async with serving(echo) as upstream, serving(SocksProxy(upstream, replies)) as port:
        with pytest.raises(EgressError) as caught:
            await _talk(_proxy(Way.SOCKS5H, port), HOST, 443)
    assert caught.value.reason == reason


@pytest.mark.sockets
@pytest.mark.parametrize(
    "reply", [b"\x05\x00\x00\x03\x04name\x00\x01", b"\x05\x00\x00\x04" + b"\0" * 16 + b"\x00\x01"]
)
async def test_socks_answers_may_name_any_address(reply: bytes) -> None:
    async with serving(echo) as upstream, serving(SocksProxy(upstream, (b"\x05\x00", reply))) as port:
        assert await _talk(_proxy(Way.SOCKS5H, port), HOST, 80) == b"127.0.0.1|hello\n"


@pytest.mark.sockets
async def test_a_silent_proxy_costs_the_timeout_and_no_more() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(silent) as port:
        for way in (Way.CONNECT, Way.SOCKS5H):
            with pytest.raises(TimeoutError):
                await open_connection(_proxy(way, port), HOST, 443, None, _Line, timeout_s=0.1)


@pytest.mark.sockets
async def test_a_proxy_that_is_not_there() -> None:
    async with serving(echo) as port:
        pass
    with pytest.raises(EgressError) as caught:
        await open_connection(_proxy(Way.CONNECT, port), HOST, 443, None, _Line)
    assert caught.value.reason == "proxy_unreachable"
