"""What became of requests whose own lines are not there yet.

A request is written down in the spool of the start that sends it. What became of it is told by another line where the
answer was lost: by one of the gateway's next start, or of another gateway. That one may be there first: what a start
wrote last comes only once it is over, while the next one serves already.

Rules:
1. In which order the two lines come makes no difference: what is told first is kept until its request is there.
2. It is kept no longer than its request may come: until all lines of that start are there, or it is old.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select, tuple_

from broker.db import log_tables as t
from broker.db.upsert import upsert

Place = tuple[str, str, int]
"""A request: gateway, boot, number."""

_AT_ONCE = 300


def keep(
    connection: Connection,
    told_us: Mapping[Place, int],
    refused: Iterable[Mapping[str, Any]],
    named: Iterable[Mapping[str, Any]],
) -> None:
    """Keep what was told of requests that are not there.

    Args:
        connection: In a write of the log store.
        told_us: Of which requests, and when.
        refused: Those of which nothing was placed: `_gateway`, `_boot`, `_seq`.
        named: Orders that were; `_symbol`, `_name` and `known_as` beside these.
    """
    rows = [
        {
            "gateway": one["_gateway"], "boot": one["_boot"], "seq": one["_seq"], "symbol": one.get("_symbol", ""),
            "name": one.get("_name", ""), "known_as": one.get("known_as"), "told_us": told_us[place],
        }
        for one in (*refused, *named)
        if (place := _place(one)) in told_us
    ]  # fmt: skip
    if not rows:
        return
    there = _there(connection, sorted({(row["gateway"], row["boot"], row["seq"]) for row in rows}))
    missing = [row for row in rows if (row["gateway"], row["boot"], row["seq"]) not in there]
    if missing:
        put = upsert(connection, t.ANSWERED_EARLY)
        connection.execute(
            put.on_conflict_do_update(
                index_elements=["gateway", "boot", "seq", "symbol", "name"],
                set_={column: put.excluded[column] for column in ("known_as", "told_us")},
            ),
            missing,
        )


def _place(row: Mapping[str, Any]) -> Place:
    return row["_gateway"], row["_boot"], row["_seq"]


def _there(connection: Connection, places: Sequence[Place]) -> set[Place]:
    """Return which of these requests are there, or were."""
    c, b = t.CALLS.c, t.CALLS_BEFORE.c
    found: set[Place] = set()
    for first in range(0, len(places), _AT_ONCE):
        piece = places[first : first + _AT_ONCE]
        query = select(c.gateway, c.boot, c.seq).where(tuple_(c.gateway, c.boot, c.seq).in_(piece))
        found.update((row[0], row[1], row[2]) for row in connection.execute(query))
        boots = sorted({place[:2] for place in piece})
        gone = select(t.CALLS_BEFORE).where(tuple_(b.gateway, b.boot).in_(boots))
        upto = {(row.gateway, row.boot): row.upto for row in connection.execute(gone)}
        found.update(place for place in piece if place[2] <= upto.get(place[:2], 0))
    return found


def settled(
    connection: Connection, gateway: str, boot: str, orders: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return orders as they are by what was told of them before: with their ids, without what was never placed."""
    c = t.ANSWERED_EARLY.c
    seqs = {order["seq"] for order in orders}
    here = (c.gateway == gateway, c.boot == boot, c.seq.between(min(seqs), max(seqs)))
    told = list(connection.execute(select(t.ANSWERED_EARLY).where(*here)))
    if not told:
        return [dict(order) for order in orders]
    connection.execute(t.ANSWERED_EARLY.delete().where(*here))
    refused = {row.seq for row in told if row.known_as is None}
    ids = {(row.seq, row.symbol, row.name): row.known_as for row in told}
    return [
        {**order, "known_as": ids.get((order["seq"], order["symbol"], order["name"]))}
        for order in orders
        if order["seq"] not in refused
    ]


def over(connection: Connection, gateway: str, boot: str) -> None:
    """All lines of a boot are there."""
    c = t.ANSWERED_EARLY.c
    connection.execute(t.ANSWERED_EARLY.delete().where(c.gateway == gateway, c.boot == boot))


def forget(connection: Connection, before_us: int, most: int) -> int:
    """Take away what was told so long ago that its request comes no more; return how many."""
    c = t.ANSWERED_EARLY.c
    query = select(c.gateway, c.boot, c.seq, c.symbol, c.name).where(c.told_us < before_us).limit(most)
    keys: Collection[tuple[Any, ...]] = [tuple(row) for row in connection.execute(query)]
    if keys:
        connection.execute(
            t.ANSWERED_EARLY.delete().where(tuple_(c.gateway, c.boot, c.seq, c.symbol, c.name).in_(keys))
        )
    return len(keys)
