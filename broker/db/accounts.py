"""Queries on egresses, accounts and key versions."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.engine import Row

from broker.db import rows
from broker.db import tables as t
from broker.model import Account, Death, KeyRef, KeyVersion, Stage
from clients.venue import Slot


def add_egress(connection: Connection, **values: object) -> None:
    """Insert an egress."""
    connection.execute(t.EGRESS.insert().values(**values))


def egress(connection: Connection, name: str) -> Row[Any] | None:
    """Return one egress."""
    return connection.execute(select(t.EGRESS).where(t.EGRESS.c.name == name)).first()


def set_password(connection: Connection, name: str, path: str, before: str) -> bool:
    """Say where the password of an egress lies now; False where it is said already that it lies elsewhere."""
    done = connection.execute(
        t.EGRESS.update()
        .where(t.EGRESS.c.name == name, t.EGRESS.c.password_path == before)
        .values(password_path=path)
    )
    return done.rowcount == 1


def egresses(connection: Connection) -> list[Row[Any]]:
    """Return every egress."""
    return list(connection.execute(select(t.EGRESS).order_by(t.EGRESS.c.name)))


def add_account(connection: Connection, **values: object) -> None:
    """Insert an account."""
    connection.execute(t.ACCOUNTS.insert().values(**values))


def account(connection: Connection, name: str) -> Account | None:
    """Return one account."""
    row = connection.execute(select(t.ACCOUNTS).where(t.ACCOUNTS.c.name == name)).first()
    return None if row is None else rows.account(row)


def accounts(connection: Connection, after: str, limit: int) -> list[Account]:
    """Return accounts by name."""
    query = select(t.ACCOUNTS).where(t.ACCOUNTS.c.name > after).order_by(t.ACCOUNTS.c.name).limit(limit)
    return [rows.account(row) for row in connection.execute(query)]


def by_hand(connection: Connection) -> list[str]:
    """Return the accounts under no manager key, by name."""
    account = t.ACCOUNTS.c
    query = select(account.name).where(account.manager.is_(None)).order_by(account.name)
    return list(connection.execute(query).scalars())


def set_upstream(connection: Connection, name: str, upstream: str) -> None:
    """Change where a paper account's exchange listens."""
    connection.execute(t.ACCOUNTS.update().where(t.ACCOUNTS.c.name == name).values(upstream=upstream))


def set_uid(connection: Connection, name: str, uid: str) -> None:
    """Remember the venue's number of an account."""
    connection.execute(t.ACCOUNTS.update().where(t.ACCOUNTS.c.name == name).values(venue_uid=uid))


def keys(connection: Connection, name: str | None = None) -> list[KeyVersion]:
    """Return key versions, of one account or all."""
    query = select(t.KEY_VERSIONS).order_by(
        t.KEY_VERSIONS.c.account, t.KEY_VERSIONS.c.slot, t.KEY_VERSIONS.c.version
    )
    if name is not None:
        query = query.where(t.KEY_VERSIONS.c.account == name)
    return [rows.key_version(row) for row in connection.execute(query)]


def current_key(connection: Connection, name: str, slot: Slot) -> KeyVersion | None:
    """Return the key version in use."""
    query = select(t.KEY_VERSIONS).where(
        t.KEY_VERSIONS.c.account == name,
        t.KEY_VERSIONS.c.slot == slot.value,
        t.KEY_VERSIONS.c.stage == Stage.CURRENT.value,
    )
    row = connection.execute(query).first()
    return None if row is None else rows.key_version(row)


def last_version(connection: Connection, name: str, slot: Slot) -> int:
    """Return the highest number ever given."""
    query = select(func.max(t.KEY_VERSIONS.c.version)).where(
        t.KEY_VERSIONS.c.account == name, t.KEY_VERSIONS.c.slot == slot.value
    )
    return connection.execute(query).scalar() or 0


def add_key(connection: Connection, key: KeyVersion, created_us: int) -> None:
    """Insert a key version."""
    connection.execute(
        t.KEY_VERSIONS.insert().values(
            account=key.ref.account, slot=key.ref.slot.value, version=key.ref.version, stage=key.stage.value,
            venue_key_id=key.venue_key_id, key_type=key.key_type.value, path=key.path,
            ip_restricted=key.ip_restricted, can_withdraw=key.can_withdraw, created_us=created_us,
            death=key.death.value,
        )
    )  # fmt: skip


