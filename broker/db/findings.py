"""Queries on what the sweep found. A row without a key says which sweep of an account began last."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, tuple_

from broker.db import tables as t
from broker.db.upsert import upsert
from broker.model import moment


@dataclass(frozen=True, slots=True)
class Finding:
    """One key that is not as it is on record. `ref` is None where the record does not know it."""

    account: str
    key_id: str
    what: str
    says: str
    ref: str | None = None
    first_at: datetime | None = None
    last_at: datetime | None = None


def found(
    connection: Connection, account: str, ones: Iterable[Finding], now_us: int, *, only_more: bool = False
) -> list[Finding]:
    """Write down what a sweep of an account found, end what it did not find again; return what is new.

    `only_more`: it could not look at everything, so what was found before stands.
    """
    here = t.FINDINGS.c
    known = {
        (row.key_id, row.what)
        for row in connection.execute(
            select(here.key_id, here.what).where(here.account == account, here.ended_us.is_(None))
        )
    }
    now = list(ones)
    for one in now:
        values = {"ref": one.ref, "says": one.says, "last_us": now_us, "ended_us": None}
        if (one.key_id, one.what) not in known:
            values["first_us"] = now_us
        row = upsert(connection, t.FINDINGS).values(
            account=account, key_id=one.key_id, what=one.what, **({"first_us": now_us} | values)
        )
        connection.execute(
            row.on_conflict_do_update(index_elements=["account", "key_id", "what"], set_=values)
        )
    gone = known - {(one.key_id, one.what) for one in now}
    if gone and not only_more:
        connection.execute(
            t.FINDINGS.update()
            .where(here.account == account, tuple_(here.key_id, here.what).in_(list(gone)))
            .values(ended_us=now_us)
        )
    return [one for one in now if (one.key_id, one.what) not in known]


_SWEEP = ("", "sweep")
"""Key id and `what` of the row that is no finding."""


def begin(connection: Connection, account: str, sweep: str, now_us: int) -> None:
    """A sweep of an account begins: what earlier ones found counts no more."""
    values = {"ref": sweep, "says": "", "first_us": now_us, "last_us": now_us, "ended_us": now_us}
    row = upsert(connection, t.FINDINGS).values(account=account, key_id=_SWEEP[0], what=_SWEEP[1], **values)
    connection.execute(row.on_conflict_do_update(index_elements=["account", "key_id", "what"], set_=values))


def is_last(connection: Connection, account: str, sweep: str) -> bool:
    """Tell whether no later sweep of an account began; none does until the transaction ends."""
    here = t.FINDINGS.c
    query = (
        select(here.ref)
        .where(here.account == account, here.key_id == _SWEEP[0], here.what == _SWEEP[1])
        .with_for_update()
    )
    return connection.execute(query).scalar() == sweep


def end(connection: Connection, key_id: str, now_us: int) -> None:
    """End what was found about a key: it is dead."""
    here = t.FINDINGS.c
    connection.execute(
        t.FINDINGS.update().where(here.key_id == key_id, here.ended_us.is_(None)).values(ended_us=now_us)
    )


def standing(connection: Connection) -> list[Finding]:
    """Return what was found and not ended, by account."""
    here = t.FINDINGS.c
    query = (
        select(t.FINDINGS).where(here.ended_us.is_(None)).order_by(here.account, here.first_us, here.key_id)
    )
    return [
        Finding(
            row.account, row.key_id, row.what, row.says, row.ref, moment(row.first_us), moment(row.last_us)
        )
        for row in connection.execute(query)
    ]
