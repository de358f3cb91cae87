"""Strangers, idle connections and one busy bot take nothing that others need: connections, lines, memory, time."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from broker.gateway import connection as connections
from broker.gateway import venue_line
from broker.gateway.limits import Need
from broker.gateway.lines import ORDER, Shares
from broker.gateway.listener import Listener
from broker.gateway.room import HALF, IDLE, SERVED, UNREAD, WHOLE, Limits, leaving, limits_of
from broker.gateway.upstream import Pool
from broker.gateway.venue_line import Broken, Intake, Line, Reply
from broker.virtual_key import new_key_id
from clients.egress import DIRECT
from clients.wire import Sealed
from tests.gateway.world import Bot, World, exchange_bytes, running_world
from tests.paper import harness

LOW = "59000"
"""Below the paper exchange's price: an order at it stays open."""

PING = b"GET /binance/api/v3/ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@asynccontextmanager
async def small_world(tmp_path: Path, patch: pytest.MonkeyPatch, room: Limits) -> AsyncIterator[World]:
    """Run a world whose gateway has little room."""
    patch.setattr("broker.gateway.process.limits_of", lambda _: room)
    async with running_world(tmp_path) as world:
        yield world


async def eventually(found: Callable[[], object], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not found():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


@asynccontextmanager
async def held(port: int, sends: Iterable[bytes]) -> AsyncIterator[list[socket.socket]]:
    """Hold a connection for each of these, that sends it and reads nothing."""
    loop = asyncio.get_running_loop()
    found: list[socket.socket] = []
    try:
        for data in sends:
            found.append(sock := socket.socket())
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", port))
            with suppress(BlockingIOError):
                sock.send(data)
        yield found
    finally:
        for sock in found:
            sock.close()


# --- connections --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"", b"GET /binance/api/v3/ping HTTP/1.1\r\nHos", PING], ids=["silent", "half", "idle"]
)
async def test_connections_that_do_nothing_leave_for_those_that_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    async with small_world(tmp_path, monkeypatch, Limits(32, 16)) as world:
        world.account(USDT="100000")
        bot = world.bot()
        await bot.ready()
        order = await bot.order(type="LIMIT", timeInForce="GTC", price=LOW, quantity="0.001")
        async with held(world.port, [data] * 100):
            cancel = await bot.call(
                "DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=order.body["orderId"]
            )
            assert cancel.status == 200
            assert world.gateway.listener is not None
            assert len(world.gateway.listener.connections) <= 32


async def test_a_connection_whose_key_verified_stays_while_strangers_come_and_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with small_world(tmp_path, monkeypatch, Limits(32, 16)) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)

        async def ask() -> bytes:
            writer.write(bot.signed("GET", "/api/v3/account"))
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            return head

        assert (await ask()).startswith(b"HTTP/1.1 200")
        async with held(world.port, [b""] * 200 + [b"GET /"] * 100):
            assert (await ask()).startswith(b"HTTP/1.1 200")
        writer.close()


class Guest:
    def __init__(self, kind: int, since: float, owner: str = "", address: str = "127.0.0.1") -> None:
        self.kind, self.since, self.owner, self.address = kind, since, owner, address

    def condition(self) -> tuple[int, float]:
        return self.kind, self.since


def test_who_leaves_first() -> None:
    """Strangers before keys; idle, half sent, not reading; the oldest first; never who is being served."""
    old, new = Guest(IDLE, 1), Guest(IDLE, 2)
    half, unread = Guest(HALF, 0), Guest(UNREAD, 0)
    known, served = Guest(IDLE, 0, "K"), Guest(SERVED, 0)
    order = [known, served, unread, half, new, old]
    assert leaving(order, 9, 16) == [old, new, half, unread, known]
    assert leaving(order, 2, 16) == [old, new]


def test_a_key_or_peer_beyond_its_share_is_a_stranger() -> None:
    many = [Guest(IDLE, 10, "K") for _ in range(WHOLE.of_a_key + 1)]
    honest = Guest(IDLE, 1, "H")
    assert honest not in leaving([honest, *many], 5, 512)
    busy = [Guest(SERVED, 10, "K") for _ in range(WHOLE.of_a_key + 1)]
    assert len(leaving([Guest(SERVED, 1, "H"), Guest(SERVED, 1), *busy], 999, 512)) == len(busy)
    crowd = [Guest(IDLE, 10, "", "10.0.0.9") for _ in range(9)]
    stranger = Guest(IDLE, 1, "", "10.0.0.8")
    assert stranger not in leaving([stranger, *crowd], 5, 16)


