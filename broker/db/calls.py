"""Queries on the call log and order owners."""

import json
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, case, func, select
from sqlalchemy.engine import Row

from broker.budget import Parts
from broker.calllog import Answered, Ask, SentLine
from broker.db import early, fills
from broker.db import log_tables as t
from broker.db.upsert import upsert
from broker.db.weighing import Fill
from broker.listed import NOT_SAID
from broker.paid import pair_of

MOST_NAMESAKES = 100
_MOST_LATEST = 20_000


def _parts_text(parts: Parts) -> str:
    return json.dumps([(name, str(amount)) for name, amount in parts], separators=(",", ":"))


def parts_of(text: str) -> Parts:
    """Read which amounts of which slices a row names."""
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
            orders += [_sent(gateway, boot, line, one) for one in line.sent]
    if asks:
        known = _known(connection, gateway, boot, [row["seq"] for row in asks])
        # what became of them was settled when they came first: one that was refused must not be there once more
        orders = [order for order in orders if order["seq"] not in known]
        asks = [row for row in asks if row["seq"] not in known]
    if asks:
        connection.execute(upsert(connection, t.CALLS).on_conflict_do_nothing(), asks)
    if orders:
        orders = early.settled(connection, gateway, boot, orders)
    if orders:
        connection.execute(upsert(connection, t.SENT_ORDERS).on_conflict_do_nothing(), orders)
    if answers:
        _answered(connection, gateway, boot, answers)


def _known(connection: Connection, gateway: str, boot: str, seqs: list[Any]) -> set[int]:
    """Return which of a boot's asks are there already."""
    c = t.CALLS.c
    query = select(c.seq).where(c.gateway == gateway, c.boot == boot, c.seq.between(min(seqs), max(seqs)))
    gone = _gone(connection, gateway, boot)  # they were there, and what became of them is settled
    return set(connection.execute(query).scalars()) | {seq for seq in seqs if seq <= gone}


def _gone(connection: Connection, gateway: str, boot: str) -> int:
    """Return up to which number a boot's calls are not kept any more; 0 where all are."""
    b = t.CALLS_BEFORE.c
    found = connection.execute(select(b.upto).where(b.gateway == gateway, b.boot == boot)).scalar()
    return int(found or 0)


def _sent(gateway: str, boot: str, line: Ask, one: SentLine) -> dict[str, object]:
    name, side, quantity, price, exact = one
    first_us, last_us = line.window_us
    return {
        "account": line.account, "symbol": line.symbol or "", "name": name, "gateway": gateway, "boot": boot,
        "seq": line.seq, "grant": line.grant, "sent_us": first_us, "until_us": last_us, "side": side,
        "quantity": quantity, "price": price, "exact": exact, "base": line.base or None,
        "quote": line.quote or None, "frees": line.frees or None,
    }  # fmt: skip


def _answered(connection: Connection, gateway: str, boot: str, answers: list[Answered]) -> None:
    """Fill in what came back, and settle whose orders those are; each kind of change is one statement for all.

    An order is its sender's by the venue's id of it, once the answer gave it: to have asked for a name owns nothing.
    """
    answers = [
        _as_before(connection, gateway, boot, one)
        if one.outcome == "done" and one.orders and not one.account
        else one
        for one in answers
    ]
    refused = [
        {"_gateway": one.gateway or gateway, "_boot": one.boot or boot, "_seq": one.of}
        for one in answers
        if one.outcome == "refused" or one.none_placed
    ]
    owned = {
        (one.account, symbol, known_as): {
            "account": one.account, "symbol": symbol, "name": known_as, "grant": one.grant, "seen_us": one.at_us
        }
        for one in answers
        if one.outcome != "refused"
        for symbol, known_as, _ in one.own
    }  # fmt: skip
    named = [
        {
            "_gateway": one.gateway or gateway, "_boot": one.boot or boot, "_seq": one.of, "_symbol": symbol,
            "_name": name, "known_as": known_as,
        }
        for one in answers
        if one.outcome != "refused"
        for symbol, known_as, name in one.own
    ]  # fmt: skip
    sent = t.SENT_ORDERS.c
    here = (
        sent.gateway == bindparam("_gateway"), sent.boot == bindparam("_boot"), sent.seq == bindparam("_seq")
    )  # fmt: skip
    if refused:
        connection.execute(t.SENT_ORDERS.delete().where(*here), refused)
    if owned:
        put = upsert(connection, t.ORDERS)
        changed = {"grant": put.excluded.grant, "seen_us": put.excluded.seen_us}
        connection.execute(
            put.on_conflict_do_update(index_elements=["account", "symbol", "name"], set_=changed),
            list(owned.values()),
        )
        connection.execute(
            t.SENT_ORDERS.update()
            .where(*here, sent.name == bindparam("_name"), sent.symbol == bindparam("_symbol"))
            .values(known_as=bindparam("known_as")),
            named,
        )
    by_others = {(one.gateway or gateway, one.boot, one.of): one.at_us for one in answers if one.boot}
    early.keep(connection, by_others, refused, named)
    fills.note(connection, _fills(connection, answers, owned))
    call, own = t.CALLS.c, [one for one in answers if not one.boot]  # the log of an earlier boot is sealed
    if not own:
        return
    connection.execute(  # the first answer stands: the log is only ever added to
        t.CALLS.update().where(
            call.gateway == gateway, call.boot == boot, call.seq == bindparam("_seq"), call.outcome.is_(None)
        ),
        [
            {
                "_seq": one.of, "status": one.status, "code": one.code, "outcome": one.outcome,
                "latency_us": one.latency_us, "released": _parts_text(one.released),
            }
            for one in own
        ],
    )  # fmt: skip


