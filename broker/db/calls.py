"""Queries on the call log, order owners and the budget ledger."""

import json
from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, case, func, select
from sqlalchemy.engine import Row

from broker.budget import ZERO, Parts, Slice
from broker.calllog import Answered, Ask
from broker.db import log_tables as t
from broker.db.upsert import upsert


def _parts_text(parts: Parts) -> str:
    return json.dumps([(name, str(amount)) for name, amount in parts], separators=(",", ":"))


def _parts(text: str) -> Parts:
    return tuple((name, Decimal(amount)) for name, amount in json.loads(text))


def add_lines(connection: Connection, gateway: str, boot: str, lines: Iterable[Ask | Answered]) -> None:
    """Take lines in; those that are there already change nothing."""
    orders: list[dict[str, object]] = []
    asks: list[dict[str, object]] = []
    answers: list[Answered] = []
    for line in lines:
        if isinstance(line, Answered):
            answers.append(line)
            continue
        asks.append(
            {
                "gateway": gateway, "boot": boot, "seq": line.seq, "at_us": line.at_us, "grant": line.grant,
                "consumer": line.consumer, "account": line.account, "key": line.key, "method": line.method,
                "endpoint": line.endpoint, "action": line.action, "symbol": line.symbol, "side": line.side,
                "notional": line.notional,
                "client_ids": json.dumps(line.client_order_ids), "target": line.target, "decision": line.decision,
                "reason": line.reason, "source": line.source, "leaving": line.leaving,
                "reserved": _parts_text(line.reserved), "released": "[]", "status": line.status,
            }
        )  # fmt: skip
        if line.decision != "deny":
            orders += [
                {**_owned(line.account, line.symbol or "", name, line.grant, line.at_us), "seq": line.seq}
                for name in line.client_order_ids
            ]
    if asks:
        known = _known(connection, gateway, boot, [row["seq"] for row in asks])
        # whose orders they are was settled when they came first: a refused one must not be claimed once more
        orders = [order for order in orders if order.pop("seq") not in known]
        connection.execute(upsert(connection, t.CALLS).on_conflict_do_nothing(), asks)
    if orders:
        connection.execute(upsert(connection, t.ORDERS).on_conflict_do_nothing(), orders)
    for answer in answers:
        _answered(connection, gateway, boot, answer)


def _known(connection: Connection, gateway: str, boot: str, seqs: list[Any]) -> set[int]:
    """Return which of a boot's asks are there already."""
    c = t.CALLS.c
    query = select(c.seq).where(c.gateway == gateway, c.boot == boot, c.seq.between(min(seqs), max(seqs)))
    return set(connection.execute(query).scalars())


def _owned(account: str, symbol: str, name: str, grant: str, at_us: int) -> dict[str, object]:
    return {"account": account, "symbol": symbol, "name": name, "grant": grant, "seen_us": at_us}


def _answered(connection: Connection, gateway: str, boot: str, answer: Answered) -> None:
    """Fill in what came back, and settle whose orders those are.

    An order the venue took is its sender's, under every name. One it refused is nobody's: else a bot could claim
    another's order by sending its client order id once more.
    """
    here = (t.CALLS.c.gateway == gateway, t.CALLS.c.boot == boot, t.CALLS.c.seq == answer.of)
    ask = connection.execute(select(t.CALLS).where(*here)).first()
    if ask is None or ask.outcome is not None:  # the first answer stands: the log is only ever added to
        return
    connection.execute(
        t.CALLS.update()
        .where(*here)
        .values(
            status=answer.status,
            code=answer.code,
            outcome=answer.outcome,
            latency_us=answer.latency_us,
            released=_parts_text(answer.released),
        )
    )
    if ask.action == "amend" and answer.outcome == "done":  # the venue gave the order another client order id
        for symbol, _, name, _ in answer.orders:
            if name is not None:
                _claim(connection, _owned(ask.account, symbol, name, ask.grant, answer.at_us))
    if ask.action != "place":
        return
    names = json.loads(ask.client_ids)
    if answer.outcome == "refused":
        connection.execute(
            t.ORDERS.delete().where(
                t.ORDERS.c.account == ask.account,
                t.ORDERS.c.symbol == (ask.symbol or ""),
                t.ORDERS.c.name.in_(names),
                t.ORDERS.c.grant == ask.grant,
                t.ORDERS.c.seen_us == ask.at_us,
            )
        )
    elif answer.outcome == "done":
        own = [(symbol, name, number) for symbol, number, name, _ in answer.orders if name in names]
        for symbol, name, number in own:
            for known in (name, None if number is None else f"#{number}"):
                if known is not None:
                    _claim(connection, _owned(ask.account, symbol, known, ask.grant, answer.at_us))


def _claim(connection: Connection, row: dict[str, object]) -> None:
    put = upsert(connection, t.ORDERS).values(**row)
    connection.execute(
        put.on_conflict_do_update(
            index_elements=["account", "symbol", "name"],
            set_={"grant": row["grant"], "seen_us": row["seen_us"]},
        )
    )


def owner(connection: Connection, account: str, symbol: str, name: str) -> str | None:
    """Return the grant an order is recorded under."""
    query = select(t.ORDERS.c.grant).where(
        t.ORDERS.c.account == account, t.ORDERS.c.symbol == symbol, t.ORDERS.c.name == name
    )
    found: str | None = connection.execute(query).scalar()
    return found


