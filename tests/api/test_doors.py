"""Floods of connections and requests by TCP take nothing that a cut needs: on the real server, on both event loops."""

import asyncio
import contextlib
import inspect
import socket
import stat
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from broker.api.lanes import Kind, kind_of, sizes_of
from broker.service.operators import Role
from clients.venue import Credential
from portcullis import api_socket
from portcullis.api_doors import Door, Waits, places_at_home, places_by_network
from portcullis.api_server import ApiServer
from portcullis.cli.way import named, ways
from portcullis.running import Running
from portcullis.settings import SettingsError
from tests.api.desk import SAFE, Desk, opened_desk
from tests.api.test_openings import leaves

Work = Callable[[ApiServer, Desk], Awaitable[None]]
_PATIENT = httpx.Timeout(60.0)
_HALF_HEAD = b"POST /v1/cuts HTTP/1.1\r\nHost: 127.0.0.1\r\n"
_HALF_BODY = _HALF_HEAD + b'Content-Length: 100\r\n\r\n{"targets"'


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with opened_desk(tmp_path_factory.mktemp("doors")) as made:
        made.trading()
        yield made


@pytest.fixture(params=["asyncio", "uvloop"])
def serve(request: pytest.FixtureRequest, desk: Desk) -> Callable[[Work], None]:
    """Return what runs something against a server of its own."""

    async def serving(work: Work) -> None:
        server = ApiServer(desk.app, 0, desk.root)
        await server.start()
        try:
            async with asyncio.timeout(120):
                await work(server, desk)
        finally:
            await server.end()

    start = asyncio.run if request.param == "asyncio" else uvloop.run
    return lambda work: start(serving(work))


def _by_socket(server: ApiServer, desk: Desk, role: Role = Role.RESPONDER) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None)
    transport = httpx.AsyncHTTPTransport(uds=str(server.socket), limits=limits)
    headers = {"Authorization": f"Bearer {desk.tokens[role]}"}
    return httpx.AsyncClient(
        transport=transport, base_url="http://127.0.0.1", headers=headers, timeout=_PATIENT
    )


def _by_tcp(server: ApiServer, desk: Desk, role: Role = Role.RESPONDER) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {desk.tokens[role]}"}
    limits = httpx.Limits(max_connections=None)
    base = f"http://127.0.0.1:{server.port}"
    return httpx.AsyncClient(base_url=base, headers=headers, timeout=_PATIENT, limits=limits, trust_env=False)


async def _cut(client: httpx.AsyncClient) -> int:
    answer = await client.post("/v1/cuts", json={"targets": ["consumer:bot"], "reason": "a test"})
    return answer.status_code


@contextlib.asynccontextmanager
async def _flooded(server: ApiServer, count: int, data: bytes) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Open many connections that send something and then nothing."""
    readers, writers = [], []
    for _ in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        with contextlib.suppress(ConnectionError):
            writer.write(data)
            await writer.drain()
        readers.append(reader)
        writers.append(writer)
    try:
        yield readers
    finally:
        for writer in writers:
            writer.close()


async def _said(server: ApiServer, data: bytes) -> bytes:
    """Send some bytes, and return everything that comes back until the connection closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    with contextlib.suppress(ConnectionError):
        writer.write(data)
        await writer.drain()
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "data", [b"", b"P", _HALF_HEAD, _HALF_BODY], ids=["nothing", "a byte", "a head", "a body"]
)
def test_half_open_connections_keep_no_cut_from_us(serve: Callable[[Work], None], data: bytes) -> None:
    """More half-open connections than there are places: a cut passes by the socket, and by TCP, too."""

    async def work(server: ApiServer, desk: Desk) -> None:
        async with _flooded(server, places_by_network() + 40, data):
            async with _by_socket(server, desk) as client:
                assert await _cut(client) == 201
            async with _by_tcp(server, desk) as client:
                assert await _cut(client) == 201

    serve(work)


@pytest.mark.parametrize("way", ["socket", "tcp"])
def test_slow_work_takes_no_place_of_what_closes(
    serve: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """More requests than there are places, each of which takes its time: who is served or waits is never closed."""
    slow = threading.Event()

    async def work(server: ApiServer, desk: Desk) -> None:
        by = _by_socket if way == "socket" else _by_tcp
        most = places_at_home() if way == "socket" else places_by_network()
        real = desk.service.grants.list

        def waiting(*given: Any, **more: Any) -> Any:
            slow.wait(60)
            return real(*given, **more)

        monkeypatch.setattr(desk.service.grants, "list", waiting)
        async with by(server, desk) as crowd, by(server, desk) as client:
            asked = [asyncio.create_task(crowd.get("/v1/grants")) for _ in range(most + 40)]
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)  # one is told that it is busy
            assert await _cut(client) == 201
            slow.set()
            await asyncio.gather(*asked, return_exceptions=True)

    serve(work)


