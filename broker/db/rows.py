"""Values out of rows, in one place: the rest of the program never sees a column."""

from collections.abc import Iterable
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.engine import Row

from broker.db import history
from broker.db import tables as t
from broker.gate import Gate, Mode
from broker.model import Account, Consumer, Death, Grant, KeyRef, KeyVersion, Manager, Stage, moment
from clients.venue import Environment, KeyType, Slot


def account(row: Row[Any]) -> Account:
    """Read an account."""
    return Account(
        row.name, row.venue, Environment(row.environment), row.egress, moment(row.created_us), row.venue_uid,
        row.upstream, row.manager, row.subaccount,
    )  # fmt: skip


def manager(row: Row[Any]) -> Manager:
    """Read a manager key."""
    return Manager(
        row.name, row.venue, Environment(row.environment), row.egress, row.venue_key_id, KeyType(row.key_type),
        row.path, moment(row.created_us), row.upstream,
    )  # fmt: skip


def key_version(row: Row[Any]) -> KeyVersion:
    """Read a key version."""
    return KeyVersion(
        KeyRef(row.account, Slot(row.slot), row.version), Stage(row.stage), row.venue_key_id,
        KeyType(row.key_type), row.path, moment(row.created_us), row.ip_restricted, row.can_withdraw,
        Death(row.death),
    )  # fmt: skip


def consumer(row: Row[Any]) -> Consumer:
    """Read a consumer."""
    return Consumer(row.name, moment(row.created_us), row.note)


def grant(row: Row[Any]) -> Grant:
    """Read a grant."""
    return Grant(
        row.id, row.consumer, row.account, row.key_id, KeyType(row.key_type), row.policy, row.policy_version,
        moment(row.created_us), row.public_key, row.secret_path,
        None if row.revoked_us is None else moment(row.revoked_us),
    )  # fmt: skip


def mode(text: object) -> Mode:
    """Read how something is closed; closed for all where that cannot be read."""
    return Mode.HALT if text == Mode.HALT.value else Mode.CLOSED


def gates(connection: Connection, scopes: Iterable[str] | None = None) -> dict[str, Gate]:
    """Read gates with their closers: those named, or every one that was ever touched."""
    wanted = None if scopes is None else list(scopes)
    heads, closers = select(t.GATES), select(t.CLOSERS)
    if wanted is not None:
        heads, closers = (
            heads.where(t.GATES.c.scope.in_(wanted)),
            closers.where(t.CLOSERS.c.scope.in_(wanted)),
        )
    held: dict[str, dict[str, Mode]] = {}
    for row in connection.execute(closers):
        held.setdefault(row.scope, {})[row.cut] = mode(row.mode)
    of = str(history.here(connection))
    return {
        row.scope: Gate(row.scope, row.epoch, MappingProxyType(held.get(row.scope, {})), of)
        for row in connection.execute(heads)
    }


def gates_of(connection: Connection, scopes: Iterable[str]) -> dict[str, Gate]:
    """Read the gates of some scopes to change them: those that were never touched, too."""
    names = list(scopes)
    known, of = gates(connection, names), str(history.here(connection))
    return {name: known.get(name) or Gate(name, history=of) for name in names}


def save_gate(connection: Connection, gate: Gate) -> None:
    """Write a gate and its closers as they are."""
    known = connection.execute(select(t.GATES.c.epoch).where(t.GATES.c.scope == gate.scope)).first()
    if known is None:
        connection.execute(t.GATES.insert().values(scope=gate.scope, epoch=gate.epoch))
    else:
        connection.execute(t.GATES.update().where(t.GATES.c.scope == gate.scope).values(epoch=gate.epoch))
    connection.execute(t.CLOSERS.delete().where(t.CLOSERS.c.scope == gate.scope))
    for cut, mode in gate.closers.items():
        connection.execute(t.CLOSERS.insert().values(scope=gate.scope, cut=cut, mode=mode.value))
