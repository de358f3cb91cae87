"""Queries on rotations: claimed, saved by row version, with their history. The rotation itself is opaque text here."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select
from sqlalchemy.engine import Row

from broker.db import tables as t
from broker.model import KeyRef

RETIRES = ("undead", "retire")
"""Why a rotation was drawn up that makes no key."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One rotation as it was saved: its text, and the version that the next save has to name."""

    id: str
    document: str
    row_version: int


def add(connection: Connection, values: Mapping[str, object]) -> None:
    """Insert a rotation; taken where the account's slot has an open one."""
    connection.execute(t.ROTATIONS.insert().values(**values))


def get(connection: Connection, rotation: str) -> Row[Any] | None:
    """Return one row."""
    return connection.execute(select(t.ROTATIONS).where(t.ROTATIONS.c.id == rotation)).first()


def page(
    connection: Connection,
    before: tuple[int, str],
    limit: int,
    *,
    account: str | None = None,
    only_open: bool = False,
) -> list[Row[Any]]:
    """Return rows before an instant and id, newest first."""
    row = t.ROTATIONS.c
    query = select(t.ROTATIONS).where(
        or_(row.created_us < before[0], and_(row.created_us == before[0], row.id < before[1]))
    )
    if account is not None:
        query = query.where(row.account == account)
    if only_open:
        query = query.where(row.ended_us.is_(None))
    return list(connection.execute(query.order_by(row.created_us.desc(), row.id.desc()).limit(limit)))


def every_open(connection: Connection) -> list[Row[Any]]:
    """Return every rotation that is not over, oldest first."""
    query = select(t.ROTATIONS).where(t.ROTATIONS.c.ended_us.is_(None))
    return list(connection.execute(query.order_by(t.ROTATIONS.c.created_us)))


def ordered(connection: Connection, account: str, slot: str, version: int) -> str | None:
    """Return the rotation that made a key version, as it was saved."""
    row = t.ROTATIONS.c
    query = select(row.document).where(
        row.account == account,
        row.slot == slot,
        row.new_version == version,
        row.state == "done",
        row.why.not_in(RETIRES),
    )
    return connection.execute(query.order_by(row.created_us).limit(1)).scalar()


def outcomes(connection: Connection) -> dict[str, int]:
    """Return how many rotations ended how."""
    row = t.ROTATIONS.c
    query = select(row.state, func.count()).where(row.ended_us.is_not(None)).group_by(row.state)
    return {row[0]: row[1] for row in connection.execute(query)}


def last_ended(connection: Connection, account: str, slot: str) -> Row[Any] | None:
    """Return the rotation of an account's slot that ended last."""
    row = t.ROTATIONS.c
    query = select(t.ROTATIONS).where(row.account == account, row.slot == slot, row.ended_us.is_not(None))
    return connection.execute(query.order_by(row.ended_us.desc()).limit(1)).first()


def making(connection: Connection, ref: KeyRef) -> Row[Any] | None:
    """Return the rotation that was to make a key version."""
    row = t.ROTATIONS.c
    query = select(t.ROTATIONS).where(
        row.account == ref.account, row.slot == ref.slot.value, row.new_version == ref.version,
        row.why.not_in(RETIRES),
    )  # fmt: skip
    return connection.execute(query.order_by(row.created_us).limit(1)).first()


def open_of(connection: Connection, account: str, slot: str) -> Row[Any] | None:
    """Return the open rotation of an account's slot."""
    query = select(t.ROTATIONS).where(t.ROTATIONS.c.open_slot == f"{account}/{slot}")
    return connection.execute(query).first()


def claim_due(connection: Connection, who: str, now_us: int, until_us: int) -> Stored | None:
    """Claim the rotation that has been due longest and that nobody works on; None where there is none.

    On PostgreSQL rows that another rotator is claiming are passed over; on SQLite a writer is alone.
    """
    row = t.ROTATIONS.c
    query = (
        select(row.id, row.document, row.row_version)
        .where(
            row.ended_us.is_(None),
            row.paused.is_(False),
            row.due_us <= now_us,
            or_(row.claimed_until_us <= now_us, row.claimed_by == who),
        )
        .order_by(row.due_us)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return _claimed(connection, connection.execute(query).first(), who, until_us)


def waiting(connection: Connection, who: Collection[str], now_us: int) -> int:
    """Return how many rotations are due and free to be claimed by these."""
    row = t.ROTATIONS.c
    query = select(func.count()).where(
        row.ended_us.is_(None), row.paused.is_(False), row.due_us <= now_us,
        or_(row.claimed_until_us <= now_us, row.claimed_by.in_(list(who))),
    )  # fmt: skip
    return connection.execute(query).scalar() or 0


def claim_one(connection: Connection, rotation: str, who: str, now_us: int, until_us: int) -> Stored | None:
    """Claim one rotation, due or not; None where somebody works on it, or it is over."""
    row = t.ROTATIONS.c
    query = (
        select(row.id, row.document, row.row_version)
        .where(
            row.id == rotation,
            row.ended_us.is_(None),
            or_(row.claimed_until_us <= now_us, row.claimed_by == who),
        )
        .with_for_update(skip_locked=True)
    )
    return _claimed(connection, connection.execute(query).first(), who, until_us)


def save(connection: Connection, rotation: str, row_version: int, values: Mapping[str, object]) -> bool:
    """Write a rotation over, if it is as it was read; False where somebody else was faster."""
    done = connection.execute(
        t.ROTATIONS.update()
        .where(t.ROTATIONS.c.id == rotation, t.ROTATIONS.c.row_version == row_version)
        .values(**values, row_version=row_version + 1)
    )
    return done.rowcount == 1


def add_step(connection: Connection, rotation: str, values: Mapping[str, object]) -> None:
    """Append one transition to a rotation's history."""
    steps = t.ROTATION_STEPS.c
    last = connection.execute(select(func.max(steps.number)).where(steps.rotation == rotation)).scalar() or 0
    connection.execute(t.ROTATION_STEPS.insert().values(rotation=rotation, number=last + 1, **values))


def last_steps(connection: Connection, rotation: str, most: int) -> list[Row[Any]]:
    """Return the end of a rotation's history, newest first."""
    query = select(t.ROTATION_STEPS).where(t.ROTATION_STEPS.c.rotation == rotation)
    return list(connection.execute(query.order_by(t.ROTATION_STEPS.c.number.desc()).limit(most)))


def steps(connection: Connection, rotation: str) -> list[Row[Any]]:
    """Return a rotation's history, oldest first."""
    query = select(t.ROTATION_STEPS).where(t.ROTATION_STEPS.c.rotation == rotation)
    return list(connection.execute(query.order_by(t.ROTATION_STEPS.c.number)))


def _claimed(connection: Connection, found: Any, who: str, until_us: int) -> Stored | None:
    if found is None:
        return None
    connection.execute(
        t.ROTATIONS.update()
        .where(t.ROTATIONS.c.id == found.id)
        .values(claimed_by=who, claimed_until_us=until_us, row_version=found.row_version + 1)
    )
    return Stored(found.id, found.document, found.row_version + 1)