def test_a_flood_of_logins_keeps_no_cut_from_us(serve: Callable[[Work], None]) -> None:
    """Passwords are hashed one at a time and in a lane of their own; those too many are told at once."""

    async def work(server: ApiServer, desk: Desk) -> None:
        async with _by_tcp(server, desk) as client, _by_socket(server, desk) as local:
            body = {"name": "owner", "password": "wrong-wrong-wrong", "code": "000000"}
            logins = [asyncio.create_task(client.post("/v1/sessions", json=body)) for _ in range(60)]
            await asyncio.wait(logins, return_when=asyncio.FIRST_COMPLETED)
            assert await _cut(local) == 201
            assert await _cut(client) == 201
            statuses = {answer.status_code for answer in await asyncio.gather(*logins)}
        assert 503 in statuses
        assert statuses <= {401, 409, 429, 503}

    serve(work)


def test_slow_requests_keep_no_thread_from_a_cut(
    serve: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Imports that wait for an exchange take the threads of their own lane only."""
    answered, asked = threading.Event(), threading.Event()

    def inspected(account: Any, egress: Any, credential: Credential) -> Any:
        del account, egress, credential
        asked.set()
        answered.wait(60)
        return SAFE

    async def work(server: ApiServer, desk: Desk) -> None:
        monkeypatch.setattr(type(desk.venue), "inspect", lambda _, *given: inspected(*given))
        body = {"account": "main", "key_id": "K", "secret": "planted-secret-of-nobody"}
        async with _by_tcp(server, desk, Role.ADMIN) as client:
            imports = [asyncio.create_task(client.post("/v1/keys", json=body)) for _ in range(40)]
            try:
                assert await asyncio.to_thread(asked.wait, 60)
                assert await _cut(client) == 201
                assert (await client.get("/v1/cuts")).status_code == 200
            finally:
                answered.set()
                await asyncio.gather(*imports)

    serve(work)


@pytest.mark.parametrize(
    "data",
    [
        b"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 40_000,
        b"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 40_000 + b"\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"a: b\r\n" * 100 + b"\r\n",
        b"GET /" + b"x" * 40_000,
        _HALF_HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 20_000,
        b"\x16\x03\x01" + b"\0" * 100,
    ],
    ids=["an open head", "a large head", "many headers", "a long target", "tiny chunks", "no HTTP"],
)  # fmt: skip
def test_what_no_client_sends_is_refused_and_closed(serve: Callable[[Work], None], data: bytes) -> None:
    """A head or a body in too many pieces ends its connection, and nothing is done."""

    async def work(server: ApiServer, desk: Desk) -> None:
        del desk
        said = await _said(server, data)
        assert said == b"" or said.startswith(b"HTTP/1.1 4")

    serve(work)


def test_a_body_in_chunks_is_counted_as_it_comes(serve: Callable[[Work], None]) -> None:
    """A body without a length is refused once it is too large; a small one is read."""

    async def work(server: ApiServer, desk: Desk) -> None:
        async def pieces(size: int) -> AsyncIterator[bytes]:
            yield b'{"targets":["consumer:bot"],"reason":"'
            for _ in range(size):
                yield b"x" * 1024
            yield b'"}'

        async with _by_tcp(server, desk) as client:
            large = await client.post("/v1/cuts", content=pieces(400))
            small = await client.post(
                "/v1/cuts", content=pieces(0), headers={"Content-Type": "application/json"}
            )
        assert (large.status_code, small.status_code) == (413, 400)
        assert large.headers["connection"] == "close"
        assert small.json()["errors"][0]["field"] == "reason"

    serve(work)


def test_pipelined_requests_are_not_worked_on(serve: Callable[[Work], None]) -> None:
    """The first of a thousand requests in one write is answered; the rest costs nothing, and the connection closes."""

    async def work(server: ApiServer, desk: Desk) -> None:
        del desk
        said = await _said(server, b"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 1000)
        assert said.count(b"HTTP/1.1 200") == 1
        assert said.count(b"HTTP/1.1") == 1

    serve(work)


def test_an_offer_of_another_protocol_is_answered_as_what_it_is(serve: Callable[[Work], None]) -> None:
    """A client that offers h2c gets its answer in HTTP/1.1."""

    async def work(server: ApiServer, desk: Desk) -> None:
        del desk
        offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
        said = await _said(server, b"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n" + offer + b"\r\n")
        assert said.startswith(b"HTTP/1.1 200")

    serve(work)


@pytest.mark.parametrize("parts", [1, 3])
def test_a_body_behind_an_offer_of_another_protocol_is_read(
    serve: Callable[[Work], None], parts: int
) -> None:
    """A cut by a client that offers h2c is a cut, in however many pieces it comes."""

    async def work(server: ApiServer, desk: Desk) -> None:
        body = b'{"targets":["consumer:bot"],"reason":"a test"}'
        head = (
            f"POST /v1/cuts HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {desk.tokens[Role.RESPONDER]}\r\nContent-Length: {len(body)}\r\n"
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n"
        ).encode()
        whole = head + body
        size = len(whole) if parts == 1 else len(head) + 10
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for start in range(0, len(whole), size):
            writer.write(whole[start : start + size])
            await writer.drain()
            await asyncio.sleep(0)
        assert (await reader.read()).startswith(b"HTTP/1.1 201")
        writer.close()

    serve(work)


def test_half_a_request_has_a_time_limit(serve: Callable[[Work], None]) -> None:
    """Whoever sends half a head, half a body or nothing is closed when the time is up; who is worked on is not."""

    async def work(server: ApiServer, desk: Desk) -> None:
        async with _flooded(server, 5, _HALF_HEAD) as heads, _flooded(server, 5, b"") as nothing:
            door = server._listeners[0].door
            for _ in range(3000):
                if len(door) >= 10:
                    break
                await asyncio.sleep(0.01)
            ahead = door.now_s() + 11
            door.now_s = lambda: ahead
            door.sweep()
            for reader in (*heads, *nothing):
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
        async with _by_tcp(server, desk) as client:
            assert await _cut(client) == 201

    serve(work)


class _Idle:
    """A connection as a door sees it."""

    def __init__(self, waits: Any, since_s: float) -> None:
        self.waits, self.since_s, self.closed = waits, since_s, False
        self.transport = self

    def abort(self) -> None:
        self.closed = True


def test_a_door_closes_who_waits_longest_and_never_who_is_worked_on() -> None:
    """Room is made at the cost of the oldest that owes us something; without such a one nobody comes in."""
    door = Door(3, lambda: 100.0)
    works, old, young = _Idle(Waits.WORK, 1), _Idle(Waits.HEAD, 2), _Idle(Waits.NEXT, 3)
    for one in (works, old, young):
        door.admit(one)  # type: ignore[arg-type]
    fresh = _Idle(Waits.WORK, 100)
    door.admit(fresh)  # type: ignore[arg-type]
    assert (works.closed, old.closed, young.closed, fresh.closed) == (False, True, False, False)
    another, last = _Idle(Waits.WORK, 100), _Idle(Waits.HEAD, 100)
    door.admit(another)  # type: ignore[arg-type]
    door.admit(last)  # type: ignore[arg-type]
    assert (young.closed, last.closed, works.closed) == (True, True, False)


@pytest.mark.parametrize(("files", "places"), [(1024, 256), (512, 64), (256, 16), (64, 16), (1 << 20, 256)])
def test_places_leave_files_for_everything_else(files: int, places: int) -> None:
    """The number of connections is bounded by what the system gives us, with a reserve."""
    assert places_by_network(files) == places


@pytest.mark.parametrize(("files", "places"), [(1024, 64), (256, 32), (64, 16), (1 << 20, 64), (-1, 64)])
def test_the_socket_in_the_home_leaves_files_too(files: int, places: int) -> None:
    assert places_at_home(files) == places


# --- the socket in the home -----------------------------------------------------------------------


def test_the_socket_is_ours_alone_and_goes_with_the_broker(serve: Callable[[Work], None]) -> None:
    """0600, in the home, gone in the end."""
    seen: list[Path] = []

    async def work(server: ApiServer, desk: Desk) -> None:
        assert server.socket == desk.root / api_socket.NAME
        assert stat.S_IMODE(server.socket.stat().st_mode) == 0o600
        seen.append(server.socket)

    serve(work)
    assert not seen[0].exists()


@pytest.mark.parametrize("depth", [1, 6])
def test_a_home_with_a_long_path_has_a_socket_that_the_command_line_reaches(
    tmp_path: Path, depth: int
) -> None:
    """Paths beyond what a socket's name may have are reached all the same."""
    root = tmp_path.joinpath(*["d" * 40] * depth)
    root.mkdir(parents=True)
    with api_socket.bound(root) as made:
        assert made is not None
        taken, path = made
        taken.listen()
        assert path == root / api_socket.NAME
        way = ways(Running(1, 1, 1, 1, socket=str(path)))[0]
        assert way.uds is not None
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(way.uds)
            taken.accept()[0].close()
        with api_socket.short(path) as name, socket.socket(socket.AF_UNIX) as client:
            client.connect(name)
            taken.accept()[0].close()
    assert list(root.iterdir()) == []


def test_a_socket_of_a_dead_broker_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    """What is no socket is not ours to remove: then the socket lies elsewhere, in a directory of ours alone."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / api_socket.NAME))
    with api_socket.bound(tmp_path) as made:
        assert made is not None
        assert made[1].parent == tmp_path
    (tmp_path / api_socket.NAME).write_text("mine")
    with api_socket.bound(tmp_path) as made:
        assert made is not None
        elsewhere = made[1].parent
        assert elsewhere != tmp_path
        assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o700
    assert not elsewhere.exists()
    assert (tmp_path / api_socket.NAME).read_text() == "mine"


def test_a_disk_that_takes_no_sockets_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any socket the API is there by TCP, and `status` names what is unsafe about it."""
    monkeypatch.setattr(api_socket, "_bind_in", lambda _: None)
    with opened_desk(tmp_path) as desk:
        server = ApiServer(desk.app, 0, desk.root)
        assert server.socket is None
        assert [hazard.what for hazard in server.hazards()] != []
        server._stack.close()


# --- lanes ----------------------------------------------------------------------------------------


def test_whatever_closes_has_a_lane_of_its_own(desk: Desk) -> None:
    """Cuts, revocations and the like share no thread with anything else; every path named so exists."""
    paths = {
        "/v1" + route.path.removeprefix("/v1").replace("{", "").replace("}", "")
        for route in leaves(desk.app.routes)
        if "POST" in (route.methods or ())
    }
    closing = {path for path in paths if kind_of("POST", path) is Kind.CLOSING}
    assert {"/v1/grants/grant/revoke", "/v1/operators/name/end", "/v1/sessions/end"} <= closing
    assert len(closing) == 8
    assert {path for path in paths if kind_of("POST", path) is Kind.CUT} == {"/v1/cuts"}
    assert {path for path in paths if kind_of("POST", path) is Kind.LOGIN} == {
        "/v1/sessions", "/v1/operators/name/enrolment"
    }  # fmt: skip
    assert kind_of("POST", "/v1/rotations/rot_1/answer") is Kind.VENUE, "the exchange is asked about the key"
    assert kind_of("GET", "/v1/cuts") is Kind.ORDINARY


@pytest.mark.parametrize("connections", [16, 24, 32, 64, 256])
def test_a_quarter_of_the_connections_is_left_to_what_closes(connections: int) -> None:
    """Whoever else is served or waits in line holds a connection that nobody may close."""
    sizes = [sizes_of(kind, connections) for kind in Kind if kind not in {Kind.CUT, Kind.CLOSING}]
    assert all(threads > 0 and places > 0 and line >= 0 for threads, places, line in sizes)
    assert sum(places + line for _, places, line in sizes) <= connections * 3 // 4


def test_no_dependency_of_a_route_takes_a_thread_of_all_routes(desk: Desk) -> None:
    """FastAPI runs plain functions in threads that all requests share: none of ours is one."""

    def plain(dependant: Any) -> list[str]:
        own = (
            [] if inspect.iscoroutinefunction(dependant.call) else [getattr(dependant.call, "__name__", "?")]
        )
        return own + [name for one in dependant.dependencies for name in plain(one)]

    found = {
        name
        for route in leaves(desk.app.routes)
        for one in route.dependant.dependencies
        for name in plain(one)
    }
    assert {name for name in found if name != "?"} == set()
    assert all(inspect.iscoroutinefunction(route.endpoint) for route in leaves(desk.app.routes))


def test_the_environment_names_a_way_and_nothing_else_is_tried() -> None:
    """A token goes to loopback or over TLS, and to no address with anything before or behind the host."""
    assert named({}) is None
    for good in ("http://127.0.0.1:8701", "https://broker.example:8701", "http://[::1]:8701/"):
        assert named({"PORTCULLIS_ADDR": good}) is not None
    for bad in (
        "http://broker.example:8701",
        "https://good@evil:1",
        "broker:8701",
        "https://h/x",
        "http://127.0.0.1:x",
    ):
        with pytest.raises(SettingsError):
            named({"PORTCULLIS_ADDR": bad})
