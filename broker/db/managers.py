"""Queries on manager keys."""

from sqlalchemy import Connection, select

from broker.db import rows
from broker.db import tables as t
from broker.model import Account, Manager


def add(connection: Connection, one: Manager, created_us: int) -> None:
    """Insert a manager key."""
    connection.execute(
        t.MANAGERS.insert().values(
            name=one.name, venue=one.venue, environment=one.environment.value, egress=one.egress,
            upstream=one.upstream, venue_key_id=one.venue_key_id, key_type=one.key_type.value, path=one.path,
            created_us=created_us,
        )
    )  # fmt: skip


def get(connection: Connection, name: str) -> Manager | None:
    """Return one manager key."""
    row = connection.execute(select(t.MANAGERS).where(t.MANAGERS.c.name == name)).first()
    return None if row is None else rows.manager(row)


def every(connection: Connection) -> tuple[Manager, ...]:
    """Return all by name."""
    return tuple(
        rows.manager(row) for row in connection.execute(select(t.MANAGERS).order_by(t.MANAGERS.c.name))
    )


def assign(connection: Connection, account: str, manager: str, subaccount: str) -> None:
    """Say whose sub-account an account is."""
    connection.execute(
        t.ACCOUNTS.update().where(t.ACCOUNTS.c.name == account).values(manager=manager, subaccount=subaccount)
    )


def unassign(connection: Connection, account: str) -> None:
    """Say that an account is under no manager key."""
    connection.execute(
        t.ACCOUNTS.update().where(t.ACCOUNTS.c.name == account).values(manager=None, subaccount=None)
    )


def of_subaccount(connection: Connection, venue: str, subaccount: str) -> Account | None:
    """Return the account that is this sub-account, under whatever manager key."""
    query = select(t.ACCOUNTS).where(t.ACCOUNTS.c.venue == venue, t.ACCOUNTS.c.subaccount == subaccount)
    row = connection.execute(query).first()
    return None if row is None else rows.account(row)


def managed(connection: Connection) -> tuple[Account, ...]:
    """Return every account that is a sub-account under a manager key."""
    query = select(t.ACCOUNTS).where(t.ACCOUNTS.c.manager.is_not(None)).order_by(t.ACCOUNTS.c.name)
    return tuple(rows.account(row) for row in connection.execute(query))


def set_upstream(connection: Connection, before: str, after: str) -> None:
    """Tell where the paper exchange of manager keys listens now."""
    connection.execute(t.MANAGERS.update().where(t.MANAGERS.c.upstream == before).values(upstream=after))
