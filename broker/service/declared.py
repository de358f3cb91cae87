"""What operators have looked up at the exchanges and declared, as it is on record."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from broker.db import Connection, meta
from broker.service.host_guard import closings

DECLARED = "reconcile_declared"


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


def forget(connection: Connection, account: str) -> None:
    """Forget that somebody looked an account up: what was said of it beside its manager key's list was of that list."""
    found: dict[str, object] = json.loads(meta.get(connection, DECLARED) or "{}")
    confirmed = _texts(found.get("confirmed"))
    if account in confirmed:
        meta.put(connection, DECLARED, json.dumps({**found, "confirmed": sorted(confirmed - {account})}))


def _texts(found: object) -> frozenset[str]:
    return frozenset(map(str, found)) if isinstance(found, list) else frozenset()
