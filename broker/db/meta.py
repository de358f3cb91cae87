"""Queries on the home's own facts and on the heartbeat."""

from collections.abc import Mapping

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert as upsert

from broker.db import rows
from broker.db import tables as t
from broker.gate import Gate


def read(connection: Connection) -> dict[str, str]:
    """Return every fact."""
    return {row.name: row.value for row in connection.execute(select(t.META))}


def write(connection: Connection, facts: Mapping[str, str]) -> None:
    """Insert facts."""
    for name, value in facts.items():
        connection.execute(t.META.insert().values(name=name, value=value))


def beat(connection: Connection, now_us: int) -> dict[str, Gate]:
    """Write the heartbeat and read the gates, in the caller's one transaction."""
    put = upsert(t.META).values(name="heartbeat", value=str(now_us))
    connection.execute(put.on_conflict_do_update(index_elements=["name"], set_={"value": str(now_us)}))
    return rows.gates(connection)


def greet(connection: Connection, gateway: str, boot: str, now_us: int) -> None:
    """Remember a gateway that came."""
    put = upsert(t.GATEWAYS).values(name=gateway, boot=boot, seen_us=now_us)
    connection.execute(
        put.on_conflict_do_update(index_elements=["name"], set_={"boot": boot, "seen_us": now_us})
    )
