"""Queries on operators and idempotency keys."""

from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.engine import Row

from broker.db import tables as t


def add(connection: Connection, **values: object) -> None:
    """Insert an operator."""
    connection.execute(t.OPERATORS.insert().values(**values))


def by_prefix(connection: Connection, prefix: str) -> Row[Any] | None:
    """Return the operator of a token's public part."""
    return connection.execute(select(t.OPERATORS).where(t.OPERATORS.c.prefix == prefix)).first()


def listing(connection: Connection) -> list[Row[Any]]:
    """Return every operator."""
    return list(connection.execute(select(t.OPERATORS).order_by(t.OPERATORS.c.name)))


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


def forget(connection: Connection, before_us: int) -> None:
    """Delete idempotency keys that are too old to be asked for."""
    connection.execute(t.IDEMPOTENCY.delete().where(t.IDEMPOTENCY.c.created_us < before_us))
