"""Queries on destinations and how far each is with a key version."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.engine import Row

from broker import destination as values
from broker.db import tables as t
from broker.db.upsert import upsert
from broker.destination import Destination
from clients.venue import Slot


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far a destination is with a key version. `says`: what it waits for, or why the last try failed."""

    rotation: str
    destination: str
    version: int
    tries: int = 0
    next_us: int = 0
    delivered_us: int | None = None
    confirmed_us: int | None = None
    waived_by: str | None = None
    says: str = ""

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
    """Return the names of a slot's destinations that have not confirmed a version, and were not waived for it."""
    here = t.DELIVERIES.c
    query = select(here.destination).where(
        here.version == version, here.confirmed_us.is_not(None) | here.waived_by.is_not(None)
    )
    have = set(connection.execute(query).scalars())
    return [one.name for one in every(connection, account, slot) if one.name not in have]


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
    found = {
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


def _destination(row: Row[Any]) -> Destination:
    kind, settings = values.load(row.kind, row.settings)
    return Destination(
        row.name, row.account, Slot(row.slot), kind, settings, row.patience_s, row.created_us, row.secret_path
    )


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        row.rotation, row.destination, row.version, row.tries, row.next_us, row.delivered_us, row.confirmed_us,
        row.waived_by, row.says,
    )  # fmt: skip
