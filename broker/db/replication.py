"""What a PostgreSQL server says of itself: may it lose what it has confirmed, and is its history still the same."""

from typing import Any

import sqlalchemy as sa

from broker.errors import StoreUnavailable

_OLDEST = 140_000
_SETTINGS = (
    "synchronous_standby_names", "synchronous_commit", "fsync", "full_page_writes", "default_transaction_read_only",
)  # fmt: skip


def look(connection: Any, *, single_node: bool) -> None:
    """Refuse a server that may forget a cut it has confirmed.

    Args:
        connection: A driver's, that asked for nothing: what our own sessions set would hide what the server does.
        single_node: Whether it is declared that there is no synchronous standby.

    Raises:
        StoreUnavailable: It is too old, a standby, unsafe by its settings, or asynchronous and not declared so.
    """
    version = int(str(_scalar(connection, "SHOW server_version_num")))
    if version < _OLDEST:
        raise StoreUnavailable("postgres_old", "PostgreSQL 14 or newer is needed")
    if _scalar(connection, "SELECT pg_is_in_recovery()") is True:
        raise StoreUnavailable(
            "postgres_standby",
            "this PostgreSQL is a standby and takes no writes: name the primary, or all hosts, in database.hosts",
        )
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


def timeline(connection: sa.Connection) -> str:
    """Return the timeline's number: it rises with every promotion and every restore."""
    found = connection.exec_driver_sql("SELECT pg_walfile_name(pg_current_wal_lsn())").scalar()
    return str(int(str(found)[:8], 16))


def _scalar(connection: Any, text: str) -> object:
    return connection.execute(text).fetchone()[0]
