"""Engines: how SQLite and PostgreSQL are reached, and how each begins a transaction.

Rules:
1. Writers of one store come one after the other, so that a check and its write are one: by turns within a process
   (see `turns`), between processes by SQLite's write lock (BEGIN IMMEDIATE), in PostgreSQL by an advisory lock of
   the transaction. State and log have a lock each.
2. Reads see one state: SQLite's snapshot, REPEATABLE READ and read-only in PostgreSQL. They wait for no writer.
3. Nothing waits for ever: connecting, locks, statements and idle transactions have limits, and a PostgreSQL that
   answers nothing is hung up on (see `overdue`).
4. In PostgreSQL urgent work has connections of its own, so that no flood of other work uses them up.
5. SQLite syncs at every commit, of the log too: a call that was acknowledged is forgotten by its gateway, and a slice
   that was forgotten would be a hole in a limit; batches keep that cheap. Freed pages of the state are overwritten,
   those of the log are not: they hold no secret either, and are many. A commit of the state copies nothing back from
   the write-ahead log as a rule: upkeep does, beside the writers (`AUTO_CHECKPOINT` is for when it does not run).
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from broker.db.turns import Turn
from clients.secret import Secret

BUSY_SECONDS = 5
AUTO_CHECKPOINT = {"state": 8000, "log": 2000}
"""Pages of the write-ahead log."""

_CONNECT_S = 3
_STATEMENT_MS = {False: 5000, True: 12_000}
_LOCK_MS = {False: 4000, True: 8000}
"""For urgent work longer than anybody else may hold it."""

_IDLE_MS = 8000
_SILENT_MS = 6000
_UNCONFIRMED = "01000"
Which = Literal["state", "log"]
LOCKS: dict[Which, int] = {"state": 0x706F7274_0001, "log": 0x706F7274_0002}
"""Advisory locks: `port` and a number."""


@dataclass(frozen=True, slots=True)
class Postgres:
    """A PostgreSQL database. `hosts` are `HOST:PORT`; of several the one that takes writes is found.

    `single_node` says that there is no synchronous standby, and that this is known: a failover may lose the last
    second, and everything is closed after it.
    """

    hosts: tuple[str, ...]
    database: str
    user: str
    password: Secret | None = None
    ssl_mode: str = "verify-full"
    ca_file: Path | None = None
    single_node: bool = False


@dataclass(frozen=True, slots=True)
class Engines:
    """The ways to one store."""

    reader: sa.Engine
    writer: sa.Engine
    urgent_reader: sa.Engine
    urgent_writer: sa.Engine

    def pick(self, *, writes: bool, urgent: bool) -> sa.Engine:
        """Return the one for some work."""
        if urgent:
            return self.urgent_writer if writes else self.urgent_reader
        return self.writer if writes else self.reader

    def dispose(self) -> None:
        """Close every connection; one that is still at work is closed when it comes back."""
        for engine in {self.reader, self.writer, self.urgent_reader, self.urgent_writer}:
            sa.event.listen(engine.pool, "checkin", _closed)
            engine.dispose()
            sa.event.listen(engine.pool, "checkin", _closed)


def _closed(connection: Any, record: Any) -> None:
    """Close a connection that comes back to a store that is closed."""
    if connection is not None:
        record.invalidate()


def engines(where: "Path | Postgres | None", which: Which) -> Engines:
    """Prepare the ways to a store; nothing is opened yet."""
    if isinstance(where, Postgres):
        usual = _postgres(where, which, urgent=False)
        urgent = _postgres(where, which, urgent=True) if which == "state" else usual
        return Engines(usual, usual, urgent, urgent)
    if where is None:
        one = _sqlite(None, which, writes=True)
        return Engines(one, one, one, one)
    reader, writer = _sqlite(where, which, writes=False), _sqlite(where, which, writes=True)
    return Engines(reader, writer, reader, writer)


def _sqlite(path: Path | None, which: Which, *, writes: bool) -> sa.Engine:
    """Open a file, or a database in memory where there is none."""
    if path is None:
        engine = sa.create_engine(
            "sqlite://", poolclass=sa.StaticPool, connect_args={"check_same_thread": False}
        )
    else:
        engine = sa.create_engine(
            f"sqlite:///{path}",
            connect_args={"timeout": BUSY_SECONDS},
            pool_size=8,
            max_overflow=56,
            pool_timeout=3,
        )
        sa.event.listen(engine, "do_connect", lambda *_: path.touch(mode=0o600, exist_ok=True))
    pragmas = [
        "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"wal_autocheckpoint={AUTO_CHECKPOINT[which]}",
        f"secure_delete={'ON' if which == 'state' else 'OFF'}",
    ]  # fmt: skip
    if writes and path is not None:
        pragmas.append(
            "busy_timeout=0"
        )  # its turn waits for the lock, more gently or more eagerly than SQLite

    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun by `_begin_sqlite`, not by the driver
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    sa.event.listen(engine, "connect", prepare)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgres(where: Postgres, which: Which, *, urgent: bool) -> sa.Engine:
    """Prepare connections to a PostgreSQL; none is opened yet."""
    names = [host.rpartition(":") for host in where.hosts]
    arguments: dict[str, Any] = {
        "host": ",".join(name for name, _, _ in names),
        "port": ",".join(port for _, _, port in names),
        "target_session_attrs": "read-write" if len(names) > 1 else "any",
        "sslmode": where.ssl_mode,
        "connect_timeout": _CONNECT_S,
        "tcp_user_timeout": _SILENT_MS,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 2,
        "application_name": "portcullis",
        "options": f"-c statement_timeout={_STATEMENT_MS[urgent]} -c lock_timeout={_LOCK_MS[urgent]} "
        f"-c idle_in_transaction_session_timeout={_IDLE_MS} -c timezone=UTC",
    }
    if where.ca_file is not None:
        arguments["sslrootcert"] = str(where.ca_file)
    if where.password is not None:
        arguments["password"] = where.password.reveal()
    url = sa.URL.create("postgresql+psycopg", username=where.user, database=where.database)
    engine = sa.create_engine(
        url,
        connect_args=arguments,
        pool_size=4 if urgent or which == "log" else 8,
        max_overflow=4 if urgent or which == "log" else 8,
        pool_timeout=_CONNECT_S,
        hide_parameters=True,
    )
    sa.event.listen(engine, "connect", _prepare_postgres)
    sa.event.listen(engine, "begin", _begin_postgres)
    return engine


def _prepare_postgres(connection: Any, record: Any) -> None:
    """Hear of a commit that a standby did not confirm: PostgreSQL calls it done, with a warning."""

    def heard(said: Any) -> None:
        if said.severity_nonlocalized == "WARNING" and said.sqlstate == _UNCONFIRMED:
            record.info["unconfirmed"] = True

    connection.add_notice_handler(heard)


def _begin_sqlite(connection: sa.Connection) -> None:
    turn: Turn | None = connection.info.get("turn")
    if turn is None:
        connection.exec_driver_sql("BEGIN")
        return
    while True:
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except sa.exc.OperationalError as fault:
            if not _is_busy(fault):
                raise
        else:
            return
        turn.look_again()


def _is_busy(fault: sa.exc.OperationalError) -> bool:
    code = getattr(fault.orig, "sqlite_errorcode", 0)
    return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _begin_postgres(connection: sa.Connection) -> None:
    if connection.info.get("turn") is None:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCKS[connection.info['which']]})")
