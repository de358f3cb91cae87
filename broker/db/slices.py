"""Queries on the budget ledger: what was lent to which gateway, and what came back.

Rules:
1. A slice is closed once; what comes back of it later is only added to what came back.
2. It is closed as of when it can have been spent at the latest: one that comes back late takes no further window.
3. One that was closed with nothing spent counts for nothing, so it is not read: each cut closes all that is lent.
4. What was reserved from a slice that is not on record counts by itself: a failover may lose that it was lent. When
   that was only a gateway's wall clock says, which may be wrong: it counts for up to an hour longer.
5. All instants are of the clock of money (`service.money_clock`).
"""

import hashlib
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Connection, or_, select
from sqlalchemy.engine import Row

from broker.budget import ZERO, Limit, Parts, Slice, spent_until_us
from broker.calllog import Ask
from broker.db import log_tables as t
from broker.db.calls import parts_of
from broker.db.upsert import upsert
from broker.steady import UNSURE_US

_AT_ONCE = 300


def _counts(since_us: int) -> ColumnElement[bool]:
    """Tell which slices can count: the open ones, and those closed since of which something was spent."""
    c = t.SLICES.c
    return c.closed_us.is_(None) | ((c.closed_us > since_us) & (c.returned != c.amount))


def _loan(row: Row[Any]) -> Slice:
    """Read a budget slice."""
    return Slice(
        row.id, Decimal(row.amount), row.lent_us, Decimal(row.returned), row.closed_us, row.grant, row.account,
        row.consumer, row.asset,
    )  # fmt: skip


def slices_under(connection: Connection, limits: Iterable[Limit], since_us: int) -> list[Slice]:
    """Return the slices that count for one of these limits and are open, or were closed since and spent from."""
    query = select(t.SLICES).where(_under(limits), _counts(since_us))
    return [_loan(row) for row in connection.execute(query)]


def any_under(connection: Connection, limits: Iterable[Limit], ids: Iterable[str]) -> bool:
    """Tell whether one of these slices, open or not, was lent under one of these limits."""
    under, wanted = _under(limits), sorted(ids)
    return any(
        connection.execute(
            select(t.SLICES.c.id).where(t.SLICES.c.id.in_(wanted[first : first + _AT_ONCE]), under).limit(1)
        ).first()
        for first in range(0, len(wanted), _AT_ONCE)
    )


def _under(limits: Iterable[Limit]) -> ColumnElement[bool]:
    c = t.SLICES.c
    whose: list[ColumnElement[bool]] = []
    for limit in limits:
        if limit.grants:
            whose.append(c.grant.in_(sorted(limit.grants)))
        if limit.account is not None:
            whose.append(c.account == limit.account)
        if limit.consumer is not None:
            whose.append(c.consumer == limit.consumer)
    return or_(*whose)


def slices(connection: Connection, grant: str, since_us: int) -> list[Slice]:
    """Return the slices of a grant that are open, or were closed since and spent from."""
    query = select(t.SLICES).where(t.SLICES.c.grant == grant, _counts(since_us))
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


def spend_lost(
    connection: Connection, gateway: str, boot: str, asks: Iterable[Ask], now_us: Callable[[], int]
) -> None:
    """Count what asks reserved from slices that are not on record, each ask once."""
    asks = [ask for ask in asks if ask.reserved]
    wanted = sorted({name for ask in asks for name, _ in ask.reserved})
    known: set[str] = set()
    for first in range(0, len(wanted), _AT_ONCE):
        query = select(t.SLICES.c.id).where(t.SLICES.c.id.in_(wanted[first : first + _AT_ONCE]))
        known.update(connection.execute(query).scalars())
    lost = []
    for ask in asks:
        amount = sum((amount for name, amount in ask.reserved if name not in known), ZERO)
        if amount > ZERO:
            at_us = min(now_us(), ask.at_us + UNSURE_US)
            number = hashlib.sha256(f"{gateway}/{boot}/{ask.seq}".encode()).hexdigest()[:20]
            lost.append(
                {
                    "id": f"lost_{number}", "grant": ask.grant, "gateway": gateway, "boot": boot,
                    "amount": str(amount), "returned": "0", "lent_us": at_us, "closed_us": at_us,
                    "account": ask.account, "consumer": ask.consumer,
                }
            )  # fmt: skip
    if lost:
        connection.execute(upsert(connection, t.SLICES).on_conflict_do_nothing(), lost)


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
