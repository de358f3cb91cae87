"""Bots that load a whole listing at once have one answer of the exchange between them, and each its own verdict."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.gateway import alike, venue_line
from broker.gateway import connection as connections
from broker.gateway.limits import STRANGERS
from broker.gateway.listener import Listener
from broker.gateway.room import LARGEST_HELD, Limits
from broker.gateway.venue_view import VenueView
from clients.paper import server as paper_server
from clients.paper.exchange import Answer as Said
from clients.paper.reading import Call
from clients.venue import Reading, Request
from clients.venues.binance import WIRE
from tests.gateway.test_crowds import eventually, small_world
from tests.gateway.world import Answer, Bot, World, bots, running_world

LISTING = "/api/v3/exchangeInfo"
LARGE = {LISTING, "/api/v3/ticker/24hr"}
SIZE = 18 << 16
"""A sixteenth of what the exchange lists; the room for answers is a sixteenth of its own, too."""


class Exchange:
    """Gives its large answers when it is told to."""

    def __init__(self, patch: pytest.MonkeyPatch, paths: set[str]) -> None:
        self.asked: list[tuple[paper_server.Connection, Call]] = []
        for place in (venue_line, alike, connections):  # a busy machine takes its time
            patch.setattr(place, "ANSWER_SECONDS", 600.0)
        patch.setattr(connections, "READ_SECONDS", 600.0)
        real = paper_server.Connection._take

        def take(connection: paper_server.Connection, call: Call) -> None:
            if call.path not in paths:
                real(connection, call)
                return
            connection._held = True
            self.asked.append((connection, call))

        patch.setattr(paper_server.Connection, "_take", take)

    def answer(self, size: int = SIZE, status: int = 200) -> None:
        for connection, _ in self._taken():
            connection._write(Said(status, {"symbols": [], "pad": "x" * size}))
            connection._next()

    def dies(self) -> None:
        """Break off in the middle of each."""
        for connection, _ in self._taken():
            whole = paper_server._bytes(Said(200, {"pad": "x" * SIZE}))
            assert connection._transport is not None
            connection._transport.write(whole[: SIZE // 2])
            connection._transport.close()

    def _taken(self) -> list[tuple[paper_server.Connection, Call]]:
        taken, self.asked = self.asked, []
        for connection, _ in taken:
            connection._held = False
        return taken


@asynccontextmanager
async def listing(
    tmp_path: Path, patch: pytest.MonkeyPatch, paths: set[str] = LARGE
) -> AsyncIterator[tuple[World, Exchange, Bot]]:
    """Run a world with a ready bot, whose exchange waits with its listings, and whose gateway has little room."""
    patch.setattr(venue_line, "LARGEST_COLLECTED", 64 << 16)
    patch.setattr("broker.gateway.listener.LARGEST_HELD", LARGEST_HELD >> 4)
    exchange = Exchange(patch, paths)
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        (bot,) = await bots(world)
        yield world, exchange, bot


async def under_way(world: World, count: int) -> None:
    """Wait until so many requests have left, or wait for what did."""
    await eventually(lambda: world.gateway.ledger.in_flight == count)


def together(bot: Bot, count: int, path: str, text: str = "") -> "list[asyncio.Task[Answer]]":
    return [asyncio.create_task(bot.public(path, text)) for _ in range(count)]


def hang_up(writer: asyncio.StreamWriter) -> str:
    """Go away at once, not by saying that nothing more comes; return who that was."""
    host, port = writer.get_extra_info("sockname")
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return f"{host}:{port}"


def listener_of(world: World) -> Listener:
    assert world.gateway.listener is not None
    return world.gateway.listener


@pytest.mark.parametrize(
    ("path", "text", "weight"),
    [(LISTING, "", 20), (LISTING, "permissions=SPOT", 20), ("/api/v3/ticker/24hr", "", 80)],
)
async def test_the_exchange_is_asked_once_by_bots_that_load_a_listing_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, text: str, weight: int
) -> None:
    async with listing(tmp_path, monkeypatch) as (world, exchange, bot):
        (view,) = world.gateway.mounts.views.values()
        ledger = world.gateway.ledger
        before, spent = ledger.requests, view.meter._used.get(STRANGERS, 0)
        asking = together(bot, 6, path, text)
        await under_way(world, 6)
        await eventually(lambda: exchange.asked)
        assert len(exchange.asked) == 1
        exchange.answer()
        for answer in await asyncio.gather(*asking):
            assert answer.status == 200, answer.reason
            assert len(answer.body["pad"]) == SIZE
        assert ledger.requests == before + 6, "each has its line"
        await under_way(world, 0)
        assert view.meter._used.get(STRANGERS, 0) - spent <= weight, "less where a minute began"
        assert world.gateway.forwarder.crowd.empty
        assert not view.pool.alike._coming
        (last,) = together(bot, 1, path, text)
        await eventually(lambda: exchange.asked)
        exchange.answer(5)
        assert (await last).body["pad"] == "x" * 5, "nothing is kept"


@pytest.mark.parametrize("leaves", [0, 1], ids=["who asked first", "who came later"])
async def test_one_that_hangs_up_takes_the_answer_from_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaves: int
) -> None:
    async with listing(tmp_path, monkeypatch) as (world, exchange, bot):
        writers = []
        for count in (1, 2):
            _, writer = await asyncio.open_connection("127.0.0.1", world.port)
            writer.write(bot.plain("GET", LISTING))
            writers.append(writer)
            await under_way(world, count)
        staying = together(bot, 2, LISTING)
        await under_way(world, 4)
        await eventually(lambda: exchange.asked)
        peer = hang_up(writers[leaves])
        await eventually(lambda: peer not in {one.peer for one in listener_of(world).connections})
        assert len(exchange.asked) == 1
        exchange.answer()
        assert [answer.status for answer in await asyncio.gather(*staying)] == [200, 200]
        await under_way(world, 0)
        writers[1 - leaves].close()
        await eventually(lambda: not listener_of(world).loads.total)


async def test_an_exchange_that_dies_on_one_dies_on_all_and_is_asked_anew_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listing(tmp_path, monkeypatch) as (world, exchange, bot):
        asking = together(bot, 4, LISTING)
        await under_way(world, 4)
        await eventually(lambda: exchange.asked)
        assert len(exchange.asked) == 1
        exchange.dies()
        told = [(answer.status, answer.reason) for answer in await asyncio.gather(*asking)]
        assert told == [(504, "unknown_outcome")] * 4
        await under_way(world, 0)
        again = together(bot, 2, LISTING)
        await under_way(world, 2)
        await eventually(lambda: exchange.asked)
        exchange.answer()
        assert [answer.status for answer in await asyncio.gather(*again)] == [200, 200]


async def test_what_the_exchange_refuses_is_told_to_all_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    took_us: list[int] = []
    real = VenueView.heed

    def heed(view: VenueView, reply: venue_line.Reply, took: int, pool: str = "ip") -> None:
        if reply.status == 400:
            took_us.append(took)
        real(view, reply, took, pool)

    monkeypatch.setattr(VenueView, "heed", heed)
    async with listing(tmp_path, monkeypatch) as (world, exchange, bot):
        asking = together(bot, 3, LISTING)
        await under_way(world, 3)
        await eventually(lambda: exchange.asked)
        assert len(exchange.asked) == 1
        exchange.answer(1, status=400)
        assert [answer.status for answer in await asyncio.gather(*asking)] == [400] * 3
        assert took_us == sorted(took_us), "what it says of the minute's weight is of when it was asked"


async def test_who_was_cut_is_refused_beside_an_answer_that_is_on_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listing(tmp_path, monkeypatch) as (world, exchange, bot):
        (other,) = await bots(world, "other")
        (first,) = together(bot, 1, LISTING)
        await under_way(world, 1)
        await world.cut("consumer:other")
        refused = await other.public(LISTING)
        assert (refused.status, refused.reason) == (401, "cut")
        await eventually(lambda: exchange.asked)
        exchange.answer()
        assert (await first).status == 200


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/api/v3/time", ""),
        ("/api/v3/ticker/price", ""),
        ("/api/v3/ticker/24hr", "symbol=BTCUSDT"),
        ("/api/v3/depth", "symbol=BTCUSDT"),
    ],
)
def test_what_is_of_this_instant_is_asked_by_each(path: str, text: str) -> None:
    """A clock that was read before somebody asked would make that one's orders stale."""
    assert not reading(path, text).intent.listing


