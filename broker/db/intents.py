"""Queries on paths of secrets that are about to be written."""

from sqlalchemy import Connection, select

from broker.db import tables as t


def add(connection: Connection, path: str, created_us: int) -> None:
    """Record that a secret is about to be written."""
    connection.execute(t.SECRET_INTENTS.insert().values(path=path, created_us=created_us))


def end(connection: Connection, path: str) -> bool:
    """Take an intent away because its owner is recorded; False where it was given up before."""
    query = t.SECRET_INTENTS.delete().where(
        t.SECRET_INTENTS.c.path == path, t.SECRET_INTENTS.c.created_us > 0
    )
    return connection.execute(query).rowcount > 0


def older_than(connection: Connection, before_us: int) -> list[str]:
    """Return the paths that were to be written before an instant, and whose owner was never recorded."""
    query = select(t.SECRET_INTENTS.c.path).where(t.SECRET_INTENTS.c.created_us < before_us)
    return list(connection.execute(query.order_by(t.SECRET_INTENTS.c.path)).scalars())


def give_up(connection: Connection, path: str) -> bool:
    """Make sure that no owner is recorded any more; False where one was."""
    query = t.SECRET_INTENTS.update().where(t.SECRET_INTENTS.c.path == path).values(created_us=0)
    return connection.execute(query).rowcount > 0


def forget(connection: Connection, path: str) -> None:
    """Take a given-up intent away: its secret is destroyed."""
    connection.execute(t.SECRET_INTENTS.delete().where(t.SECRET_INTENTS.c.path == path))
