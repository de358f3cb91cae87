"""Queries on the budget ledger: what was lent to which gateway, and what came back.

Rules:
1. A slice is closed once; what comes back of it later is only added to what came back.
2. It is closed as of when it can have been spent at the latest: one that comes back late takes no further window.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Connection, or_, select
from sqlalchemy.engine import Row

from broker.budget import ZERO, Limit, Parts, Slice, spent_until_us
from broker.db import log_tables as t
from broker.db.calls import parts_of


def _loan(row: Row[Any]) -> Slice:
    """Read a budget slice."""
    return Slice(
        row.id, Decimal(row.amount), row.lent_us, Decimal(row.returned), row.closed_us, row.grant, row.account,
        row.consumer, row.asset,
    )  # fmt: skip


def slices_under(connection: Connection, limits: Iterable[Limit], since_us: int) -> list[Slice]:
    """Return the slices that count for one of these limits and are open, or were closed since."""
    c = t.SLICES.c
    whose: list[ColumnElement[bool]] = []
    for limit in limits:
        if limit.grants:
            whose.append(c.grant.in_(sorted(limit.grants)))
        if limit.account is not None:
            whose.append(c.account == limit.account)
        if limit.consumer is not None:
            whose.append(c.consumer == limit.consumer)
    query = select(t.SLICES).where(or_(*whose), c.closed_us.is_(None) | (c.closed_us > since_us))
    return [_loan(row) for row in connection.execute(query)]


def slices(connection: Connection, grant: str, since_us: int) -> list[Slice]:
    """Return the slices of a grant that are open, or were closed since."""
    query = select(t.SLICES).where(
        t.SLICES.c.grant == grant, t.SLICES.c.closed_us.is_(None) | (t.SLICES.c.closed_us > since_us)
    )
    return [_loan(row) for row in connection.execute(query)]


def lend(connection: Connection, loan: Slice, gateway: str, boot: str) -> None:
    """Insert a slice."""
    connection.execute(
        t.SLICES.insert().values(
            id=loan.id, grant=loan.grant, gateway=gateway, boot=boot, amount=str(loan.amount), returned="0",
            lent_us=loan.lent_us, account=loan.account, consumer=loan.consumer, asset=loan.asset,
        )
    )  # fmt: skip


def give_back(connection: Connection, gateway: str, parts: Parts, closed_us: int | None) -> None:
    """Return amounts of slices lent to a gateway, and close them where a time is given."""
    for slice_id, amount in parts:
        here = (t.SLICES.c.id == slice_id, t.SLICES.c.gateway == gateway)
        row = connection.execute(select(t.SLICES).where(*here)).first()
        if row is None or (closed_us is not None and row.closed_us is not None):
            continue
        returned = min(Decimal(row.amount), Decimal(row.returned) + max(ZERO, amount))
        values: dict[str, object] = {"returned": str(returned)}
        if closed_us is not None:
            values["closed_us"] = min(closed_us, spent_until_us(row.lent_us))
        connection.execute(t.SLICES.update().where(*here).values(**values))


def close_boot(connection: Connection, gateway: str, boot: str, now_us: int, *, whole: bool = True) -> None:
    """Close the open slices of a gateway's earlier boot: what its calls did not spend goes back.

    Where lines of it are lost nobody knows what it spent: then nothing goes back that did not before. What it gave
    back itself is in its calls too, as a rule: the two are not added.
    """
    query = select(t.SLICES).where(
        t.SLICES.c.gateway == gateway, t.SLICES.c.boot == boot, t.SLICES.c.closed_us.is_(None)
    )
    rows = list(connection.execute(query))
    left = _left(connection, gateway, boot, rows) if whole and rows else {}
    for row in rows:
        back = max(Decimal(row.returned), min(Decimal(row.amount), left.get(row.id, ZERO)))
        connection.execute(
            t.SLICES.update()
            .where(t.SLICES.c.id == row.id)
            .values(returned=str(back), closed_us=min(now_us, spent_until_us(row.lent_us)))
        )


def _left(connection: Connection, gateway: str, boot: str, rows: Iterable[Row[Any]]) -> dict[str, Decimal]:
    """Return what a boot's calls left of its slices."""
    left = {row.id: Decimal(row.amount) for row in rows}
    c = t.CALLS.c
    query = select(c.reserved, c.released).where(
        c.gateway == gateway, c.boot == boot, or_(c.reserved != "[]", c.released != "[]")
    )
    for row in connection.execute(query):
        for sign, parts in ((-1, parts_of(row.reserved)), (1, parts_of(row.released))):
            for slice_id, amount in parts:
                if slice_id in left:
                    left[slice_id] += sign * amount
    return left
