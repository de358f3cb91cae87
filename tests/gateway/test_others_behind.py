"""What a bot did through another gateway whose lines are on their way to the broker is not taken as never done."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.authority import behind
from broker.authority.behind import PATIENCE_S as LONGEST_S
from broker.authority.behind import SILENT_S, Behind
from broker.authority.intake import Intake
from broker.authority.link import Link
from broker.background import Background
from broker.errors import StoreUnavailable
from broker.gate import Mode
from broker.gateway.process import Gateway, Listen
from broker.link import frames
from broker.link.channel import memory_pair
from broker.service.calls import Calls
from clients.venues.binance import WIRE
from tests.gateway.test_followed import BIG
from tests.gateway.test_others_unheard import known
from tests.gateway.test_sent_before_the_end import at
from tests.gateway.world import PATIENCE_S, Bot, World, bots, running_world

THERE = "edge"


@dataclass
class Lines:
    """Whether the record takes in what a gateway writes."""

    held: set[str] = field(default_factory=set)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    found, real = Lines(), Calls.ingest

    def ingest(calls: Calls, gateway: str, *more: Any) -> tuple[int, ...]:
        if gateway in found.held:
            raise StoreUnavailable("busy")
        return real(calls, gateway, *more)

    monkeypatch.setattr(Calls, "ingest", ingest)
    yield found
    found.held.clear()


@dataclass
class Edge:
    port: int
    gateway: Gateway
    cut_off: Any


@asynccontextmanager
async def edge(world: World, directory: Path) -> AsyncIterator[Edge]:
    """Run another gateway, whose link can be cut off."""
    here, there = memory_pair()
    serving = asyncio.ensure_future(world.authority.serve(here))
    gateway = Gateway(there, THERE, directory, {WIRE.name: WIRE})
    gateway.book.recent.lately.lag_us = 0  # this exchange answers all questions from one database
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    running = asyncio.ensure_future(gateway.serve(Listen(), ready, stop))
    try:
        yield Edge(await ready, gateway, here.close)
    finally:
        stop.set()
        await running
        here.close()
        await serving


async def halt(world: World) -> None:
    _, change = world.service.cuts.close(
        targets=("account:main",), mode=Mode.HALT, reason="test", actor="test"
    )
    assert (await world.authority.changes.acknowledged(change, PATIENCE_S))[1] == ()


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
async def test_what_is_on_its_way_to_the_record_is_nobodys_for_no_exit(tmp_path: Path, lines: Lines) -> None:
    """The halt's acknowledgement says how much was written; what is one's own leaves meanwhile."""
    async with running_world(tmp_path) as world, edge(world, tmp_path / THERE) as other:
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=BIG)
        assert (await one.order("BUY", "0.5006")).status == 200
        there = await at(other.port, two)
        lines.held.add(THERE)
        assert (await there.order("BUY", "0.5006")).status == 200
        await halt(world)
        got = await one.order("SELL", "0.9")
        assert (got.status, got.reason) == (503, "holdings_unknown"), "0.4 of it are two's"
        assert (await one.order("SELL", "0.2")).status == 200, "it is its own"
        lines.held.clear()
        assert (await known(lambda: one.order("SELL", "0.7"))).status == 401
        assert (await known(lambda: one.order("SELL", "0.29"))).status == 200


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("after", ["it comes back", "it never does"])
async def test_a_gateway_that_broke_off_may_have_written_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    """Until its next start has sent the rest; where it never does the record alone counts after a minute."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=BIG)
        assert (await one.order("BUY", "0.5006")).status == 200
        async with edge(world, tmp_path / THERE) as other:
            there = await at(other.port, two)
            other.gateway.link.upload._send = lambda _: None  # what it writes from now on stays there
            assert (await there.order("BUY", "0.5006")).status == 200
            other.cut_off()
        await halt(world)
        got = await one.order("SELL", "0.9")
        assert (got.status, got.reason) == (503, "holdings_unknown")
        assert (await one.order("SELL", "0.2")).status == 200
        if after == "it comes back":
            async with edge(world, tmp_path / THERE):
                assert (await known(lambda: one.order("SELL", "0.7"))).status == 401
        else:
            monkeypatch.setattr(behind, "PATIENCE_S", 0.0)
            assert (await known(lambda: one.order("SELL", "0.7"))).status == 200


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("how", ["idle", "busy", "ended"])
async def test_a_second_gateway_that_is_well_holds_up_no_exit(tmp_path: Path, how: str) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="1")
        one, two = await bots(world, "one", "two", policy=BIG)
        async with edge(world, tmp_path / THERE) as other:
            there = await at(other.port, two)
            assert (await there.order("BUY", "0.5006")).status == 200
            if how == "idle":
                await halt(world)
                assert (await one.order("SELL", "0.9")).status == 200
            if how == "busy":
                reads, before = asyncio.ensure_future(_reads(there)), other.gateway.spool.seq
                try:
                    for _ in range(9):
                        assert (await one.order("SELL", "0.1")).status == 200
                finally:
                    reads.cancel()
                assert other.gateway.spool.seq > before
        if how == "ended":
            await halt(world)
            assert (await one.order("SELL", "0.9")).status == 200


async def _reads(bot: Bot) -> None:
    while True:
        await bot.public("/api/v3/time")
        await asyncio.sleep(0.01)


