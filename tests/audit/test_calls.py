"""The call log's digests are in the chain: a call that was changed or removed afterwards is found."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection

from broker.db import log_tables as t
from broker.db.tables import AUDIT
from broker.service.audit import read_verified
from broker.service.call_seal import CallSeal
from tests.gateway.world import World, running_world

pytestmark = [pytest.mark.usefixtures("kind"), pytest.mark.sockets]


async def kept(world: World) -> None:
    """Wait until the broker has kept what the gateway has written."""
    async with asyncio.timeout(60):
        while world.gateway.spool.waiting:  # noqa: ASYNC110 - the spool tells nobody
            await asyncio.sleep(0.02)


def change(connection: Connection, **values: object) -> None:
    connection.execute(t.CALLS.update().where(t.CALLS.c.seq == 1).values(**values))


@pytest.mark.parametrize(
    "tamper",
    [
        lambda c: change(c, symbol="ETHUSDT"),
        lambda c: change(c, decision="deny"),
        lambda c: change(c, outcome="refused"),
        lambda c: c.execute(t.CALLS.delete().where(t.CALLS.c.seq == 1)),
    ],
)
async def test_a_call_that_was_changed_is_found(
    tmp_path: Path, tamper: Callable[[Connection], object]
) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        for _ in range(3):
            assert (await bot.order()).status == 200
        await kept(world)
        assert world.service.call_seal.seal(at_once=True) == 3
        assert world.service.call_seal.seal(at_once=True) == 0
        assert read_verified(world.service.desk.database).bad == []
        with world.service.desk.database.log.write() as connection:
            tamper(connection)
        first = read_verified(world.service.desk.database).first_bad
        assert first is not None
        assert (first.kind, first.writer) == ("calls", "calls")


async def test_calls_without_an_answer_are_sealed_by_what_was_asked_and_may_be_answered_later(
    tmp_path: Path,
) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        for _ in range(3):
            assert (await bot.order()).status == 200
        await kept(world)
        database, seal = world.service.desk.database, world.service.call_seal
        with database.log.write() as connection:
            connection.execute(t.CALLS.update().where(t.CALLS.c.seq == 3).values(outcome=None))
        first = seal.seal(at_once=True)
        with database.log.write() as connection:
            connection.execute(t.CALLS.update().values(at_us=t.CALLS.c.at_us - 3_600_000_000))
        with database.write() as connection:
            connection.execute(AUDIT.delete().where(AUDIT.c.writer == "calls"))
        assert first == 1, "up to the first that has no answer yet"
        seal.touch("local", world.gateway.spool.boot)
        assert seal.seal(at_once=True) == 3, "an hour old: sealed without its answer"
        assert read_verified(database).bad == []
        with database.log.write() as connection:
            connection.execute(t.CALLS.update().where(t.CALLS.c.seq == 3).values(outcome="done"))
        assert read_verified(database).bad == [], "the answer came late"
        with database.log.write() as connection:
            connection.execute(t.CALLS.update().where(t.CALLS.c.seq == 3).values(symbol="ETHUSDT"))
        assert [bad.kind for bad in read_verified(database).bad] == ["calls"]


async def test_a_broker_that_was_killed_goes_on_where_the_chain_ends(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order()).status == 200
        await kept(world)
        assert world.service.call_seal.seal(at_once=True) == 1
        assert (await bot.order()).status == 200
        await kept(world)
        fresh = CallSeal(world.service.desk)
        assert fresh.seal(at_once=True) == 1
        assert read_verified(world.service.desk.database).bad == []
