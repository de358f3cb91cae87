"""Queries on the virtual keys that can have a lease: of living grants on accounts with a trade key in use."""

from sqlalchemy import Connection, func, select

from broker.db import tables as t
from broker.model import Stage
from clients.venue import Slot


def mark(connection: Connection) -> tuple[int, ...]:
    """Return numbers that are others once `keys` may be others: counted, not listed, because they are many."""
    grants, keys = t.GRANTS.c, t.KEY_VERSIONS.c
    made = select(func.count(), func.max(grants.created_us), func.count(grants.revoked_us))
    reissued = select(func.count()).select_from(t.OLD_KEYS)
    in_use = select(func.count(), func.sum(keys.version), func.max(keys.created_us)).where(
        keys.slot == Slot.TRADE.value, keys.stage == Stage.CURRENT.value
    )
    return (
        *(int(value or 0) for value in connection.execute(made).one()),
        int(connection.execute(reissued).scalar() or 0),
        *(int(value or 0) for value in connection.execute(in_use).one()),
    )


def keys(connection: Connection) -> list[tuple[str, tuple[str, str, str, str]]]:
    """Return the virtual keys that can have a lease, those of the oldest grants first.

    With each its venue, account, consumer and grant.
    """
    grants, versions = t.GRANTS.c, t.KEY_VERSIONS.c
    query = (
        select(grants.key_id, t.ACCOUNTS.c.venue, grants.account, grants.consumer, grants.id)
        .join(t.KEY_VERSIONS, versions.account == grants.account)
        .join(t.ACCOUNTS, t.ACCOUNTS.c.name == grants.account)
        .where(
            grants.revoked_us.is_(None),
            versions.slot == Slot.TRADE.value,
            versions.stage == Stage.CURRENT.value,
        )
        .order_by(grants.created_us)
    )
    return [(row[0], (row[1], row[2], row[3], row[4])) for row in connection.execute(query)]
