"""Sales of the same moment on bad days: a full disk, a slow record, others' sales between two facts."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from broker.authority import behind
from broker.policy_facts import Stake
from tests.gateway.test_followed import BIG, limit
from tests.gateway.test_late_lines import full_disk
from tests.gateway.test_others_behind import THERE, Lines, edge, halt, lines
from tests.gateway.test_own_behind import UNKNOWN, until
from tests.gateway.test_sent_before_the_end import at
from tests.gateway.world import World, bots, running_world, served

__all__ = ["lines"]


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("whose", ["its own", "nobody's"])
async def test_what_leaves_without_a_line_is_not_sold_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    """Also after a minute: it is as long as the disk is full."""
    async with running_world(tmp_path) as world, edge(world, tmp_path / THERE) as other:
        world.account(USDT="1000000", BTC="0" if whose == "its own" else "1")
        one, two, third = await bots(world, "one", "two", "third", policy=BIG)
        for bot in (one, two) if whose == "its own" else (two,):
            assert (await bot.order("BUY", "0.5006")).status == 200
        there = await at(other.port, one)
        assert (await served(lambda: there.order("BUY", "0.001"))).status == 200
        await halt(world)
        await until(lambda: not other.gateway.spool.waiting and not world.gateway.spool.waiting)
        full_disk(other.gateway.spool, lambda _: True)
        sold = await served(lambda: there.order("SELL", "0.5" if whose == "its own" else "0.9"))
        assert sold.status == 200
        link = world.authority.changes.links[THERE]
        await until(lambda: link.owes > 0)
        monkeypatch.setattr(behind, "WAIT_S", 0.3)
        link.moved_s -= behind.PATIENCE_S
        got = await (one if whose == "its own" else third).order("SELL", "0.5")
        assert (got.status, got.reason) == UNKNOWN
        assert (await two.order("SELL", "0.5")).status == 200


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("halted", [True, False], ids=["by the broker's word", "before the halt"])
async def test_what_is_sold_between_two_words_of_health_is_not_sold_elsewhere(
    tmp_path: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch, halted: bool
) -> None:
    """The record is slow, and nobody has said yet whose the lines are that it lacks."""
    async with running_world(tmp_path) as world, edge(world, tmp_path / THERE) as other:
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=BIG)
        for bot in (one, two):
            assert (await bot.order("BUY", "0.5006")).status == 200
        there = await at(other.port, one)
        assert (await served(lambda: there.order("BUY", "0.001"))).status == 200
        if halted:
            await halt(world)
        await until(lambda: not other.gateway.spool.waiting and not world.gateway.spool.waiting)
        link = world.authority.changes.links[THERE]
        before = link.health
        await until(lambda: link.health is not before)
        monkeypatch.setattr(behind, "WAIT_S", 0.3)  # as in the product
        lines.held.add(THERE)
        assert (await there.order("SELL", "0.5")).status == 200
        if not halted:
            await halt(world)
        got = await one.order("SELL", "0.5")
        assert (got.status, got.reason) == UNKNOWN
        assert (await two.order("SELL", "0.5")).status == 200


class Late:
    """The broker hears, or answers, the question of one key a moment late."""

    def __init__(self, world: World, key_id: str, *, answers: bool) -> None:
        self.came, self.goes_on = asyncio.Event(), asyncio.Event()
        self._lease, self._answers = world.gateway.book.by_key[key_id].lease.id, answers
        self._real = world.gateway.link.ask_stake
        world.gateway.link.ask_stake = self._ask  # type: ignore[method-assign]

    async def _ask(self, query: Any) -> Stake:
        if query.lease != self._lease:
            return await self._real(query)
        found = await self._real(query) if self._answers else None
        self.came.set()
        await self.goes_on.wait()
        return found or await self._real(query)


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "elsewhere"])
@pytest.mark.parametrize("does", ["sells", "offers", "cancels"])
async def test_what_others_do_between_two_facts_makes_no_definite_no(
    tmp_path: Path, does: str, elsewhere: bool
) -> None:
    """Old code: an honest exit of nobody's stock was told `halted`, at which bots stop for good."""
    async with running_world(tmp_path) as world, edge(world, tmp_path / THERE) as other:
        world.account(USDT="1000000", BTC="1")
        two, third = await bots(world, "two", "third", policy=BIG)
        seller = await at(other.port, two) if elsewhere else two
        assert (await served(lambda: seller.order("BUY", "0.5006"))).status == 200
        await halt(world)
        resting = 0
        if does == "cancels":
            got = await served(lambda: seller.order("SELL", "0.48", **limit(world, "1.02")))
            assert got.status == 200
            resting = got.body["orderId"]
        await until(lambda: not other.gateway.spool.waiting and not world.gateway.spool.waiting)
        late = Late(world, third.key_id, answers=not elsewhere)
        selling = asyncio.ensure_future(third.order("SELL", "0.8"))
        await late.came.wait()
        if does == "cancels":
            done = await seller.call("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=resting)
        else:
            done = await seller.order("SELL", "0.48", **(limit(world, "1.02") if does == "offers" else {}))
        assert done.status in {200, 503}
        await until(lambda: not other.gateway.spool.waiting)
        late.goes_on.set()
        assert (await selling).status in {200, 503}
