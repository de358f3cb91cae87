"""Rows of the log store that can no longer matter, taken away a few at a time.

Rules:
1. An order goes once it is closed and nobody told anything of it for long: its row, what it was sent as, and what it
   executed, which is added up (`fills_before`) and put aside with whose it was (`fills_past`). Closed is what an answer
   told as closed; all else stays, however old: an order may rest for years, and whose it is must be known as long.
   It goes for both assets that it moves at once (`broker.paid`): told once more, it would count anew for the one.
2. A list goes with the last of its orders. What was sent and never got an id stays: its name may still lead to it.
3. A slice goes once no window reaches back to where it can have been spent.
4. Whose an order was that was put aside stays for years, and then goes.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal, localcontext
from typing import Any

from sqlalchemy import Connection, select, tuple_
from sqlalchemy.engine import Row

from broker.budget import WINDOW_US, ZERO, spent_until_us
from broker.db import clocks, fills
from broker.db import log_tables as t
from broker.db.upsert import upsert
from broker.paid import pair_of, rows_of

Place = tuple[int, str, str, str]
"""Where a look at fills has come to: when it was told last, account, pair and order id."""

START: Place = (-1, "", "", "")
_DIGITS = 60


def closed_orders(connection: Connection, before_us: int, after: Place, most: int) -> tuple[Place, ...]:
    """Return orders that nobody told of since, in order, from a place on; those that are open are among them."""
    c = t.FILLS.c
    place = tuple_(c.told_us, c.account, c.symbol, c.order_id)
    query = (
        select(c.told_us, c.account, c.symbol, c.order_id)
        .where(c.told_us < before_us, place > after)
        .order_by(c.told_us, c.account, c.symbol, c.order_id)
        .limit(most)
    )
    return tuple((row[0], row[1], row[2], row[3]) for row in connection.execute(query))


def forget_orders(connection: Connection, places: Iterable[Place]) -> int:
    """Add up those of these orders that are closed, and take them away; return how many rows they had."""
    c = t.FILLS.c
    rows = _closed(connection, list(places))
    if not rows:
        return 0
    _add_up(connection, rows)
    _put_aside(connection, rows)
    less: dict[tuple[str, str, str, str, str], Decimal] = {}
    with localcontext(prec=_DIGITS):
        for row in rows:
            key = (row.account, row.base, row.symbol, row.grant, row.side)
            less[key] = less.get(key, ZERO) - Decimal(row.executed)
    fills.add(connection, less)
    keys = [(row.account, row.symbol, row.order_id) for row in rows]
    connection.execute(t.FILLS.delete().where(tuple_(c.account, c.symbol, c.order_id).in_(keys)))
    _forget(connection, [(account, symbol, f"#{order_id}") for account, symbol, order_id in keys])
    return len(rows)


def _closed(connection: Connection, places: Sequence[Place]) -> list[Row[Any]]:
    """Return the rows of those orders that are closed in all of their rows, of which nobody told since."""
    last_us = max((place[0] for place in places), default=-1)
    wanted = {(account, name, order) for _, account, symbol, order in places for name in rows_of(symbol)}
    c, orders = t.FILLS.c, defaultdict[tuple[str, str, str], list[Row[Any]]](list)
    for row in connection.execute(
        select(t.FILLS).where(tuple_(c.account, c.symbol, c.order_id).in_(sorted(wanted)))
    ):
        orders[row.account, pair_of(row.symbol), row.order_id].append(row)
    return [
        row
        for rows in orders.values()
        if all(
            row.told_us <= last_us and not Decimal(row.open) and row.order_id.isdigit() for row in rows
        )  # else it goes with the one that was told of last
        for row in rows
    ]


def _add_up(connection: Connection, rows: Iterable[Row[Any]]) -> None:
    sums: dict[tuple[str, str, str, str, str], tuple[Decimal, int]] = {}
    b = t.FILLS_BEFORE.c
    with localcontext(prec=_DIGITS):
        for row in rows:
            key = (row.account, row.symbol, row.grant, row.base, row.side)
            if key not in sums:
                here = tuple_(b.account, b.symbol, b.grant, b.base, b.side) == key
                known = connection.execute(select(b.executed, b.upto).where(here)).first()
                sums[key] = (ZERO, -1) if known is None else (Decimal(known.executed), known.upto)
            executed, upto = sums[key]
            sums[key] = (executed + Decimal(row.executed), max(upto, int(row.order_id)))
    put = upsert(connection, t.FILLS_BEFORE)
    connection.execute(
        put.on_conflict_do_update(
            index_elements=["account", "symbol", "grant", "base", "side"],
            set_={name: put.excluded[name] for name in ("executed", "upto")},
        ),
        [
            {"account": account, "symbol": symbol, "grant": grant, "base": base, "side": side,
             "executed": format(executed, "f"), "upto": upto}
            for (account, symbol, grant, base, side), (executed, upto) in sums.items()
        ],
    )  # fmt: skip


def _put_aside(connection: Connection, rows: Iterable[Row[Any]]) -> None:
    """Keep whose these orders were; one that came back after it had gone is there already."""
    names = [column.name for column in t.FILLS_PAST.columns]
    values = [{name: getattr(row, name) for name in names} for row in rows]
    connection.execute(upsert(connection, t.FILLS_PAST).on_conflict_do_nothing(), values)


def forget_past(connection: Connection, before_us: int, most: int) -> int:
    """Take away whose orders were of which nobody told since; return how many."""
    c = t.FILLS_PAST.c
    query = select(c.account, c.symbol, c.order_id).where(c.told_us < before_us).limit(most)
    keys = [tuple(row) for row in connection.execute(query)]
    if keys:
        connection.execute(t.FILLS_PAST.delete().where(tuple_(c.account, c.symbol, c.order_id).in_(keys)))
    return len(keys)


def _forget(connection: Connection, known: list[tuple[str, str, str]]) -> None:
    """Take away whose orders these were, and what they were sent as; lists that have no other order go, too."""
    o, s = t.ORDERS.c, t.SENT_ORDERS.c
    connection.execute(t.ORDERS.delete().where(tuple_(o.account, o.symbol, o.name).in_(known)))
    sent = tuple_(s.account, s.symbol, s.known_as).in_(known)
    asks = set(connection.execute(select(s.gateway, s.boot, s.seq).where(sent)))
    connection.execute(t.SENT_ORDERS.delete().where(sent))
    if not asks:
        return
    of_asks = tuple_(s.gateway, s.boot, s.seq).in_([tuple(ask) for ask in asks])
    left = list(connection.execute(select(t.SENT_ORDERS).where(of_asks)))
    goes_on = {(row.gateway, row.boot, row.seq) for row in left if not row.name.startswith("@")}
    lists = [
        (row.account, row.symbol, row.known_as)
        for row in left
        if row.known_as is not None and (row.gateway, row.boot, row.seq) not in goes_on
    ]
    if lists:
        connection.execute(
            t.SENT_ORDERS.delete().where(tuple_(s.account, s.symbol, s.known_as).in_(lists), of_asks)
        )
        connection.execute(t.ORDERS.delete().where(tuple_(o.account, o.symbol, o.name).in_(lists)))


def forget_slices(connection: Connection, now_us: int, most: int) -> int:
    """Take away slices that no window reaches any more, by the clock that they are stamped by; return how many."""
    counted = clocks.get(connection, clocks.MONEY)
    if counted is not None:
        now_us = counted.us
    c = t.SLICES.c
    old_us = now_us - 2 * (spent_until_us(0) + WINDOW_US)
    gone = (c.lent_us < old_us, c.closed_us.is_(None) | (c.closed_us < now_us - 2 * WINDOW_US))
    ids = list(connection.execute(select(c.id).where(*gone).limit(most)).scalars())
    if ids:
        connection.execute(t.SLICES.delete().where(c.id.in_(ids)))
    return len(ids)