@pytest.mark.parametrize("files", [64, 128, 256, 1024, 4096, 100_000, -1])
def test_open_files_are_enough_for_all(files: int) -> None:
    """Connections, lines of a pool, and a slack for link, spool and accepted sockets."""
    limits = limits_of(files)
    assert limits.connections >= 16
    assert limits.lines >= 8
    if files >= 128:
        assert limits.connections + limits.lines + 32 <= files
    if files >= 1024 or files < 0:
        assert limits == (512, 128)


@pytest.mark.parametrize("files", [64, 128, 200, 256, 400, 1024, -1])
def test_what_may_wait_is_a_share_of_the_connections_however_few_there_are(files: int) -> None:
    """Strangers who wait leave room for bots, a key for other keys, and those who wait for a line for those who do not."""
    limits = limits_of(files)
    most = limits.connections
    assert 0 < limits.waiting_strangers < most // 2
    assert 0 < limits.new_keys <= most // 16
    assert 0 < limits.waiting_of_a_key <= limits.of_a_key <= most // 4
    assert 0 < limits.waiting_for_lines <= most // 2


async def test_a_trickle_gains_no_time() -> None:
    """A request has its time from the first byte to the last, whatever comes between."""

    class Never:
        def handle(self, inbound: object, reply: object) -> None:
            raise AssertionError((inbound, reply))

        def refuse_form(self, reason: str, peer: str) -> tuple[int, tuple[tuple[bytes, bytes], ...], bytes]:
            del peer
            return 408, (), reason.encode()

    listener = Listener(Never(), frozenset({"127.0.0.1"}))
    server = await asyncio.get_running_loop().create_server(listener, "127.0.0.1", 0)
    for start in (b"GET /", b"\r\n", b"POST /x/y HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\n"):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(start)
        await eventually(lambda: any(one.reading for one in listener.connections))
        began = asyncio.get_running_loop().time()
        (one,) = listener.connections
        for second in range(1, 10):
            one.data_received(b"\r\n" if start == b"\r\n" else b"a")
            one.check_time(began + second)
        one.check_time(began + connections.REQUEST_SECONDS + 0.1)
        assert (await reader.read()).endswith(b"too_slow")
        writer.close()
        await eventually(lambda: not listener.connections)
    server.close()


async def test_answers_that_nobody_reads_are_given_up_before_they_fill_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.gateway.listener.LARGEST_HELD", 2_000_000)
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        assert (await bot.order()).status == 200
        ask = bot.plain("GET", "/api/v3/exchangeInfo") * 2000
        listener = world.gateway.listener
        assert listener is not None
        async with held(world.port, [ask] * 20):
            for _ in range(30):
                assert (await bot.order(quantity="0.001")).status == 200
                assert sum(one.weight for one in listener.connections) <= 2_000_000 + 20 * connections.HEAVY


async def test_a_client_that_does_not_read_is_not_read_from() -> None:
    """What it asks waits as bytes, a bounded number of them; nothing is asked for it meanwhile."""
    seen = []

    class Large:
        def handle(self, inbound: object, reply: Callable[..., None]) -> None:
            seen.append(inbound)
            reply(200, (), b"x" * 400_000)

        def refuse_form(self, reason: str, peer: str) -> tuple[int, tuple[tuple[bytes, bytes], ...], bytes]:
            raise AssertionError((reason, peer))

    listener = Listener(Large(), frozenset({"127.0.0.1"}))
    server = await asyncio.get_running_loop().create_server(listener, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=1024)
    for _ in range(50):
        writer.write(PING * 400)
    await eventually(lambda: any(one.condition()[0] == UNREAD for one in listener.connections))
    count = len(seen)
    for _ in range(20):
        await asyncio.sleep(0)
    (one,) = listener.connections
    assert len(seen) == count < 100
    assert one.weight < 3_000_000
    one.check_time(asyncio.get_running_loop().time() + connections.READ_SECONDS + 1)
    await eventually(lambda: not listener.connections)
    writer.close()
    del reader
    server.close()


# --- lines to the venue -------------------------------------------------------------------------


@asynccontextmanager
async def silent(
    world: World, patch: pytest.MonkeyPatch, method: str, path: str
) -> AsyncIterator[harness.Held]:
    """Let the exchange say nothing to calls of one kind; nobody gives up waiting for it meanwhile."""
    patch.setattr(venue_line, "ANSWER_SECONDS", 600.0)
    with harness.held(world.paper, method, path) as there:
        yield there


