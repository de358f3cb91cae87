"""A question of ours that is given up keeps its line for no longer, and breaks off nobody else's request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from broker.gateway import upstream
from broker.gateway.limits import Need
from broker.gateway.upstream import Pool
from broker.gateway.venue_line import Broken, Reply
from clients.egress import DIRECT
from clients.wire import Sealed

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
QUESTION, ORDER = Sealed("GET", b"/slow", b"", ()), Sealed("POST", b"/api/v3/order", b"x=1", ())
PERMIT: Any = object()


class Venue(asyncio.Protocol):
    """Answers when it is told to."""

    def __init__(self, asked: "list[Venue]") -> None:
        self._asked = asked
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, _: bytes) -> None:
        self._asked.append(self)


@asynccontextmanager
async def venue() -> AsyncIterator[tuple[Pool, list[Venue]]]:
    asked = list[Venue]()
    server = await asyncio.get_running_loop().create_server(lambda: Venue(asked), "127.0.0.1", 0)
    pool = Pool(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", DIRECT)
    try:
        yield pool, asked
    finally:
        pool.close()
        server.close()


async def until_asked(asked: list[Venue], times: int = 1) -> None:
    async with asyncio.timeout(60):
        while len(asked) < times:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def given_up(question: "asyncio.Task[Reply | Broken]") -> None:
    question.cancel()
    with pytest.raises(asyncio.CancelledError):
        await question


async def test_its_line_is_free_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """They were used for as long as an answer may take, and questions after them used up all that exits have."""
    monkeypatch.setattr(upstream, "GIVEN_UP_SECONDS", 0.0)
    async with venue() as (pool, asked):
        question = asyncio.ensure_future(pool.ask(QUESTION, PERMIT, Need.EXIT, "one"))
        await until_asked(asked)
        assert pool._shares.used == 1
        await given_up(question)
        assert pool._shares.used == 0
        assert pool.silence._failed == {}, "that we gave it up says nothing of the venue"


async def test_one_that_is_given_up_at_once_may_be_answered_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "GIVEN_UP_SECONDS", 3600.0)
    async with venue() as (pool, asked):
        question = asyncio.ensure_future(pool.ask(QUESTION, PERMIT, Need.EXIT, "one"))
        await until_asked(asked)
        await given_up(question)
        assert pool._shares.used == 1
        asked[0].transport.write(ANSWER)
        async with asyncio.timeout(60):
            while pool._shares.used:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        assert pool.ready(Need.EXIT, "one") is not None, "its line is used again"


async def test_who_has_its_line_by_then_is_not_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer and end of patience come in one turn: the line carried another's order by then."""
    monkeypatch.setattr(upstream, "GIVEN_UP_SECONDS", 0.0)
    async with venue() as (pool, asked):
        question = asyncio.ensure_future(pool.ask(QUESTION, PERMIT, Need.EXIT, "one"))
        await until_asked(asked)
        (line,) = pool._lines
        came = list[Reply | Broken]()
        line.data_received(ANSWER)
        got = pool.ready(Need.EXIT, "two")
        assert got is line
        pool.send(got, ORDER, came.append)
        await given_up(question)
        await until_asked(asked, 2)
        asked[1].transport.write(ANSWER)
        async with asyncio.timeout(60):
            while not came:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        assert isinstance(came[0], Reply)
