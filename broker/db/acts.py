"""Queries on acts that need a second step."""

from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.engine import Row

from broker.db import tables as t


def add(connection: Connection, **values: object) -> None:
    """Insert an act."""
    connection.execute(t.ACTS.insert().values(**values))


def get(connection: Connection, act: str, *, keep: bool = False) -> Row[Any] | None:
    """Return one act; `keep`: it stays as it is until the transaction ends."""
    query = select(t.ACTS).where(t.ACTS.c.id == act)
    return connection.execute(query.with_for_update() if keep else query).first()


def sighted(connection: Connection, act: str, sightings: str) -> None:
    """Write down when which host saw an act first."""
    connection.execute(t.ACTS.update().where(t.ACTS.c.id == act).values(sightings=sightings))


def unsighted(connection: Connection, base: str, since_us: int) -> list[str]:
    """Return the acts announced since an instant that are not over, wait for nobody, and were not seen on this base."""
    c = t.ACTS.c
    query = select(c.id).where(
        c.created_us > since_us, c.ended_us.is_(None), c.ready_us.is_not(None), c.confirmed_by.is_(None),
        ~c.sightings.contains(base, autoescape=True),
    )  # fmt: skip
    return list(connection.execute(query).scalars())


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


def unuse(connection: Connection, act: str, at_us: int) -> bool:
    """Take it back that an act was used at an instant."""
    here = (t.ACTS.c.id == act, t.ACTS.c.ended_us == at_us, t.ACTS.c.ended_how == "used")
    return connection.execute(t.ACTS.update().where(*here).values(ended_us=None, ended_how=None)).rowcount > 0


def end_all(connection: Connection, how: str, at_us: int) -> int:
    """Mark every act that is not over as ended; return how many there were."""
    query = t.ACTS.update().where(t.ACTS.c.ended_us.is_(None)).values(ended_us=at_us, ended_how=how)
    return connection.execute(query).rowcount


def open_since(connection: Connection, since_us: int) -> list[Row[Any]]:
    """Return acts that are not over, announced since an instant, newest first."""
    query = select(t.ACTS).where(t.ACTS.c.created_us > since_us, t.ACTS.c.ended_us.is_(None))
    return list(connection.execute(query.order_by(t.ACTS.c.created_us.desc())))
