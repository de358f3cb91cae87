"""The database's rows out and in again, for backups. Raw values by table and column, no objects."""

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Connection, MetaData, Table, select

from broker.db import schema
from broker.db.database import Database
from broker.db.log_tables import LOG
from broker.db.tables import METADATA

LEFT_OUT = frozenset({"sessions", "idempotency", "acts", "secret_intents"})
_AT_ONCE = 500


def revisions(database: Database) -> tuple[str, str]:
    """Return the revisions of state and log store; empty where there is none yet."""
    with database.read() as connection:
        state = schema.STATE.here(connection) or ""
    if schema.before_apart(state):
        return state, ""
    with database.log.read() as connection:
        return state, schema.LOG.here(connection) or ""


def dump(database: Database) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every row that belongs into a backup, in an order that foreign keys allow.

    The state in one snapshot, then the log in one of its own: what was spent of a budget is never older than the
    state, and what the audit trail has sealed of the log is there.
    """
    for store, metadata in ((database, METADATA), (database.log, LOG)):
        with store.read() as connection:
            for table in metadata.sorted_tables:
                if table.name in LEFT_OUT:
                    continue
                found = connection.execution_options(yield_per=_AT_ONCE).execute(select(table))
                for row in found.mappings():
                    yield table.name, dict(row)


def restore(database: Database, at: tuple[str, str], rows: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """Make the schemas of a backup in an empty database, and insert its rows.

    Args:
        database: Empty. It has the backup's schemas afterwards, not yet this program's.
        at: The backup's revisions of state and log store; the latter empty where the log still lay in the state.
        rows: As `dump` gave them.
    """
    state_at, log_at = at
    database.upgrade(state_at, log_at or "head")
    apart = set() if schema.before_apart(revisions(database)[0]) else set(LOG.tables)
    state: list[tuple[str, dict[str, Any]]] = []
    log: list[tuple[str, dict[str, Any]]] = []
    for row in rows:
        (log if row[0] in apart else state).append(row)
    with database.write(is_long=True) as connection:
        _load(connection, state)
    if log:
        with database.log.write(is_long=True) as connection:
            _load(connection, log)


def _load(connection: Connection, rows: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """Insert rows into the empty tables of the schema they were taken from."""
    known = MetaData()
    waiting: list[dict[str, Any]] = []
    table: Table | None = None
    for name, row in rows:
        if table is None or table.name != name or len(waiting) >= _AT_ONCE:
            if table is not None and waiting:
                connection.execute(table.insert(), waiting)
            waiting = []
            if table is None or table.name != name:
                table = Table(name, known, autoload_with=connection)
        waiting.append(row)
    if table is not None and waiting:
        connection.execute(table.insert(), waiting)
