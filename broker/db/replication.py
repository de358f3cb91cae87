"""What a PostgreSQL server says of itself: may it lose what it confirmed, can it hold all texts, is its history one."""

from typing import Any

import sqlalchemy as sa

from broker.errors import StoreUnavailable

_OLDEST = 140_000
_SETTINGS = (
    "synchronous_standby_names", "synchronous_commit", "fsync", "full_page_writes", "default_transaction_read_only",
)  # fmt: skip

_HOLD_ALL = frozenset({"UTF8", "SQL_ASCII"})
"""Encodings that hold every text. The second holds bytes as they are sent, and ours are always UTF-8."""


def look(connection: Any, *, single_node: bool, fresh: bool = False) -> None:
    """Refuse a server that may forget a cut it has confirmed, or cannot hold what a person says of it.

    Args:
        connection: A driver's, that asked for nothing: what our own sessions set would hide what the server does.
        single_node: Whether it is declared that there is no synchronous standby.
        fresh: Whether nobody uses it yet. One in use is not held down for its encoding: what it cannot hold of a cut's
            words is on record in others, and exits need it.

    Raises:
        StoreUnavailable: It is too old, a standby, in an encoding that cannot hold all, unsafe by its settings, or
            asynchronous and not declared so.
    """
    version = int(str(_scalar(connection, "SHOW server_version_num")))
    if version < _OLDEST:
        raise StoreUnavailable("postgres_old", "PostgreSQL 14 or newer is needed")
    if _scalar(connection, "SELECT pg_is_in_recovery()") is True:
        raise StoreUnavailable(
            "postgres_standby",
            "this PostgreSQL is a standby and takes no writes: name the primary, or all hosts, in database.hosts",
        )
    if fresh and (encoding := short_of(connection)):
        raise StoreUnavailable("postgres_encoding", in_words(encoding))
    settings = {name: str(_scalar(connection, f"SHOW {name}")) for name in _SETTINGS}
    if settings["default_transaction_read_only"] == "on":
        raise StoreUnavailable(
            "postgres_read_only",
            "PostgreSQL takes no writes here (default_transaction_read_only is on for the server, this database or "
            "this role): where it is no fence of a primary of before, set it off",
        )
    for name in ("fsync", "full_page_writes"):
        if settings[name] != "on":
            raise StoreUnavailable(
                "postgres_unsafe", f"PostgreSQL runs with {name}={settings[name]}: a crash may forget a cut"
            )
    if settings["synchronous_commit"] in {"off", "local"}:
        raise StoreUnavailable(
            "postgres_unsafe",
            f"PostgreSQL runs with synchronous_commit={settings['synchronous_commit']}: a cut may be answered and "
            "then forgotten; set it to on, for this database at least",
        )
    if not settings["synchronous_standby_names"] and not single_node:
        raise StoreUnavailable(
            "postgres_asynchronous",
            "PostgreSQL has no synchronous standby: a failover may forget the last second, a cut included. Set "
            "synchronous_standby_names, or declare the risk with database.single_node: true",
        )


def short_of(connection: Any) -> str:
    """Return the database's encoding where that cannot hold every text; empty where it can."""
    encoding = str(_scalar(connection, "SHOW server_encoding"))
    return "" if encoding in _HOLD_ALL else encoding


def in_words(encoding: str) -> str:
    """Say what is wrong with an encoding, and what to do."""
    return (
        f"the database's encoding is {encoding}, which cannot hold what people write (a reason, a note): make one "
        "with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0, bring what is in this one over with pg_dump "
        "and psql, and name it as database.database in home.json"
    )


def timeline(connection: sa.Connection) -> str:
    """Return the timeline's number: it rises with every promotion and every restore."""
    found = connection.exec_driver_sql("SELECT pg_walfile_name(pg_current_wal_lsn())").scalar()
    return str(int(str(found)[:8], 16))


def _scalar(connection: Any, text: str) -> object:
    return connection.execute(text).fetchone()[0]
