"""Queries on what is wrong now, and where that is told."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.engine import Row

from broker.db import tables as t
from broker.db.rotations import RETIRES


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that is wrong, and what to do. `sent_us`: when it was told last."""

    kind: str
    subject: str
    says: str
    step: str
    opened_us: int = 0
    sent_us: int | None = None


@dataclass(frozen=True, slots=True)
class Channel:
    """Where alerts go. `path`: where the secret store holds the address; `failed`: why the last message did not go."""

    name: str
    kind: str
    path: str
    created_us: int
    failed: str = ""


def standing(connection: Connection) -> list[Alert]:
    """Return what is wrong, oldest first."""
    query = select(t.ALERTS).order_by(t.ALERTS.c.opened_us, t.ALERTS.c.kind, t.ALERTS.c.subject)
    return [
        Alert(row.kind, row.subject, row.says, row.step, row.opened_us, row.sent_us)
        for row in connection.execute(query)
    ]


def change(
    connection: Connection,
    now: Iterable[Alert],
    now_us: int,
    may_stand: Callable[[str], bool] = lambda _: False,
) -> list[Alert]:
    """Write down what is wrong now; return what was told and is right again.

    `may_stand`: by kind, whether something that is not found may stand all the same: not all could be looked at.
    """
    known = {(one.kind, one.subject): one for one in standing(connection)}
    wanted = {(one.kind, one.subject): one for one in now}
    for at, one in wanted.items():
        if at not in known:
            connection.execute(
                t.ALERTS.insert().values(
                    kind=one.kind, subject=one.subject, says=one.says, step=one.step, opened_us=now_us
                )
            )
        elif (known[at].says, known[at].step) != (one.says, one.step):
            connection.execute(_the(at).values(says=one.says, step=one.step))
    gone = [one for at, one in known.items() if at not in wanted and not may_stand(one.kind)]
    for one in gone:
        connection.execute(
            t.ALERTS.delete().where(t.ALERTS.c.kind == one.kind, t.ALERTS.c.subject == one.subject)
        )
    return [one for one in gone if one.sent_us is not None]


def sent(connection: Connection, ones: Iterable[Alert], now_us: int) -> None:
    """Say that these were told."""
    for one in ones:
        connection.execute(_the((one.kind, one.subject)).values(sent_us=now_us))


def add_channel(connection: Connection, one: Channel) -> None:
    """Insert a channel, over one of its name that was removed."""
    here = t.ALERT_CHANNELS.c
    connection.execute(t.ALERT_CHANNELS.delete().where(here.name == one.name, here.removed_us.is_not(None)))
    connection.execute(
        t.ALERT_CHANNELS.insert().values(
            name=one.name, kind=one.kind, path=one.path, created_us=one.created_us, failed=""
        )
    )


def channels(connection: Connection) -> list[Channel]:
    """Return the channels that were not removed, by name."""
    here = t.ALERT_CHANNELS.c
    query = select(t.ALERT_CHANNELS).where(here.removed_us.is_(None)).order_by(here.name)
    return [_channel(row) for row in connection.execute(query)]


def is_taken(connection: Connection, name: str) -> bool:
    """Tell whether there is a channel of that name."""
    here = t.ALERT_CHANNELS.c
    query = select(here.name).where(here.name == name, here.removed_us.is_(None))
    return connection.execute(query).first() is not None


def remove_channel(connection: Connection, name: str, now_us: int) -> None:
    """End a channel."""
    connection.execute(
        t.ALERT_CHANNELS.update().where(t.ALERT_CHANNELS.c.name == name).values(removed_us=now_us)
    )


def failed(connection: Connection, name: str, why: str) -> None:
    """Say why a channel's last message did not go; empty where it did."""
    connection.execute(
        t.ALERT_CHANNELS.update().where(t.ALERT_CHANNELS.c.name == name).values(failed=why[:200])
    )


def boots(connection: Connection, since_us: int) -> dict[str, int]:
    """Count as how many processes each gateway was seen since then."""
    held = t.LEASE_HOLDS.c
    query = (
        select(held.gateway, func.count(held.boot.distinct()))
        .where(held.until_us >= since_us)
        .group_by(held.gateway)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def given_up(connection: Connection, since_us: int) -> list[Row[Any]]:
    """Return each slot's rotation that ended last, where it was abandoned since then. Retirements make no key."""
    row = t.ROTATIONS.c
    query = (
        select(t.ROTATIONS).where(row.ended_us >= since_us, row.why.not_in(RETIRES)).order_by(row.ended_us)
    )
    last = {(one.account, one.slot): one for one in connection.execute(query)}
    return [one for one in last.values() if one.state == "abandoned"]


def _the(at: tuple[str, str]) -> Any:
    return t.ALERTS.update().where(t.ALERTS.c.kind == at[0], t.ALERTS.c.subject == at[1])


def _channel(row: Row[Any]) -> Channel:
    return Channel(row.name, row.kind, row.path, row.created_us, row.failed)
