"""Queries on what operators ask of the rotator. An ask is worked on by whoever claimed it, and answered once."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, or_, select
from sqlalchemy.engine import Row

from broker.db import tables as t


@dataclass(frozen=True, slots=True)
class Ask:
    """One ask. `body` is JSON; `outcome` is None until it was answered, then empty where it was done."""

    id: str
    rotation: str
    what: str
    body: str
    operator: str
    created_us: int
    done_us: int | None = None
    outcome: str | None = None


def add(connection: Connection, one: Ask) -> None:
    """Insert an ask."""
    connection.execute(
        t.ROTATION_ASKS.insert().values(
            id=one.id, rotation=one.rotation, what=one.what, body=one.body, operator=one.operator,
            created_us=one.created_us,
        )
    )  # fmt: skip


def get(connection: Connection, ask: str) -> Ask | None:
    """Return one ask."""
    row = connection.execute(select(t.ROTATION_ASKS).where(t.ROTATION_ASKS.c.id == ask)).first()
    return None if row is None else _ask(row)


def of(connection: Connection, rotation: str) -> list[Ask]:
    """Return what was asked of one rotation, oldest first."""
    query = select(t.ROTATION_ASKS).where(t.ROTATION_ASKS.c.rotation == rotation)
    return [_ask(row) for row in connection.execute(query.order_by(t.ROTATION_ASKS.c.created_us))]


def is_waiting(connection: Connection, now_us: int) -> bool:
    """Tell whether an ask waits that nobody works on."""
    asked = t.ROTATION_ASKS.c
    query = select(asked.id).where(asked.done_us.is_(None), asked.claimed_until_us <= now_us).limit(1)
    return connection.execute(query).first() is not None


def claim(connection: Connection, who: str, now_us: int, until_us: int) -> Ask | None:
    """Claim the oldest ask that nobody works on."""
    asked = t.ROTATION_ASKS.c
    query = (
        select(t.ROTATION_ASKS)
        .where(asked.done_us.is_(None), or_(asked.claimed_until_us <= now_us, asked.claimed_by == who))
        .order_by(asked.created_us)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    put_off(connection, row.id, who, until_us)
    return _ask(row)


def put_off(connection: Connection, ask: str, who: str | None, until_us: int) -> None:
    """Keep an ask from being claimed until then."""
    connection.execute(
        t.ROTATION_ASKS.update()
        .where(t.ROTATION_ASKS.c.id == ask)
        .values(claimed_by=who, claimed_until_us=until_us)
    )


def finish(connection: Connection, ask: str, now_us: int, outcome: str) -> None:
    """Write down what became of an ask, once."""
    asked = t.ROTATION_ASKS.c
    connection.execute(
        t.ROTATION_ASKS.update()
        .where(asked.id == ask, asked.done_us.is_(None))
        .values(done_us=now_us, outcome=outcome)
    )


def _ask(row: Row[Any]) -> Ask:
    return Ask(
        row.id, row.rotation, row.what, row.body, row.operator, row.created_us, row.done_us, row.outcome
    )
