"""Queries on who may still use a key version, which one is current, and canaries."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.engine import Row

from broker.db import coverage, rows
from broker.db import tables as t
from broker.db.upsert import upsert
from broker.model import KeyRef, KeyVersion, Stage
from broker.steady import SLEWED_US, Moment, Span, Watch
from clients.venue import Slot


@dataclass(frozen=True, slots=True)
class Hold:
    """Until when a gateway may use a key version at most, microseconds since the epoch. `key` as `str(KeyRef)`.

    The rest says by which clocks (`broker.steady`). As it is read, `until_us` is by the wall clock of who looks.
    """

    gateway: str
    boot: str
    key: str
    until_us: int
    length_us: int = 0
    base: str = ""
    skew_us: int = 0

    @property
    def span(self) -> Span:
        """What is counted."""
        return Span(self.until_us, self.length_us, self.base, self.skew_us)


def begun(gateway: str, boot: str, key: str, one: Span) -> Hold:
    """Return a hold for a span of time."""
    return Hold(gateway, boot, key, one.until_us, one.length_us, one.base, one.skew_us)


@dataclass(frozen=True, slots=True)
class Canary:
    """A gateway that is to try a key version; `well` is None while it has not answered."""

    rotation: str
    gateway: str
    key: str
    asked_us: int
    well: bool | None = None
    reason: str = ""


# --- holds ------------------------------------------------------------------------------------


def hold(connection: Connection, one: Hold) -> None:
    """Write a hold, or write it over."""
    values = _values(one)
    row = upsert(connection, t.LEASE_HOLDS).values(gateway=one.gateway, boot=one.boot, key=one.key, **values)
    connection.execute(row.on_conflict_do_update(index_elements=["gateway", "boot", "key"], set_=values))


def prolong(connection: Connection, one: Hold, now: Moment) -> bool:
    """Move a hold's end, if it is still there and not over; it is gone for good otherwise.

    That is asked of the boot clock alone: no looker calls a hold over before it does, and no step of a wall clock ends
    a lease. Of another base it is not known.
    """
    held = t.LEASE_HOLDS.c
    there = (held.gateway == one.gateway, held.boot == one.boot, held.key == one.key)
    row = connection.execute(select(t.LEASE_HOLDS).where(*there).with_for_update()).first()
    if row is None or row.base != now.base:
        return False
    left_us = _hold(row).span.boot_until_us - now.boot_us
    if not 0 < left_us <= row.length_us + SLEWED_US:
        return False
    connection.execute(t.LEASE_HOLDS.update().where(*there).values(**_values(one)))
    return True


def let_go(connection: Connection, gateway: str, boot: str, key: str) -> None:
    """A gateway says that it will not use a key version any more, and nothing of it is in flight."""
    held = t.LEASE_HOLDS.c
    connection.execute(
        t.LEASE_HOLDS.delete().where(held.gateway == gateway, held.boot == boot, held.key == key)
    )


def holders(connection: Connection, key: str, watch: Watch) -> tuple[Hold, ...]:
    """Return who may still use a key version, as far as who looks can know."""
    query = select(t.LEASE_HOLDS).where(t.LEASE_HOLDS.c.key == key)
    return _living(map(_hold, connection.execute(query)), watch)


def running(connection: Connection, watch: Watch) -> tuple[Hold, ...]:
    """Return every hold that is not over, whoever has it."""
    return _living(map(_hold, connection.execute(select(t.LEASE_HOLDS))), watch)


def _living(holds: Iterable[Hold], watch: Watch) -> tuple[Hold, ...]:
    found = []
    for one in holds:
        left_us = watch.left_us(_name(one), one.span)
        if left_us > 0:
            found.append(replace(one, until_us=watch.now().wall_us + left_us))
    return tuple(found)


def _name(one: Hold) -> str:
    return f"hold {one.gateway} {one.boot} {one.key}"


def _hold(row: Row[Any]) -> Hold:
    return Hold(row.gateway, row.boot, row.key, row.until_us, row.length_us, row.base, row.skew_us)


def _values(one: Hold) -> dict[str, Any]:
    return {"until_us": one.until_us, "length_us": one.length_us, "base": one.base, "skew_us": one.skew_us}


def let_all_go(connection: Connection, gateway: str, boot: str) -> None:
    """A start of a gateway is over, and gave its leases back."""
    held = t.LEASE_HOLDS.c
    connection.execute(t.LEASE_HOLDS.delete().where(held.gateway == gateway, held.boot == boot))


def forget_holds(connection: Connection, before_us: int, watch: Watch) -> None:
    """Delete holds that were over long ago: by the wall clock, and by who looks."""
    held = t.LEASE_HOLDS.c
    for row in connection.execute(select(t.LEASE_HOLDS).where(held.until_us < before_us)).all():
        one = _hold(row)
        if watch.is_over(_name(one), one.span):
            let_go(connection, one.gateway, one.boot, one.key)


# --- which one is current ---------------------------------------------------------------------


def is_current(connection: Connection, ref: KeyRef) -> bool:
    """Tell whether a key version is current, and keep it so until the transaction ends."""
    key = t.KEY_VERSIONS.c
    query = (
        select(key.stage)
        .where(key.account == ref.account, key.slot == ref.slot.value, key.version == ref.version)
        .with_for_update(read=True)
    )
    return connection.execute(query).scalar() == Stage.CURRENT.value


def currents(connection: Connection, accounts: Iterable[str]) -> dict[str, KeyVersion]:
    """Return the trade keys in use, by account."""
    key = t.KEY_VERSIONS.c
    query = select(t.KEY_VERSIONS).where(
        key.account.in_(list(accounts)), key.slot == Slot.TRADE.value, key.stage == Stage.CURRENT.value
    )
    return {row.account: rows.key_version(row) for row in connection.execute(query)}


def move_current(connection: Connection, to: KeyRef, away_from: KeyRef | None) -> bool:
    """Make one version current and the other previous, if they are as they were; True also where that is done already.

    The rows are locked first, so that no lease is granted on the old one meanwhile. What holds the old version closed
    holds the new one from the same moment.
    """
    key = t.KEY_VERSIONS.c
    query = (
        select(key.version, key.stage)
        .where(
            key.account == to.account,
            key.slot == to.slot.value,
            key.stage.in_([Stage.CURRENT.value, Stage.PENDING.value, Stage.PREVIOUS.value]),
        )
        .with_for_update()
    )
    stages = {row.version: row.stage for row in connection.execute(query)}
    current = [version for version, stage in stages.items() if stage == Stage.CURRENT.value]
    if current == [to.version]:
        return True
    if current != ([] if away_from is None else [away_from.version]) or to.version not in stages:
        return False
    for version, stage in ((away_from and away_from.version, Stage.PREVIOUS), (to.version, Stage.CURRENT)):
        if version is not None:
            connection.execute(
                t.KEY_VERSIONS.update()
                .where(key.account == to.account, key.slot == to.slot.value, key.version == version)
                .values(stage=stage.value)
            )
    coverage.carry(connection, to, away_from)
    return True


# --- canaries ---------------------------------------------------------------------------------


def ask_canary(connection: Connection, one: Canary) -> None:
    """Name a gateway that is to try a key version."""
    row = upsert(connection, t.CANARIES).values(
        rotation=one.rotation, gateway=one.gateway, key=one.key, asked_us=one.asked_us
    )
    connection.execute(row.on_conflict_do_nothing())


def canaries(connection: Connection, rotation: str) -> tuple[Canary, ...]:
    """Return the canaries of one rotation."""
    query = select(t.CANARIES).where(t.CANARIES.c.rotation == rotation).order_by(t.CANARIES.c.asked_us)
    return tuple(map(_canary, connection.execute(query)))


def open_canaries(connection: Connection, since_us: int) -> tuple[Canary, ...]:
    """Return canaries that were asked for lately and have not answered."""
    query = select(t.CANARIES).where(t.CANARIES.c.answered_us.is_(None), t.CANARIES.c.asked_us > since_us)
    return tuple(map(_canary, connection.execute(query)))


def answer_canary(connection: Connection, one: Canary, now_us: int) -> None:
    """Write down what came of a canary."""
    connection.execute(
        t.CANARIES.update()
        .where(t.CANARIES.c.rotation == one.rotation, t.CANARIES.c.gateway == one.gateway)
        .values(answered_us=now_us, well=one.well, reason=one.reason[:64])
    )


def _canary(row: Row[Any]) -> Canary:
    return Canary(row.rotation, row.gateway, row.key, row.asked_us, row.well, row.reason or "")
