"""Queries on consumers, grants and their policies."""

from sqlalchemy import Connection, select

from broker.db import rows
from broker.db import tables as t
from broker.model import Consumer, Grant


def add_consumer(connection: Connection, name: str, note: str, created_us: int) -> None:
    """Insert a consumer."""
    connection.execute(t.CONSUMERS.insert().values(name=name, note=note, created_us=created_us))


def consumer(connection: Connection, name: str) -> Consumer | None:
    """Return one consumer."""
    row = connection.execute(select(t.CONSUMERS).where(t.CONSUMERS.c.name == name)).first()
    return None if row is None else rows.consumer(row)


def consumers(connection: Connection, after: str, limit: int) -> list[Consumer]:
    """Return consumers by name."""
    query = select(t.CONSUMERS).where(t.CONSUMERS.c.name > after).order_by(t.CONSUMERS.c.name).limit(limit)
    return [rows.consumer(row) for row in connection.execute(query)]


def add_grant(connection: Connection, grant: Grant, created_us: int) -> None:
    """Insert a grant with the first version of its policy."""
    connection.execute(
        t.GRANTS.insert().values(
            id=grant.id, consumer=grant.consumer, account=grant.account, key_id=grant.key_id,
            key_type=grant.key_type.value, public_key=grant.public_key, secret_path=grant.secret_path,
            policy=grant.policy, policy_version=grant.policy_version, created_us=created_us,
        )
    )  # fmt: skip
    add_policy(connection, grant.id, grant.policy_version, grant.policy, created_us)


def add_policy(connection: Connection, grant: str, version: int, text: str, created_us: int) -> None:
    """Insert one version of a policy."""
    connection.execute(
        t.POLICIES.insert().values(grant=grant, version=version, text=text, created_us=created_us)
    )


def set_policy(connection: Connection, grant: str, version: int, text: str, created_us: int) -> None:
    """Make a policy the one in force."""
    connection.execute(
        t.GRANTS.update().where(t.GRANTS.c.id == grant).values(policy=text, policy_version=version)
    )
    add_policy(connection, grant, version, text, created_us)


def grant(connection: Connection, grant_id: str) -> Grant | None:
    """Return one grant."""
    row = connection.execute(select(t.GRANTS).where(t.GRANTS.c.id == grant_id)).first()
    return None if row is None else rows.grant(row)


def by_key_id(connection: Connection, key_id: str) -> Grant | None:
    """Return the grant that a virtual key belongs to now."""
    row = connection.execute(select(t.GRANTS).where(t.GRANTS.c.key_id == key_id)).first()
    return None if row is None else rows.grant(row)


def by_old_key(connection: Connection, key_id: str) -> Grant | None:
    """Return the grant whose virtual key this was, before it was replaced by another."""
    once = connection.execute(select(t.OLD_KEYS.c.grant).where(t.OLD_KEYS.c.key_id == key_id)).scalar()
    return None if once is None else grant(connection, str(once))


def used_accounts(connection: Connection) -> frozenset[str]:
    """Return the accounts that somebody uses: by a grant, a destination of its key, or a key that is out."""
    users = (
        select(t.GRANTS.c.account).where(t.GRANTS.c.revoked_us.is_(None)),
        select(t.DESTINATIONS.c.account).where(t.DESTINATIONS.c.removed_us.is_(None)),
        select(t.CHECKOUTS.c.account).where(t.CHECKOUTS.c.closed_us.is_(None)),
    )
    return frozenset(account for query in users for account in connection.execute(query.distinct()).scalars())


def grants(
    connection: Connection, after: str = "", limit: int = 1_000_000, *, consumer: str | None = None,
    account: str | None = None,
) -> list[Grant]:  # fmt: skip
    """Return grants by id."""
    query = select(t.GRANTS).where(t.GRANTS.c.id > after).order_by(t.GRANTS.c.id).limit(limit)
    if consumer is not None:
        query = query.where(t.GRANTS.c.consumer == consumer)
    if account is not None:
        query = query.where(t.GRANTS.c.account == account)
    return [rows.grant(row) for row in connection.execute(query)]


def beside(connection: Connection, one: Grant) -> list[Grant]:
    """Return the living grants of the same account or consumer."""
    query = select(t.GRANTS).where(
        (t.GRANTS.c.account == one.account) | (t.GRANTS.c.consumer == one.consumer),
        t.GRANTS.c.id != one.id,
        t.GRANTS.c.revoked_us.is_(None),
    )
    return [rows.grant(row) for row in connection.execute(query.order_by(t.GRANTS.c.id))]


def living_on(connection: Connection, account: str, most: int) -> list[str]:
    """Return ids of grants on an account that were not revoked, at most so many."""
    query = (
        select(t.GRANTS.c.id)
        .where(t.GRANTS.c.account == account, t.GRANTS.c.revoked_us.is_(None))
        .limit(most)
    )
    return list(connection.execute(query).scalars())


def revoke(connection: Connection, grant_id: str, at_us: int, why: str) -> None:
    """End a grant."""
    connection.execute(
        t.GRANTS.update().where(t.GRANTS.c.id == grant_id).values(revoked_us=at_us, revoked_why=why)
    )


def replace_key(connection: Connection, old: Grant, new: Grant, at_us: int) -> None:
    """Give a grant another virtual key, and remember the old one."""
    connection.execute(t.OLD_KEYS.insert().values(key_id=old.key_id, grant=old.id, ended_us=at_us))
    connection.execute(
        t.GRANTS.update()
        .where(t.GRANTS.c.id == old.id)
        .values(
            key_id=new.key_id, key_type=new.key_type.value, public_key=new.public_key,
            secret_path=new.secret_path,
        )
    )  # fmt: skip
