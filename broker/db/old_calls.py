"""Rows of the call log that are not kept any more, taken away a few at a time.

Rules:
1. A call goes when it is old, and the run that it was sealed in was given up in the audit trail (`calls.given-up`).
   What was never sealed stays.
2. What still counts stays, however old: a request whose order nobody knows the id of, and one that reserved from a
   slice which is on record.
3. How far a boot's calls were taken away is kept. Lines up to there are known: sent again they change nothing, and no
   gateway is asked for them again.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, exists, or_, select, tuple_
from sqlalchemy.engine import Row

from broker.db import log_tables as t
from broker.db.calls import parts_of
from broker.db.upsert import upsert

Place = tuple[int, str, str, int]
"""Where a look at calls has come to: when it was asked, gateway, boot, number."""

START: Place = (-(2**62), "", "", 0)
Boot = tuple[str, str]


def older(connection: Connection, before_us: int, after: Place, most: int) -> list[Row[Any]]:
    """Return calls that were asked before an instant, in order, from a place on: place, and what they reserved."""
    c = t.CALLS.c
    query = (
        select(c.at_us, c.gateway, c.boot, c.seq, c.reserved)
        .where(
            c.at_us < before_us, c.at_us >= after[0], tuple_(c.at_us, c.gateway, c.boot, c.seq) > after
        )
        .order_by(c.at_us, c.gateway, c.boot, c.seq)
        .limit(most)
    )  # fmt: skip
    return list(connection.execute(query))


def forget(connection: Connection, rows: Sequence[Row[Any]], upto: Mapping[Boot, int]) -> int:
    """Take those of these calls away that are in a run which was given up, and count no more; return how many.

    Args:
        connection: In a write of the log store.
        rows: As `older` gave them.
        upto: By boot, the last number that was given up; no entry: none was.
    """
    named = {name for row in rows for name, _ in parts_of(row.reserved)}
    s = t.SLICES.c
    lent = set(connection.execute(select(s.id).where(s.id.in_(sorted(named)))).scalars()) if named else set()
    gone = [
        (row.gateway, row.boot, row.seq)
        for row in rows
        if row.seq <= upto.get((row.gateway, row.boot), 0)
        and lent.isdisjoint(name for name, _ in parts_of(row.reserved))
    ]
    if not gone:
        return 0
    c, o = t.CALLS.c, t.SENT_ORDERS.c
    in_doubt = exists().where(
        o.gateway == c.gateway, o.boot == c.boot, o.seq == c.seq, o.known_as.is_(None)
    )  # fmt: skip
    done = connection.execute(t.CALLS.delete().where(tuple_(c.gateway, c.boot, c.seq).in_(gone), ~in_doubt))
    _note(connection, {(gateway, boot): upto[gateway, boot] for gateway, boot, _ in gone})
    return done.rowcount


def _note(connection: Connection, upto: Mapping[Boot, int]) -> None:
    """Write down how far boots' calls were taken away; it only grows."""
    b = t.CALLS_BEFORE.c
    known = before(connection, upto)
    put = upsert(connection, t.CALLS_BEFORE)
    connection.execute(
        put.on_conflict_do_update(index_elements=[b.gateway, b.boot], set_={"upto": put.excluded.upto}),
        [
            {"gateway": gateway, "boot": boot, "upto": max(last, known.get((gateway, boot), 0))}
            for (gateway, boot), last in upto.items()
        ],
    )


def before(connection: Connection, boots: Iterable[Boot]) -> dict[Boot, int]:
    """Return how far calls of these boots were taken away, where any were."""
    b = t.CALLS_BEFORE.c
    here = or_(*(and_(b.gateway == gateway, b.boot == boot) for gateway, boot in boots))
    return {
        (row.gateway, row.boot): row.upto for row in connection.execute(select(t.CALLS_BEFORE).where(here))
    }
