"""The call log's digests are in the chain: a call that was changed or removed afterwards is found."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection

from broker.db import tables as t
from broker.service.audit import read_verified
from tests.gateway.world import World, running_world

pytestmark = [pytest.mark.usefixtures("kind"), pytest.mark.sockets]


async def kept(world: World) -> None:
    """Wait until the broker has kept what the gateway has written."""
    async with asyncio.timeout(15):
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
        assert read_verified(world.service.desk.database).bad == []
        with world.service.desk.database.write() as connection:
            tamper(connection)
        first = read_verified(world.service.desk.database).first_bad
        assert first is not None
        assert (first.kind, first.writer) == ("calls", "calls")
