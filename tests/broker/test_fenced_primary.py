"""A primary of before that still answers, read-only, keeps no connection: who writes and reads follows the new one."""

import asyncio
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from broker.db import meta, primary
from broker.db.database import Database, Store
from broker.db.primary import Primary
from broker.db.turns import Urgency, urgency
from broker.errors import StoreUnavailable
from broker.gate import Mode
from broker.model import EVERYTHING
from tests.broker.test_failover import named, until
from tests.gateway.world import running_world
from tests.places import NAMED, database_at
from tests.services.postgres.server import PostgresServer, postgres, standby, where

pytestmark = pytest.mark.process

TRIES = 10


def set_read_only(server: PostgresServer, value: str) -> None:
    """Fence a server, as the documentation of sessions has it, or take that back."""
    server.sql(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
    server.sql("SELECT pg_reload_conf()")
    until(lambda: server.sql("SHOW default_transaction_read_only") == [(value,)])


def fail_over(old: PostgresServer, new: PostgresServer) -> None:
    position = old.sql("SELECT pg_current_wal_lsn()")[0][0]
    until(lambda: new.sql(f"SELECT pg_last_wal_replay_lsn() >= '{position}'") == [(True,)])
    new.promote()
    set_read_only(old, "on")


def port(connection: sa.Connection) -> int:
    return int(connection.exec_driver_sql("SELECT inet_server_port()").scalar_one())


def process(connection: sa.Connection) -> int:
    return int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())


def wrote(store: Store, how: Urgency) -> int:
    """Write, and return at which port."""
    with store.write(how) as connection:
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS probe (at timestamptz)")
        connection.exec_driver_sql("INSERT INTO probe VALUES (now())")
        return port(connection)


