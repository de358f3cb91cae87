"""What orders executed, by grant: kept, added up, and read where somebody asks whose an asset is (`weighing`).

Rules:
1. An order is known by the venue's id. What it executed only grows, but for a fee that is told later; answers that come
   late change nothing. Of which list it is is known once an answer says so: of orders from before that was kept nobody
   said it.
2. Orders that were closed long ago are added up (`retention`). One that a gateway knows and the record does not is a
   fresh one, unless its id is no higher than that of one that was added up: it is among those then.
3. Sums of what orders executed are kept beside them, in the same transaction: a bot may have a million orders, and who
   wants to leave asks before each exit. What is read is the sums, the open orders with those that executed anything of
   their lists, and those that the gateway names.
4. Of orders that a question has no room to name it says what they come to beyond what the record had of them at some
   line (`Rest`): that is right as of this line only.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal, localcontext

from sqlalchemy import Connection, and_, or_, select, tuple_

from broker.budget import ZERO
from broker.calllog import is_further
from broker.db import log_tables as t
from broker.db.upsert import upsert
from broker.db.weighing import Fill, Rest, Whose, weigh
from broker.listed import list_of, more_of, spellings
from broker.policy_facts import Stake

CLOSED = "0"
"""How `open` is written where nothing of an order may execute any more: the index of open orders goes by it."""

_AT_ONCE = 300
_DIGITS = 60
_DIGITS_OF_TIME = 18
MOST_RESTING = 100


def note(connection: Connection, fills: Iterable[Fill]) -> None:
    """Take in what answers told of orders."""
    told = list(fills)
    known = _known(connection, told)
    changed = {}
    more: dict[_Sum, Decimal] = {}
    for fill in told:
        at = (fill.account, fill.symbol, fill.order_id)
        before = known.get(at)
        further = before is None or _is_further(fill, before)
        if before is not None:  # whose it is does not change
            listed = more_of(before.listed, fill.listed)
            if not further and listed == before.listed:
                continue
            now = fill if further else before
            fill = replace(now, grant=before.grant, base=before.base, side=before.side, listed=listed)  # noqa: PLW2901
        _more(more, fill, fill.executed, ZERO if before is None else before.executed)
        known[at] = fill
        changed[at] = {
            "account": fill.account, "symbol": fill.symbol, "order_id": fill.order_id, "grant": fill.grant,
            "base": fill.base, "side": fill.side, "executed": str(fill.executed),
            "open": str(fill.open) if fill.open else CLOSED, "told_us": fill.told_us, "listed": fill.listed or None,
        }  # fmt: skip
    add(connection, more)
    if changed:
        put = upsert(connection, t.FILLS)
        connection.execute(
            put.on_conflict_do_update(
                index_elements=["account", "symbol", "order_id"],
                set_={name: put.excluded[name] for name in ("executed", "open", "told_us", "listed")},
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
    amounts = {name: Decimal(values[name]) for name in ("executed", "open")}
    return Fill(**{**values, **amounts, "listed": values["listed"] or ""})


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
    told: dict[_Key, Fill] = {}
    for fill in recent:
        at = (fill.account, fill.symbol, fill.order_id)
        before = told.get(at, fill)
        told[at] = replace(
            fill if _is_further(fill, before) else before, listed=more_of(before.listed, fill.listed)
        )
    known = {at: _in_sums(fill) for at, fill in _known(connection, list(told.values())).items()}
    counted, upto = _sums(connection, account, base)
    orders = {_key(fill): fill for fill in _open(connection, account, base)}
    for at, fill in told.items():
        kept = known.get(at)
        if kept is None and fill.order_id.isdigit() and int(fill.order_id) <= upto.get(fill.symbol, -1):
            continue
        orders[at] = fill if kept is None else _latest(kept, fill)
    for fill in _begun(connection, account, base, orders.values()):
        orders.setdefault(_key(fill), fill)
    return weigh([*counted, *orders.values()], whose, symbol, replaces, rest)


_Key = tuple[str, str, str]


def _key(fill: Fill) -> _Key:
    return fill.account, fill.symbol, fill.order_id


def _latest(kept: Fill, told: Fill) -> Fill:
    """Return what is known of an order that is on record, and that a gateway tells of."""
    listed = more_of(kept.listed, told.listed)
    if not _is_further(told, kept):
        return replace(kept, listed=listed)
    return replace(kept, executed=told.executed, open=told.open, listed=listed)


def _is_further(now: Fill, before: Fill) -> bool:
    return is_further(before.side, (now.executed, now.open), (before.executed, before.open))


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
    """Return the orders of an asset of which something may execute still; what they executed is in the sums."""
    c = t.FILLS.c
    query = select(t.FILLS).where(c.account == account, c.base == base, or_(c.open < CLOSED, c.open > CLOSED))
    return [_in_sums(fill) for fill in map(_fill, connection.execute(query))]


def _begun(connection: Connection, account: str, base: str, orders: Iterable[Fill]) -> list[Fill]:
    """Return those on record that executed anything of an asset and are of the same lists."""
    lists = sorted({found for one in orders if (found := list_of(one.listed))})
    names = [name for found in lists for name in spellings(found)]
    c, begun = t.FILLS.c, list[Fill]()
    for first in range(0, len(names), _AT_ONCE):
        piece = names[first : first + _AT_ONCE]
        query = select(t.FILLS).where(c.account == account, c.base == base, c.listed.in_(piece))
        begun += [_in_sums(fill) for fill in map(_fill, connection.execute(query)) if fill.executed]
    return begun


def _in_sums(fill: Fill) -> Fill:
    return replace(fill, counted=fill.executed)


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
