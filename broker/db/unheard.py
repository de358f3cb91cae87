"""What was sent of which no answer told: what it may have done with an asset.

Rules:
1. What the asking gateway sent since its start it takes into account itself: it is left out here.
2. What grants sent to be given, and nobody heard of, may be their own no more: that much is kept from a yes. It may as
   well be under way, be of alternatives of which one was found, or never have been: it is no definite no, wherever it
   was sent. What replaces an order that offers something on record, alone, and is placed only if that one is
   cancelled, gives what it offers more than that one.
3. What others sent that brings the asset may be theirs. The record asks no venue, so it names such orders, and its own
   that give it: the gateway that asks finds out what became of them, and says so. Until then nobody knows.
4. Of a request that the venue shows by no name for long (another order has its name by now) nothing is found out any
   more: what others sent before that is not named, and the record counts as it is. Own ones are, the latest first.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select

from broker.budget import ZERO
from broker.calllog import Unheard
from broker.db import log_tables as t
from broker.db.weighing import BUY, SELL
from broker.paid import is_paid, pair_of

MOST_NAMED = 40
_PAIRS = (".oco", ".oco_old", ".otoco", ".opoco")
"""How endpoints end that place a pair of orders of one size of which only one is executed."""


def unanswered_sales(
    connection: Connection,
    account: str,
    base: str,
    symbols: Collection[str],
    grants: Collection[str],
    boot: str,
) -> Decimal | None:
    """Return how much grants sent to be given of an asset at most of which no answer told; None: that has no bound.

    Args:
        connection: To the log store.
        account: Where.
        base: The asset.
        symbols: The pairs in which it is known to be moved, also by others.
        grants: Whose.
        boot: Of the gateway that asks.
    """
    c, call, old = t.SENT_ORDERS.c, t.CALLS.c, t.FILLS.c
    of_call = and_(call.gateway == c.gateway, call.boot == c.boot, call.seq == c.seq)
    replaced = and_(
        old.account == c.account, old.symbol == c.symbol, old.order_id == c.frees, old.base == base,
        old.side == SELL, old.grant.in_(sorted(grants)), c.side == SELL, old.listed.is_(None),
    )  # fmt: skip
    query = (
        select(c.gateway, c.boot, c.seq, c.quantity, c.price, c.side, call.endpoint, old.open.label("offered"))
        .select_from(t.SENT_ORDERS.outerjoin(t.CALLS, of_call).outerjoin(t.FILLS, replaced))
        .where(
            c.account == account, moves(base, symbols, SELL), c.grant.in_(sorted(grants)),
            c.known_as.is_(None), c.boot != boot,
        )
    )  # fmt: skip
    requests: dict[tuple[str, str, int], list[Decimal | None]] = defaultdict(list)
    endpoints: dict[tuple[str, str, int], str] = {}
    beside: dict[tuple[str, str, int], Decimal] = {}
    for gateway, start, seq, quantity, price, side, endpoint, offered in connection.execute(query):
        requests[gateway, start, seq].append(gives_at_most(side, quantity, price))
        endpoints[gateway, start, seq] = endpoint or ""
        beside[gateway, start, seq] = Decimal(offered or 0)
    if any(size is None for sizes in requests.values() for size in sizes):
        return None
    amounts = (_at_most(filter(None, sizes), endpoints[one]) - beside[one] for one, sizes in requests.items())
    return sum((max(ZERO, amount) for amount in amounts), ZERO)


def named(
    connection: Connection,
    account: str,
    base: str,
    symbols: Collection[str],
    own: Collection[str],
    gone: Collection[str],
    boot: str,
    since_us: int,
) -> tuple[tuple[Unheard, ...], bool]:
    """Return others' orders that bring an asset, and own ones that give it; and whether others have more of them.

    Args:
        connection: To the log store.
        account: Where.
        base: The asset.
        symbols: The pairs in which it is known to be moved, also by others.
        own: The grants that the asking one stands for.
        gone: Revoked ones that nobody stands for: what they bought is nobody's.
        boot: Of the gateway that asks.
        since_us: When others' were sent at the earliest.
    """
    c = t.SENT_ORDERS.c
    unheard = select(t.SENT_ORDERS).where(c.account == account, c.known_as.is_(None), c.boot != boot)
    others = (
        unheard.where(moves(base, symbols, BUY), c.grant.not_in(sorted({*own, *gone})), c.sent_us >= since_us)
        .order_by(c.sent_us, c.gateway, c.boot, c.seq)
        .limit(MOST_NAMED + 1)
    )
    gives = (
        unheard.where(moves(base, symbols, SELL), c.grant.in_(sorted(own)))
        .order_by(c.sent_us.desc(), c.gateway, c.boot, c.seq)
        .limit(MOST_NAMED)
    )
    brought = list(connection.execute(others))
    rows = (*brought[:MOST_NAMED], *connection.execute(gives))
    return tuple(_unheard(row, base, row.symbol in symbols) for row in rows), len(brought) > MOST_NAMED


def _unheard(row: Row[Any], base: str, sold: bool) -> Unheard:
    """Read a row; `sold`: its pair is one in which the asset is known to be traded."""
    return Unheard(
        row.gateway, row.boot, row.seq, row.grant, row.symbol, row.name, row.side, row.quantity, row.price,
        bool(row.exact), row.sent_us, row.until_us, row.base or (base if sold else ""),
        row.quote or ("" if sold or row.base == base else base),
    )  # fmt: skip


def moves(base: str, symbols: Collection[str], side: str) -> ColumnElement[bool]:
    """Return what tells whether an order moves an asset as one of this side does in a pair that trades it."""
    c, other = t.SENT_ORDERS.c, BUY if side == SELL else SELL
    traded, paid = ([one for one in sorted(symbols) if is_paid(one) is kept] for kept in (False, True))
    return or_(
        and_(c.symbol.in_(traded), c.side == side),
        and_(c.symbol.in_(map(pair_of, paid)), c.side == other),
        and_(c.base == base, c.side == side),
        and_(c.quote == base, c.side == other),
    )


def gives_at_most(side: str, quantity: str, price: str) -> Decimal | None:
    """Return how much an order gives of what is to be sold; None where that has no size: a purchase pays for it."""
    if not quantity or (side == BUY and not Decimal(price or 0)):
        return None
    return Decimal(quantity) * (Decimal(price) if side == BUY else 1)


def _at_most(sizes: Iterable[Decimal], endpoint: str) -> Decimal:
    """Return how much the orders of one request may sell: of a pair that excludes one another one of them does."""
    given = list(sizes)
    if endpoint.endswith(_PAIRS):
        twice = next((size for size in given if given.count(size) > 1), ZERO)
        return sum(given, ZERO) - twice
    return sum(given, ZERO)
