"""Queries on operators and idempotency keys."""

from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.engine import Row

from broker.db import tables as t
from broker.steady import Moment

_SESSIONS = select(
    t.SESSIONS.c.digest.label("session_digest"), t.SESSIONS.c.expires_us, t.SESSIONS.c.base.label("session_base"),
    t.SESSIONS.c.skew_us.label("session_skew_us"), t.OPERATORS,
).join(t.OPERATORS, t.OPERATORS.c.name == t.SESSIONS.c.operator)  # fmt: skip


def add(connection: Connection, **values: object) -> None:
    """Insert an operator."""
    connection.execute(t.OPERATORS.insert().values(**values))


def by_prefix(connection: Connection, prefix: str) -> Row[Any] | None:
    """Return the operator of a token's public part."""
    return connection.execute(select(t.OPERATORS).where(t.OPERATORS.c.prefix == prefix)).first()


def listing(connection: Connection) -> list[Row[Any]]:
    """Return every operator."""
    return list(connection.execute(select(t.OPERATORS).order_by(t.OPERATORS.c.name)))


def by_name(connection: Connection, name: str) -> Row[Any] | None:
    """Return one operator."""
    return connection.execute(select(t.OPERATORS).where(t.OPERATORS.c.name == name)).first()


def change(connection: Connection, name: str, **values: object) -> None:
    """Change what an operator logs in with, or how often that failed."""
    connection.execute(t.OPERATORS.update().where(t.OPERATORS.c.name == name).values(**values))


def use_code(connection: Connection, name: str, counter: int) -> bool:
    """Use up a one-time code; False where it, or a later one, was used before."""
    query = t.OPERATORS.update().where(t.OPERATORS.c.name == name, t.OPERATORS.c.totp_last < counter)
    return connection.execute(query.values(totp_last=counter)).rowcount > 0


def add_session(connection: Connection, **values: object) -> None:
    """Insert a session; those that are over are forgotten."""
    connection.execute(t.SESSIONS.delete().where(t.SESSIONS.c.expires_us < values["created_us"]))
    connection.execute(t.SESSIONS.insert().values(**values))


def session(connection: Connection, prefix: str) -> Row[Any] | None:
    """Return a session with its operator."""
    return connection.execute(_SESSIONS.where(t.SESSIONS.c.prefix == prefix)).first()


def sessions(connection: Connection, now: Moment) -> list[Row[Any]]:
    """Return every session that is not over, with its operator."""
    rows = connection.execute(_SESSIONS.where(t.SESSIONS.c.expires_us > now.wall_us))
    return [row for row in rows if not is_over(row, now)]


def is_over(row: Row[Any], now: Moment) -> bool:
    """Tell whether a session is over, by either clock: a wall clock that is set back makes none longer."""
    boot_until_us = row.expires_us - row.session_skew_us
    return bool(
        row.expires_us <= now.wall_us or (row.session_base == now.base and boot_until_us <= now.boot_us)
    )


def has_sessions(connection: Connection, name: str) -> bool:
    """Tell whether an operator has sessions, those that are over and still on record among them."""
    query = select(t.SESSIONS.c.operator).where(t.SESSIONS.c.operator == name).limit(1)
    return connection.execute(query).first() is not None


def end_session(connection: Connection, digest: str) -> bool:
    """End one session, by its token's digest; tell whether there was one."""
    return connection.execute(t.SESSIONS.delete().where(t.SESSIONS.c.digest == digest)).rowcount > 0


def digests(connection: Connection, name: str) -> list[str]:
    """Return the digests of the tokens of an operator's sessions."""
    query = select(t.SESSIONS.c.digest).where(t.SESSIONS.c.operator == name)
    return list(connection.execute(query).scalars())


def end_sessions(connection: Connection, name: str) -> None:
    """End an operator's sessions."""
    connection.execute(t.SESSIONS.delete().where(t.SESSIONS.c.operator == name))


def end(connection: Connection, name: str, at_us: int) -> int:
    """End an operator's token; return how many there were."""
    query = t.OPERATORS.update().where(t.OPERATORS.c.name == name, t.OPERATORS.c.ended_us.is_(None))
    return connection.execute(query.values(ended_us=at_us)).rowcount


def remembered(connection: Connection, operator: str, key: str) -> Row[Any] | None:
    """Return what an idempotency key was used for."""
    query = select(t.IDEMPOTENCY).where(t.IDEMPOTENCY.c.operator == operator, t.IDEMPOTENCY.c.key == key)
    return connection.execute(query).first()


def remember(connection: Connection, **values: object) -> None:
    """Insert an idempotency key with its answer."""
    connection.execute(t.IDEMPOTENCY.insert().values(**values))


def forget_one(connection: Connection, operator: str, key: str) -> None:
    """Delete one idempotency key."""
    c = t.IDEMPOTENCY.c
    connection.execute(t.IDEMPOTENCY.delete().where(c.operator == operator, c.key == key))


def forget(connection: Connection, before_us: int, most: int) -> int:
    """Delete some idempotency keys that are too old to be asked for; return how many."""
    c = t.IDEMPOTENCY.c
    old = connection.execute(select(c.operator, c.key).where(c.created_us < before_us).limit(most)).all()
    for row in old:
        connection.execute(t.IDEMPOTENCY.delete().where(c.operator == row.operator, c.key == row.key))
    return len(old)


def has_old(connection: Connection, before_us: int) -> bool:
    """Tell whether there are idempotency keys that are too old to be asked for."""
    query = select(t.IDEMPOTENCY.c.key).where(t.IDEMPOTENCY.c.created_us < before_us).limit(1)
    return connection.execute(query).first() is not None
