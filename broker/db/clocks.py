"""Queries on clocks that are on record: how far one had come, and at which moment of which host."""

from sqlalchemy import Connection, select

from broker.db import log_tables as t
from broker.db.upsert import upsert
from broker.steady import Counted, Moment

MONEY = "money"
"""The clock that windows of money are counted by (`service.money_clock`)."""


def get(connection: Connection, name: str, *, keep: bool = False) -> Counted | None:
    """Return a clock; `keep`: nobody else writes it before the transaction ends."""
    query = select(t.CLOCKS).where(t.CLOCKS.c.name == name)
    row = connection.execute(query.with_for_update() if keep else query).first()
    return None if row is None else Counted(row.counted_us, Moment(row.base, row.boot_us, row.wall_us))


def put(connection: Connection, name: str, one: Counted) -> None:
    """Write a clock down."""
    values = {
        "counted_us": one.us, "base": one.at.base, "boot_us": one.at.boot_us, "wall_us": one.at.wall_us,
    }  # fmt: skip
    row = upsert(connection, t.CLOCKS).values(name=name, **values)
    connection.execute(row.on_conflict_do_update(index_elements=["name"], set_=values))
