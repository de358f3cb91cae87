"""What another gateway may sell this very moment, by what it was told, is sold here by nobody."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from broker.authority import given
from broker.authority.given import Answer, Given
from broker.gateway.acting import Acting, Word
from broker.gateway.users import LATELY_US, Users
from broker.link import frames
from broker.policy_facts import Stake
from tests.gateway.test_followed import BIG
from tests.gateway.test_others_behind import THERE, Edge, Lines, Place, edge, halt, lines
from tests.gateway.test_others_unheard import known
from tests.gateway.test_own_behind import UNKNOWN, until
from tests.gateway.test_sent_before_the_end import at
from tests.gateway.world import bots, running_world, served

__all__ = ["lines"]


class Held:
    """Answers of the broker to a gateway that it has, and does not act on yet."""

    def __init__(self, there: Edge) -> None:
        self.came, self.goes_on = asyncio.Event(), asyncio.Event()
        self._real = there.gateway.link.ask_stake
        there.gateway.link.ask_stake = self._ask  # type: ignore[method-assign]

    async def _ask(self, query: frames.StakeQuery) -> Stake:
        stake = await self._real(query)
        self.came.set()
        await self.goes_on.wait()
        return stake


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("whose", ["its own", "nobody's"])
async def test_what_is_about_to_be_sold_there_is_not_sold_here(tmp_path: Path, whose: str) -> None:
    """Old code: both left, and a third one's stock was sold."""
    async with running_world(tmp_path) as world, edge(world, tmp_path / THERE) as other:
        world.account(USDT="1000000", BTC="0" if whose == "its own" else "1")
        one, two, third = await bots(world, "one", "two", "third", policy=BIG)
        for bot in (one, two) if whose == "its own" else (two,):
            assert (await bot.order("BUY", "0.5006")).status == 200
        there = await at(other.port, one)
        assert (await served(lambda: there.order("BUY", "0.001"))).status == 200
        await until(lambda: not other.gateway.spool.waiting and not world.gateway.spool.waiting)
        await halt(world)
        held, size = Held(other), "0.5" if whose == "its own" else "0.9"
        selling = asyncio.ensure_future(there.order("SELL", size))
        await held.came.wait()
        here, much = (one, "0.5") if whose == "its own" else (third, "0.5")
        got = await here.order("SELL", much)
        assert (got.status, got.reason) == UNKNOWN
        assert (await two.order("SELL", "0.1")).status == 200, "what is another's own stays that"
        held.goes_on.set()
        assert (await selling).status in {200, 503}, "its time may be over"
        if selling.result().status == 200:
            assert (await known(lambda: here.order("SELL", much))).status == 401


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
async def test_exits_of_one_moment_leave_after_another(tmp_path: Path) -> None:
    """Each waits for what was asked before it, and for nothing that was asked after."""
    async with running_world(tmp_path) as world, edge(world, tmp_path / THERE) as other:
        world.account(USDT="1000000", BTC="4")
        one, two = await bots(world, "one", "two", policy=BIG)
        there = await at(other.port, two)
        assert (await served(lambda: there.order("BUY", "0.001"))).status == 200
        await halt(world)
        for _ in range(4):
            answers = await asyncio.gather(one.order("SELL", "0.1"), there.order("SELL", "0.1"))
            assert [got.status for got in answers] == [200, 200], [got.reason for got in answers]


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
async def test_a_gateway_that_is_killed_behind_the_first_order_of_a_bot(tmp_path: Path, lines: Lines) -> None:
    """Old code: nobody had said who it was."""
    async with running_world(tmp_path) as world, edge(world, tmp_path / THERE) as other:
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=BIG)
        for bot in (one, two):
            assert (await bot.order("BUY", "0.5006")).status == 200
        there = await at(other.port, one)
        await until(lambda: one.key_id in other.gateway.book.by_key)
        other.gateway.link.health = None  # it does not live to the next second
        lines.held.add(THERE)
        assert (await there.order("SELL", "0.5")).status == 200
        other.cut_off()
        await until(lambda: THERE not in world.authority.changes.links)
        await halt(world)
        got = await one.order("SELL", "0.5")
        assert (got.status, got.reason) == UNKNOWN
        assert (await two.order("SELL", "0.1")).status == 200


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
async def test_what_was_sold_there_since_holdings_were_asked_for_is_gone(tmp_path: Path) -> None:
    """Old code: what was nobody's was sold by two, and then it was the stock of a third."""
    async with running_world(tmp_path) as world, edge(world, tmp_path / THERE) as other:
        world.account(USDT="1000000", BTC="1")
        one, two, third = await bots(world, "one", "two", "third", policy=BIG)
        assert (await two.order("BUY", "0.5006")).status == 200
        there = await at(other.port, one)
        assert (await served(lambda: there.order("BUY", "0.001"))).status == 200
        await halt(world)
        for _ in range(3):
            await known(lambda: third.order("SELL", "0.01"))  # holdings are known
            assert (await known(lambda: there.order("SELL", "0.3"))).status == 200
        got = await third.order("SELL", "0.3")
        assert got.status in {503, 401}
        assert (await known(lambda: third.order("SELL", "0.3"))).status == 401
        assert (await two.order("SELL", "0.5")).status == 200