def set_stage(
    connection: Connection,
    ref: KeyRef,
    stage: Stage,
    *,
    unless: Collection[Stage] = (),
    key_id: str | None = None,
    death: Death = Death.UNSAID,
) -> bool:
    """Move a key version to another stage; False where it is in a stage that forbids it, or another key by now.

    `death`: what says that it is dead, from now on.
    """
    key = t.KEY_VERSIONS.c
    query = t.KEY_VERSIONS.update().where(
        key.account == ref.account, key.slot == ref.slot.value, key.version == ref.version,
        key.stage.not_in([one.value for one in unless]),
    )  # fmt: skip
    if key_id is not None:
        query = query.where(key.venue_key_id == key_id)
    return connection.execute(query.values(stage=stage.value, death=death.value)).rowcount == 1


def lives(connection: Connection, key_id: str) -> None:
    """Take back that a key is dead: it was seen to live after all."""
    key = t.KEY_VERSIONS.c
    connection.execute(
        t.KEY_VERSIONS.update().where(key.venue_key_id == key_id).values(death=Death.UNPROVEN.value)
    )


def prove(connection: Connection, key_id: str) -> bool:
    """Put on record that a key which was ended is proven dead; False where it is not ended, or was proven before."""
    key = t.KEY_VERSIONS.c
    done = connection.execute(
        t.KEY_VERSIONS.update()
        .where(
            key.venue_key_id == key_id, key.stage == Stage.TOMBSTONE.value, key.death != Death.PROVEN.value
        )
        .values(death=Death.PROVEN.value)
    )
    return done.rowcount > 0


def confirm(connection: Connection, names: Collection[str]) -> list[str]:
    """Put on record that a person says of tombstones that they are deleted; return those that nothing had proven.

    One word states it, and one more confirms that.
    """
    known = {Death.PROVEN, Death.CONFIRMED}
    said = [
        one
        for one in keys(connection)
        if str(one.ref) in names
        and one.stage is Stage.TOMBSTONE
        and one.venue_key_id
        and one.death not in known
    ]
    key = t.KEY_VERSIONS.c
    for one in said:
        ref, now = one.ref, Death.CONFIRMED if one.death is Death.STATED else Death.STATED
        connection.execute(
            t.KEY_VERSIONS.update()
            .where(key.account == ref.account, key.slot == ref.slot.value, key.version == ref.version)
            .values(death=now.value)
        )
    return [str(one.ref) for one in said]


def hold(connection: Connection, name: str) -> None:
    """Keep an account's slots from others until the transaction ends: imports and rotations begin one by one."""
    connection.execute(
        select(t.ACCOUNTS.c.name).where(t.ACCOUNTS.c.name == name).with_for_update(key_share=True)
    )


def name_unnamed(connection: Connection, ref: KeyRef, key_id: str) -> bool:
    """Remember the venue's id of a version that was thought never to exist; False where it, or another, has one."""
    key = t.KEY_VERSIONS.c
    if connection.execute(select(key.version).where(key.venue_key_id == key_id)).first() is not None:
        return False
    done = connection.execute(
        t.KEY_VERSIONS.update()
        .where(
            key.account == ref.account, key.slot == ref.slot.value, key.version == ref.version,
            key.venue_key_id == "", key.stage.in_([Stage.PENDING.value, Stage.TOMBSTONE.value]),
        )
        .values(venue_key_id=key_id)
    )  # fmt: skip
    return done.rowcount == 1


def set_venue_key_id(connection: Connection, ref: KeyRef, key_id: str) -> None:
    """Remember how the venue calls a key version, once it exists."""
    connection.execute(
        t.KEY_VERSIONS.update()
        .where(
            t.KEY_VERSIONS.c.account == ref.account,
            t.KEY_VERSIONS.c.slot == ref.slot.value,
            t.KEY_VERSIONS.c.version == ref.version,
        )
        .values(venue_key_id=key_id)
    )
