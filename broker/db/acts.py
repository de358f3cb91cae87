"""Queries on acts that need a second step."""

from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.engine import Row

from broker.db import tables as t


def add(connection: Connection, **values: object) -> None:
    """Insert an act."""
    connection.execute(t.ACTS.insert().values(**values))


def get(connection: Connection, act: str) -> Row[Any] | None:
    """Return one act."""
    return connection.execute(select(t.ACTS).where(t.ACTS.c.id == act)).first()


def confirm(connection: Connection, act: str, by: str, at_us: int) -> bool:
    """Mark an act as confirmed; False where it is over, or was confirmed before."""
    here = (t.ACTS.c.id == act, t.ACTS.c.ended_us.is_(None), t.ACTS.c.confirmed_by.is_(None))
    return (
        connection.execute(t.ACTS.update().where(*here).values(confirmed_by=by, ready_us=at_us)).rowcount > 0
    )


def end(connection: Connection, act: str, how: str, at_us: int) -> bool:
    """Mark an act as used or cancelled; False where it is over."""
    here = (t.ACTS.c.id == act, t.ACTS.c.ended_us.is_(None))
    return connection.execute(t.ACTS.update().where(*here).values(ended_us=at_us, ended_how=how)).rowcount > 0


def end_all(connection: Connection, how: str, at_us: int) -> int:
    """Mark every act that is not over as ended; return how many there were."""
    query = t.ACTS.update().where(t.ACTS.c.ended_us.is_(None)).values(ended_us=at_us, ended_how=how)
    return connection.execute(query).rowcount


def open_since(connection: Connection, since_us: int) -> list[Row[Any]]:
    """Return acts that are not over, announced since an instant, newest first."""
    query = select(t.ACTS).where(t.ACTS.c.created_us > since_us, t.ACTS.c.ended_us.is_(None))
    return list(connection.execute(query.order_by(t.ACTS.c.created_us.desc())))
