"""The database: opened, migrated, read and written. With `engines` and `postgres`, all that knows which one it is.

Two stores: the state (gates, keys, grants, the audit trail ...) and, at `log`, what grows with the bots' requests
(calls, order owners, budget slices; see `log_tables`). What the log does never holds a write of the state up.

Rules:
1. What was committed outlives power loss. A writer takes its turn, then the store's write lock at the start of its
   transaction, so a check and its write are one. No transaction waits for anything outside of its store: no venue,
   no secret store, no other store.
2. A schema newer than the program is refused: an older program could misread it.
3. Every SQLAlchemy error becomes `StoreUnavailable` without cause: its text may quote values.
4. No transaction holds both stores: a use case that needs both reads the state first, then works on the log.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from broker.db import faults, replication, schema, sessions
from broker.db.engines import URGENT_KEPT, Postgres, Which, bare, engines, primary_of
from broker.db.overdue import Overdue
from broker.db.reserve import Reserve
from broker.db.turns import Turn, Turns, Urgency, urgency
from broker.errors import StoreUnavailable

LOG_FILE = "calls.db"
"""The log store's file, beside the state's."""

_LEAST_S = 5.0
"""A transaction that has its turn has at least so long, whatever it waited."""


class Store:
    """One store, by its engines."""

    def __init__(
        self, where: "Path | Postgres | None", which: Which, gives_way_to: Turns | None = None
    ) -> None:
        """Open a file, reach a PostgreSQL, or make a database in memory where nothing is named."""
        self._where, self._which = where, which
        self._overdue = Overdue()
        self._primary = primary_of(where, self._overdue)
        self._engines = engines(where, which, self._overdue, self._primary)
        self.turns = Turns(gives_way_to)

    @contextmanager
    def read(self, *, at_primary: bool = False) -> Iterator[sa.Connection]:
        """Read in one transaction; it waits for no writer.

        Args:
            at_primary: Take no answer from a server that takes no writes: for a yes that nothing is written after.

        Raises:
            StoreUnavailable: The database cannot answer; or none that takes writes can, where that was asked for.
        """
        urgent = urgency.get() is Urgency.SAFETY
        with self._transaction(None, urgent=urgent, at_primary=at_primary) as connection:
            yield connection

    @contextmanager
    def write(
        self, how: Urgency | None = None, *, patience_s: float | None = None, is_long: bool = False
    ) -> Iterator[sa.Connection]:
        """Write in one transaction: committed at the end, or nothing was changed.

        Args:
            how: How urgent it is; without, as urgent as the request that it is part of.
            patience_s: How long to wait for the turn; without, as is usual for that urgency.
            is_long: For migrations and restores, while nothing else runs: it may take minutes.

        Raises:
            StoreUnavailable: Its turn did not come, or the database cannot answer. With the reason `not_replicated`
                or `commit_unknown` it may have been written all the same (`MAYBE_WRITTEN`).
            Conflict: A key is taken, or names what does not exist.
            Malformed: A value does not fit its column; asked again it will not fit either.
        """
        asked = self._usual() if how is None else how
        with (
            self.turns.turn(asked, patience_s) as turn,
            self._transaction(turn, urgent=asked is Urgency.SAFETY, is_long=is_long) as connection,
        ):
            yield connection

    def _usual(self) -> Urgency:
        return urgency.get()

    @contextmanager
    def _transaction(
        self, turn: Turn | None, *, urgent: bool, is_long: bool = False, at_primary: bool = False
    ) -> Iterator[sa.Connection]:
        begun = self._begun(turn, urgent=urgent, is_long=is_long, at_primary=at_primary)
        try:
            with begun as (connection, transaction):
                if is_long and isinstance(self._where, Postgres):
                    for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
                        connection.exec_driver_sql(f"SET LOCAL {limit} = 0")
                try:
                    yield connection
                except BaseException:
                    transaction.rollback()
                    raise
                try:
                    transaction.commit()
                except SQLAlchemyError as fault:
                    if turn is None or not isinstance(self._where, Postgres):
                        raise
                    raise faults.unknown(fault) from None
                unconfirmed = connection.info.pop("unconfirmed", False)
            if unconfirmed:
                raise StoreUnavailable(
                    "not_replicated",
                    "the database wrote it, but no standby confirmed it: it may be forgotten after a failover",
                )
        except SQLAlchemyError as fault:
            raise faults.translated(fault) from None

    @contextmanager
    def _begun(
        self, turn: Turn | None, *, urgent: bool, is_long: bool, at_primary: bool
    ) -> Iterator[tuple[sa.Connection, sa.RootTransaction]]:
        """Lend a connection with a transaction, at a server that takes writes, or where none does at any to read."""
        writes = turn is not None
        nowhere_else = writes or at_primary
        sought = False
        while True:
            with ExitStack() as stack:
                connection = stack.enter_context(self._engines.pick(writes=writes, urgent=urgent).connect())
                connection.info.update(turn=turn, which=self._which)
                connection.info.pop("unconfirmed", None)
                stack.enter_context(self._limited(connection, turn, urgent=urgent, is_long=is_long))
                transaction = connection.begin()
                if connection.info.get("takes_writes", True) or (sought and not nowhere_else):
                    yield connection, transaction
                    return
                number = connection.info["primary"]
            if not self._primary.is_elsewhere(number, waits=nowhere_else):
                if nowhere_else:
                    raise faults.read_only()
                sought = True

    def _limited(
        self, connection: sa.Connection, turn: Turn | None, *, urgent: bool, is_long: bool
    ) -> AbstractContextManager[object]:
        """Hang up on a PostgreSQL that answers nothing. A read that is not urgent may be long: a backup is one.

        So each of its statements has a time of its own.
        """
        if not isinstance(self._where, Postgres) or is_long:
            return nullcontext()
        driver = connection.connection.driver_connection
        if turn is None and not urgent:
            return self._overdue.prolonged(driver.pgconn.socket, connection)  # type: ignore[union-attr]
        seconds = _LEAST_S if turn is None else max(_LEAST_S, turn.until - time.monotonic())
        return self._overdue.limited(driver.pgconn.socket, seconds)  # type: ignore[union-attr] # psycopg's

    def warm(self) -> None:
        """Open the connections that urgent work has of its own, and keep them: others may spend what a server has.

        Raises:
            StoreUnavailable: They cannot be had.
        """
        if not isinstance(self._where, Postgres):
            return
        try:
            with ExitStack() as stack:
                for _ in range(URGENT_KEPT):
                    stack.enter_context(self._engines.urgent_writer.connect())
        except SQLAlchemyError as fault:
            raise faults.translated(fault) from None

    def settle(self) -> None:
        """Copy the write-ahead log back, as far as nobody needs it, beside the writers; SQLite only."""
        if not isinstance(self._where, Path):
            return
        try:
            with self._engines.reader.connect() as connection:
                driver: Any = connection.connection.driver_connection
                driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except (SQLAlchemyError, sqlite3.Error) as fault:
            raise StoreUnavailable(
                "database", f"the database cannot answer ({type(fault).__name__})"
            ) from None

    def close(self) -> None:
        """Close every connection."""
        self._engines.dispose()


class LogStore(Store):
    """Calls, order owners and budget slices."""

    def __init__(self, where: "Path | Postgres | None", gives_way_to: Turns) -> None:
        super().__init__(where, "log", gives_way_to)

    def _usual(self) -> Urgency:
        return max(Urgency.CONTROL, urgency.get())  # nothing is urgent here, whoever asks

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
            with self.write(is_long=True) as connection:
                schema.LOG.upgrade(connection, to)

    def look(self) -> None:
        """Refuse a schema that is not this program's."""
        with self.read() as connection:
            schema.LOG.refuse_other(connection)

    @contextmanager
    def taking(self) -> Iterator[sa.Connection]:
        """Lend a connection that begins and commits by itself, for the move out of the state."""
        try:
            with (
                self.turns.turn(Urgency.CONTROL) as turn,
                self._engines.writer.connect() as connection,
            ):
                connection.info.update(turn=turn, which=self._which)
                yield connection
        except SQLAlchemyError as fault:
            raise faults.translated(fault) from None


