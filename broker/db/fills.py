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
7. Sums of what orders executed are kept beside them, in the same transaction: a bot may have a million orders, and who
   wants to leave asks before each exit. What is read is the sums, the open orders and those that the gateway names.
8. Of orders that a question has no room to name it says what they come to beyond what the record had of them at some
   line (`Rest`): that is right as of this line only.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, localcontext
from itertools import chain

from sqlalchemy import Connection, and_, or_, select, tuple_

from broker.budget import ZERO
from broker.calllog import progress
from broker.db import log_tables as t
from broker.db.upsert import upsert
from broker.policy_facts import Stake

BUY, SELL = "BUY", "SELL"
CLOSED = "0"
"""How `open` is written where nothing of an order may execute any more: the index of open orders goes by it."""

_AT_ONCE = 300
_DIGITS = 60
_DIGITS_OF_TIME = 18
MOST_RESTING = 100


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
    more: dict[_Sum, Decimal] = {}
    for fill in told:
        at = (fill.account, fill.symbol, fill.order_id)
        before = known.get(at)
        if before is not None and progress(before.executed, before.open) >= progress(
            fill.executed, fill.open
        ):
            continue
        if before is not None:  # whose it is does not change
            fill = replace(fill, grant=before.grant, base=before.base, side=before.side)  # noqa: PLW2901
        _more(more, fill, fill.executed, ZERO if before is None else before.executed)
        known[at] = fill
        changed[at] = {
            "account": fill.account, "symbol": fill.symbol, "order_id": fill.order_id, "grant": fill.grant,
            "base": fill.base, "side": fill.side, "executed": str(fill.executed),
            "open": str(fill.open) if fill.open else CLOSED, "told_us": fill.told_us,
        }  # fmt: skip
    add(connection, more)
    if changed:
        put = upsert(connection, t.FILLS)
        connection.execute(
            put.on_conflict_do_update(
                index_elements=["account", "symbol", "order_id"],
                set_={name: put.excluded[name] for name in ("executed", "open", "told_us")},
            ),
            list(changed.values()),
        )


_Sum = tuple[str, str, str, str, str]


def _more(sums: dict[_Sum, Decimal], fill: Fill, now: Decimal, before: Decimal) -> None:
    key = (fill.account, fill.base, fill.symbol, fill.grant, fill.side)
    with localcontext(prec=_DIGITS):
        sums[key] = sums.get(key, ZERO) + now - before


def add(connection: Connection, more: Mapping[_Sum, Decimal]) -> None:
    """Add to the sums of what orders executed, by account, base asset, pair, grant and side."""
    if not more:
        return
    c = t.FILL_SUMS.c
    names = ("account", "base", "symbol", "grant", "side")
    query = select(t.FILL_SUMS).where(tuple_(*(c[name] for name in names)).in_(list(more)))
    known = {tuple(row[:5]): Decimal(row.executed) for row in connection.execute(query)}
    put = upsert(connection, t.FILL_SUMS)
    with localcontext(prec=_DIGITS):
        rows = [
            {**dict(zip(names, key, strict=True)), "executed": format(known.get(key, ZERO) + amount, "f")}
            for key, amount in more.items()
        ]
    connection.execute(
        put.on_conflict_do_update(index_elements=list(names), set_={"executed": put.excluded.executed}), rows
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
class Rest:
    """What orders of a grant in a pair come to on one side, beyond what is on record of them.

    Attributes:
        grant: Whose.
        symbol: The pair.
        side: Of them.
        executed: What they executed.
        offered: What they hold, also those that wait for another one.
        bound: What they hold at the venue.
        order_id: Of the one that it is, if it is one.
    """

    grant: str
    symbol: str
    side: str
    executed: Decimal
    offered: Decimal
    bound: Decimal
    order_id: str = ""


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
    rest: Iterable[Rest] = (),
) -> Stake:
    """Return whose an account's base asset is; `recent` are orders as its gateway knows them, `rest` all others."""
    told: dict[tuple[str, str, str], Fill] = {}
    for fill in recent:
        at = (fill.account, fill.symbol, fill.order_id)
        if at not in told or progress(fill.executed, fill.open) > progress(told[at].executed, told[at].open):
            told[at] = fill
    known = _known(connection, list(told.values()))
    counted, upto = _sums(connection, account, base)
    open_ = {
        (fill.symbol, fill.order_id): replace(fill, executed=ZERO)
        for fill in _open(connection, account, base)
    }
    for at, fill in told.items():
        before = known.get(at)
        if before is None and fill.order_id.isdigit() and int(fill.order_id) <= upto.get(fill.symbol, -1):
            continue
        if before is None:
            open_[fill.symbol, fill.order_id] = fill
        elif progress(fill.executed, fill.open) > progress(before.executed, before.open):
            with localcontext(prec=_DIGITS):
                more = fill.executed - before.executed
            open_[fill.symbol, fill.order_id] = replace(before, executed=more, open=fill.open)
    return weigh([*counted, *open_.values()], whose, symbol, replaces, rest)


