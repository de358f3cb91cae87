"""Queries on who may still use a key version, which one is current, and canaries."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.engine import Row

from broker.db import coverage, rows
from broker.db import tables as t
from broker.db.upsert import upsert
from broker.model import KeyRef, KeyVersion, Stage
from clients.venue import Slot


@dataclass(frozen=True, slots=True)
class Hold:
    """Until when a gateway may use a key version at most, microseconds since the epoch. `key` as `str(KeyRef)`."""

    gateway: str
    boot: str
    key: str
    until_us: int


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
    row = upsert(connection, t.LEASE_HOLDS).values(
        gateway=one.gateway, boot=one.boot, key=one.key, until_us=one.until_us
    )
    connection.execute(
        row.on_conflict_do_update(index_elements=["gateway", "boot", "key"], set_={"until_us": one.until_us})
    )


def prolong(connection: Connection, one: Hold, now_us: int) -> bool:
    """Move a hold's end, if it is still there and not over; it is gone for good otherwise."""
    held = t.LEASE_HOLDS.c
    done = connection.execute(
        t.LEASE_HOLDS.update()
        .where(
            held.gateway == one.gateway, held.boot == one.boot, held.key == one.key, held.until_us > now_us
        )
        .values(until_us=one.until_us)
    )
    return done.rowcount == 1


def let_go(connection: Connection, gateway: str, boot: str, key: str) -> None:
    """A gateway says that it will not use a key version any more, and nothing of it is in flight."""
    held = t.LEASE_HOLDS.c
    connection.execute(
        t.LEASE_HOLDS.delete().where(held.gateway == gateway, held.boot == boot, held.key == key)
    )


def holders(connection: Connection, key: str, now_us: int) -> tuple[Hold, ...]:
    """Return who may still use a key version."""
    query = select(t.LEASE_HOLDS).where(t.LEASE_HOLDS.c.key == key, t.LEASE_HOLDS.c.until_us > now_us)
    return tuple(Hold(row.gateway, row.boot, row.key, row.until_us) for row in connection.execute(query))


def running(connection: Connection, now_us: int) -> tuple[Hold, ...]:
    """Return every hold that is not over, whoever has it."""
    query = select(t.LEASE_HOLDS).where(t.LEASE_HOLDS.c.until_us > now_us)
    return tuple(Hold(row.gateway, row.boot, row.key, row.until_us) for row in connection.execute(query))


def let_all_go(connection: Connection, gateway: str, boot: str) -> None:
    """A start of a gateway is over, and gave its leases back."""
    held = t.LEASE_HOLDS.c
    connection.execute(t.LEASE_HOLDS.delete().where(held.gateway == gateway, held.boot == boot))


def forget_holds(connection: Connection, before_us: int) -> None:
    """Delete holds that were over long ago."""
    connection.execute(t.LEASE_HOLDS.delete().where(t.LEASE_HOLDS.c.until_us < before_us))


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
