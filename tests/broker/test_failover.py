"""Two real PostgreSQL servers: who was demoted, cut off or forgot the last second lets nobody go on."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from broker.db.database import Database
from broker.errors import StoreUnavailable
from broker.gate import Mode
from broker.lease import LEASE_US
from broker.link import frames
from tests import places
from tests.gateway.world import WallClock, World, running_world
from tests.services.postgres.server import PostgresServer, postgres, standby, where

pytestmark = pytest.mark.process


WAITING = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


class Later(WallClock):
    """The wall clock, a lease later."""

    def boot_us(self) -> int:
        return super().boot_us() + LEASE_US


def until(fits: Callable[[], bool]) -> None:
    """Ask a server again and again: it tells nobody by itself."""
    end = time.monotonic() + 90
    while not fits():
        assert time.monotonic() < end
        time.sleep(0.05)


def waits_for_its_standby(server: PostgresServer) -> bool:
    return bool(server.sql(f"SELECT pid {WAITING}"))


def named(folder: Path, server: PostgresServer, *others: PostgresServer, single_node: bool = True) -> None:
    server.sql("CREATE DATABASE state")
    ports = [one.port for one in (server, *others)]
    (folder / places.NAMED).write_text(where("state", *ports, single_node=single_node))


def make_synchronous(server: PostgresServer) -> None:
    server.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
    server.sql("SELECT pg_reload_conf()")
    until(lambda: server.sql("SELECT sync_state FROM pg_stat_replication") == [("sync",)])


def renewed(world: World) -> frames.Renewed:
    """Ask for all leases to go on, as the gateway does."""
    link = world.authority.changes.links["local"]
    return world.authority.leases.renew(link, frames.Renew(1, tuple(link.leases)))


async def test_a_primary_whose_standby_was_promoted_renews_nothing(tmp_path: Path) -> None:
    with postgres() as primary, standby(primary) as second:
        named(tmp_path, primary, single_node=False)
        make_synchronous(primary)
        async with running_world(tmp_path) as world:
            world.account()
            bot = world.bot()
            assert (await bot.order()).status == 200
            assert len(renewed(world).ttls) == 1
            second.promote()
            try:
                await asyncio.to_thread(until, lambda: waits_for_its_standby(primary))
                world.service.desk.clock = Later()
                assert renewed(world).ttls == (), "no heartbeat was confirmed: nothing is granted on it"
                # who cancels the wait makes PostgreSQL call the commit done: we do not believe it
                began = world.authority.leases.began_us
                for _ in range(4):  # the call log's commit may be one of them
                    before = primary.sql(f"SELECT pid, query_start {WAITING}")
                    primary.sql(f"SELECT pg_cancel_backend(pid) {WAITING}")
                    await asyncio.to_thread(
                        until,
                        lambda before=before: (
                            not set(before) & set(primary.sql(f"SELECT pid, query_start {WAITING}"))
                        ),
                    )
                    await asyncio.to_thread(until, lambda: waits_for_its_standby(primary))
                assert world.authority.leases.began_us == began
                assert renewed(world).ttls == ()
            finally:
                primary.kill()


async def test_a_failover_that_forgot_a_cut_serves_nobody(tmp_path: Path) -> None:
    with postgres() as primary, standby(primary) as second:
        named(tmp_path, primary, second)
        async with running_world(tmp_path) as world:
            world.account()
            bot = world.bot()
            assert (await bot.order()).status == 200
            await world.authority.beat()
            position = primary.sql("SELECT pg_current_wal_lsn()")[0][0]
            until(lambda: second.sql(f"SELECT pg_last_wal_replay_lsn() >= '{position}'") == [(True,)])
            second.stop()
            cut_id = await world.cut("consumer:bot")
            world.service.mirror.merge()
            primary.kill()
            second.start()
            second.promote()
            assert second.sql("SELECT id FROM cuts", "state") == [], "the new primary never heard of the cut"
            await _beaten(world)
            modes = {scope: one.mode for scope, one in world.authority.changes.gates.items()}
            assert modes["everything"] is Mode.CLOSED
            await _merged(world)
            assert {row[0] for row in second.sql("SELECT id FROM cuts", "state")} > {cut_id}, (
                "the mirror remembers"
            )
            assert (await bot.order()).code == -2014


async def _beaten(world: World) -> None:
    async with asyncio.timeout(90):
        while True:
            try:
                await world.authority.beat()
            except StoreUnavailable:
                continue
            return


async def _merged(world: World) -> None:
    """Merge as upkeep does: a connection to the old primary is found dead by who takes it first."""
    async with asyncio.timeout(90):
        while True:
            try:
                await asyncio.to_thread(world.service.mirror.merge)
            except StoreUnavailable:
                continue
            return


async def test_a_broker_whose_database_hangs_renews_nothing_and_goes_on_when_it_is_back(
    tmp_path: Path,
) -> None:
    with postgres() as primary:
        named(tmp_path, primary)
        async with running_world(tmp_path) as world:
            world.account()
            bot = world.bot()
            assert (await bot.order()).status == 200
            assert primary.process is not None
            children = Path(f"/proc/{primary.process.pid}/task/{primary.process.pid}/children")
            stopped = [primary.process.pid, *map(int, children.read_text().split())]
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            try:
                world.service.desk.clock = Later()
                assert renewed(world).ttls == ()
            finally:
                for pid in stopped:
                    os.kill(pid, signal.SIGCONT)
            await _beaten(world)
            assert len(renewed(world).ttls) == 1


def test_what_may_forget_a_cut_is_refused_at_the_start(tmp_path: Path) -> None:
    with postgres() as primary, standby(primary) as second:
        named(tmp_path, primary, single_node=False)

        def reason() -> str:
            database = places.database_at(tmp_path)
            try:
                database.look()
            except StoreUnavailable as fault:
                return fault.reason
            finally:
                database.close()
            return ""

        assert reason() == "postgres_asynchronous"
        make_synchronous(primary)
        assert reason() == "schema_older"
        database = places.database_at(tmp_path)
        database.upgrade()
        database.close()
        assert reason() == ""
        primary.sql("ALTER DATABASE state SET synchronous_commit = off")
        assert reason() == "postgres_unsafe"
        primary.sql("ALTER DATABASE state RESET synchronous_commit")
        (tmp_path / places.NAMED).write_text(where("state", second.port))
        assert reason() == "postgres_standby"


def test_a_database_that_is_not_there_is_said_without_its_password(tmp_path: Path) -> None:
    (tmp_path / places.NAMED).write_text(where("state", 1))
    database: Database = places.database_at(tmp_path)
    with pytest.raises(StoreUnavailable, match="cannot answer") as caught, database.read():
        pass
    assert "planted" not in repr(caught.value)
    with pytest.raises(psycopg.OperationalError):
        PostgresServer(Path("/"), Path("/"), 1).sql("SELECT 1")
