"""What a bot sold through another gateway whose lines are on their way is not its own to sell once more."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.authority.behind import PATIENCE_S as LONGEST_S
from broker.authority.behind import SILENT_S
from broker.link import frames
from tests.gateway.test_followed import BIG
from tests.gateway.test_others_behind import THERE, Lines, Place, edge, halt, lines
from tests.gateway.test_others_unheard import known
from tests.gateway.test_sent_before_the_end import at
from tests.gateway.world import PATIENCE_S, World, bots, running_world, served

__all__ = ["lines"]
UNKNOWN = (503, "holdings_unknown")
US, THEM = ("main", "us"), ("main", "them")


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.02)


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("how", ["on their way", "cut off"])
async def test_what_is_sold_there_is_not_sold_here(tmp_path: Path, lines: Lines, how: str) -> None:
    """Who sold nothing there sells its own all the while."""
    async with running_world(tmp_path) as world, edge(world, tmp_path / THERE) as other:
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=BIG)
        for bot in (one, two):
            assert (await bot.order("BUY", "0.5006")).status == 200
        there = await at(other.port, one)
        assert (await served(lambda: there.order("BUY", "0.001"))).status == 200
        await halt(world)
        await until(lambda: not other.gateway.spool.waiting and not world.gateway.spool.waiting)
        lines.held.add(THERE)
        assert (await there.order("SELL", "0.5")).status == 200
        link, sold = world.authority.changes.links[THERE], other.gateway.spool.seq
        await until(lambda: link.health is not None and link.health.lines >= sold)
        if how == "cut off":
            other.cut_off()
            await until(lambda: THERE not in world.authority.changes.links)
        got = await one.order("SELL", "0.5")
        assert (got.status, got.reason) == UNKNOWN
        assert (await two.order("SELL", "0.1")).status == 200
        lines.held.clear()
        if how == "on their way":
            assert (await known(lambda: one.order("SELL", "0.5"))).status == 401
        assert (await two.order("SELL", "0.4")).status == 200, "nobody sold that"


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
async def test_what_went_through_one_that_was_never_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=BIG)
        for bot in (one, two):
            assert (await bot.order("BUY", "0.5006")).status == 200
        async with edge(world, tmp_path / THERE) as other:
            there = await at(other.port, one)
            assert (await served(lambda: there.order("BUY", "0.001"))).status == 200
            await until(lambda: not other.gateway.spool.waiting)
        await halt(world)
        assert (await one.order("SELL", "0.1")).status == 200, "it ended in order"
        _met_no_more(world, monkeypatch)
        got = await one.order("SELL", "0.1")
        assert (got.status, got.reason) == UNKNOWN
        assert (await two.order("SELL", "0.1")).status == 200


def _met_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.authority.changes.starts, "strangers", lambda _: ((THERE, "of before"),))


# --- the broker's side -------------------------------------------------------------------------


async def of_whom(place: Place) -> set[str]:
    """Return of whom something may be missing, by a clock of which a wait takes no time."""
    place.clock.now_s -= 0.3
    asking = asyncio.ensure_future(place.behind.lacking("main", place.asking))
    await asyncio.sleep(0)
    place.clock.now_s += 0.3
    place.behind._news.set()
    return set((await asking).consumers)


def ack(upto: int, *users: tuple[str, str]) -> frames.Ack:
    return frames.Ack(7, 0, upto, users)


async def test_whose_orders_are_among_lines_that_are_late() -> None:
    place = Place()
    place.hear(ack(3, US))
    place.hear(ack(5, THEM, ("another", "third")))
    assert await of_whom(place) == {"us", "them"}
    place.take(3)
    assert await of_whom(place) == {"them"}
    place.hear(ack(9))
    place.take(5)
    assert await of_whom(place) == set(), "what is missing is of reads"
    place.hear(frames.Health(1, 0, 0, 0, 0, 0, lines=10, users=(US,)))
    assert await of_whom(place) == {"us"}


@pytest.mark.parametrize("how", ["ended", "silent"])
async def test_who_was_busy_where_nobody_knows_what_was_written_since(how: str) -> None:
    place = Place()
    place.hear(ack(3, US))
    place.take(3)
    place.passes(LONGEST_S - 1)
    place.hear(ack(4, THEM))
    place.take(4)
    place.passes(2)
    if how == "ended":
        place.behind.end(place.other)
    else:
        place.clock.now_s += SILENT_S + 1
    assert await of_whom(place) == {"them"}
    place.passes(LONGEST_S)
    assert await of_whom(place) == set()


async def test_one_that_said_that_this_is_all_and_one_that_broke_off() -> None:
    """What the second did not say keeps nobody from selling who was at the first only."""
    place = Place()
    place.hear(ack(3, US))
    place.hear(frames.SpoolDone(place.other.boot, 3))
    place.take(3)
    place.behind.end(place.other)
    third = place.link("third")
    place.hear(ack(1, THEM), third)
    place.behind.end(third)
    assert await of_whom(place) == {"them"}
