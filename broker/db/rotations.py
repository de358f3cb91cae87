"""Queries on rotations: claimed, saved by row version, with their history. The rotation itself is opaque text here."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, func, or_, select
from sqlalchemy.engine import Row

from broker.db import tables as t
from broker.model import KeyRef
from broker.steady import Span, Watch

RETIRES = ("undead", "retire", "orphan")
"""Why a rotation was drawn up that makes no key."""


_FAR = 1_000_000
"""More saves than a rotation makes."""


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


def claim_due(connection: Connection, who: str, now_us: int, claim: Span, watch: Watch) -> Stored | None:
    """Claim the rotation that has been due longest and that nobody works on; None where there is none.

    On PostgreSQL rows that another rotator is claiming are passed over; on SQLite a writer is alone.
    """
    query = _due(now_us).with_for_update(skip_locked=True)
    found = next((row for row in connection.execute(query) if _is_free(row, (who,), claim, watch)), None)
    return _claimed(connection, found, who, claim)


def waiting(connection: Connection, who: Collection[str], now_us: int, claim: Span, watch: Watch) -> int:
    """Return how many rotations are due and free to be claimed by these, for as long as `claim` lasts."""
    return sum(_is_free(row, who, claim, watch) for row in connection.execute(_due(now_us)))


def claim_one(connection: Connection, rotation: str, who: str, claim: Span, watch: Watch) -> Stored | None:
    """Claim one rotation, due or not; None where somebody works on it, or it is over."""
    row = t.ROTATIONS.c
    query = select(*_CLAIM).where(row.id == rotation, row.ended_us.is_(None))
    found = connection.execute(query.with_for_update(skip_locked=True)).first()
    if found is None or not _is_free(found, (who,), claim, watch):
        return None
    return _claimed(connection, found, who, claim)


def look_anew(connection: Connection, now_us: int) -> None:
    """Have every open rotation looked at now: by which clock it was put off is not sure any more."""
    row = t.ROTATIONS.c
    connection.execute(
        t.ROTATIONS.update().where(row.ended_us.is_(None), row.due_us > now_us).values(due_us=now_us)
    )


def claim_values(who: str, claim: Span | None) -> dict[str, object]:
    """Return what a claim is on record as; without one anybody may claim it at once."""
    one = Span(0, 0) if claim is None else claim
    return {
        "claimed_by": who, "claimed_until_us": one.until_us, "claimed_base": one.base,
        "claimed_skew_us": one.skew_us,
    }  # fmt: skip


def save(connection: Connection, rotation: str, row_version: int, values: Mapping[str, object]) -> bool:
    """Write a rotation over, if it is as it was read; False where somebody else was faster."""
    done = connection.execute(
        t.ROTATIONS.update()
        .where(t.ROTATIONS.c.id == rotation, t.ROTATIONS.c.row_version == row_version)
        .values(**values, row_version=row_version + 1)
    )
    return done.rowcount == 1


def is_as_read(connection: Connection, rotation: str, row_version: int, *, keep: bool) -> bool:
    """Tell whether a rotation is open and as it was read; `keep`: it stays so until the transaction ends."""
    row = t.ROTATIONS.c
    query = select(row.row_version).where(row.id == rotation, row.ended_us.is_(None))
    if keep:
        query = query.with_for_update()
    return connection.execute(query).scalar() == row_version


def hold_open(connection: Connection, why: str) -> list[str]:
    """Hold every open rotation that is not held; return their ids. Whoever works on one has lost it."""
    row = t.ROTATIONS.c
    query = select(row.id).where(row.ended_us.is_(None), row.held == "")
    found = list(connection.execute(query.order_by(row.id)).scalars())
    connection.execute(
        t.ROTATIONS.update()
        .where(row.id.in_(found))
        .values(held=why, row_version=row.row_version + 1, claimed_by=None, claimed_until_us=0)
    )
    return found


def outdate(connection: Connection) -> None:
    """Let no row version of another history name an open rotation of this one. Claims stand until their time is over.

    Whoever claimed it there may still have a request on its way.
    """
    row = t.ROTATIONS.c
    connection.execute(
        t.ROTATIONS.update().where(row.ended_us.is_(None)).values(row_version=row.row_version + _FAR)
    )


def release(connection: Connection, rotation: str, now_us: int) -> bool:
    """Let a held rotation be carried on again, at once; False where it was not held, or is over."""
    row = t.ROTATIONS.c
    done = connection.execute(
        t.ROTATIONS.update()
        .where(row.id == rotation, row.ended_us.is_(None), row.held != "")
        .values(held="", due_us=now_us)
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


_CLAIM = (
    t.ROTATIONS.c.id, t.ROTATIONS.c.document, t.ROTATIONS.c.row_version, t.ROTATIONS.c.claimed_by,
    t.ROTATIONS.c.claimed_until_us, t.ROTATIONS.c.claimed_base, t.ROTATIONS.c.claimed_skew_us,
)  # fmt: skip


def _due(now_us: int) -> Select[Any]:
    row = t.ROTATIONS.c
    query = select(*_CLAIM).where(
        row.ended_us.is_(None), row.paused.is_(False), row.held == "", row.due_us <= now_us
    )
    return query.order_by(row.due_us)


def _is_free(row: Any, who: Collection[str], claim: Span, watch: Watch) -> bool:
    """Tell whether nobody else works on a rotation: its claim is over, by the clocks (`broker.steady`)."""
    if row.claimed_by in who:
        return True
    one = Span(row.claimed_until_us, claim.length_us, row.claimed_base, row.claimed_skew_us)
    return watch.is_over(f"claim {row.id}", one)


def _claimed(connection: Connection, found: Any, who: str, claim: Span) -> Stored | None:
    if found is None:
        return None
    connection.execute(
        t.ROTATIONS.update()
        .where(t.ROTATIONS.c.id == found.id)
        .values(**claim_values(who, claim), row_version=found.row_version + 1)
    )
    return Stored(found.id, found.document, found.row_version + 1)
