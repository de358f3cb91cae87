"""Queries on the home's own facts and on the heartbeat."""

from collections.abc import Mapping

from sqlalchemy import Connection, select

from broker.db import tables as t
from broker.db.upsert import upsert


def read(connection: Connection) -> dict[str, str]:
    """Return every fact."""
    return {row.name: row.value for row in connection.execute(select(t.META))}


def write(connection: Connection, facts: Mapping[str, str]) -> None:
    """Insert facts."""
    for name, value in facts.items():
        connection.execute(t.META.insert().values(name=name, value=value))


def put(connection: Connection, name: str, value: str) -> None:
    """Insert a fact, or write it over."""
    row = upsert(connection, t.META).values(name=name, value=value)
    connection.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": value}))


def get(connection: Connection, name: str) -> str | None:
    """Return one fact."""
    return connection.execute(select(t.META.c.value).where(t.META.c.name == name)).scalar()


def remove(connection: Connection, name: str) -> None:
    """Delete a fact, where there is one."""
    connection.execute(t.META.delete().where(t.META.c.name == name))


def beat(connection: Connection, now_us: int) -> None:
    """Write the heartbeat."""
    put(connection, "heartbeat", str(now_us))


def greet(connection: Connection, gateway: str, boot: str, now_us: int) -> None:
    """Remember a gateway that came."""
    row = upsert(connection, t.GATEWAYS).values(name=gateway, boot=boot, seen_us=now_us)
    connection.execute(
        row.on_conflict_do_update(index_elements=["name"], set_={"boot": boot, "seen_us": now_us})
    )
