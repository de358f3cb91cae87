"""A host with several addresses is reached by the one that answers, whichever it is."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import uvloop

from clients import addresses, attempts, dialling, egress, lines
from clients.addresses import Tried
from clients.bounds import Bounds, OutOfBounds, within
from clients.egress import DIRECT, Egress, EgressError, Way, open_connection
from clients.pools import bounded_session
from tests.clients.proxies import ConnectProxy, SocksProxy, echo, serving
from tests.clients.test_egress import HOST, _Line
from tests.strangers import stranger

HOLE, SECOND_HOLE, GONE, ALIVE = "127.0.0.2", "127.0.0.4", "127.0.0.5", "127.0.0.1"
ENDS_S = 20.0


@contextlib.contextmanager
def hole(port: int, host: str = HOLE) -> Iterator[None]:
    """Have an address swallow what asks for a connection: nobody takes one, and there is no room for more."""
    with contextlib.ExitStack() as kept:
        full = kept.enter_context(socket.socket())
        full.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        full.bind((host, port))
        full.listen(0)
        for _ in range(4):
            asks = kept.enter_context(socket.socket())
            asks.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                asks.connect((host, port))
        yield


def resolves(monkeypatch: pytest.MonkeyPatch, *found: str) -> None:
    """Have the system give a name these addresses."""
    real = socket.getaddrinfo

    def given(host: Any, port: Any, *more: Any, **named: Any) -> Any:
        if host != HOST:
            return real(host, port, *more, **named)
        if named.get("flags", 0) & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "no number")
        return [one for address in found for one in real(address, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", given)


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Tried:
    """Nothing failed before."""
    tried = Tried()
    for room in (attempts, lines, egress):
        monkeypatch.setattr(room, "TRIED", tried, raising=False)
    return tried


WAYS = {
    "direct": (HOLE, ALIVE),
    "refused first": (GONE, ALIVE),
    "two of them": (HOLE, SECOND_HOLE, GONE, ALIVE),
    "another family": ("::1", HOLE, ALIVE),
}


@pytest.mark.sockets
@pytest.mark.parametrize("found", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("source", [None, "127.0.0.9"])
async def test_the_venue_is_reached_by_the_address_that_answers(
    monkeypatch: pytest.MonkeyPatch, found: tuple[str, ...], source: str | None, forgotten: Tried
) -> None:
    """A network without IPv6, or an edge that is down, swallows what is sent to it and says nothing."""
    resolves(monkeypatch, *found)
    way = DIRECT if source is None else Egress("second", source=source)
    async with serving(echo) as port:
        with hole(port), hole(port, SECOND_HOLE):
            transport, line = await open_connection(way, HOST, port, None, _Line, timeout_s=ENDS_S)
            transport.write(b"hello\n")
            await line.done
            transport.close()
    assert line.data == f"{source or ALIVE}|hello\n".encode()
    first = forgotten.ordered([(one, port) for one in found if one != "::1"], tuple)[0]
    assert first == (ALIVE, port), "what did not answer goes last"


@pytest.mark.sockets
@pytest.mark.parametrize("way", [Way.CONNECT, Way.SOCKS5H])
async def test_a_proxy_is_reached_by_the_address_that_answers(
    monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    """As the venue is."""
    resolves(monkeypatch, HOLE, ALIVE)
    async with serving(echo) as upstream:
        proxy = ConnectProxy(upstream) if way is Way.CONNECT else SocksProxy(upstream)
        async with serving(proxy) as port:
            with hole(port):
                proxied = Egress("e1", way=way, proxy_host=HOST, proxy_port=port)
                transport, line = await open_connection(
                    proxied, "api.test", 443, None, _Line, timeout_s=ENDS_S
                )
                transport.write(b"hello\n")
                await line.done
                transport.close()
    assert line.data == b"127.0.0.1|hello\n"


@pytest.mark.sockets
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_on_either_loop(run: Callable[[Any], Any], forgotten: Tried) -> None:
    """The gateway runs on uvloop; the losers are closed there too."""

    async def work() -> None:
        async with serving(echo) as port:
            with hole(port), hole(port, SECOND_HOLE):
                there = [
                    place
                    for one in (HOLE, SECOND_HOLE, ALIVE)
                    for place in await dialling.places(one, port, None)
                ]
                place, sock = await asyncio.wait_for(dialling.dial(there, None, forgotten), ENDS_S)
                assert place.name == (ALIVE, port)
                assert sock.getpeername() == (ALIVE, port)
                sock.close()
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(dialling.dial(there[:2], None, forgotten), 0.5)

    run(work())


@pytest.mark.sockets
async def test_where_none_answers_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each refuses; and from a source there may be none of its kind."""
    async with serving(echo) as port:
        pass
    resolves(monkeypatch, GONE, ALIVE)
    with pytest.raises(ConnectionRefusedError):
        await open_connection(DIRECT, HOST, port, None, _Line)
    proxied = Egress("e1", way=Way.CONNECT, proxy_host=HOST, proxy_port=port)
    with pytest.raises(EgressError, match="proxy_unreachable"):
        await open_connection(proxied, "api.test", 443, None, _Line)
    six = Egress("six", source="::1")
    with pytest.raises(OSError, match="no address that can be reached"):
        await open_connection(six, HOST, port, None, _Line)