# --- each end ----------------------------------------------------------------------------------


async def test_a_word_is_over_with_its_task_and_the_last_request() -> None:
    told = list[tuple[int, ...]]()
    acting, may_end = Acting(told.append), asyncio.Event()

    async def ask() -> None:
        assert acting.asked(1)
        await may_end.wait()
        assert acting.asked(2)

    task = asyncio.ensure_future(ask())
    first, second = list[Word](), list[Word]()
    acting.waits(task, first)
    acting.waits(task, first)
    acting.waits(task, second)
    await asyncio.sleep(0)
    acting.done(first)
    acting.done(second)
    acting.done(second)
    assert told == [], "what it asks for next may be shared"
    acting.waits(task, first)
    may_end.set()
    await task
    await asyncio.sleep(0)
    assert told == []
    acting.done(first)
    assert told == [(1, 2)]
    acting.waits(task, first)
    assert first == [], "it is over: who uses it asks anew"
    assert not acting.asked(3), "nobody's"


@pytest.mark.parametrize("how", ["acted", "gone"])
async def test_who_asks_waits_for_those_who_asked_before(how: str) -> None:
    place = Place()
    now_s = place.clock.now_s
    of_other = Answer(place.other, 1, "us", now_s)
    words: Given = place.behind._given
    assert words.begin("main", "BTC", of_other) == ()
    assert words.begin("main", "ETH", Answer(place.asking, 7, "us")) == ()
    assert words.begin("other", "BTC", Answer(place.asking, 8, "us")) == ()
    before = words.begin("main", "BTC", Answer(place.asking, 9, "them"))
    assert before == (of_other,)
    assert words.begin("main", "BTC", Answer(place.other, 2, "us")) == (Answer(place.asking, 9, "them"),)
    asking = asyncio.ensure_future(place.behind.lacking("main", place.asking, before))
    await asyncio.sleep(0)
    if how == "gone":
        place.behind.end(place.other)
        place.clock.now_s += 0.3
        place.behind._news.set()
        assert (await asking).some, "nobody knows what it did"
        return
    place.hear(frames.Acted((2,), 4))
    place.take(4)
    await asyncio.sleep(0)
    assert not asking.done()
    place.hear(frames.Acted((1,), 5))
    await asyncio.sleep(0)
    assert not asking.done(), "line 5 may tell of a sale"
    place.take(5)
    assert not (await asking).some
    place.behind.end(place.asking)
    assert not words._open
    assert not words._where


async def test_what_is_not_over_in_time_is_in_no_answer() -> None:
    place = Place()
    before = (Answer(place.other, 1, "us", place.clock.now_s),)
    place.behind._given.begin("main", "BTC", before[0])
    asking: Any = asyncio.ensure_future(place.behind.lacking("main", place.asking, before))
    await asyncio.sleep(0)
    place.clock.now_s += 0.3
    place.behind._news.set()
    found = await asking
    assert found.some
    assert found.consumers == {"us"}
    place.passes(given.OPEN_S)
    asking = asyncio.ensure_future(place.behind.lacking("main", place.asking, before))
    await asyncio.sleep(0)
    assert asking.done(), "no gateway acts on it by now: one that stands still holds up nobody"
    assert not (await asking).some


def test_who_was_not_named_lately_is_named_at_once() -> None:
    users = Users()
    assert users.sends("main", "us", 0)
    assert users.tell() == (("main", "us"),)
    assert users.tell() == ()
    assert not users.sends("main", "us", LATELY_US - 1)
    assert not users.sends("main", "us", 2 * LATELY_US - 2)
    assert users.sends("main", "us", 3 * LATELY_US)
    assert users.sends("main", "them", 3 * LATELY_US)
    assert users.tell() == (("main", "them"), ("main", "us"))