# --- the broker's side -------------------------------------------------------------------------


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Place:
    def __init__(self, *strangers: tuple[str, str], intake: Any = None) -> None:
        self.clock, self.intake = Clock(), intake or SimpleNamespace()
        starts = SimpleNamespace(strangers=lambda account: strangers if account == "main" else ())
        self.behind = Behind(starts, self.intake, self.clock)  # type: ignore[arg-type]
        self.asking, self.other = self.link("local"), self.link(THERE)

    def link(self, name: str) -> Link:
        link = Link(memory_pair()[0], name, f"{name} 1", accounts={"main"})
        link.heard_s = link.moved_s = self.clock.now_s
        self.behind.begin(link)
        return link

    def hear(self, frame: Any, link: Link | None = None) -> None:
        link = link or self.other
        link.heard_s = self.clock.now_s
        self.behind.heard(link, frame)

    def take(self, upto: int, link: Link | None = None) -> None:
        link = link or self.other
        link.incoming.expected[link.boot] = upto + 1
        self.intake.on_kept(link)

    def passes(self, seconds: float) -> None:
        self.clock.now_s += seconds
        self.hear(frames.Ack(1))
        self.hear(frames.Ack(1), self.asking)

    async def has_all(self, account: str = "main") -> bool:
        """Tell whether the record has all, by a clock of which a wait takes all its time."""
        asking = asyncio.ensure_future(self.behind.lacking(account, self.asking))
        await asyncio.sleep(0)
        if not asking.done():
            self.clock.now_s += behind.WAIT_S
            self.behind._news.set()
        return not (await asking).some


def health(lines: int) -> frames.Health:
    return frames.Health(1, 0, 0, 0, 0, 0, lines=lines)


@pytest.mark.parametrize("said", [frames.Ack(7, 0, 3), health(3), frames.Calls("edge 1", 2, ("a", "b"))])
async def test_what_was_written_is_waited_for(said: Any) -> None:
    place = Place()
    assert await place.has_all()
    place.hear(said)
    place.take(2)
    assert not await place.has_all()
    assert await place.has_all("another")
    place.take(3)
    assert await place.has_all()
    place.hear(frames.Calls("edge 0", 9, ("of before",)))
    assert await place.has_all()


async def test_what_comes_while_it_is_waited_for_is_enough() -> None:
    place = Place()
    place.hear(health(3))
    asking = asyncio.ensure_future(place.behind.lacking("main", place.asking))
    await asyncio.sleep(0)
    place.hear(health(4))  # written since
    place.take(3)
    assert not (await asking).some


async def test_what_it_wrote_itself_who_asks_knows() -> None:
    """Also what its earlier starts did, which it reads."""
    place = Place(("local", "local 0"))
    place.hear(health(3), place.asking)
    before = place.asking
    place.behind.end(before)
    place.asking = Link(memory_pair()[0], "local", "local 2", accounts={"main"})
    place.behind.begin(place.asking)
    assert await place.has_all()


async def test_lines_that_never_come_are_waited_for_a_minute_from_when_some_came_last() -> None:
    place = Place()
    place.passes(1000)
    place.hear(health(3))
    for upto in (1, 2):
        place.passes(LONGEST_S - 1)
        assert not await place.has_all()
        place.take(upto)
    place.passes(LONGEST_S - 1)
    assert not await place.has_all()
    place.passes(1)
    assert await place.has_all()


async def test_a_link_that_ended() -> None:
    place = Place()
    place.behind.end(place.other)
    assert not await place.has_all(), "nobody knows what else it wrote"
    place.intake.on_over("edge", "edge 1")
    assert await place.has_all()
    place = Place()
    place.behind.end(place.other)
    place.passes(LONGEST_S - 1)
    assert not await place.has_all()
    place.passes(1)
    assert await place.has_all()
    place = Place()
    place.hear(frames.SpoolDone("edge 1", 3))
    place.behind.end(place.other)
    assert not await place.has_all(), "its last lines are on their way"
    place.take(3)
    assert await place.has_all()


async def test_one_that_says_nothing() -> None:
    place = Place()
    place.clock.now_s += SILENT_S - 0.1
    assert await place.has_all()
    place.clock.now_s += 0.1
    assert not await place.has_all()
    asking = asyncio.ensure_future(place.behind.lacking("main", place.asking))
    await asyncio.sleep(0)
    place.hear(health(0))
    assert not (await asking).some, "it was late"
    place.clock.now_s += LONGEST_S
    assert await place.has_all()


async def test_lines_that_the_record_lost_are_waited_for_anew() -> None:
    """As long as the gateway may have them: they come again in order, behind what was on its way."""
    calls = SimpleNamespace(last_of=lambda *_: 2, ingest=lambda *_: ())

    async def run(work: Callable[[], Any]) -> Any:
        return work()

    intake = Intake(SimpleNamespace(calls=calls), Background(logging.getLogger()), run, run)  # type: ignore[arg-type]
    place = Place(intake=intake)
    other = place.other

    async def come(first: int, last: int) -> None:
        frame = frames.Calls(other.boot, first, ("x",) * (last - first + 1))
        place.hear(frame)
        intake.take(other, frame)
        async with asyncio.timeout(PATIENCE_S):
            while other.incoming.working:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0)

    await come(1, 5)
    assert await place.has_all()
    intake.recount(other)
    async with asyncio.timeout(PATIENCE_S):
        while other.incoming.again is None:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
    assert not await place.has_all()
    await come(6, 7)
    assert not await place.has_all()
    await come(1, 4)
    assert not await place.has_all()
    await come(5, 7)
    assert await place.has_all()


async def test_one_that_serves_on_from_before_we_began() -> None:
    place = Place(("far", "far 1"))
    assert not await place.has_all()
    assert await place.has_all("another")
    place.intake.on_over("far", "far 1")
    assert await place.has_all()
    place = Place(("far", "far 1"))
    place.passes(LONGEST_S)
    assert await place.has_all()