@pytest.mark.sockets
def test_clients_of_the_control_plane_reach_it_too(monkeypatch: pytest.MonkeyPatch, forgotten: Tried) -> None:
    """Vault, notices and the rotator's calls: the first address had all of the call's time."""
    resolves(monkeypatch, HOLE, ALIVE)
    with stranger("redirects for ever") as here, hole(here.port), within(Bounds(ENDS_S)):
        line = lines.connect(HOST, here.port)
        assert line.sock.getpeername() == (ALIVE, here.port)
        line.close()
        with bounded_session() as session:
            answer = session.get(f"http://{HOST}:{here.port}/", allow_redirects=False)
        assert answer.status_code == 302
        assert forgotten.ordered([(HOLE, here.port), (ALIVE, here.port)], tuple)[0] == (ALIVE, here.port)


@pytest.mark.sockets
def test_an_address_has_its_time_and_no_more() -> None:
    """Where each swallows what is sent, the wait for one bounds the wait for all; the call's time does too."""
    with stranger("says nothing") as here, hole(here.port), hole(here.port, SECOND_HOLE):
        for most_s, total_s in ((0.3, ENDS_S), (None, 0.6)):
            with within(Bounds(total_s)), pytest.raises((TimeoutError, OutOfBounds)):
                lines.connect("x.test", here.port, lambda *_: [HOLE, SECOND_HOLE], most_s=most_s)
        with within(Bounds(ENDS_S)), pytest.raises(OSError, match="no address"):
            lines.connect("x.test", here.port, lambda *_: ["::1"], source=ALIVE)
    with bounded_session() as session, within(Bounds(ENDS_S)), pytest.raises(requests.ConnectionError):
        session.get(f"http://{GONE}:{here.port}/")


@pytest.mark.sockets
def test_a_host_without_a_kind_of_address_uses_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without IPv6 has no such socket: that is the end of one attempt, not of all."""
    real = socket.socket

    def without_six(family: int = -1, *more: Any, **named: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, *more, **named)

    with stranger("says nothing") as here, within(Bounds(ENDS_S)):
        monkeypatch.setattr(attempts.socket, "socket", without_six)
        for found in (["::1", ALIVE], [GONE, "::1", ALIVE]):
            lines.connect("x.test", here.port, lambda *_, found=found: found).close()
        monkeypatch.undo()


def test_the_order() -> None:
    """Families take turns; what failed lately goes last, the longest ago first; and is first again later."""
    now = [0.0]
    tried = Tried(lambda: now[0])
    found = [("::1", 1), ("::2", 1), ("::3", 1), ("1.1.1.1", 1), ("::1", 1), ("2.2.2.2", 1)]
    assert [one for one, _ in tried.ordered(found, tuple)] == ["::1", "1.1.1.1", "::2", "2.2.2.2", "::3"]
    tried.failed(("::1", 1))
    now[0] = 1.0
    tried.failed(("1.1.1.1", 1))
    assert [one for one, _ in tried.ordered(found, tuple)] == ["::2", "2.2.2.2", "::3", "::1", "1.1.1.1"]
    assert tried.ordered([("::1", 2), ("::2", 2)], tuple)[0] == ("::1", 2), "another port is another place"
    tried.answered(("1.1.1.1", 1))
    now[0] = addresses.LATELY_S
    assert [one for one, _ in tried.ordered(found, tuple)][:2] == ["::1", "1.1.1.1"]
    for at in range(1000):
        tried.failed(("::9", at))
    assert tried.ordered([("::9", 999), ("::8", 1)], tuple)[0] == ("::8", 1)
    assert tried.ordered([], tuple) == []