def in_tries(does: Callable[[], int]) -> int:
    """Try as often as whoever has something to write does."""
    for _ in range(TRIES - 1):
        with suppress(StoreUnavailable):
            return does()
    return does()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for who takes writes as often as somebody asks, so that tries are counted and not their time."""
    monkeypatch.setattr(primary, "_PAUSE_S", 0.0)


@pytest.mark.usefixtures("at_once")
def test_every_way_to_write_follows_the_new_primary(tmp_path: Path) -> None:
    with postgres() as first, standby(first) as second:
        named(tmp_path, first, second)
        with closing(database_at(tmp_path)) as database:
            database.upgrade()
            database.warm()
            ways = [
                (store, how)
                for store in (database, database.log)
                for how in (Urgency.SAFETY, Urgency.CONTROL)
            ]
            assert {wrote(*way) for way in ways} == {first.port}
            fail_over(first, second)
            for way in ways:
                assert in_tries(lambda way=way: wrote(*way)) == second.port, way


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("how", [Urgency.SAFETY, Urgency.CONTROL])
def test_who_only_reads_follows_the_new_primary_too(tmp_path: Path, how: Urgency) -> None:
    """What a primary of before knows is of before: a gate that was closed since is open there."""
    with postgres() as first, standby(first) as second:
        named(tmp_path, first, second)
        with closing(database_at(tmp_path)) as database:
            database.upgrade()
            asked = urgency.set(how)
            try:
                with database.read() as connection:
                    assert port(connection) == first.port
                fail_over(first, second)
                second.sql("INSERT INTO meta (name, value) VALUES ('x', 'since')", "state")

                def found() -> str | None:
                    with database.read() as connection:
                        return meta.get(connection, "x")

                assert "since" in [found() for _ in range(TRIES)]
            finally:
                urgency.reset(asked)


async def test_a_cut_after_a_failover_to_the_side_gets_on_record(tmp_path: Path) -> None:
    with postgres() as first, standby(first) as second:
        named(tmp_path, first, second)
        async with running_world(tmp_path) as world:
            world.account()
            bot = world.bot()
            assert (await bot.order()).status == 200
            await asyncio.to_thread(fail_over, first, second)
            cut, _ = await asyncio.to_thread(
                lambda: world.service.cuts.close(
                    targets=["consumer:bot"], mode=Mode.CLOSED, reason="leak", actor="test"
                )
            )
            made = world.service.cuts.closing.get(cut.id)
            if made is not None:
                await asyncio.to_thread(made.settled.result, 90)
            assert world.service.cuts.get(cut.id).on_record
            assert (cut.id,) in second.sql("SELECT id FROM cuts", "state")
            changes = world.authority.changes
            await asyncio.to_thread(until, lambda: EVERYTHING in changes.gates)
            assert changes.gates[EVERYTHING].mode is Mode.CLOSED, "the heartbeat saw another timeline"


@pytest.mark.usefixtures("at_once")
def test_where_no_server_takes_writes_that_is_said_and_what_there_is_can_be_read(tmp_path: Path) -> None:
    with postgres() as first, standby(first) as second:
        named(tmp_path, first, second)
        with closing(database_at(tmp_path)) as database:
            database.upgrade()
            set_read_only(first, "on")
            for how in (Urgency.SAFETY, Urgency.CONTROL):
                with pytest.raises(StoreUnavailable) as caught:
                    wrote(database, how)
                assert caught.value.reason == "store_read_only"
            read = set()
            for _ in range(TRIES):
                with database.read() as connection:
                    read.add((port(connection), process(connection)))
            assert len(read) == 1, "no connection was thrown away: there is no better one"
            assert {one for one, _ in read} == {first.port}
            with closing(database_at(tmp_path)) as anew, pytest.raises(StoreUnavailable) as caught:
                wrote(anew, Urgency.SAFETY)
            assert caught.value.reason == "store_read_only"
            set_read_only(first, "off")
            assert wrote(database, Urgency.SAFETY) == first.port


class Name:
    """One address that leads to one server, and later to another; who is connected stays where he is."""

    def __init__(self, to: int) -> None:
        self.to = to
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._socket.accept()
                threading.Thread(target=_joined, args=(here, self.to), daemon=True).start()


def _joined(here: socket.socket, to: int) -> None:
    """Carry what both say until one hangs up."""
    with suppress(OSError), here, socket.create_connection(("127.0.0.1", to)) as there:
        other = {here: there, there: here}
        while True:
            for one in select.select(list(other), [], [])[0]:
                data = one.recv(65536)
                if not data:
                    return
                other[one].sendall(data)


@contextmanager
def by_one_name(folder: Path, first: PostgresServer) -> Iterator[tuple[Name, Database]]:
    first.sql("CREATE DATABASE state")
    with closing(Name(first.port)) as name:
        (folder / NAMED).write_text(where("state", name.port))
        with closing(database_at(folder)) as database:
            database.upgrade()
            yield name, database


@pytest.mark.usefixtures("at_once")
def test_one_name_that_leads_elsewhere_now_is_followed(tmp_path: Path) -> None:
    with (
        postgres() as first,
        standby(first) as second,
        by_one_name(tmp_path, first) as (name, database),
    ):
        assert wrote(database, Urgency.SAFETY) == first.port
        fail_over(first, second)
        with pytest.raises(StoreUnavailable) as caught:
            wrote(database, Urgency.SAFETY)
        assert caught.value.reason == "store_read_only"
        name.to = second.port
        assert in_tries(lambda: wrote(database, Urgency.SAFETY)) == second.port
        with database.read() as connection:
            assert port(connection) == second.port


@pytest.mark.parametrize("state", ["57P01", "57P03", "08006", "25006"])
def test_a_connection_that_answers_for_a_server_that_is_gone_is_not_used_again(
    tmp_path: Path, postgres_server: PostgresServer, on_postgres: str, state: str
) -> None:
    """A proxy keeps its connection to us open when it has lost its own."""
    assert postgres_server.process is not None
    assert on_postgres
    with closing(database_at(tmp_path)) as database:
        with database.write() as connection:
            before = process(connection)
        with pytest.raises(StoreUnavailable), database.write() as connection:
            connection.exec_driver_sql(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{state}'; END $$")
        with database.write() as connection:
            assert process(connection) != before


def test_who_takes_writes_is_looked_for_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = list[int]()
    found = False

    def look() -> bool:
        looks.append(1)
        return found

    one = Primary(look)
    monkeypatch.setattr(primary, "_PAUSE_S", 1e9)
    assert not any(one.is_elsewhere(0, waits=True) for _ in range(TRIES))
    assert (len(looks), one.number) == (1, 0)
    monkeypatch.setattr(primary, "_PAUSE_S", 0.0)
    found, other = True, Primary(look)
    assert all(other.is_elsewhere(0, waits=True) for _ in range(TRIES))
    assert (len(looks), other.number) == (2, 1), (
        "found once, it is known to all who ask for the connection of before"
    )


# --- SQLite ---------------------------------------------------------------------------------------


def test_a_file_that_could_not_be_written_is_opened_anew(tmp_path: Path) -> None:
    """SQLite opens such a file to read only, and that connection stays so when it can be written again."""
    with closing(database_at(tmp_path)) as database:
        database.upgrade()
        with database.write() as connection:
            connection.exec_driver_sql("PRAGMA query_only = ON")
        with pytest.raises(StoreUnavailable) as caught, database.write() as connection:
            meta.put(connection, "x", "while")
        assert caught.value.reason == "store_read_only"
        with database.write() as connection:
            meta.put(connection, "x", "after")
        with database.read() as connection:
            assert meta.get(connection, "x") == "after"
