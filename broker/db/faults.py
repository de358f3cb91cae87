"""What a database's failures mean: known by their codes, told without their texts, which may quote values."""

import sqlite3

import psycopg
from sqlalchemy.exc import DataError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnection

from broker.errors import Conflict, Malformed, Problem, StoreUnavailable

MAYBE_WRITTEN = frozenset({"commit_unknown", "not_replicated"})
"""Reasons of failures after which a write may be in force all the same."""

DISK_FULL = "disk_full"
_OURS = MAYBE_WRITTEN | {
    "database", "store_busy", "store_slow", "store_read_only", "store_connections", DISK_FULL,
}  # fmt: skip

READ_ONLY = "25006"
"""What PostgreSQL says of a write to a server that takes none."""

_BUSY = "the database was busy with other writes for too long: nothing was changed"
_NO_WRITES = (
    "the database takes no writes (a standby, or default_transaction_read_only is on), and no other host of it does: "
    "nothing was changed"
)
_KNOWN = {
    "55P03": ("store_busy", _BUSY),
    "40001": (
        "store_busy",
        "the database put off what others changed at the same moment: nothing was changed",
    ),
    "40P01": (
        "store_busy",
        "two who wrote waited for each other, and the database ended one: nothing was changed",
    ),
    "57014": (
        "store_slow",
        "the database took too long for one statement, and broke it off: nothing was changed",
    ),
    READ_ONLY: ("store_read_only", _NO_WRITES),
    "53100": (DISK_FULL, "the disk of the database's server is full: nothing was changed. Make room on it"),
}
_NO_ROOM = frozenset({sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMMAP})
"""What SQLite calls no room for the index of its write-ahead log: at a start, and each time that has to grow."""

_CONNECTIONS = (
    "the database has no connection left for us (max_connections, or a limit of its role): nothing was changed"
)  # fmt: skip
_NO_MORE = ("too many c", "connection slots")
"""In what a server says to whom it does not let in: no code comes with that."""

_WHY_NOT = (
    (
        "not support SSL",
        'it speaks no TLS. Switch TLS on there; on loopback "ssl_mode": "disable" does without',
    ),
    ("Connection refused", "nothing listens there. Does it run?"),
    ("password authentication failed", "it does not take our user and password"),
    ("no password supplied", "it wants a password, and password_file names none"),
    (
        "could not translate host name",
        "its host has no address: is the name right, and does the resolver answer?",
    ),
    ("pg_hba.conf", "its pg_hba.conf does not let us in from this host"),
    ("root certificate", "ca_file cannot be used"),
    ("certificate", "its certificate does not prove its name: look at ca_file and at the host's name"),
)
"""What libpq says in English of a server that does not let us in, and what that means: its words may quote values."""
_READ_ONLY_SESSION = "session is read-only"
"""What libpq says of a server that takes no writes, where it was to find one of several that does."""

_WHO_KNOWS = (
    "does it run, is the way to it open, and does it take our user, password and certificate? "
    "Its own log says more"
)


def is_ours(reason: str) -> bool:
    """Tell whether a reason is of a database that does not answer or takes nothing, as against a secret store's."""
    return reason in _OURS or reason.startswith("postgres_")


def unknown(fault: SQLAlchemyError) -> StoreUnavailable:
    """Return what a commit whose answer was lost means."""
    return StoreUnavailable(
        "commit_unknown",
        f"the database was lost while it wrote ({type(fault).__name__}): whether it was done is not known",
    )


def translated(fault: SQLAlchemyError) -> StoreUnavailable | Conflict | Malformed:
    """Return what a failure before the commit means: nothing was changed."""
    if isinstance(fault, DataError):
        return Malformed("unfit", (Problem("value", "is more, or other, than its column holds"),))
    if isinstance(fault, IntegrityError):
        return Conflict("taken", "the name or key is taken, or what it names does not exist")
    if isinstance(fault, NoConnection):
        return StoreUnavailable(
            "store_busy", "every connection to the database is in use: nothing was changed"
        )
    orig = getattr(fault, "orig", None)
    state = getattr(orig, "sqlstate", None)
    if state == "53300" or (
        state is None and isinstance(fault, OperationalError) and any(word in str(orig) for word in _NO_MORE)
    ):
        return StoreUnavailable("store_connections", _CONNECTIONS)
    if state in _KNOWN:
        return StoreUnavailable(*_KNOWN[state])
    code = getattr(orig, "sqlite_errorcode", 0)
    if code & 0xFF == sqlite3.SQLITE_READONLY:
        return StoreUnavailable(
            "store_read_only",
            "the database's file cannot be written (its disk is read-only, or its owner or rights are others): nothing "
            "was changed",
        )
    if code & 0xFF == sqlite3.SQLITE_FULL or code in _NO_ROOM:
        return StoreUnavailable(
            DISK_FULL,
            "the disk is full: nothing was changed. Make room on it, then do it again; no order can be written down "
            "meanwhile, and no lease is renewed: each ends in 15 s, or when its policy's [lease] says",
        )
    if state is None and isinstance(fault, OperationalError) and isinstance(orig, psycopg.Error):
        return out_of_reach(orig)
    return StoreUnavailable("database", f"the database cannot answer ({type(fault).__name__})")


def read_only() -> StoreUnavailable:
    """Return what it means that no server takes writes."""
    return StoreUnavailable(*_KNOWN[READ_ONLY])


def out_of_reach(fault: psycopg.Error) -> StoreUnavailable:
    """Return what it means that a server gave no code: nobody was there, it did not let us in, or takes no writes."""
    text = str(fault)
    if _READ_ONLY_SESSION in text:
        return read_only()
    why = next((says for word, says in _WHY_NOT if word in text), _WHO_KNOWS)
    return StoreUnavailable("database", f"the database cannot answer ({type(fault).__name__}): {why}")
