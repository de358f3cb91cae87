"""What the next start of a gateway finds of a request is on record although the request itself comes there later."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import func, select

from broker.db import log_tables as t
from broker.errors import StoreUnavailable
from broker.gateway import recall
from broker.gateway.process import Gateway, Listen
from broker.link.channel import memory_pair
from clients.venues.binance import WIRE
from tests.gateway.test_followed import BIG
from tests.gateway.test_found_later import halted_everywhere
from tests.gateway.test_fresh_gateway import gateway_at
from tests.gateway.test_others_unheard import known, named, unheard, until
from tests.gateway.test_sent_before_the_end import at
from tests.gateway.world import World, bots, running_world

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("very_patient")]


class Start(NamedTuple):
    port: int
    boot: str
    end: Callable[[], Awaitable[None]]


@asynccontextmanager
async def started(world: World, directory: Path) -> AsyncIterator[Start]:
    """Run a gateway that serves on while its next start serves, until it is ended."""
    here, there = memory_pair()
    serving = asyncio.ensure_future(world.authority.serve(here))
    gateway = Gateway(there, "edge", directory, {WIRE.name: WIRE})
    gateway.book.recent.lately.lag_us = 0  # this exchange answers all questions from one database
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    running = asyncio.ensure_future(gateway.serve(Listen(), ready, stop, linger=True))

    async def end() -> None:
        stop.set()
        await running
        here.close()
        await serving

    try:
        yield Start(await ready, gateway.spool.boot, end)
    finally:
        await end()


def held_up(world: World, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Take in no line of the starts that are put into this."""
    calls = type(world.service.calls)
    real, starts = calls.ingest, set[str]()

    def ingest(self: Any, gateway: str, boot: str, *more: Any, **named: Any) -> Any:
        if boot in starts:
            raise StoreUnavailable("busy")
        return real(self, gateway, boot, *more, **named)

    monkeypatch.setattr(calls, "ingest", ingest)
    return starts


def rows(world: World, table: Any, *where: Any) -> int:
    with world.service.desk.database.log.read() as connection:
        return int(connection.execute(select(func.count()).select_from(table).where(*where)).scalar() or 0)


@pytest.mark.parametrize("old", ["is over", "serves on"])
async def test_an_exit_beside_it_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str) -> None:
    """It was one that nobody heard of for good, and each exit of the account was told to ask again."""
    monkeypatch.setattr(recall, "AGAIN_S", 0.1)
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=BIG)
        for bot in (one, two):
            assert (await bot.order("BUY", "0.5006")).status == 200
        await until(lambda: not world.gateway.spool.waiting)
        late = held_up(world, monkeypatch)
        async with started(world, tmp_path / "edge") as before:
            late.add(before.boot)
            sender = await at(before.port, one)
            unheard(world)
            assert (await sender.order("SELL", "0.2")).status == 504
            if old == "is over":
                await before.end()
            async with gateway_at(world, tmp_path / "edge") as port:
                bot = await at(port, one)
                await until(lambda: rows(world, t.ORDERS) == 3)
                assert not rows(world, t.SENT_ORDERS, t.SENT_ORDERS.c.boot == before.boot)
                await halted_everywhere(world)
                late.clear()
                await before.end()
                await until(lambda: rows(world, t.SENT_ORDERS, t.SENT_ORDERS.c.boot == before.boot) > 0)
                assert not named(world)
                assert (await known(lambda: bot.order("SELL", "0.29"))).status == 200
