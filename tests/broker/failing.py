"""A failover that forgets: a world on a primary whose standby stood still for the last changes, and was promoted."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.db import meta
from broker.errors import StoreUnavailable
from broker.model import EVERYTHING
from broker.service.audit import ITSELF
from broker.service.cuts import Cut
from broker.service.host_guard import RECONCILED
from tests import places
from tests.gateway.world import Bot, World, running_world
from tests.services.postgres.server import PostgresServer, postgres, standby, where

PATIENCE_S = 60.0


@dataclass(slots=True)
class Failing:
    """A world, its bot, and the two servers it lives on, one after the other."""

    world: World
    bot: Bot
    primary: PostgresServer
    second: PostgresServer

    async def forget_what_follows(self) -> None:
        """Let the standby hear no more."""
        await self.world.authority.beat()
        position = self.primary.sql("SELECT pg_current_wal_lsn()")[0][0]
        asked = f"SELECT pg_last_wal_replay_lsn() >= '{position}'"
        end = time.monotonic() + PATIENCE_S
        while self.second.sql(asked) != [(True,)]:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        self.second.stop()

    def fail_over(self) -> None:
        """Lose the primary; the standby takes over."""
        self.primary.kill()
        self.second.start()
        self.second.promote()
        forget_connections(self.world)

    async def looked(self) -> Cut:
        """Wait until the broker has seen it, and every gateway has; return the cut by which it closed everything."""
        await again(self.world.authority.beat)
        await self.world.settled()
        return closing_of(self.world)

    async def reopened(self) -> None:
        """Reconcile and thaw, and wait until the bot trades."""
        closing = await self.looked()
        await reopen(self.world, closing)
        await self.bot.ready()


@asynccontextmanager
async def failing_world(folder: Path) -> AsyncIterator[Failing]:
    with postgres() as primary, standby(primary) as second:
        primary.sql("CREATE DATABASE state")
        (folder / places.NAMED).write_text(where("state", primary.port, second.port, single_node=True))
        async with running_world(folder) as world:
            world.account()
            bot = world.bot()
            await bot.ready()
            yield Failing(world, bot, primary, second)


def forget_connections(world: World) -> None:
    """Let go of pooled connections to a server that is gone: else whoever takes one first finds it dead."""
    database = world.service.desk.database
    for store in (database, database.log):
        ways = store._engines
        for engine in (ways.reader, ways.writer, ways.urgent_reader, ways.urgent_writer):
            engine.dispose()


async def again(work: Callable[[], Awaitable[object]]) -> None:
    """Do it until the database answers: a dead pooled connection is found by who takes it first."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await work()
            except StoreUnavailable:
                await asyncio.sleep(0.05)
                continue
            return


def closing_of(world: World) -> Cut:
    """Return the cut by which the program holds everything closed."""
    found = [one for one in world.service.cuts.list(open_only=True).items if one.actor == ITSELF]
    (closing,) = [one for one in found if one.scopes == (EVERYTHING,)]
    return closing


async def reopen(world: World, closing: Cut) -> None:
    """Thaw what the program closed, as after a reconciliation in which all was well."""
    with world.service.desk.database.write() as connection:
        meta.put(connection, RECONCILED, f'["{closing.id}"]')
    await world.thaw(closing.id)
