"""Engines: how SQLite and PostgreSQL are reached, and how each begins a transaction.

Rules:
1. Writers of one store come one after the other, so that a check and its write are one: by turns within a process
   (see `turns`), between processes by SQLite's write lock (BEGIN IMMEDIATE), in PostgreSQL by an advisory lock of
   the transaction. State and log have a lock each.
2. Reads see one state: SQLite's snapshot, REPEATABLE READ and read-only in PostgreSQL. They wait for no writer. What
   else a session needs it sets itself, and is used only where it got it (`sessions`, `_pragmas`).
3. Every transaction asks its PostgreSQL server whether it takes writes (`takes_writes`); a pool is thrown away where
   another does (see `primary`), or where a proxy answers for one that is gone.
4. Nothing waits for ever: connecting, locks, statements and idle transactions have limits, and a PostgreSQL that
   answers nothing is hung up on (see `overdue`).
5. In PostgreSQL urgent work has connections of its own, so that no flood of other work uses them up.
6. SQLite syncs at every commit, of the log too: a call that was acknowledged is forgotten by its gateway, and a slice
   that was forgotten would be a hole in a limit; batches keep that cheap. Freed pages of the state are overwritten,
   those of the log are not: they hold no secret either, and are many. A commit of the state copies nothing back from
   the write-ahead log as a rule: upkeep does, beside the writers (`AUTO_CHECKPOINT` is for when it does not run).
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psycopg
import sqlalchemy as sa

from broker.db import characters, sessions
from broker.db.faults import READ_ONLY, out_of_reach
from broker.db.overdue import Overdue
from broker.db.primary import Primary
from broker.db.turns import Turn
from broker.errors import StoreUnavailable
from clients.secret import Secret

BUSY_SECONDS = 5
AUTO_CHECKPOINT = {"state": 8000, "log": 2000}
"""Pages of the write-ahead log."""

URGENT_KEPT = 4
"""Connections that urgent work keeps open, once `Database.warm` has opened them."""

_CONNECT_S = 3
_LOOK_S = 10.0
_PATIENT = "-c statement_timeout=5000 -c lock_timeout=0"
_SILENT_MS = 6000
_UNCONFIRMED = "01000"
_GONE, _GONE_CLASS = frozenset({"57P01", "57P02", "57P03"}), "08"
"""A server that shuts down, crashed or starts, and what has to do with the connection itself."""

_SPENT = "spent"
_TAKES_WRITES = "current_setting('default_transaction_read_only') = 'off' AND NOT pg_is_in_recovery()"
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
    namespace: str = "public"


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


def engines(where: "Path | Postgres | None", which: Which, overdue: Overdue, primary: Primary) -> Engines:
    """Prepare the ways to a store; nothing is opened yet."""
    if isinstance(where, Postgres):
        usual = _postgres(where, which, overdue, primary, urgent=False)
        urgent = _postgres(where, which, overdue, primary, urgent=True) if which == "state" else usual
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
        sa.event.listen(engine, "do_connect", lambda *_: _make(path))
        sa.event.listen(engine, "handle_error", _doubt_sqlite)
        sa.event.listen(engine, "checkout", _refuse_spent)
    # a writer's turn waits for the lock, more gently or more eagerly than SQLite
    busy_ms = 0 if writes and path is not None else BUSY_SECONDS * 1000

    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun by `_begin_sqlite`, not by the driver
        connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
        for name, value, answer in _pragmas(which, in_memory=path is None):
            connection.execute(f"PRAGMA {name}={value}").close()
            (found,) = connection.execute(f"PRAGMA {name}").fetchone()
            if found != answer:
                raise StoreUnavailable(
                    "sqlite_settings",
                    f"SQLite has {name}={found} although it was asked for {value}: does the file lie on a disk of "
                    "another host? Put the home on a disk of this one",
                )
        connection.execute(f"PRAGMA busy_timeout={busy_ms}")

    sa.event.listen(engine, "connect", prepare)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _make(path: Path) -> None:
    """Make a file that only we may read; where that is not possible SQLite says what it is."""
    with suppress(OSError):
        path.touch(mode=0o600, exist_ok=True)


def _doubt_sqlite(context: sa.engine.ExceptionContext) -> None:
    """Use a connection no more that was opened while its file could not be written: it stays so for ever.

    It ends its transaction first: closed with a statement of it still open, it would keep the lock.
    """
    code = getattr(context.original_exception, "sqlite_errorcode", 0)
    if code & 0xFF == sqlite3.SQLITE_READONLY and context.connection is not None:
        context.connection.info[_SPENT] = True


def _refuse_spent(_connection: Any, record: Any, _proxy: Any) -> None:
    if record.info.pop(_SPENT, False):
        raise sa.exc.DisconnectionError  # the pool opens another


def _pragmas(which: Which, *, in_memory: bool) -> tuple[tuple[str, str, object], ...]:
    """Return what every connection to SQLite sets, and what it then answers: nothing is left to how it was built."""
    return (
        ("journal_mode", "WAL", "memory" if in_memory else "wal"), ("synchronous", "FULL", 2),
        ("foreign_keys", "ON", 1), ("ignore_check_constraints", "OFF", 0), ("defer_foreign_keys", "OFF", 0),
        ("query_only", "OFF", 0), ("read_uncommitted", "OFF", 0), ("trusted_schema", "OFF", 0),
        ("wal_autocheckpoint", str(AUTO_CHECKPOINT[which]), AUTO_CHECKPOINT[which]),
        ("secure_delete", "ON" if which == "state" else "OFF", 1 if which == "state" else 0),
    )  # fmt: skip


def _way(where: Postgres) -> dict[str, Any]:
    """Return how libpq reaches a PostgreSQL."""
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
        "client_encoding": "UTF8",
    }
    if where.ca_file is not None:
        arguments["sslrootcert"] = str(where.ca_file)
    if where.password is not None:
        arguments["password"] = where.password.reveal()
    return arguments


@contextmanager
def bare(where: Postgres, overdue: Overdue) -> Iterator[Any]:
    """Lend a driver's connection that asks for nothing, to see what others would get; for a few seconds.

    Raises:
        StoreUnavailable: It cannot be had.
    """
    try:
        with (
            psycopg.connect(
                **_way(where), user=where.user, dbname=where.database, autocommit=True, options=_PATIENT
            ) as connection,
            overdue.limited(connection.pgconn.socket, _LOOK_S),
        ):
            yield connection
    except psycopg.Error as fault:
        raise out_of_reach(fault.with_traceback(None)) from None


def primary_of(where: "Path | Postgres | None", overdue: Overdue) -> Primary:
    """Return what tells which server takes writes."""
    if not isinstance(where, Postgres):
        return Primary()

    def look() -> bool:
        try:
            with bare(where, overdue) as plain:
                return bool(plain.execute(f"SELECT {_TAKES_WRITES}").fetchone()[0])
        except (StoreUnavailable, psycopg.Error):
            return False

    return Primary(look)


def _postgres(
    where: Postgres, which: Which, overdue: Overdue, primary: Primary, *, urgent: bool
) -> sa.Engine:
    """Prepare connections to a PostgreSQL; none is opened yet."""
    arguments = _way(where) | {"options": sessions.options(where.namespace, urgent=urgent)}
    url = sa.URL.create("postgresql+psycopg", username=where.user, database=where.database)
    engine = sa.create_engine(
        url,
        connect_args=arguments,
        pool_size=URGENT_KEPT if urgent or which == "log" else 8,
        max_overflow=4 if urgent or which == "log" else 8,
        pool_timeout=_CONNECT_S,
        hide_parameters=True,
    )

    def prepare(connection: Any, record: Any) -> None:
        _hear(connection, record)
        with overdue.limited(connection.pgconn.socket, _CONNECT_S):
            sessions.prepare(connection, where.namespace, urgent=urgent)
        if which == "state":
            # by what is in the log sums are looked up again: what it cannot hold is refused there
            characters.prepare(connection)

    def connect(dialect: sa.Dialect, record: Any, args: Sequence[Any], arguments: dict[str, Any]) -> Any:
        record.info["primary"] = primary.number  # as of before: it may be found elsewhere meanwhile
        return _connect(dialect, args, arguments)

    def lend(_connection: Any, record: Any, _proxy: Any) -> None:
        if record.info["primary"] != primary.number:
            raise sa.exc.DisconnectionError  # the pool opens another

    sa.event.listen(engine, "do_connect", connect)
    sa.event.listen(engine, "connect", prepare)
    sa.event.listen(engine, "checkout", lend)
    sa.event.listen(engine, "begin", _begin_postgres)
    sa.event.listen(engine, "handle_error", _doubt)
    sa.event.listen(engine, "before_cursor_execute", _prolong)
    return engine


def _connect(dialect: sa.Dialect, args: Sequence[Any], arguments: dict[str, Any]) -> Any:
    """Connect; of an attempt that failed nothing stays open.

    The error would hold on to the attempt while anybody holds the error: a server that stood still for a minute found
    its places taken by those that had long given up.
    """
    try:
        return dialect.connect(*args, **arguments)
    except psycopg.Error as fault:
        raise fault.with_traceback(None) from None


def _prolong(connection: sa.Connection, *_: Any) -> None:
    """Give a statement of a long read its own time (see `overdue`)."""
    prolong = connection.info.get("prolong")
    if prolong is not None:
        prolong()


def _hear(connection: Any, record: Any) -> None:
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
    driver: Any = connection.connection.driver_connection  # says it with BEGIN, in one way there and back
    writes = connection.info.get("turn") is not None
    if writes:
        driver.isolation_level, driver.read_only = psycopg.IsolationLevel.READ_COMMITTED, None
        text = f"SELECT {_TAKES_WRITES}, pg_advisory_xact_lock({LOCKS[connection.info['which']]})"
    else:
        driver.isolation_level, driver.read_only = psycopg.IsolationLevel.REPEATABLE_READ, True
        text = f"SELECT {_TAKES_WRITES}"
    connection.info["takes_writes"] = connection.exec_driver_sql(text).scalar_one()


def _doubt(context: sa.engine.ExceptionContext) -> None:
    """Take an answer for what it is: not this connection's to give. No other connection of the pool is used then.

    Most servers hang up after it; a proxy does not, which speaks for a server that is gone.
    """
    state = getattr(context.original_exception, "sqlstate", None) or ""
    writes = context.connection is not None and context.connection.info.get("turn") is not None
    if state in _GONE or state.startswith(_GONE_CLASS) or (writes and state == READ_ONLY):
        context.is_disconnect = True