async def test_slow_reads_with_another_bots_key_id_leave_lines_for_everybody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with small_world(tmp_path, monkeypatch, Limits(256, 16)) as world:
        world.account(USDT="100000")
        bot, other = world.bot(), world.bot("other")
        await bot.ready()
        await other.ready()
        assert (await bot.order()).status == 200
        assert (await other.order()).status == 200
        ask = other.plain("GET", "/api/v3/depth", "symbol=BTCUSDT")
        async with silent(world, monkeypatch, "GET", "/api/v3/depth"), held(world.port, [ask] * 100):
            (view,) = (one for one in world.gateway.mounts.views.values() if one.pairs)
            await eventually(lambda: view.pool._shares._used[Need.READ] >= 2)
            for _ in range(3):
                assert (await bot.order(quantity="0.001")).status == 200
                assert (await bot.call("GET", "/api/v3/account")).status == 200
            assert view.pool._shares._used[Need.READ] <= 2


async def test_slow_reads_of_one_key_leave_lines_for_others_reads_and_its_own_orders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with small_world(tmp_path, monkeypatch, Limits(256, 16)) as world:
        world.account(USDT="100000")
        greedy, bot = world.bot("greedy"), world.bot()
        await greedy.ready()
        await bot.ready()
        assert (await bot.order()).status == 200
        assert (await greedy.order()).status == 200
        reads = [greedy.signed("GET", "/api/v3/myTrades", symbol="BTCUSDT") for _ in range(60)]
        async with (
            silent(world, monkeypatch, "GET", "/api/v3/myTrades") as there,
            held(world.port, reads),
        ):
            await eventually(lambda: len(there.waiting) >= 6)
            assert (await bot.call("GET", "/api/v3/account")).status == 200
            assert (await bot.order(quantity="0.001")).status == 200
            assert (await greedy.order(quantity="0.001")).status == 200
            assert (await greedy.order("SELL", quantity="0.001")).status == 200
            assert len(there.waiting) == 6


async def test_slow_orders_leave_lines_for_exits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with small_world(tmp_path, monkeypatch, Limits(256, 16)) as world:
        world.account(USDT="100000")
        bots = [world.bot(f"bot{number}") for number in range(3)]
        for one in bots:
            await one.ready()
        first = await bots[0].order(type="LIMIT", timeInForce="GTC", price=LOW, quantity="0.001")
        assert first.status == 200
        for one in bots:
            assert (await one.order(quantity="0.001")).status == 200
        values = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.0001"}
        orders = [one.signed("POST", "/api/v3/order", body=True, **values) for one in bots for _ in range(20)]
        async with silent(world, monkeypatch, "POST", "/api/v3/order"), held(world.port, orders):
            (view,) = (one for one in world.gateway.mounts.views.values() if one.pairs)
            await eventually(lambda: view.pool._shares._used[Need.RISK] >= 14)
            cancel = await bots[0].call(
                "DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=first.body["orderId"]
            )
            assert cancel.status == 200


def test_shares_add_up() -> None:
    """Whatever others do: exits reach every line, orders seven eighths, reads half, strangers an eighth."""
    for most in (8, 16, 128):
        shares = Shares(most)
        taken = dict.fromkeys((Need.READ, Need.RISK, Need.EXIT), 0)
        for key in ("", "a", "b", "c"):
            while shares.free(Need.READ, key):
                shares.enter(Need.READ, key)
                taken[Need.READ] += 1
        for key in ("a", "b", "c"):
            while shares.free(Need.RISK, key):
                shares.enter(Need.RISK, key)
                taken[Need.RISK] += 1
        for key in ("a", "b"):
            while shares.free(Need.EXIT, key):
                shares.enter(Need.EXIT, key)
                taken[Need.EXIT] += 1
        assert taken[Need.READ] == most // 2
        assert taken[Need.READ] + taken[Need.RISK] == most - most // 8
        assert shares.used == most
        alone = Shares(most)
        while alone.free(Need.EXIT, "a"):
            alone.enter(Need.EXIT, "a")
        assert alone.used == most * 3 // 4
        assert ORDER[0] is Need.EXIT


# --- answers of the venue that do not end ---------------------------------------------------------


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: object) -> None:
        del data

    def abort(self) -> None:
        self.closed = True

    close = abort


