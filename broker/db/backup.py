"""The database's rows out and in again, for backups. Raw values by table and column, no objects."""

from collections.abc import Iterable, Iterator
from typing import Any

from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, Table, select

from broker.db import tables as t

LEFT_OUT = frozenset({"sessions", "idempotency", "acts", "secret_intents"})
_AT_ONCE = 500


def revision(connection: Connection) -> str:
    """Return the schema's revision."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def dump(connection: Connection) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every row that belongs into a backup, in an order that foreign keys allow."""
    for table in t.METADATA.sorted_tables:
        if table.name in LEFT_OUT:
            continue
        for row in connection.execution_options(yield_per=_AT_ONCE).execute(select(table)).mappings():
            yield table.name, dict(row)


def load(connection: Connection, rows: Iterable[tuple[str, dict[str, Any]]]) -> None:
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
