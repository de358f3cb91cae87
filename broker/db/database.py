"""The database: opened, migrated, read and written. With `engines` and `postgres`, all that knows which one it is.

Two stores: the state (gates, keys, grants, the audit trail ...) and, at `log`, what grows with the bots' requests
(calls, order owners, budget slices; see `log_tables`). What the log does never holds a write of the state up.

Rules:
1. SQLite runs in WAL mode with `synchronous=FULL`: what was committed outlives power loss. A writer takes the
   write lock at the start of its transaction, so a check and its write are one.
2. A schema newer than the program is refused: an older program could misread it.
3. Every SQLAlchemy error becomes `StoreUnavailable` without cause: its text may quote values.
4. No transaction holds both stores: a use case that needs both reads the state first, then works on the log.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from broker.db import engines, replication, schema
from broker.db.engines import Kind, Postgres
from broker.errors import Conflict, StoreUnavailable

LOG_FILE = "calls.db"
"""The log store's file, beside the state's."""


class Store:
    """One store, by its engine."""

    def __init__(self, where: "Path | Postgres | None", kind: Kind) -> None:
        """Open a file, reach a PostgreSQL, or make a database in memory where nothing is named."""
        self._where, self._kind = where, kind
        self._engine = engines.postgres(where) if isinstance(where, Postgres) else engines.sqlite(where)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Read in one transaction.

        Raises:
            StoreUnavailable: The database cannot answer.
        """
        with self._transaction("read") as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Write in one transaction: committed at the end, or nothing was changed.

        Raises:
            StoreUnavailable: The database cannot answer.
            Conflict: A key is taken, or names what does not exist.
        """
        with self._transaction(self._kind) as connection:
            yield connection

    @contextmanager
    def _transaction(self, kind: Kind) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection:
                connection.info["kind"] = kind
                connection.info.pop("unconfirmed", None)
                with connection.begin():
                    yield connection
                if connection.info.pop("unconfirmed", False):
                    raise StoreUnavailable(
                        "not_replicated",
                        "the database wrote it, but no standby confirmed it: it may be forgotten after a failover",
                    )
        except SQLAlchemyError as fault:
            raise _translated(fault) from None

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


class LogStore(Store):
    """Calls, order owners and budget slices."""

    def __init__(self, where: "Path | Postgres | None") -> None:
        super().__init__(where, "log")

    @property
    def is_gone(self) -> bool:
        """Tell whether it, or all that was in it, is missing."""
        if isinstance(self._where, Path) and not self._where.exists():
            return True
        with self.read() as connection:
            return schema.LOG.here(connection) is None

    def upgrade(self, to: str = "head") -> None:
        """Bring the schema up."""
        with self.read() as connection:
            here = schema.LOG.here(connection)
        if here != schema.LOG.head or to != "head":
            with self.write() as connection:
                schema.LOG.upgrade(connection, to)

    def look(self) -> None:
        """Refuse a schema that is not this program's."""
        with self.read() as connection:
            schema.LOG.refuse_other(connection)

    @contextmanager
    def taking(self) -> Iterator[sa.Connection]:
        """Lend a connection that begins and commits by itself, for the move out of the state."""
        try:
            with self._engine.connect() as connection:
                connection.info["kind"] = self._kind
                yield connection
        except SQLAlchemyError as fault:
            raise _translated(fault) from None


class Database(Store):
    """The state, and beside it the log store."""

    def __init__(self, where: "Path | Postgres | None") -> None:
        """Open a file, reach a PostgreSQL, or make a database in memory where nothing is named."""
        super().__init__(where, "control")
        self.log = LogStore(where.with_name(LOG_FILE) if isinstance(where, Path) else where)

    def upgrade(self, to: str = "head", log_to: str = "head") -> None:
        """Bring both schemas up to this program's, or to an earlier revision of them.

        Raises:
            StoreUnavailable: One is newer than the program, or cannot be read; the log store's file is gone.
        """
        with self.read() as connection:
            here = schema.STATE.here(connection)
        if schema.before_apart(here):
            with self.write() as connection:
                schema.STATE.upgrade(connection, min(to, schema.BEFORE_APART))
            if schema.before_apart(to):
                return
        else:
            self._refuse_without_log()
        self.log.upgrade(log_to)
        if here == schema.STATE.head and to == "head":
            return
        with self.write() as connection:
            if schema.before_apart(schema.STATE.here(connection)) and connection.dialect.name == "sqlite":
                with self.log.taking() as taking:
                    schema.copy_log(connection, taking)
            schema.STATE.upgrade(connection, to)

    def downgrade(self, revision: str = "base") -> None:
        """Take the state's schema down; for tests of the migrations. The log store stays as it is."""
        with self.write() as connection:
            schema.STATE.downgrade(connection, revision)

    def look(self) -> None:
        """Make sure that we may work with it as it is.

        Raises:
            StoreUnavailable: A schema is not this program's, the log store's file is gone, or the server may lose
                what it has confirmed.
        """
        with self.read() as connection:
            if isinstance(self._where, Postgres):
                replication.look(connection, single_node=self._where.single_node)
            schema.STATE.refuse_other(connection)
        self._refuse_without_log()
        self.log.look()

    def _refuse_without_log(self) -> None:
        """Refuse a state whose log store is gone: what was spent of the budgets would be forgotten."""
        if self.log.is_gone:
            raise StoreUnavailable(
                "log_gone",
                f"{LOG_FILE} is gone, and with it what was spent of every budget and whose orders are whose: restore "
                "it from a backup, together with the other files",
            )

    def timeline(self, connection: sa.Connection) -> str:
        """Return PostgreSQL's timeline, which a failover or a restore changes; empty for SQLite."""
        return replication.timeline(connection) if isinstance(self._where, Postgres) else ""

    def close(self) -> None:
        """Close every connection."""
        super().close()
        self.log.close()


def _translated(fault: SQLAlchemyError) -> StoreUnavailable | Conflict:
    if isinstance(fault, IntegrityError):
        return Conflict("taken", "the name or key is taken, or what it names does not exist")
    return StoreUnavailable("database", f"the database cannot answer ({type(fault).__name__})")
