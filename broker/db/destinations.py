"""Queries on destinations and how far each is with a key version.

Which key a destination got last is told by the order in which deliveries were written (`turn`), not by their times: a
clock may be set, and when one that failed is tried again lies ahead.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.engine import Row

from broker import destination as values
from broker.db import tables as t
from broker.db.upsert import upsert
from broker.destination import Destination
from clients.venue import Slot


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far a destination is with a key version. `says`: what it waits for, or why the last try failed.

    `delivered_us` of one that a person serves: when the key was shown for it.
    `turn` is set as it is written, higher than that of every delivery to the destination before.
    """

    rotation: str
    destination: str
    version: int
    tries: int = 0
    next_us: int = 0
    delivered_us: int | None = None
    confirmed_us: int | None = None
    waived_by: str | None = None
    says: str = ""
    turn: int = 0

    @property
    def has_since(self) -> tuple[int, int]:
        """Since when it holds that version for certain: by turn, and by time where it was written before turns were."""
        return self.turn, 0 if self.confirmed_us is None else self.confirmed_us

    @property
    def may_have_since(self) -> tuple[int, int]:
        """When it may have got that version at the latest, likewise."""
        return self.turn, self.next_us if self.confirmed_us is None else self.confirmed_us

    @property
    def over(self) -> bool:
        """Whether nothing is waited for any more."""
        return self.confirmed_us is not None or self.waived_by is not None


def add(connection: Connection, one: Destination) -> None:
    """Insert a destination."""
    connection.execute(
        t.DESTINATIONS.insert().values(
            name=one.name, account=one.account, slot=one.slot.value, kind=one.kind.value,
            settings=values.dump(one.settings), secret_path=one.secret_path, patience_s=one.patience_s,
            created_us=one.created_us,
        )
    )  # fmt: skip


def get(connection: Connection, name: str) -> Destination | None:
    """Return one that was not removed."""
    here = t.DESTINATIONS.c
    row = connection.execute(
        select(t.DESTINATIONS).where(here.name == name, here.removed_us.is_(None))
    ).first()
    return None if row is None else _destination(row)


def every(connection: Connection, account: str | None = None, slot: Slot | None = None) -> list[Destination]:
    """Return those that were not removed, by name."""
    here = t.DESTINATIONS.c
    query = select(t.DESTINATIONS).where(here.removed_us.is_(None)).order_by(here.name)
    if account is not None:
        query = query.where(here.account == account)
    if slot is not None:
        query = query.where(here.slot == slot.value)
    return [_destination(row) for row in connection.execute(query)]


def every_ever(connection: Connection) -> list[Destination]:
    """Return all there ever were, removed ones too."""
    return [_destination(row) for row in connection.execute(select(t.DESTINATIONS))]


def lacking(connection: Connection, account: str, slot: Slot, version: int | None) -> list[str]:
    """Return the names of a slot's destinations that may hold another version than this one.

    Who confirmed this one, or was waived for it, holds it: unless another was brought there since.
    """
    here = t.DELIVERIES.c
    return [
        one.name
        for one in every(connection, account, slot)
        if not _holds(
            map(_delivery, connection.execute(select(t.DELIVERIES).where(here.destination == one.name))),
            version,
        )
    ]


def _holds(deliveries: Iterable[Delivery], version: int | None) -> bool:
    known = list(deliveries)
    has = max((one.has_since for one in known if one.version == version and one.over), default=None)
    other = max((one.may_have_since for one in known if one.version != version), default=None)
    return has is not None and (other is None or has > other)


def is_taken(connection: Connection, name: str) -> bool:
    """Tell whether a name was ever given."""
    return (
        connection.execute(select(t.DESTINATIONS.c.name).where(t.DESTINATIONS.c.name == name)).first()
        is not None
    )


def remove(connection: Connection, name: str, now_us: int) -> bool:
    """End one; tell whether there was one."""
    here = t.DESTINATIONS.c
    done = connection.execute(
        t.DESTINATIONS.update().where(here.name == name, here.removed_us.is_(None)).values(removed_us=now_us)
    )
    return done.rowcount == 1


def delivery(connection: Connection, rotation: str, destination: str, version: int) -> Delivery:
    """Return how far one is; not begun where nothing is on record."""
    here = t.DELIVERIES.c
    query = select(t.DELIVERIES).where(
        here.rotation == rotation, here.destination == destination, here.version == version
    )
    row = connection.execute(query).first()
    return Delivery(rotation, destination, version) if row is None else _delivery(row)


def deliveries(connection: Connection, rotation: str) -> list[Delivery]:
    """Return every delivery of a rotation."""
    query = select(t.DELIVERIES).where(t.DELIVERIES.c.rotation == rotation)
    return [_delivery(row) for row in connection.execute(query.order_by(t.DELIVERIES.c.destination))]


def save(connection: Connection, one: Delivery) -> None:
    """Write a delivery, or write it over; what was waived stays so."""
    here = t.DELIVERIES.c
    last = connection.execute(select(func.max(here.turn)).where(here.destination == one.destination)).scalar()
    found = {
        "turn": int(last or 0) + 1,
        "tries": one.tries, "next_us": one.next_us, "delivered_us": one.delivered_us,
        "confirmed_us": one.confirmed_us, "says": one.says[:300],
    }  # fmt: skip
    if one.waived_by is not None:
        found["waived_by"] = one.waived_by
    row = upsert(connection, t.DELIVERIES).values(
        rotation=one.rotation, destination=one.destination, version=one.version, **found
    )
    connection.execute(
        row.on_conflict_do_update(index_elements=["rotation", "destination", "version"], set_=found)
    )


def not_over(connection: Connection, destination: str, version: int) -> list[Delivery]:
    """Return what a destination is waited for with a key version, in whichever rotation."""
    here = t.DELIVERIES.c
    query = select(t.DELIVERIES).where(here.destination == destination, here.version == version)
    return [one for one in map(_delivery, connection.execute(query)) if not one.over]


def _destination(row: Row[Any]) -> Destination:
    kind, settings = values.load(row.kind, row.settings)
    return Destination(
        row.name, row.account, Slot(row.slot), kind, settings, row.patience_s, row.created_us, row.secret_path
    )


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        row.rotation, row.destination, row.version, row.tries, row.next_us, row.delivered_us, row.confirmed_us,
        row.waived_by, row.says, row.turn,
    )  # fmt: skip
