"""Engines: how SQLite and PostgreSQL are reached, and how each begins a transaction.

Rules:
1. Writers of control state come one after the other, so that a check and its write are one: SQLite's write lock
   (BEGIN IMMEDIATE), in PostgreSQL an advisory lock of the transaction. The call log has a lock of its own there.
2. Reads see one state: SQLite's snapshot, REPEATABLE READ and read-only in PostgreSQL.
3. Nothing waits for ever: connecting, locks, statements and idle transactions have limits.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from clients.secret import Secret

BUSY_SECONDS = 5
_CONNECT_S = 3
_STATEMENT_MS = 5000
_LOCK_MS = 4000
_IDLE_MS = 15_000
_SILENT_MS = 6000
_UNCONFIRMED = "01000"
LOCKS = {"control": 0x706F7274_0001, "log": 0x706F7274_0002}
"""Advisory locks: `port` and a number."""

Kind = Literal["read", "control", "log"]


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


def sqlite(path: Path | None) -> sa.Engine:
    """Open a file, or a database in memory where there is none."""
    if path is None:
        engine = sa.create_engine(
            "sqlite://", poolclass=sa.StaticPool, connect_args={"check_same_thread": False}
        )
    else:
        engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_SECONDS})
        sa.event.listen(engine, "do_connect", lambda *_: path.touch(mode=0o600, exist_ok=True))
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def postgres(where: Postgres) -> sa.Engine:
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
        "options": f"-c statement_timeout={_STATEMENT_MS} -c lock_timeout={_LOCK_MS} "
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
        pool_size=8,
        max_overflow=8,
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


def _prepare_sqlite(connection: Any, record: Any) -> None:
    """Set up a new connection; transactions are begun by `_begin_sqlite`, not by the driver."""
    del record
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql(
        "BEGIN" if connection.info.get("kind", "read") == "read" else "BEGIN IMMEDIATE"
    )


def _begin_postgres(connection: sa.Connection) -> None:
    kind: Kind = connection.info.get("kind", "read")
    if kind == "read":
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCKS[kind]})")
