"""Queries on when keys are rotated."""

from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.engine import Row

from broker.db import tables as t
from broker.db.upsert import upsert
from broker.model import Schedule, moment
from clients.venue import Slot


def every(connection: Connection) -> list[Schedule]:
    """Return all, by account and slot."""
    query = select(t.SCHEDULES).order_by(t.SCHEDULES.c.account, t.SCHEDULES.c.slot)
    return [_schedule(row) for row in connection.execute(query)]


def get(connection: Connection, account: str, slot: Slot) -> Schedule | None:
    """Return one."""
    query = select(t.SCHEDULES).where(t.SCHEDULES.c.account == account, t.SCHEDULES.c.slot == slot.value)
    row = connection.execute(query).first()
    return None if row is None else _schedule(row)


def add(connection: Connection, one: Schedule) -> None:
    """Insert one, unless there is one."""
    row = upsert(connection, t.SCHEDULES).values(
        account=one.account, slot=one.slot.value, interval_s=_s(one.interval_for), jitter_s=_s(one.jitter_for),
        windows=one.windows, zone=one.zone, paused=one.paused, why=one.why,
    )  # fmt: skip
    connection.execute(row.on_conflict_do_nothing())


def change(connection: Connection, one: Schedule) -> None:
    """Write over what an operator may choose; the drawn jitter goes along."""
    connection.execute(
        t.SCHEDULES.update()
        .where(t.SCHEDULES.c.account == one.account, t.SCHEDULES.c.slot == one.slot.value)
        .values(
            interval_s=_s(one.interval_for), jitter_s=_s(one.jitter_for), windows=one.windows, zone=one.zone,
            paused=one.paused,
        )
    )  # fmt: skip


def work_out(connection: Connection, account: str, slot: Slot, next_us: int | None, why: str) -> None:
    """Write down when it is next, and why then."""
    connection.execute(
        t.SCHEDULES.update()
        .where(t.SCHEDULES.c.account == account, t.SCHEDULES.c.slot == slot.value)
        .values(next_us=next_us, why=why[:200])
    )


def _schedule(row: Row[Any]) -> Schedule:
    return Schedule(
        row.account, Slot(row.slot), timedelta(seconds=row.interval_s), timedelta(seconds=row.jitter_s),
        row.windows, row.zone, row.paused, None if row.next_us is None else moment(row.next_us), row.why,
    )  # fmt: skip


def _s(length: timedelta) -> int:
    return int(length.total_seconds())
