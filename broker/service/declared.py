"""What operators have looked up at the exchanges and declared, as it is on record."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import msgspec

from broker.db import Connection, meta
from broker.service.host_guard import closings
from broker.steady import UNSURE_US, Moment

DECLARED = "reconcile_declared"
_SAID_AT = "reconcile_deleted_at"

LATELY_US = 86_400_000_000
"""So old a word on a key may be where nothing is closed: a day. What was said of an earlier trouble is over with it."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What operators have looked up since everything was closed: accounts, deleted keys, the old host."""

    confirmed: frozenset[str] = frozenset()
    deleted: frozenset[str] = frozenset()
    old_host_off: bool = False


def standing(connection: Connection) -> tuple[Declared, frozenset[str]]:
    """Return what was declared and counts, and what held everything closed then.

    What was said before everything was closed again counts no more; where nothing is to be compared, it still does.
    """
    found: Mapping[str, object] = json.loads(meta.get(connection, DECLARED) or "{}")
    then = _texts(found.get("cuts"))
    closed = closings(connection) or then
    if not closed <= then:
        return Declared(), closed
    old_host_off = found.get("old_host_off") is True
    return Declared(_texts(found.get("confirmed")), _texts(found.get("deleted")), old_host_off), closed


def note(connection: Connection, deleted: Collection[str], now: Moment) -> None:
    """Put on record when somebody said of which keys that they are deleted."""
    if deleted:
        meta.put(
            connection,
            _SAID_AT,
            msgspec.json.encode(_said_at(connection) | dict.fromkeys(deleted, now)).decode(),
        )


def lately(connection: Connection, now: Moment) -> frozenset[str]:
    """Return the keys that are said to be deleted, as far as that says something of today.

    While everything is closed a word since then does; else one of the last day. What cannot be read was not said.
    """
    deleted = standing(connection)[0].deleted
    if closings(connection):
        return deleted
    said_at = _said_at(connection)
    return frozenset(one for one in deleted if one in said_at and _is_lately(said_at[one], now))


def _is_lately(said: Moment, now: Moment) -> bool:
    if said.base == now.base:
        return said.elapsed_us(now) <= LATELY_US
    return -UNSURE_US <= now.wall_us - said.wall_us <= LATELY_US - UNSURE_US  # another host, or a reboot


def _said_at(connection: Connection) -> dict[str, Moment]:
    try:
        return msgspec.json.decode(meta.get(connection, _SAID_AT) or "{}", type=dict[str, Moment])
    except msgspec.DecodeError:
        return {}


def forget(connection: Connection, account: str) -> None:
    """Forget that somebody looked an account up: what was said of it beside its manager key's list was of that list."""
    found: dict[str, object] = json.loads(meta.get(connection, DECLARED) or "{}")
    confirmed = _texts(found.get("confirmed"))
    if account in confirmed:
        meta.put(connection, DECLARED, json.dumps({**found, "confirmed": sorted(confirmed - {account})}))


def _texts(found: object) -> frozenset[str]:
    return frozenset(map(str, found)) if isinstance(found, list) else frozenset()