Named = tuple[str, str, str, str]
"""Grant, symbol, order id and side of an order."""


def resting(connection: Connection, account: str, base: str) -> tuple[Named, ...]:
    """Return the first orders of an asset that may still execute."""
    return resting_after(connection, account, base, "")[0]


def resting_after(
    connection: Connection, account: str, base: str, after: str
) -> tuple[tuple[Named, ...], str]:
    """Return orders of an asset that may still execute, those that were told of longest ago first.

    Args:
        connection: To the log store.
        account: Of the asset.
        base: The asset.
        after: Behind which one to go on, as it was returned before; empty from the first one.

    Returns:
        Some of them, and behind which one there are more; empty where there are none.
    """
    c = t.FILLS.c
    query = (
        select(c.grant, c.symbol, c.order_id, c.side, c.told_us)
        .where(c.account == account, c.base == base, or_(c.open < CLOSED, c.open > CLOSED))
        .order_by(c.told_us, c.symbol, c.order_id)
        .limit(MOST_RESTING + 1)
    )
    told, symbol, order = (*after.split(":"), "", "")[:3]
    if told.isascii() and told.isdigit() and len(told) <= _DIGITS_OF_TIME:
        at = int(told)
        later = and_(c.told_us == at, or_(c.symbol > symbol, and_(c.symbol == symbol, c.order_id > order)))
        query = query.where(or_(c.told_us > at, later))
    rows = connection.execute(query).all()
    found = tuple((row[0], row[1], row[2], row[3]) for row in rows[:MOST_RESTING])
    more = rows[MOST_RESTING - 1] if len(rows) > MOST_RESTING else None
    return found, "" if more is None else f"{more.told_us}:{more.symbol}:{more.order_id}"


def _open(connection: Connection, account: str, base: str) -> list[Fill]:
    """Return the orders of an asset of which something may execute still."""
    c = t.FILLS.c
    query = select(t.FILLS).where(c.account == account, c.base == base, or_(c.open < CLOSED, c.open > CLOSED))
    return list(map(_fill, connection.execute(query)))


def pairs_of(connection: Connection, account: str, base: str) -> list[str]:
    """Return the pairs in which orders of an asset are on record."""
    c = t.FILL_SUMS.c
    query = select(c.symbol).where(c.account == account, c.base == base).distinct()
    return list(connection.execute(query).scalars())


def _sums(connection: Connection, account: str, base: str) -> tuple[list[Fill], dict[str, int]]:
    """Return what orders executed, added up, and up to which id by pair those were that are not kept any more."""
    now, before = t.FILL_SUMS.c, t.FILLS_BEFORE.c
    kept = connection.execute(select(t.FILL_SUMS).where(now.account == account, now.base == base))
    rows = [(row.symbol, row.grant, row.side, row.executed) for row in kept]
    upto: dict[str, int] = {}
    for row in connection.execute(
        select(t.FILLS_BEFORE).where(before.account == account, before.base == base)
    ):
        upto[row.symbol] = max(row.upto, upto.get(row.symbol, -1))
        rows.append((row.symbol, row.grant, row.side, row.executed))
    return [
        Fill(account, symbol, "", grant, base, side, Decimal(executed), ZERO)
        for symbol, grant, side, executed in rows
    ], upto


def _part(fill: Fill) -> Rest:
    return Rest(
        fill.grant, fill.symbol, fill.side, fill.executed, abs(fill.open), max(ZERO, fill.open), fill.order_id
    )


def weigh(
    fills: Iterable[Fill], whose: Whose, symbol: str, replaces: str = "", rest: Iterable[Rest] = ()
) -> Stake:
    """Add orders up, for a request that replaces one of them or none. Pure."""
    own, freed, coming, bought_here = ZERO, ZERO, ZERO, False
    net: dict[str, Decimal] = {}
    bound: dict[str, Decimal] = {}
    for fill in chain(map(_part, fills), rest):
        signed = fill.executed if fill.side == BUY else -fill.executed
        if fill.grant in whose.own:
            replaced = fill.side == SELL and (fill.symbol, fill.order_id) == (symbol, replaces) != (
                symbol,
                "",
            )
            freed += fill.offered if replaced else ZERO
            own += signed - (fill.offered if fill.side == SELL and not replaced else ZERO)
            coming += fill.bound if fill.side == BUY else ZERO
            bought_here = bought_here or (fill.symbol == symbol and fill.side == BUY)
        elif fill.grant not in whose.gone:
            who = whose.heirs.get(fill.grant, fill.grant)
            net[who] = net.get(who, ZERO) + signed
            if fill.side == SELL:
                bound[who] = bound.get(who, ZERO) + fill.bound
    others = sum((max(ZERO, left - bound.get(who, ZERO)) for who, left in net.items()), ZERO)
    return Stake(bought_here, max(ZERO, own), others, freed, max(ZERO, own + coming) - max(ZERO, own))