@pytest.mark.parametrize("path", [LISTING, "/api/v1/exchangeInfo", "/fapi/v1/exchangeInfo"])
def test_a_listing_is_one_by_what_is_sent(path: str) -> None:
    """Other parameters, or another unit of its times, are another question."""
    plain = reading(path, "")
    assert plain.intent.listing
    in_other_unit = reading(path, "", ((b"x-mbx-time-unit", b"MICROSECOND"),))
    asked = {WIRE.forward_public(one) for one in (plain, reading(path, ""), in_other_unit)}
    assert len(asked) == 2


def reading(path: str, text: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Reading:
    request = Request("GET", path, text.encode(), b"", None, WIRE.passing(dict(headers)))
    opened = WIRE.open(WIRE.find(request))
    found = WIRE.read(opened)  # type: ignore[arg-type]
    assert isinstance(found, Reading)
    return found


async def test_who_finds_no_place_beside_those_who_wait_for_it_asks_for_himself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = Exchange(monkeypatch, LARGE)
    room = Limits(32, 16)
    async with small_world(tmp_path, monkeypatch, room) as world:
        world.account(USDT="100000")
        (bot,) = await bots(world)
        (first,) = together(bot, 1, LISTING)
        await eventually(lambda: exchange.asked)
        waiting = together(bot, room.sharing, LISTING)
        await under_way(world, 1 + room.sharing)
        assert len(exchange.asked) == 1
        assert world.gateway.forwarder.crowd.empty, "they take no place of those who wait for facts"
        (beyond,) = together(bot, 1, LISTING)
        await eventually(lambda: len(exchange.asked) == 2)
        exchange.answer()
        assert {answer.status for answer in await asyncio.gather(first, beyond, *waiting)} == {200}
        (view,) = world.gateway.mounts.views.values()
        assert view.pool.alike.sharing == 0


# --- how it is read -----------------------------------------------------------------------------


@asynccontextmanager
async def unread(
    world: World, bot: Bot, count: int, more: bytes = b""
) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Ask so many times, on connections that stop reading soon."""
    found = [await asyncio.open_connection("127.0.0.1", world.port, limit=1024) for _ in range(count)]
    try:
        for _, writer in found:
            writer.write(bot.plain("GET", LISTING) + more)
        await under_way(world, count)
        yield [reader for reader, _ in found]
    finally:
        for _, writer in found:
            writer.transport.abort()


async def whole(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    return await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))


async def test_six_that_do_not_read_yet_hold_its_bytes_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As large as the exchange's own, in the room that there is: six copies of it are more than twice of that."""
    size = 18 << 20
    exchange = Exchange(monkeypatch, LARGE)
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        (bot,) = await bots(world)
        listener = listener_of(world)
        async with unread(world, bot, 6) as readers:
            await eventually(lambda: exchange.asked)
            exchange.answer(size)
            await eventually(lambda: sum(one._choked and bool(one.load) for one in listener.connections) == 6)
            assert size < listener.loads.total < size + 1000
            assert listener._held < 6 * 2 * 1024 * 1024
            bodies = [await whole(reader) for reader in readers]
            assert {len(body) for body in bodies} == {len(bodies[0])}
            assert bodies[0].endswith(b"x" * 1000 + b'"}')
            await eventually(lambda: not listener.loads.total)


async def test_who_does_not_read_holds_it_for_no_longer_than_an_answer_may_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it trickles: the time is of all of the answer."""
    exchange = Exchange(monkeypatch, LARGE)
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        (bot,) = await bots(world)
        listener = listener_of(world)
        async with unread(world, bot, 1) as (reader,):
            await eventually(lambda: exchange.asked)
            began = asyncio.get_running_loop().time()
            exchange.answer(18 << 20)
            await eventually(lambda: listener.loads.total)
            (one,) = [one for one in listener.connections if one.load]
            since = one._unread_since
            assert since >= began
            written = one._written
            while one._written == written:
                await reader.readexactly(64 * 1024)
            assert one._unread_since == since
            listener.sweep(since + connections.READ_SECONDS + 0.1)
            await eventually(lambda: not listener.loads.total)


async def test_what_was_asked_behind_it_is_answered_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = Exchange(monkeypatch, LARGE)
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        (bot,) = await bots(world)
        last = bot.plain("GET", "/api/v3/ping").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        async with unread(world, bot, 1, last) as (reader,):
            await eventually(lambda: exchange.asked)
            exchange.answer(4 << 20)
            assert len(await whole(reader)) > 4 << 20
            assert await whole(reader) == b"{}"
            assert await reader.read() == b""


@pytest.mark.parametrize("ends", ["the client", "the gateway"])
async def test_a_large_answer_is_written_to_its_end_before_its_connection_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    exchange = Exchange(monkeypatch, LARGE)
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        (bot,) = await bots(world)
        listener = listener_of(world)
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port, limit=1024)
        asked = bot.plain("GET", LISTING)
        if ends == "the client":
            asked = asked.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        writer.write(asked)
        await eventually(lambda: exchange.asked)
        exchange.answer(18 << 20)
        await eventually(lambda: listener.loads.total)
        draining = asyncio.create_task(listener.drain(60)) if ends == "the gateway" else None
        await asyncio.sleep(0)
        assert len(await whole(reader)) > 18 << 20
        assert await reader.read() == b""
        writer.close()
        if draining is not None:
            await draining
