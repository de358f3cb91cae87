"""Sessions get what they need, whatever server, database, role or environment are set to; what is off is named."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from threading import Barrier

import psycopg
import pytest

from broker.db import engines, meta, overdue, rows
from broker.db.database import Database
from broker.db.turns import Urgency, urgency
from broker.errors import StoreUnavailable
from broker.service.service import open_service
from broker.stores.embedded import key as keys
from broker.stores.embedded import store as embedded
from portcullis.clock import SystemClock
from tests.api.desk import opened_desk
from tests.broker.test_hung_postgres import stopped
from tests.gateway.world import POLICY
from tests.places import database_at, postgres_at
from tests.services.postgres.server import PASSWORD, PostgresServer, postgres

pytestmark = pytest.mark.process

HOSTILE = {
    "default_transaction_isolation": "'repeatable read'",
    "default_transaction_deferrable": "on",
    "search_path": "'nowhere'",
    "TimeZone": "'Asia/Tokyo'",
    "standard_conforming_strings": "off",
    "client_min_messages": "error",
    "transform_null_equals": "on",
    "idle_session_timeout": "60000",
    "statement_timeout": "1",
    "lock_timeout": "1",
    "idle_in_transaction_session_timeout": "1",
}
"""What a careless or well-meaning person may have set."""


def set_for(server: PostgresServer, name: str, level: str, settings: dict[str, str]) -> None:
    whom = f'DATABASE "{name}"' if level == "database" else f'ROLE portcullis IN DATABASE "{name}"'
    for setting, value in settings.items():
        server.sql(f"ALTER {whom} SET {setting} = {value}")


def in_session(directory: Path, *names: str, writes: bool = True) -> dict[str, str]:
    database = database_at(directory)
    try:
        with database.write() if writes else database.read() as connection:
            return {name: str(connection.exec_driver_sql(f"SHOW {name}").scalar()) for name in names}
    finally:
        database.close()


@pytest.mark.parametrize("level", ["database", "role"])
def test_what_was_set_for_database_or_role_changes_no_session_of_ours(
    postgres_server: PostgresServer, on_postgres: str, tmp_path: Path, level: str
) -> None:
    names = ("transaction_isolation", "transaction_deferrable", *HOSTILE)
    before = in_session(tmp_path, *names)
    set_for(postgres_server, on_postgres, level, HOSTILE)
    assert in_session(tmp_path, *names) == before
    assert before["transaction_isolation"] == "read committed"
    assert before["idle_session_timeout"] == "0"
    assert in_session(tmp_path, "transaction_isolation", writes=False) == {
        "transaction_isolation": "repeatable read"
    }


@pytest.mark.usefixtures("on_postgres")
def test_the_environment_of_a_process_changes_no_session_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    monkeypatch.setenv("PGOPTIONS", "-c default_transaction_isolation=serializable -c search_path=nowhere")
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    found = in_session(tmp_path, "TimeZone", "transaction_isolation", "search_path", "client_encoding")
    assert found == {
        "TimeZone": "UTC",
        "transaction_isolation": "read committed",
        "search_path": "public",
        "client_encoding": "UTF8",
    }


@pytest.mark.parametrize("level", ["database", "role", "server"])
@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_a_budget_is_lent_once_whatever_isolation_is_usual(
    tmp_path: Path, level: str, isolation: str
) -> None:
    """Twelve who ask at once, through brokers of their own, get no more of a day than it has."""
    with postgres() as server:
        (tmp_path / "postgres.json").write_text(server.database("state"))
        with opened_desk(tmp_path) as desk:
            desk.trading()
            grant = desk.service.grants.create(consumer="bot", account="main", policy=POLICY).grant.id
            if level == "server":
                server.sql(f"ALTER SYSTEM SET default_transaction_isolation = '{isolation}'")
                server.sql("SELECT pg_reload_conf()")
            else:
                set_for(server, "state", level, {"default_transaction_isolation": f"'{isolation}'"})
            asking, start = 6, Barrier(6)
            others = [
                open_service(database_at(tmp_path), desk.service.desk.secrets, SystemClock())
                for _ in range(asking)
            ]

            def ask(number: int) -> list[Decimal]:
                start.wait()
                lent = [
                    others[number].calls.lend(grant, f"g{number}", "boot", Decimal(2000)) for _ in range(2)
                ]
                return [one.amount for one in lent if one is not None]

            with ThreadPoolExecutor(asking) as threads:
                lent = [amount for found in threads.map(ask, range(asking)) for amount in found]
            for other in others:
                other.desk.database.close()
    assert 0 < sum(lent) <= 10_000


def test_what_is_set_otherwise_is_named(
    postgres_server: PostgresServer, on_postgres: str, tmp_path: Path
) -> None:
    database = database_at(tmp_path)
    assert database.set_otherwise() == ()
    set_for(postgres_server, on_postgres, "database", HOSTILE)
    postgres_server.sql(f'ALTER DATABASE "{on_postgres}" CONNECTION LIMIT 7')
    off = {one.name: one for one in database.set_otherwise()}
    named = set(HOSTILE) - {
        "TimeZone", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"
    }  # fmt: skip
    assert set(off) == {*named, "max_connections"}
    assert not any(one.harms for one in off.values())
    assert "7 connections" in off["max_connections"].says
    set_for(postgres_server, on_postgres, "role", {"session_replication_role": "replica"})
    assert {one.name for one in database.set_otherwise() if one.harms} == {"session_replication_role"}
    database.close()


def test_a_database_that_was_fenced_off_from_writes_stays_so_and_says_it(
    postgres_server: PostgresServer, on_postgres: str, tmp_path: Path
) -> None:
    set_for(postgres_server, on_postgres, "database", {"default_transaction_read_only": "on"})
    database = database_at(tmp_path)
    with pytest.raises(StoreUnavailable) as caught, database.write() as connection:
        meta.put(connection, "x", "y")
    assert caught.value.reason == "store_read_only"
    with pytest.raises(StoreUnavailable) as caught:
        database.look()
    assert caught.value.reason == "postgres_read_only"
    database.close()


def test_tables_in_another_schema_are_found_by_name_and_never_made_a_second_time(
    postgres_server: PostgresServer, on_postgres: str, tmp_path: Path
) -> None:
    postgres_server.sql("ALTER SCHEMA public RENAME TO ours", on_postgres)
    postgres_server.sql("CREATE SCHEMA public", on_postgres)
    database = database_at(tmp_path)
    for look in (database.look, database.upgrade):
        with pytest.raises(StoreUnavailable, match=r"'ours'.*database\.namespace"):
            look()
    database.close()
    there = Database(replace(postgres_at(tmp_path), namespace="ours"))
    there.look()
    there.close()


def test_rows_that_a_policy_of_the_server_hides_are_an_error_and_no_missing_gate(
    postgres_server: PostgresServer, on_postgres: str, tmp_path: Path
) -> None:
    for text in (
        "ALTER TABLE gates ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE gates FORCE ROW LEVEL SECURITY",
        "DROP ROLE IF EXISTS plain",
        f"CREATE ROLE plain LOGIN PASSWORD '{PASSWORD}'",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO plain",
    ):
        postgres_server.sql(text, on_postgres)
    database = Database(replace(postgres_at(tmp_path), user="plain"))
    with pytest.raises(StoreUnavailable), database.read() as connection:
        rows.gates(connection)
    database.close()
    postgres_server.sql("DROP OWNED BY plain", on_postgres)
    postgres_server.sql("DROP ROLE plain", on_postgres)


# --- what else goes wrong -------------------------------------------------------------------------


def test_a_server_without_a_connection_left_is_told_as_that(tmp_path: Path) -> None:
    with postgres(max_connections="8", superuser_reserved_connections="0") as server:
        (tmp_path / "postgres.json").write_text(server.database("state"))
        database = database_at(tmp_path)
        with contextlib.ExitStack() as held:
            with contextlib.suppress(psycopg.OperationalError):
                for _ in range(8):
                    held.enter_context(
                        psycopg.connect(
                            host="127.0.0.1",
                            port=server.port,
                            user="portcullis",
                            password=PASSWORD,
                            dbname="state",
                        )
                    )
            with pytest.raises(StoreUnavailable) as caught, database.write(Urgency.SAFETY):
                pass
            assert caught.value.reason == "store_connections"
            assert "planted" not in str(caught.value)
        database.close()


def test_urgent_work_goes_on_where_others_spent_every_connection_since(tmp_path: Path) -> None:
    """A broker opens what its cuts, heartbeat and leases need as it starts, and keeps it."""
    with postgres(max_connections="12", superuser_reserved_connections="0") as server:
        (tmp_path / "postgres.json").write_text(server.database("state"))
        database = database_at(tmp_path)
        database.upgrade()
        database.warm()
        with contextlib.ExitStack() as held:
            with contextlib.suppress(psycopg.OperationalError):
                for _ in range(12):
                    held.enter_context(
                        psycopg.connect(
                            host="127.0.0.1",
                            port=server.port,
                            user="portcullis",
                            password=PASSWORD,
                            dbname="state",
                        )
                    )
            start = Barrier(3)

            def cut(number: int) -> None:
                token = urgency.set(Urgency.SAFETY)
                try:
                    start.wait()
                    for _ in range(5):
                        with database.read() as connection:
                            meta.get(connection, "x")
                        with database.write(Urgency.SAFETY) as connection:
                            meta.put(connection, f"cut {number}", "made")
                finally:
                    urgency.reset(token)

            with ThreadPoolExecutor(3) as threads:
                list(threads.map(cut, range(3)))
        database.close()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'serialization_failure'; END $$", "store_busy"),
        ("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'deadlock_detected'; END $$", "store_busy"),
        ("SET LOCAL lock_timeout = 1; LOCK TABLE meta IN EXCLUSIVE MODE", "store_busy"),
        ("SET LOCAL statement_timeout = 1; SELECT pg_sleep(30)", "store_slow"),
        ("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'disk_full'; END $$", "disk_full"),
    ],
)
def test_what_a_server_breaks_off_changed_nothing_and_says_why(
    postgres_server: PostgresServer, on_postgres: str, tmp_path: Path, text: str, reason: str
) -> None:
    database = database_at(tmp_path)
    with psycopg.connect(
        host="127.0.0.1", port=postgres_server.port, user="portcullis", password=PASSWORD, dbname=on_postgres
    ) as other:
        other.execute("LOCK TABLE meta IN SHARE MODE")
        with pytest.raises(StoreUnavailable) as caught, database.write() as connection:
            connection.exec_driver_sql(text)
        assert caught.value.reason == reason
    with database.write() as connection:
        meta.put(connection, "x", "after")
    database.close()


@pytest.mark.usefixtures("on_postgres")
def test_a_read_that_nobody_waits_for_urgently_is_hung_up_on_too(
    postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = database_at(tmp_path)
    with database.read() as connection:
        meta.get(connection, "x")
    with monkeypatch.context() as patch:
        patch.setattr(overdue, "STATEMENT_S", 0.5)
        with stopped(postgres_server), pytest.raises(StoreUnavailable), database.read() as connection:
            meta.get(connection, "x")
    with database.read() as connection:
        assert meta.get(connection, "x") is None
    database.close()


def to_port(port: int) -> int:
    """Return how many connections this process has to a port of this host."""
    inodes = set()
    for file in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(file.readlink().name.removeprefix("socket:[").rstrip("]"))
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return sum(int(row[2].rpartition(":")[2], 16) == port and row[9] in inodes for row in rows)


@pytest.mark.usefixtures("on_postgres")
def test_an_attempt_to_connect_that_was_given_up_leaves_nothing_open(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    database = database_at(tmp_path)
    with stopped(postgres_server):
        with pytest.raises(StoreUnavailable) as kept, database.read() as connection:
            meta.get(connection, "x")
        assert to_port(postgres_server.port) == 0, kept.value
    database.close()


# --- SQLite ---------------------------------------------------------------------------------------


def test_sqlite_has_what_it_was_asked_for(tmp_path: Path) -> None:
    wanted = {
        "journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "trusted_schema": 0, "query_only": 0,
        "ignore_check_constraints": 0, "read_uncommitted": 0,
    }  # fmt: skip
    database = database_at(tmp_path)
    for store in (database, database.log):
        for way in (store.read, store.write):
            with way() as connection:
                assert {
                    name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in wanted
                } == wanted
    database.close()


def test_a_disk_on_which_sqlite_cannot_keep_its_log_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk of another host SQLite stays in its old journal mode, and says so only to who asks."""
    asked = engines._pragmas

    def other(which: engines.Which, *, in_memory: bool) -> tuple[tuple[str, str, object], ...]:
        return tuple(
            (name, "DELETE" if name == "journal_mode" else value, answer)
            for name, value, answer in asked(which, in_memory=in_memory)
        )

    monkeypatch.setattr(engines, "_pragmas", other)
    database = database_at(tmp_path)
    with pytest.raises(StoreUnavailable) as caught, database.read():
        pass
    assert caught.value.reason == "sqlite_settings"
    database.close()


def test_a_secret_store_that_cannot_keep_its_log_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_PRAGMAS", (("journal_mode", "DELETE", "wal"),))
    with pytest.raises(StoreUnavailable) as caught:
        embedded.EmbeddedStore(tmp_path / "secrets.db", keys.fresh())
    assert caught.value.reason == "sqlite_settings"
