"""Sales by other gateways that holdings may not show yet: what is free is that much less than it seems.

A gateway takes off what it sold itself since it asked for holdings. What left through others it knows from the record
alone. There they may be sold, while it still has them as free: what is nobody's would be sold twice.

Rules:
1. A sale that was sent lately counts until it was answered before holdings were asked for. One that was not answered
   counts as long as the exchange may have taken it since.
2. It counts whole, whatever it executed: some of it may be in the holdings. So it is no definite no. Nor is anything
   else that was told since: what a cancel freed they may show as bound.
3. Clocks of hosts are `APART_US` apart at most; that much longer each one counts.
"""

from collections.abc import Collection
from decimal import Decimal
from typing import NamedTuple

from sqlalchemy import Connection, select

from broker.budget import ZERO
from broker.db import log_tables as t
from broker.db.unheard import gives_at_most, moves
from broker.db.weighing import SELL
from broker.paid import pair_of
from broker.policy_facts import UNKNOWN

APART_US = 100_000
_VENUE_APART_US = 500_000
_LATELY_US = 15_000_000
_AT_ONCE = 300


class HeldAsOf(NamedTuple):
    """When holdings were asked for: by the wall clock of the gateway, and by that of the exchange."""

    wall_us: int
    venue_us: int


class Sold(NamedTuple):
    """How much of an asset others' sales may have taken that holdings do not show; infinite where that has no bound.

    `any`: whether any sale of theirs was sent or told since, also one that took nothing.
    """

    amount: Decimal
    any: bool


NOTHING = Sold(ZERO, any=False)


def sold(
    connection: Connection, account: str, base: str, symbols: Collection[str], gateway: str, held: HeldAsOf
) -> Sold:
    """Return what others' sales may have taken of an asset.

    Args:
        connection: To the log store.
        account: Where.
        base: The asset.
        symbols: The pairs in which it is known to be moved.
        gateway: That asks. What its earlier starts sent it follows itself.
        held: Which holdings it has.
    """
    c = t.SENT_ORDERS.c
    unanswered = select(c.side, c.quantity, c.price).where(
        c.account == account, c.known_as.is_(None), c.gateway != gateway, moves(base, symbols, SELL),
        c.until_us > held.venue_us - _VENUE_APART_US,
    )  # fmt: skip
    total = ZERO
    for side, quantity, price in connection.execute(unanswered):
        size = gives_at_most(side, quantity, price)
        if size is None:
            return Sold(UNKNOWN, any=True)
        total += size
    amount, told = _answered(connection, account, base, gateway, held)
    return Sold(total + amount, total > ZERO or told)


def _answered(connection: Connection, account: str, base: str, gateway: str, held: HeldAsOf) -> Sold:
    """Return how much those gave that were sent shortly before, and answered since."""
    f, c = t.FILLS.c, t.SENT_ORDERS.c
    told = select(f.symbol, f.order_id, f.executed, f.open).where(
        f.told_us > held.wall_us - APART_US, f.account == account, f.base == base, f.side == SELL
    )
    sizes = {
        (pair_of(symbol), f"#{order}"): Decimal(executed) + abs(Decimal(left))
        for symbol, order, executed, left in connection.execute(told)
    }
    ids, others = sorted({known_as for _, known_as in sizes}), dict[tuple[str, str], int]()
    for first in range(0, len(ids), _AT_ONCE):
        sent = select(c.symbol, c.known_as, c.sent_us).where(
            c.known_as.in_(ids[first : first + _AT_ONCE]), c.account == account, c.gateway != gateway
        )
        others.update(((row[0], row[1]), row[2]) for row in connection.execute(sent))
    since_us = held.venue_us - _LATELY_US
    gone = sum((size for order, size in sizes.items() if others.get(order, 0) >= since_us), ZERO)
    return Sold(gone, bool(others.keys() & sizes.keys()))