def waiting_line(intake: Intake, need: Need = Need.READ) -> tuple[Line, list[Reply | Broken]]:
    line, found = Line(intake), []  # type: tuple[Line, list[Reply | Broken]]
    line.connection_made(Wire())
    line.need = need
    line.send(b"GET / HTTP/1.1\r\n\r\n", found.append, lambda _: None)
    return line, found


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "interim answers": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100),
    "interim answers with headers": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
    "headers": (HEAD, b"X-#: y\r\n"),
    "one header": (HEAD + b"X: ", b"y" * 4000),
    "one header's name": (HEAD, b"y" * 4000),
    "a reason": (b"HTTP/1.1 200 ", b"y" * 4000),
    "a body": (CHUNKED, b"40000\r\n" + b"y" * 0x40000 + b"\r\n"),
    "crumbs": (CHUNKED, b"1\r\ny\r\n" * 1000),
    "trailers": (CHUNKED + b"0\r\n", b"X-#: y\r\n"),
    "chunk extensions": (CHUNKED, b"1;" + b"e" * 4000 + b"\r\ny\r\n"),
}


@pytest.mark.parametrize("name", list(ENDLESS))
async def test_an_answer_without_end_ends(name: str) -> None:
    """By its size, its headers, its pieces; and by its time, however it trickles."""
    start, more = ENDLESS[name]
    line, found = waiting_line(Intake())
    line.data_received(start) if start else None
    for number in range(70_000):
        if found:
            break
        line.data_received(more.replace(b"#", b"%d" % number))
    assert len(found) == 1
    assert isinstance(found[0], Broken)
    line, found = waiting_line(Intake())
    line.data_received(start + more[:1])
    line.check_time(asyncio.get_running_loop().time() + venue_line.ANSWER_SECONDS + 1)
    assert [one.reason for one in found if isinstance(one, Broken)] == ["timeout"]


async def test_the_answer_to_a_write_is_small() -> None:
    line, found = waiting_line(Intake(), Need.RISK)
    line.data_received(HEAD + b"Content-Length: 9000000\r\n\r\n")
    for _ in range(9):
        line.data_received(b"y" * 1_000_000)
    assert len(found) == 1
    assert isinstance(found[0], Broken)


async def test_all_answers_together_are_bounded_at_the_cost_of_the_largest_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(venue_line, "LARGEST_COLLECTED", 1_000_000)
    intake = Intake()
    pairs = [waiting_line(intake) for _ in range(8)] + [waiting_line(intake, Need.EXIT)]
    for line, _ in pairs:
        line.data_received(HEAD + b"Content-Length: 900000\r\n\r\n")
    for line, _ in pairs:
        line.data_received(b"y" * 200_000)
    ended = [found for _, found in pairs if found]
    assert len(ended) == 4
    assert all(isinstance(found[0], Broken) for found in ended)
    assert pairs[-1][1] == []
    pairs[-1][0].data_received(b"y" * 700_000)
    assert isinstance(pairs[-1][1][0], Reply)


