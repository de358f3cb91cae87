"""Queries on keys that were handed out.

Whether a key is dead is on record of the key alone (`broker.model.Death`), and is read from there: what is withdrawn
there holds for what left, too. `dead_us` says when that was heard of.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, and_, or_, select
from sqlalchemy.engine import Row

from broker.db import accounts as account_store
from broker.db import grants as grant_store
from broker.db import tables as t
from broker.model import Death, KeyRef, chain, moment
from broker.steady import Span
from clients.venue import Slot

_FOR_EVER_US = 2**62


@dataclass(frozen=True, slots=True)
class Checkout:
    """A real key in somebody's hands. `rotation` is the last that was begun to end it; `dead_at`: it is proven dead.

    `death` is what says that the key is dead; None where the key is not on record.
    """

    id: str
    grant: str
    ref: KeyRef
    operator: str
    holder: str
    reason: str
    opened_at: datetime
    ends_at: datetime
    closed_at: datetime | None = None
    rotation: str | None = None
    dead_at: datetime | None = None
    base: str = ""
    skew_us: int = 0
    death: Death | None = Death.UNSAID

    @property
    def is_answered_for(self) -> bool:
        """Whether nobody has to see to it any more: its key is proven dead, or was twice looked up by a person."""
        return self.dead_at is not None or self.death is Death.CONFIRMED

    @property
    def span(self) -> Span:
        """How long it lasts, by the clocks (`broker.steady`)."""
        ends_us = microseconds(self.ends_at)
        length_us = (self.ends_at - self.opened_at) // timedelta(microseconds=1)
        return Span(ends_us, length_us, self.base, self.skew_us)


def add(connection: Connection, one: Checkout, opened_us: int, ends_us: int) -> None:
    """Insert a checkout."""
    connection.execute(
        t.CHECKOUTS.insert().values(
            id=one.id, grant=one.grant, account=one.ref.account, version=one.ref.version, operator=one.operator,
            holder=one.holder, reason=one.reason, opened_us=opened_us, ends_us=ends_us, base=one.base,
            skew_us=one.skew_us,
        )
    )  # fmt: skip


def restore(connection: Connection, one: Checkout) -> None:
    """Insert a checkout as it was known, of which nothing is on record."""
    add(connection, one, microseconds(one.opened_at), microseconds(one.ends_at))
    if one.closed_at is not None:
        close(connection, one.id, microseconds(one.closed_at))


def microseconds(at: datetime) -> int:
    """Return an instant as it is kept."""
    return round(at.timestamp() * 1_000_000)


def get(connection: Connection, checkout: str) -> Checkout | None:
    """Return one."""
    row = connection.execute(_select().where(t.CHECKOUTS.c.id == checkout)).first()
    return None if row is None else _checkout(row)


def every(connection: Connection, limit: int) -> list[Checkout]:
    """Return the newest."""
    query = _select().order_by(t.CHECKOUTS.c.opened_us.desc()).limit(limit)
    return [_checkout(row) for row in connection.execute(query)]


def running(connection: Connection) -> list[Checkout]:
    """Return those that nobody ended yet."""
    out = t.CHECKOUTS.c
    query = _select().where(out.closed_us.is_(None), out.dead_us.is_(None))
    return [_checkout(row) for row in connection.execute(query)]


def close(connection: Connection, checkout: str, now_us: int) -> bool:
    """End one, now or once more; tell whether its key is not known to be dead."""
    row = connection.execute(_select().where(t.CHECKOUTS.c.id == checkout)).first()
    if row is None or _checkout(row).dead_at is not None:
        return False
    connection.execute(t.CHECKOUTS.update().where(t.CHECKOUTS.c.id == checkout).values(closed_us=now_us))
    return True


def end_in(connection: Connection, names: Iterable[str], now_us: int) -> list[str]:
    """End those that stand in some scopes, and return them; their keys live until they are rotated."""
    wanted, ended = set(names), []
    for out in running(connection):
        account = account_store.account(connection, out.ref.account)
        grant = grant_store.grant(connection, out.grant)
        if account is None or grant is None:
            continue
        scopes = chain(account.venue, out.ref, "", grant.consumer, grant.id)
        if not wanted.isdisjoint(scopes) and close(connection, out.id, now_us):
            ended.append(out.id)
    return ended


def over(connection: Connection, now_us: int) -> list[Checkout]:
    """Return those whose time is over by the wall clock or that were closed, and whose key is not known to be dead."""
    out, death = t.CHECKOUTS.c, t.KEY_VERSIONS.c.death
    query = _select().where(
        or_(out.dead_us.is_(None), death.is_(None), death != Death.PROVEN.value),
        or_(out.closed_us.is_not(None), out.ends_us <= now_us),
    )
    return [_checkout(row) for row in connection.execute(query.order_by(out.opened_us))]


def open_now(connection: Connection) -> list[Checkout]:
    """Return every one that somebody has to see to, whether its time is over or not."""
    return [one for one in over(connection, _FOR_EVER_US) if not one.is_answered_for]


def being_ended(connection: Connection, checkout: str, rotation: str, now_us: int) -> None:
    """Say which rotation is to end one."""
    out = t.CHECKOUTS.c
    connection.execute(t.CHECKOUTS.update().where(out.id == checkout).values(rotation=rotation))
    connection.execute(
        t.CHECKOUTS.update().where(out.id == checkout, out.closed_us.is_(None)).values(closed_us=now_us)
    )


def dead(connection: Connection, checkout: str, now_us: int) -> None:
    """Say that it was heard of that the key is proven dead."""
    out = t.CHECKOUTS.c
    connection.execute(
        t.CHECKOUTS.update().where(out.id == checkout, out.closed_us.is_(None)).values(closed_us=now_us)
    )
    connection.execute(t.CHECKOUTS.update().where(out.id == checkout).values(dead_us=now_us))


def _select() -> Select[Any]:
    """Ask for checkouts, each with what says that its key is dead."""
    out, key = t.CHECKOUTS.c, t.KEY_VERSIONS.c
    same = and_(key.account == out.account, key.slot == Slot.TRADE.value, key.version == out.version)
    return select(t.CHECKOUTS, key.death).select_from(t.CHECKOUTS.outerjoin(t.KEY_VERSIONS, same))


def _checkout(row: Row[Any]) -> Checkout:
    death = None if row.death is None else Death(row.death)
    dead_at = None if row.dead_us is None or death is not Death.PROVEN else moment(row.dead_us)
    return Checkout(
        row.id, row.grant, KeyRef(row.account, Slot.TRADE, row.version), row.operator, row.holder, row.reason,
        moment(row.opened_us), moment(row.ends_us), None if row.closed_us is None else moment(row.closed_us),
        row.rotation, dead_at, row.base, row.skew_us, death,
    )  # fmt: skip
