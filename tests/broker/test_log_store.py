"""The log's store apart from the state: made, moved out of it, refused where it is gone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from broker.db import backup, schema
from broker.db.database import LOG_FILE, Database
from broker.db.log_tables import LOG
from broker.errors import StoreUnavailable
from tests.places import NAMED, database_at

MANY = 2500
"""More than two pieces of the move."""


def an_old_home(directory: Path, calls: int = MANY) -> Database:
    """Make a database as it was before the log had a store of its own, with rows in it."""
    database = database_at(directory)
    database.upgrade(schema.BEFORE_APART)
    put(database, rows(calls))
    return database


def put(database: Database, found: dict[str, list[dict[str, Any]]]) -> None:
    """Insert rows, and before them those that a slice of an older schema refers to."""
    with database.write() as connection:
        known = sa.MetaData()
        known.reflect(connection)
        for name, given in (
            ("egress", {"name": "direct"}),
            ("consumers", {"name": "bot"}),
            ("accounts", {"name": "main", "egress": "direct"}),
            ("grants", {"id": "grt", "account": "main", "consumer": "bot"}),
        ):
            connection.execute(known.tables[name].insert(), [filled(known.tables[name], given)])
        for name, values in found.items():
            connection.execute(known.tables[name].insert(), values)


def filled(table: sa.Table, given: dict[str, Any]) -> dict[str, Any]:
    def some(column: sa.Column[Any]) -> object:
        if column.nullable:
            return None
        if isinstance(column.type, sa.Boolean):
            return False
        return 1 if isinstance(column.type, sa.Integer) else "x"

    return {column.name: some(column) for column in table.columns} | given


def rows(calls: int) -> dict[str, list[dict[str, Any]]]:
    return {
        "calls": [
            {
                "gateway": "local", "boot": "b", "seq": seq, "at_us": seq, "grant": "grt", "consumer": "bot",
                "account": "main", "key": "main/trade/1", "method": "GET", "endpoint": "e", "action": "read",
                "symbol": None, "side": None, "notional": None, "client_ids": "[]", "target": None,
                "decision": "allow", "reason": None, "source": "s", "leaving": False, "reserved": "[]",
                "released": "[]", "status": 200, "code": None, "outcome": "done", "latency_us": 1,
            }
            for seq in range(calls)
        ],
        "orders": [
            {"account": "main", "symbol": "BTCUSDT", "name": name, "grant": "grt", "seen_us": 1}
            for name in ("#1", "mine")
        ],
        "slices": [
            {
                "id": "slc", "grant": "grt", "gateway": "local", "boot": "b", "amount": "100", "returned": "0",
                "lent_us": 1, "closed_us": None,
            }
        ],
    }  # fmt: skip


OLD = {"calls", "orders", "slices"}
"""Tables of the log that lay in the state."""


MOVED = dict.fromkeys(LOG.tables, 0) | {"calls": MANY, "orders": 1, "sent_orders": 1, "slices": 1}


def kept(database: Database) -> dict[str, int]:
    with database.log.read() as connection:
        return {
            name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for name, table in LOG.tables.items()
        }


def left(database: Database) -> set[str]:
    """Return which of the log's tables are still in the state's file."""
    with database.read() as connection:
        return set(sa.inspect(connection).get_table_names()) & set(LOG.tables)


@pytest.fixture
def unused(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Let the test's folder name a database in which nothing is yet, not even a schema."""
    if kind == "postgres":
        server = request.getfixturevalue("postgres_server")
        (tmp_path / NAMED).write_text(server.database(f"unused-{tmp_path.name}"[:60]))
    return kind


@pytest.fixture
def old(unused: str, tmp_path: Path) -> Iterator[Database]:
    del unused
    database = an_old_home(tmp_path)
    yield database
    database.close()


def test_calls_owners_and_slices_of_an_older_home_are_moved_whole(old: Database, kind: str) -> None:
    old.upgrade()
    old.look()
    assert kept(old) == MOVED
    assert left(old) == (set() if kind == "sqlite" else set(LOG.tables))
    old.upgrade()
    assert kept(old) == MOVED


@pytest.mark.parametrize("pieces", [0, 1, 2, 4])
def test_a_move_that_broke_off_is_finished_at_the_next_start(
    tmp_path: Path, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = an_old_home(tmp_path)
    done = 0

    def upsert(connection: sa.Connection, table: sa.Table) -> Any:
        nonlocal done
        if done == pieces:
            raise KeyboardInterrupt
        done += 1
        return real(connection, table)

    real = schema.upsert
    monkeypatch.setattr(schema, "upsert", upsert)
    with pytest.raises(KeyboardInterrupt):
        database.upgrade()
    database.close()
    monkeypatch.undo()
    again = database_at(tmp_path)
    assert left(again) == OLD, "nothing leaves the state before all of it is elsewhere"
    again.upgrade()
    again.look()
    assert (kept(again), left(again)) == (
        MOVED,
        set(),
    )
    again.close()


@pytest.mark.parametrize("emptied", [False, True])
def test_a_state_whose_log_store_is_gone_is_refused_and_none_is_made(
    tmp_path: Path, *, emptied: bool
) -> None:
    database = database_at(tmp_path)
    database.upgrade()
    database.close()
    for path in tmp_path.glob(LOG_FILE + "*"):
        path.unlink()
    if emptied:
        (tmp_path / LOG_FILE).touch()
    again = database_at(tmp_path)
    for refused in (again.upgrade, again.look):
        with pytest.raises(StoreUnavailable, match="gone"):
            refused()
    again.close()
    assert emptied or not (tmp_path / LOG_FILE).exists()


def test_a_log_store_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    database = database_at(tmp_path)
    database.upgrade()
    with database.log.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version_log SET version_num = '9999'")
    for refused in (database.upgrade, database.look):
        with pytest.raises(StoreUnavailable, match="newer"):
            refused()
    database.close()


def test_a_backup_from_before_the_move_is_restored_into_both_stores(unused: str, tmp_path: Path) -> None:
    del unused
    old = tmp_path / "old"
    old.mkdir()
    source = Database(old / "state.db")
    source.upgrade(schema.BEFORE_APART)
    put(source, rows(3))
    with source.read() as connection:
        known = sa.MetaData()
        known.reflect(connection)
        found = [
            (table.name, dict(row))
            for table in known.sorted_tables
            if table.name != "alembic_version"
            for row in connection.execute(sa.select(table)).mappings()
        ]
    source.close()
    target = database_at(tmp_path)
    backup.restore(target, (schema.BEFORE_APART, ""), found)
    target.upgrade()
    target.look()
    assert kept(target) == MOVED | {"calls": 3}
    target.close()


def test_a_migration_is_not_ended_by_the_limit_of_other_statements(tmp_path: Path, kind: str) -> None:
    """Of a large store one statement takes minutes; on PostgreSQL each try was rolled back after five seconds."""
    database = database_at(tmp_path)
    database.upgrade()
    if kind == "postgres":
        for store in (database, database.log):
            for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
                with store.write(is_long=True) as connection:
                    assert connection.exec_driver_sql(f"SHOW {limit}").scalar() == "0"
                with store.write() as connection:
                    assert connection.exec_driver_sql(f"SHOW {limit}").scalar() != "0"
    database.close()
