"""Facts that hang use up no time in which an exit gets what is our own: the broker's word after a standstill, a lease."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.gate import Mode
from broker.gateway import forward
from broker.gateway.job import Job
from tests.gateway.world import Answer, Bot, World, bots, running_world

pytestmark = pytest.mark.sockets

PREPARE_S = 2.0


@asynccontextmanager
async def leaving(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[World, Bot, "asyncio.Future[Answer]"]]:
    """A sale in a halt that waits for holdings, which the exchange does not tell."""
    async with running_world(directory) as world:
        world.account(USDT="100000", BTC="1")
        (bot,) = await bots(world)
        assert (await bot.order()).status == 200
        await world.cut("account:main", mode=Mode.HALT)
        monkeypatch.setattr(forward, "PREPARE_SECONDS", PREPARE_S)
        hangs = {"do": "hang", "times": 9, "match": {"path": "/api/v3/account"}}
        await world.paper.admin("POST", "faults", hangs)
        selling = asyncio.ensure_future(bot.order("SELL"))
        async with asyncio.timeout(60):
            while not any("holdings" in job.asked for job in world.gateway.forwarder._preparing.values()):  # noqa: ASYNC110 - a request that waits tells nobody
                await asyncio.sleep(0.01)
        yield world, bot, selling


async def test_an_exit_that_waited_while_the_process_stood_still_waits_for_the_brokers_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with leaving(tmp_path, monkeypatch) as (_, _, selling):
        time.sleep(PREPARE_S + 1)  # noqa: ASYNC251 - the whole process stands still
        sold = await selling
        assert (sold.status, sold.reason) == (200, None), sold


async def test_a_cut_that_came_while_it_stood_still_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with leaving(tmp_path, monkeypatch) as (world, _, selling):
        before = len(world.executed())
        time.sleep(PREPARE_S + 1)  # noqa: ASYNC251 - the whole process stands still
        world.service.cuts.close(targets=("account:main",), mode=Mode.CLOSED, reason="test", actor="test")
        assert (await selling).reason == "cut"
        assert len(world.executed()) == before


async def test_an_exit_whose_lease_ended_while_it_waited_gets_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with leaving(tmp_path, monkeypatch) as (world, _, selling):
        book = world.gateway.book
        await asyncio.sleep(PREPARE_S / 2)
        for lease_id in list(book.by_lease):
            book.drop(lease_id)
        sold = await selling
        assert (sold.status, sold.reason) == (200, None), sold


async def test_facts_that_are_asked_for_once_more_and_hang_leave_time_for_a_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last, old = forward.Forwarder._last, iter([("holdings",)])

    async def over(forwarder: forward.Forwarder, job: Job) -> None:
        monkeypatch.setattr(forward, "lapsed", lambda *_: next(old, ()))
        for lease_id in list(forwarder._book.by_lease):
            forwarder._book.drop(lease_id)
        await last(forwarder, job)

    monkeypatch.setattr(forward.Forwarder, "_last", over)
    async with leaving(tmp_path, monkeypatch) as (_, _, selling):
        sold = await selling
        assert (sold.status, sold.reason) == (200, None), sold
        assert not list(old)
