"""What a PostgreSQL session needs, whatever its server, database or role is set to.

Rules:
1. A session asks for what it needs as it connects, and is used only where it got it.
2. How a transaction is isolated is said at its beginning, by every one. Writers see what was committed before they had
   the lock (READ COMMITTED): by an older snapshot a check and its write are not one, and a budget is lent twice.
3. That a server takes no writes (`default_transaction_read_only`) is not overruled: it fences a primary of before. Who
   finds it looks for another server (`primary`).
4. What is set otherwise is named by `db check`; it may be meant for somebody else.
"""

from dataclasses import dataclass
from typing import Any

from broker.db import replication
from broker.errors import StoreUnavailable

STATEMENT_MS = {False: 5000, True: 12_000}
LOCK_MS = {False: 4000, True: 8000}
"""For urgent work longer than anybody else may hold it."""

IDLE_MS = 8000
_WITH_TRANSACTION_LIMIT = 170_000
_ROOM = 40
"""Connections that a broker and its rotator may use at work."""

NEEDED = {
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "synchronous_commit": "on",
    "row_security": "off",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "client_encoding": "UTF8",
    "client_min_messages": "notice",
    "TimeZone": "UTC",
    "idle_session_timeout": "0",
}
"""With `row_security` off a policy that would hide rows is an error, and never a gate that nobody sees. That a standby
did not confirm a commit is told by a warning, which `client_min_messages` may swallow."""

_OFF = {
    "default_transaction_isolation": "budgets would be lent twice",
    "default_transaction_read_only": "nothing can be written, no cut and no heartbeat",
    "default_transaction_deferrable": "reads would wait for writers",
    "synchronous_commit": "a cut may be answered and then forgotten",
    "standard_conforming_strings": "texts would be read otherwise than they were written",
    "transform_null_equals": "comparisons would mean something else",
    "client_min_messages": "a commit that no standby confirmed would look like one that was",
    "session_replication_role": "foreign keys would not be kept",
    "search_path": "the tables would be looked for elsewhere",
    "idle_session_timeout": "connections that wait for a cut would be closed",
    "transaction_timeout": "a migration or backup could be broken off",
}
"""What is looked at before our sessions set it, and what it would do."""

_USUAL = {
    "default_transaction_read_only": frozenset({"off"}),
    "synchronous_commit": frozenset({"on", "remote_apply"}),
    "client_min_messages": frozenset({"notice", "warning", "log", "info"}),
    "session_replication_role": frozenset({"origin"}),
    "transaction_timeout": frozenset({"0"}),
}
_NOT_OURS = frozenset({"default_transaction_read_only", "session_replication_role"})
"""What our sessions leave as it is."""


@dataclass(frozen=True, slots=True)
class Off:
    """A setting that is not as it should be. `harms`: our sessions do not set it themselves."""

    name: str
    value: str
    says: str
    harms: bool = False


def _wanted(namespace: str, *, urgent: bool) -> dict[str, str]:
    return {
        **NEEDED, "search_path": namespace, "statement_timeout": str(STATEMENT_MS[urgent]),
        "lock_timeout": str(LOCK_MS[urgent]), "idle_in_transaction_session_timeout": str(IDLE_MS),
    }  # fmt: skip


def options(namespace: str, *, urgent: bool) -> str:
    """Return what a session asks for as it connects, as libpq's `options`."""
    wanted = _wanted(namespace, urgent=urgent)
    return " ".join("-c {}={}".format(name, value.replace(" ", "\\ ")) for name, value in wanted.items())


def prepare(connection: Any, namespace: str, *, urgent: bool) -> None:
    """Give a fresh session what it needs, once more where the environment or a pooler had it otherwise.

    Args:
        connection: The driver's.
        namespace: The schema that the tables are in.
        urgent: Whether it is for urgent work.

    Raises:
        StoreUnavailable: It does not get it.
    """
    wanted = _wanted(namespace, urgent=urgent)
    if connection.info.server_version >= _WITH_TRANSACTION_LIMIT:
        wanted["transaction_timeout"] = "0"
    connection.autocommit = True
    columns = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in wanted.items())
    found = connection.execute(f"SELECT {columns}").fetchone()
    connection.autocommit = False
    for (name, value), is_there in zip(wanted.items(), found, strict=True):
        if is_there != value and name in NEEDED:
            raise StoreUnavailable(
                "postgres_session",
                f"a session of PostgreSQL has {name}={is_there} although it asked for {value}",
            )


def off(connection: Any, namespace: str) -> tuple[Off, ...]:
    """Return what server, database or role are set to otherwise than a session needs.

    Args:
        connection: A driver's connection that asked for nothing.
        namespace: Where the tables are.
    """
    rows = connection.execute(
        "SELECT name, setting, source FROM pg_settings WHERE name = ANY(%s)", (list(_OFF),)
    ).fetchall()
    found = []
    for name, value, source in rows:
        usual = _USUAL.get(name, frozenset({NEEDED.get(name, "")}))
        if name == "search_path":
            usual = frozenset({namespace, '"$user", public' if namespace == "public" else namespace})
        if value not in usual:
            told = "" if name in _NOT_OURS else "; our sessions set it themselves"
            says = f"{name} is {value!r} (by the {source}): {_OFF[name]}{told}"
            found.append(Off(name, value, says, name in _NOT_OURS))
    if encoding := replication.short_of(connection):
        found.append(Off("server_encoding", encoding, replication.in_words(encoding), harms=True))
    return (*found, *_room(connection))


def _room(connection: Any) -> tuple[Off, ...]:
    row = connection.execute(
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,"
        " (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),"
        " (SELECT datconnlimit FROM pg_database WHERE datname = current_database())"
    ).fetchone()
    room = min(limit for limit in row if limit is not None and limit >= 0)
    if room >= _ROOM:
        return ()
    says = (
        f"there is room for {room} connections (max_connections, or a limit of the role or database), a broker and "
        f"its rotator may use {_ROOM}: without one a cut is in force and not yet on record"
    )
    return (Off("max_connections", str(room), says),)


def refuse_elsewhere(connection: Any, namespace: str, table: str) -> None:
    """Refuse where the tables lie in another schema than ours: an empty state beside them would know no cut.

    Args:
        connection: SQLAlchemy's.
        namespace: Where the tables should be.
        table: One that is always there.

    Raises:
        StoreUnavailable: They are elsewhere.
    """
    rows = connection.exec_driver_sql(
        "SELECT schemaname FROM pg_tables WHERE tablename = %s ORDER BY schemaname", (table,)
    )
    there = [str(row[0]) for row in rows]
    if there and namespace not in there:
        raise StoreUnavailable(
            "postgres_namespace",
            f"the tables are not in the schema {namespace!r} but in {', '.join(map(repr, there))}: name it as "
            "database.namespace in home.json",
        )