class Database(Store):
    """The state, and beside it the log store."""

    def __init__(self, where: "Path | Postgres | None") -> None:
        """Open a file, reach a PostgreSQL, or make a database in memory where nothing is named."""
        super().__init__(where, "state")
        self.log = LogStore(where.with_name(LOG_FILE) if isinstance(where, Path) else where, self.turns)
        self.reserve = Reserve(where.parent if isinstance(where, Path) else None)

    def upgrade(self, to: str = "head", log_to: str = "head") -> None:
        """Bring both schemas up to this program's, or to an earlier revision of them.

        Raises:
            StoreUnavailable: One is newer than the program, or cannot be read; the log store's file is gone.
        """
        with self.read() as connection:
            if isinstance(self._where, Postgres):
                sessions.refuse_elsewhere(connection, self._where.namespace, schema.STATE.version_table)
            here = schema.STATE.here(connection)
        if schema.before_apart(here):
            with self.write(is_long=True) as connection:
                schema.STATE.upgrade(connection, min(to, schema.BEFORE_APART))
            if schema.before_apart(to):
                return
        else:
            self._refuse_without_log()
        self.log.upgrade(log_to)
        if here == schema.STATE.head and to == "head":
            return
        with self.write(is_long=True) as connection:
            if schema.before_apart(schema.STATE.here(connection)) and connection.dialect.name == "sqlite":
                with self.log.taking() as taking:
                    schema.copy_log(connection, taking)
            schema.STATE.upgrade(connection, to)

    def downgrade(self, revision: str = "base") -> None:
        """Take the state's schema down; for tests of the migrations. The log store stays as it is."""
        with self.write() as connection:
            schema.STATE.downgrade(connection, revision)

    def look(self, *, fresh: bool = False) -> None:
        """Make sure that we may work with it as it is; `fresh`: where nobody uses it yet.

        Raises:
            StoreUnavailable: A schema is not this program's, the log store's file is gone, the server may lose what
                it has confirmed, or a fresh one cannot hold every text.
        """
        with self.read() as connection:
            if isinstance(self._where, Postgres):
                with bare(self._where, self._overdue) as plain:
                    replication.look(plain, single_node=self._where.single_node, fresh=fresh)
                sessions.refuse_elsewhere(connection, self._where.namespace, schema.STATE.version_table)
            schema.STATE.refuse_other(connection)
        self._refuse_without_log()
        self.log.look()

    def set_otherwise(self) -> tuple[sessions.Off, ...]:
        """Return what PostgreSQL's server, database or role are set to otherwise than we need; nothing for SQLite.

        Raises:
            StoreUnavailable: It cannot answer.
        """
        if not isinstance(self._where, Postgres):
            return ()
        with bare(self._where, self._overdue) as plain:
            return sessions.off(plain, self._where.namespace)

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