def _fills(
    connection: Connection, answers: list[Answered], owned: Mapping[tuple[str, str, str], dict[str, Any]]
) -> list[Fill]:
    """Return what answers tell of orders whose grant is on record by now."""
    found = []
    for answer in answers:
        listed = {(symbol, order_id): one for symbol, order_id, one in answer.lists or ()}
        of_none = NOT_SAID if answer.lists is None else ""
        for account, symbol, order_id, base, side, executed, left in answer.fills:
            pair, known_as = pair_of(symbol), f"#{order_id}"
            mine = owned.get((account, pair, known_as))
            grant = owner(connection, account, pair, known_as) if mine is None else mine["grant"]
            if grant is not None:
                found.append(
                    Fill(
                        account,
                        symbol,
                        order_id,
                        grant,
                        base,
                        side,
                        Decimal(executed),
                        Decimal(left),
                        answer.at_us,
                        listed.get((symbol, order_id), of_none),
                    )
                )
    return found


def _as_before(connection: Connection, gateway: str, boot: str, answer: Answered) -> Answered:
    """Read an answer of an older gateway's spool, which does not say itself whose orders it placed."""
    here = (t.CALLS.c.gateway == gateway, t.CALLS.c.boot == boot, t.CALLS.c.seq == answer.of)
    ask = connection.execute(select(t.CALLS).where(*here)).first()
    if ask is None or ask.action != "place" or ask.endpoint.endswith(".test") or ask.outcome is not None:
        return answer
    names = json.loads(ask.client_ids)
    own = tuple((row[0], f"#{row[1]}", row[2] or "") for row in answer.orders if row[1] and row[2] in names)
    return msgspec.structs.replace(answer, account=ask.account, grant=ask.grant, own=own)


def owner(connection: Connection, account: str, symbol: str, known_as: str) -> str | None:
    """Return the grant that an order is recorded under by the venue's id of it."""
    query = select(t.ORDERS.c.grant).where(
        t.ORDERS.c.account == account, t.ORDERS.c.symbol == symbol, t.ORDERS.c.name == known_as
    )
    found: str | None = connection.execute(query).scalar()
    return found


def sent_as(connection: Connection, account: str, symbol: str, name: str) -> list[Row[Any]]:
    """Return what was sent under a name, newest first: so many that have an id, and so many that have none.

    Of those the latest of each grant in turn: however often another one uses the name, a request whose answer was
    lost is its sender's to claim.
    """
    c = t.SENT_ORDERS.c
    here = (c.account == account, c.symbol == symbol, c.name == name)
    answered = select(t.SENT_ORDERS).where(*here, c.known_as.is_not(None)).order_by(c.sent_us.desc())
    turn = func.row_number().over(partition_by=c.grant, order_by=c.sent_us.desc()).label("turn")
    open_ = select(t.SENT_ORDERS, turn).where(*here, c.known_as.is_(None)).subquery()
    in_turn = select(open_).order_by(open_.c.turn, open_.c.sent_us.desc())
    rows = [row for query in (answered, in_turn) for row in connection.execute(query.limit(MOST_NAMESAKES))]
    return sorted(rows, key=lambda row: -row.sent_us)


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


def refused_orders(connection: Connection, since_us: int) -> dict[str, dict[str, int]]:
    """Count the orders that we refused since then, by consumer and reason."""
    call = t.CALLS.c
    query = (
        select(call.consumer, call.reason, func.count())
        .where(call.at_us >= since_us, call.decision == "deny", call.action == "place")
        .group_by(call.consumer, call.reason)
    )
    found: dict[str, dict[str, int]] = {}
    for consumer, reason, count in connection.execute(query):
        found.setdefault(consumer, {})[reason or "unknown"] = count
    return found


def key_answers(connection: Connection, key: str, since_us: int, codes: Collection[str]) -> tuple[int, int]:
    """Count what came back to calls signed with a key version since then: of one of these codes, and in all."""
    call = t.CALLS.c
    query = select(func.count(), func.sum(case((call.code.in_(list(codes)), 1), else_=0))).where(
        call.key == key, call.at_us >= since_us, call.outcome.is_not(None)
    )
    row = connection.execute(query).one()
    return int(row[1] or 0), int(row[0])


# --- what the audit trail knows of the log ----------------------------------------------------


def went_through(
    connection: Connection, account: str, consumer: str, gateways: Collection[str], since_us: int
) -> bool:
    """Tell whether one of a consumer's latest calls since then went through one of these gateways."""
    c = t.CALLS.c
    latest = (
        select(c.gateway, c.account)
        .where(c.consumer == consumer, c.at_us >= since_us)
        .order_by(c.at_us.desc())
        .limit(_MOST_LATEST)
        .subquery()
    )
    query = select(latest.c.gateway).where(
        latest.c.account == account, latest.c.gateway.in_(sorted(gateways))
    )
    return connection.execute(query.limit(1)).first() is not None


def boots_since(connection: Connection, since_us: int) -> list[tuple[str, str]]:
    """Return gateways and boots that have asked for something since."""
    query = select(t.CALLS.c.gateway, t.CALLS.c.boot).where(t.CALLS.c.at_us >= since_us).distinct()
    return [(row.gateway, row.boot) for row in connection.execute(query)]


def last_of(connection: Connection, gateway: str, boot: str) -> int:
    """Return the number of a boot's last call, kept still or not; 0 where there is none."""
    c = t.CALLS.c
    query = select(func.max(c.seq)).where(c.gateway == gateway, c.boot == boot)
    return max(int(connection.execute(query).scalar() or 0), _gone(connection, gateway, boot))


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