def page(
    connection: Connection, before: tuple[int, str, int], limit: int, filters: dict[str, str]
) -> list[Row[Any]]:
    """Return calls, newest first."""
    at_us, boot, seq = before
    query = (
        select(t.CALLS)
        .where(
            (t.CALLS.c.at_us < at_us)
            | (
                (t.CALLS.c.at_us == at_us)
                & ((t.CALLS.c.boot < boot) | ((t.CALLS.c.boot == boot) & (t.CALLS.c.seq < seq)))
            )
        )
        .order_by(t.CALLS.c.at_us.desc(), t.CALLS.c.boot.desc(), t.CALLS.c.seq.desc())
        .limit(limit)
    )
    for name, value in filters.items():
        query = query.where(t.CALLS.c[name] == value)
    return list(connection.execute(query))


def counts_since(connection: Connection, since_us: int) -> dict[tuple[str, str], int]:
    """Return how many calls there were, by grant and decision."""
    query = (
        select(t.CALLS.c.grant, t.CALLS.c.decision, func.count())
        .where(t.CALLS.c.at_us >= since_us)
        .group_by(t.CALLS.c.grant, t.CALLS.c.decision)
    )
    return {(grant, decision): count for grant, decision, count in connection.execute(query)}


def refused_orders(connection: Connection, since_us: int) -> dict[str, int]:
    """Count the orders that were refused since then, by consumer."""
    call = t.CALLS.c
    query = (
        select(call.consumer, func.count())
        .where(call.at_us >= since_us, call.decision == "deny", call.action == "place")
        .group_by(call.consumer)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


# --- the budget ledger ------------------------------------------------------------------------


def key_answers(connection: Connection, key: str, since_us: int, codes: Collection[str]) -> tuple[int, int]:
    """Count what came back to calls signed with a key version since then: of one of these codes, and in all."""
    call = t.CALLS.c
    query = select(func.count(), func.sum(case((call.code.in_(list(codes)), 1), else_=0))).where(
        call.key == key, call.at_us >= since_us, call.outcome.is_not(None)
    )
    row = connection.execute(query).one()
    return int(row[1] or 0), int(row[0])


def _loan(row: Row[Any]) -> Slice:
    """Read a budget slice."""
    return Slice(row.id, Decimal(row.amount), row.lent_us, Decimal(row.returned), row.closed_us)


def slices(connection: Connection, grant: str, since_us: int) -> list[Slice]:
    """Return the slices of a grant that are open, or were closed since."""
    query = select(t.SLICES).where(
        t.SLICES.c.grant == grant, t.SLICES.c.closed_us.is_(None) | (t.SLICES.c.closed_us > since_us)
    )
    return [_loan(row) for row in connection.execute(query)]


def lend(connection: Connection, loan: Slice, grant: str, gateway: str, boot: str) -> None:
    """Insert a slice."""
    connection.execute(
        t.SLICES.insert().values(
            id=loan.id, grant=grant, gateway=gateway, boot=boot, amount=str(loan.amount), returned="0",
            lent_us=loan.lent_us,
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
            values["closed_us"] = closed_us
        connection.execute(t.SLICES.update().where(*here).values(**values))


def close_boot(connection: Connection, gateway: str, boot: str, now_us: int, *, whole: bool = True) -> None:
    """Close the open slices of a gateway's earlier boot: what its calls did not spend goes back.

    Where lines of it are lost nobody knows what it spent: then nothing goes back.
    """
    query = select(t.SLICES).where(
        t.SLICES.c.gateway == gateway, t.SLICES.c.boot == boot, t.SLICES.c.closed_us.is_(None)
    )
    left = {row.id: Decimal(row.amount) for row in connection.execute(query)}
    if not whole:
        give_back(connection, gateway, tuple((slice_id, ZERO) for slice_id in left), now_us)
        return
    if not left:
        return
    calls = select(t.CALLS.c.reserved, t.CALLS.c.released).where(
        t.CALLS.c.gateway == gateway, t.CALLS.c.boot == boot, t.CALLS.c.reserved != "[]"
    )
    freed = select(t.CALLS.c.released).where(
        t.CALLS.c.gateway == gateway, t.CALLS.c.boot == boot, t.CALLS.c.released != "[]"
    )
    for row in connection.execute(calls):
        for slice_id, amount in _parts(row.reserved):
            if slice_id in left:
                left[slice_id] -= amount
    for row in connection.execute(freed):
        for slice_id, amount in _parts(row.released):
            if slice_id in left:
                left[slice_id] += amount
    give_back(connection, gateway, tuple(left.items()), now_us)


# --- what the audit trail knows of the log ----------------------------------------------------


def boots_since(connection: Connection, since_us: int) -> list[tuple[str, str]]:
    """Return gateways and boots that have asked for something since."""
    query = select(t.CALLS.c.gateway, t.CALLS.c.boot).where(t.CALLS.c.at_us >= since_us).distinct()
    return [(row.gateway, row.boot) for row in connection.execute(query)]


def after(connection: Connection, gateway: str, boot: str, seq: int, limit: int) -> list[dict[str, Any]]:
    """Return a boot's calls after one number, in order."""
    c = t.CALLS.c
    query = select(t.CALLS).where(c.gateway == gateway, c.boot == boot, c.seq > seq)
    rows = connection.execute(query.order_by(c.seq).limit(limit)).mappings()
    return [dict(row) for row in rows]


def between(connection: Connection, gateway: str, boot: str, first: int, last: int) -> list[dict[str, Any]]:
    """Return a boot's calls from one number to another, in order."""
    c = t.CALLS.c
    query = select(t.CALLS).where(c.gateway == gateway, c.boot == boot, c.seq.between(first, last))
    return [dict(row) for row in connection.execute(query.order_by(c.seq)).mappings()]
