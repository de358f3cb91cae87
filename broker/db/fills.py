"""What orders executed, by grant: whose an asset is on a shared account.

Rules:
1. An order is known by the venue's id. What it executed only grows; answers that come late change nothing.
2. What a buy may still execute is told apart (`Stake.coming`): it is its grant's where nobody can look at what the
   account holds. Else an order that is never filled would let its grant sell what others bought.
3. What others hold in open orders of theirs is bound at the venue: it is not taken off what is free a second time.
4. What a grant offers in open orders it has no more, but for the order that a request replaces: else the same would be
   sold over and over. Two sales that cancel each other count twice: what is free beyond that of others stays sellable.
   An order that waits for another one (its `open` is below zero) binds nothing at the venue yet: of others it is none.
5. What a revoked grant bought is its consumer's next grants'. Where the consumer has none it is nobody's, as if it had
   been held before.
6. Orders that were closed long ago are added up (`retention`). One that a gateway knows and the record does not is a
   fresh one, unless its id is no higher than that of one that was added up: it is among those then.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from sqlalchemy import Connection, select, tuple_

from broker.budget import ZERO
from broker.calllog import progress
from broker.db import log_tables as t
from broker.db.upsert import upsert
from broker.policy_facts import Stake

BUY, SELL = "BUY", "SELL"
_AT_ONCE = 300
MOST_RESTING = 20


@dataclass(frozen=True, slots=True)
class Fill:
    """One order, what it executed and what it still may, in base asset, as text."""

    account: str
    symbol: str
    order_id: str
    grant: str
    base: str
    side: str
    executed: Decimal
    open: Decimal
    told_us: int = 0


def note(connection: Connection, fills: Iterable[Fill]) -> None:
    """Take in what answers told of orders."""
    told = list(fills)
    known = _known(connection, told)
    changed = {}
    for fill in told:
        at = (fill.account, fill.symbol, fill.order_id)
        before = known.get(at)
        if before is not None and progress(before.executed, before.open) >= progress(
            fill.executed, fill.open
        ):
            continue
        known[at] = fill
        changed[at] = {
            "account": fill.account, "symbol": fill.symbol, "order_id": fill.order_id, "grant": fill.grant,
            "base": fill.base, "side": fill.side, "executed": str(fill.executed), "open": str(fill.open),
            "told_us": fill.told_us,
        }  # fmt: skip
    if changed:
        put = upsert(connection, t.FILLS)
        connection.execute(
            put.on_conflict_do_update(
                index_elements=["account", "symbol", "order_id"],
                set_={name: put.excluded[name] for name in ("executed", "open", "told_us")},
            ),
            list(changed.values()),
        )


def _known(connection: Connection, fills: Sequence[Fill]) -> dict[tuple[str, str, str], Fill]:
    """Return what is on record of the same orders."""
    c = t.FILLS.c
    found = {}
    wanted = sorted({(fill.account, fill.symbol, fill.order_id) for fill in fills})
    for first in range(0, len(wanted), _AT_ONCE):
        piece = wanted[first : first + _AT_ONCE]
        query = select(t.FILLS).where(tuple_(c.account, c.symbol, c.order_id).in_(piece))
        for row in map(_fill, connection.execute(query)):
            found[row.account, row.symbol, row.order_id] = row
    return found


def _fill(row: object) -> Fill:
    values = row._mapping  # type: ignore[attr-defined]  # noqa: SLF001 - the public way to a row's columns
    return Fill(**{**values, "executed": Decimal(values["executed"]), "open": Decimal(values["open"])})


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose orders count as whose (rule 5).

    Attributes:
        own: The grants that the asking one stands for.
        gone: Revoked ones that nobody stands for.
        heirs: Living grants by revoked ones of their consumers.
    """

    own: frozenset[str]
    gone: frozenset[str] = frozenset()
    heirs: Mapping[str, str] = field(default_factory=dict)


def stake(
    connection: Connection,
    account: str,
    whose: Whose,
    symbol: str,
    base: str,
    recent: Iterable[Fill] = (),
    replaces: str = "",
) -> Stake:
    """Return whose an account's base asset is; `recent` are orders as its gateway knows them."""
    query = select(t.FILLS).where(t.FILLS.c.account == account, t.FILLS.c.base == base)
    found = {(fill.symbol, fill.order_id): fill for fill in map(_fill, connection.execute(query))}
    added_up, upto = _before(connection, account, base)
    for fill in recent:
        known = found.get((fill.symbol, fill.order_id))
        if known is None and fill.order_id.isdigit() and int(fill.order_id) <= upto.get(fill.symbol, -1):
            continue
        if known is None or progress(fill.executed, fill.open) > progress(known.executed, known.open):
            found[(fill.symbol, fill.order_id)] = fill
    return weigh([*found.values(), *added_up], whose, symbol, replaces)


def resting(connection: Connection, account: str, base: str) -> tuple[tuple[str, str, str, str], ...]:
    """Return orders of an asset that may still execute, those that were told of longest ago first."""
    c = t.FILLS.c
    query = (
        select(c.grant, c.symbol, c.order_id, c.side, c.open)
        .where(c.account == account, c.base == base, c.open.not_in(["0", "0.00000000"]))
        .order_by(c.told_us)
        .limit(MOST_RESTING)
    )
    return tuple((row[0], row[1], row[2], row[3]) for row in connection.execute(query) if Decimal(row[4]))


def pairs_of(connection: Connection, account: str, base: str) -> list[str]:
    """Return the pairs in which orders of an asset are on record."""
    c = t.FILLS.c
    query = select(c.symbol).where(c.account == account, c.base == base).distinct()
    return list(connection.execute(query).scalars())


def _before(connection: Connection, account: str, base: str) -> tuple[list[Fill], dict[str, int]]:
    """Return what closed orders executed that were added up, and up to which id by pair."""
    c = t.FILLS_BEFORE.c
    rows = list(connection.execute(select(t.FILLS_BEFORE).where(c.account == account, c.base == base)))
    upto: dict[str, int] = {}
    for row in rows:
        upto[row.symbol] = max(row.upto, upto.get(row.symbol, -1))
    return [
        Fill(account, row.symbol, "", row.grant, base, row.side, Decimal(row.executed), ZERO) for row in rows
    ], upto


def weigh(fills: Iterable[Fill], whose: Whose, symbol: str, replaces: str = "") -> Stake:
    """Add orders up, for a request that replaces one of them or none. Pure."""
    own, freed, coming, bought_here = ZERO, ZERO, ZERO, False
    net: dict[str, Decimal] = {}
    bound: dict[str, Decimal] = {}
    for fill in fills:
        signed = fill.executed if fill.side == BUY else -fill.executed
        if fill.grant in whose.own:
            replaced = fill.side == SELL and (fill.symbol, fill.order_id) == (symbol, replaces)
            freed += abs(fill.open) if replaced else ZERO
            own += signed - (abs(fill.open) if fill.side == SELL and not replaced else ZERO)
            coming += max(ZERO, fill.open) if fill.side == BUY else ZERO
            bought_here = bought_here or (fill.symbol == symbol and fill.side == BUY)
        elif fill.grant not in whose.gone:
            who = whose.heirs.get(fill.grant, fill.grant)
            net[who] = net.get(who, ZERO) + signed
            if fill.side == SELL:
                bound[who] = bound.get(who, ZERO) + max(ZERO, fill.open)
    others = sum((max(ZERO, left - bound.get(who, ZERO)) for who, left in net.items()), ZERO)
    return Stake(bought_here, max(ZERO, own), others, freed, max(ZERO, own + coming) - max(ZERO, own))