async def test_those_who_wait_share_what_is_opened_and_exits_go_first() -> None:
    """No connection for each that waits; an exit that comes last is served first."""
    served: list[str] = []
    running = 0
    most = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                served.append(head.split()[1].decode())
                await asyncio.sleep(0.01)
                writer.write(HEAD + b"Content-Length: 0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
        finally:
            running -= 1

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    pool = Pool(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", DIRECT, limits=Limits(512, 8))

    async def one(need: Need, key: str, target: str) -> Reply | Broken:
        line = await pool.take(need, key)
        future: asyncio.Future[Reply | Broken] = asyncio.get_running_loop().create_future()
        pool.send(line, Sealed("GET", target.encode(), b"", ()), future.set_result)
        return await future

    reads = [asyncio.ensure_future(one(Need.READ, f"k{number % 5}", "/read")) for number in range(100)]
    await eventually(lambda: served)
    exits = [asyncio.ensure_future(one(Need.EXIT, "k", "/exit")) for _ in range(10)]
    results = await asyncio.gather(*reads, *exits)
    assert all(isinstance(result, Reply) for result in results)
    assert most <= 8
    assert max(index for index, target in enumerate(served) if target == "/exit") < 60
    assert pool._shares.used == 0
    lines = [await pool.take(Need.READ, "k") for _ in range(3)]
    cancelled = asyncio.ensure_future(pool.take(Need.READ, "k"))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    assert (pool._shares.used, [len(queue) for queue in pool._waiting.values()]) == (3, [0, 0, 0])
    for line in lines:
        pool.give_back(line)
    assert pool._shares.used == 0
    pool.close()
    server.close()
    await eventually(lambda: running == 0)


async def test_who_waits_is_told_when_the_venue_cannot_be_reached() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    pool = Pool(f"http://127.0.0.1:{port}", DIRECT, limits=Limits(512, 8))
    results = await asyncio.gather(*(pool.take(Need.READ, "k") for _ in range(20)), return_exceptions=True)
    assert all(isinstance(result, OSError) for result in results)
    pool.close()


async def test_strangers_who_make_us_wait_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Well-formed keys that nobody issued ask the broker, a few at a time; a bot goes on."""
    async with small_world(tmp_path, monkeypatch, Limits(64, 8)) as world:  # four new keys at a time
        world.account()
        bot = world.bot()
        await bot.ready()
        assert (await bot.order()).status == 200
        most = 0
        asking = world.gateway.link.open_lease

        async def counted(key_id: str) -> object:
            nonlocal most
            most = max(most, world.gateway.forwarder.crowd.strangers)
            return await asking(key_id)

        monkeypatch.setattr(world.gateway.link, "open_lease", counted)
        strangers = [Bot(world.port, new_key_id(), "x") for _ in range(60)]
        answers = await asyncio.gather(
            *(exchange_bytes(world.port, one.signed("GET", "/api/v3/account")) for one in strangers),
            bot.order(),
        )
        assert answers[-1].status == 200
        assert {answer.reason for answer in answers[:-1]} <= {"busy", "unknown_key"}
        assert 0 < most <= 4
        assert world.gateway.forwarder.crowd.empty


@pytest.mark.parametrize("connections", [16, 24, 100])
async def test_strangers_who_wait_hold_no_more_than_their_share_of_few_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connections: int
) -> None:
    """The broker is silent about their keys; a bot that comes after them finds a place all the same."""
    limits = Limits(connections, 8)
    async with small_world(tmp_path, monkeypatch, limits) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        silent = asyncio.Event()
        asking = world.gateway.link.open_lease

        async def unheard(key_id: str) -> object:
            if key_id != bot.key_id:
                await silent.wait()
            return await asking(key_id)

        monkeypatch.setattr(world.gateway.link, "open_lease", unheard)
        monkeypatch.setattr(
            "broker.gateway.crowd.Limits.new_keys", 1_000
        )  # these few keys are not what stops them
        data = Bot(world.port, new_key_id(), "x").signed("GET", "/api/v3/account")
        async with held(world.port, [data] * (connections + 60)):
            crowd = world.gateway.forwarder.crowd
            await eventually(lambda: crowd.strangers == limits.waiting_strangers)
            assert (await bot.order(quantity="0.001")).status == 200
            assert crowd.strangers <= limits.waiting_strangers < connections
            silent.set()


async def test_thousands_of_requests_in_one_write_leave_the_loop_to_others() -> None:
    """Hundreds of connections with a thousand requests each: a new one is answered in its turn, not after them."""
    served = 0

    class Counting:
        def handle(self, inbound: object, reply: Callable[..., None]) -> None:
            nonlocal served
            del inbound
            served += 1
            reply(404, (), b"")

        def refuse_form(self, reason: str, peer: str) -> tuple[int, tuple[tuple[bytes, bytes], ...], bytes]:
            raise AssertionError((reason, peer))

    listener = Listener(Counting(), frozenset({"127.0.0.1"}))
    server = await asyncio.get_running_loop().create_server(listener, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with held(port, [PING * 1000] * 100):
        await eventually(lambda: len(listener.connections) == 100 and served >= 100)
        before = served
        answer = await exchange_bytes(port, PING)
        assert answer.status == 404
        assert served - before < 50_000
    await eventually(lambda: not listener.connections)
    server.close()


async def test_strangers_leave_half_of_the_weight_to_bots(tmp_path: Path) -> None:
    """Calls that need no key use up no bot's reads: the venue counts them all for one address."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        assert (await bot.order()).status == 200
        (view,) = (one for one in world.gateway.mounts.views.values() if one.pairs)
        for _ in range(16 * 10):  # where a minute ends between them, the next begins anew
            if (await bot.public("/api/v3/depth", "symbol=BTCUSDT&limit=5000")).status == 429:
                break
        else:
            pytest.fail("strangers may use it all")
        assert view.meter._used["strangers"] <= 3000
        assert (await bot.call("GET", "/api/v3/account")).status == 200
