"""Requests behind one another on a connection, and what is counted of them: nothing is lost, nothing stays open."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from broker.gateway.connection import Connection
from broker.gateway.form import Headers, Inbound, Reply
from broker.gateway.listener import Listener
from broker.gateway.room import MOST_LINES
from clients.venues.binance.wire import BinanceWire
from tests.gateway.world import World, exchange_bytes, running_world


def get(target: str, more: str = "") -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}\r\n".encode()


async def answers_to(port: int, data: bytes, count: int) -> list[str]:
    """Write everything at once; return the status of each answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    found = []
    try:
        async with asyncio.timeout(60):
            while len(found) < count:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                found.append(head[9:12])
                await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
    except asyncio.IncompleteReadError:
        pass
    finally:
        writer.close()
    return found


def nothing_open(world: World) -> bool:
    gateway = world.gateway
    return gateway.ledger.in_flight == 0 and not len(gateway.book.flights)


async def eventually(found: Any, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not found():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def test_a_request_that_waits_is_followed_by_a_thousand_and_all_are_answered_in_order(
    tmp_path: Path,
) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        data = (
            bot.signed("GET", "/api/v3/account")
            + get("/x/y") * 1000
            + bot.signed("GET", "/api/v3/openOrders")
        )
        for view in world.gateway.mounts.views.values():
            view.clock.distrust()  # so that the first has to wait
        found = await answers_to(world.port, data, 1002)
        assert found == ["200", *["404"] * 1000, "200"]
        assert nothing_open(world)
        assert (await bot.order()).status == 200


async def test_orders_in_a_row_behind_one_that_waits_are_all_placed(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        await bot.ready()
        values = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}
        data = b"".join(bot.signed("POST", "/api/v3/order", body=True, **values) for _ in range(30))
        assert await answers_to(world.port, data, 30) == ["200"] * 30
        assert len(world.executed()) == 30
        assert nothing_open(world)


@pytest.mark.parametrize("cut_at", [1, 20, 60])
async def test_requests_in_pieces_of_any_size_read_as_one(tmp_path: Path, cut_at: int) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        order = bot.signed(
            "POST", "/api/v3/order", body=True, symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01"
        )
        data = order + bot.signed("GET", "/api/v3/account") + get("/nowhere/x")
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        for at in range(0, len(data), cut_at):
            writer.write(data[at : at + cut_at])
            await writer.drain()
            await asyncio.sleep(0)
        found = b""
        async with asyncio.timeout(60):
            while found.count(b"HTTP/1.1 ") < 3:
                found += await reader.read(65536)
        assert [part[:3] for part in found.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"404"]
        writer.close()


async def test_a_client_that_goes_away_while_its_request_waits_leaves_no_counter_behind(
    tmp_path: Path,
) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        for _ in range(5):
            _, writer = await asyncio.open_connection("127.0.0.1", world.port)
            writer.write(bot.signed("GET", "/api/v3/account") + get("/x/y") * 50)
            await writer.drain()
            writer.transport.abort()
        assert (await bot.order()).status == 200
        await eventually(lambda: nothing_open(world))


async def test_an_answer_that_cannot_be_taken_in_is_counted_out_and_told_as_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the venue wrote, the bot gets its answer and a rotation does not wait for it for ever."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        assert (await bot.order()).status == 200

        def fails(*_: object) -> None:
            raise RecursionError

        monkeypatch.setattr(BinanceWire, "answer", fails)
        answer = await bot.order()
        assert (answer.status, answer.body, answer.reason) == (504, None, "unknown_outcome")
        monkeypatch.undo()
        assert nothing_open(world)
        assert (await bot.order()).status == 200


async def test_a_line_that_ends_while_its_request_still_waits_costs_nothing(tmp_path: Path) -> None:
    """The connection that was taken for it is not the one it leaves on."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        assert (await bot.order()).status == 200
        for view in world.gateway.mounts.views.values():
            for line in list(view.pool._lines):
                line.close()
        assert (await bot.order()).status == 200
        assert nothing_open(world)


async def test_what_cannot_be_sent_after_it_was_counted_is_counted_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        assert (await bot.order()).status == 200
        (view,) = {job for job in world.gateway.mounts.views.values() if job.pairs}

        def fails(*_: object) -> None:
            raise TypeError

        for name, call in (("leaves", bot.order), ("leaves", bot.order)):
            monkeypatch.setattr(world.gateway.aftermath, name, fails)
            answer = await call()
            assert (answer.status, answer.reason) == (504, "unknown_outcome")
            monkeypatch.undo()
        monkeypatch.setattr(view.pool, "send", fails)
        assert (await bot.call("GET", "/api/v3/account")).status == 504
        assert (await bot.public("/api/v3/time")).status == 504
        monkeypatch.undo()
        assert nothing_open(world)
        assert (await bot.order()).status == 200


class Misbehaving:
    """A handler that raises, answers twice, or never."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []

    def handle(self, inbound: Inbound, reply: Reply) -> None:
        if inbound.path == "/raise":
            raise KeyError
        if inbound.path == "/twice":
            reply(200, (), b"1")
            reply(200, (), b"2")
        elif inbound.path == "/never":
            self.replies.append(reply)
        else:
            reply(200, (), inbound.path.encode())

    def refuse_form(self, reason: str, peer: str) -> tuple[int, Headers, bytes]:
        del peer
        return 400, (), reason.encode()


async def test_each_request_has_one_answer_whatever_its_handler_does() -> None:
    handler = Misbehaving()
    listener = Listener(handler, frozenset({"127.0.0.1"}))
    server = await asyncio.get_running_loop().create_server(listener, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert (await exchange_bytes(port, get("/raise"))).status == 503
    assert await answers_to(port, get("/raise") + get("/twice") + get("/a") + get("/b"), 4) == [
        "503",
        "200",
        "200",
        "200",
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(get("/never") + get("/after"))
    await eventually(lambda: handler.replies)
    first = handler.replies[0]
    first(201, (), b"")
    first(500, (), b"")
    head = await reader.readuntil(b"/after")
    assert head.startswith(b"HTTP/1.1 201")
    assert b"500" not in head
    writer.write(get("/never"))
    await eventually(lambda: len(handler.replies) == 2)
    (waiting,) = [one for one in listener.connections if isinstance(one, Connection)]
    waiting.check_time(asyncio.get_running_loop().time() + 3600)
    assert await reader.read() == b""
    handler.replies[1](200, (), b"late")
    writer.close()
    server.close()


async def test_orders_that_could_not_be_written_down_keep_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk refuses orders; each refusal took a connection to the exchange with it, until none was left."""

    def no_room(line: str) -> None:
        raise OSError(f"no space left on the device for {len(line)} characters")

    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        await bot.ready()
        assert (await bot.order()).status == 200
        with monkeypatch.context() as full:
            full.setattr(world.gateway.spool, "write", no_room)
            for _ in range(2 * MOST_LINES + 2):
                answer = await bot.order()
                assert (answer.status, answer.reason) == (503, "spool")
        assert (await bot.order()).status == 200


@pytest.mark.parametrize(("blank", "status"), [("\r\n", "404"), ("\r\n\r\n", "404"), ("\r\n" * 8000, "400")])
async def test_a_blank_line_or_two_before_a_request_are_nothing_and_thousands_are_no_request(
    tmp_path: Path, blank: str, status: str
) -> None:
    async with running_world(tmp_path) as world:
        assert await answers_to(world.port, blank.encode() + get("/x/y"), 1) == [status]
        both = get("/x/y") + blank.encode() + get("/x/y")
        assert await answers_to(world.port, both, 2) == ["404", status]
