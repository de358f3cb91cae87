"""Which open rotations are held, and why: what became of them at the exchange since is not in the record.

Rules:
1. What is open when everything is closed, or the secret store is put back, is held from that moment for whoever looks:
   nothing of it is done, and nothing is asked of a person. The next comparison puts that on record.
2. Each closing holds once: what a person let go on since is not held by the same one again.
"""

import json
from collections.abc import Collection
from typing import Any

from broker.db import Connection, meta
from broker.service.host_guard import closings

HELD_FOR = "rotations_held_for"
"""The fact that names the closings for which rotations were held on record."""


def held_for(connection: Connection) -> frozenset[str]:
    """Return the closings for which what was open is held on record."""
    found = json.loads(meta.get(connection, HELD_FOR) or "[]")
    return frozenset(map(str, found)) if isinstance(found, list) else frozenset()


def why(closed: Collection[str]) -> str:
    """Say why what was open is held."""
    first = min(closed)
    if first.startswith("cut_"):
        return f"it was open when {first} closed everything"
    return f"it was open when the secret store was put back ({first})"


def to_hold(connection: Connection) -> str:
    """Return why every open rotation is held by the next comparison; empty where none is."""
    left = closings(connection) - held_for(connection)
    return why(left) if left else ""


def held(row: Any, hold: str) -> str:
    """Return why a rotation is held, by its row and what `to_hold` says; empty where it is not, or is over."""
    return "" if row.ended_us is not None and not row.held else row.held or hold


def moves(rotation: str) -> str:
    """Say how one that is held goes on or ends, with the commands."""
    return (
        f"`portcullis rotation resume {rotation}` lets it go on, `portcullis rotation drop {rotation} --reason WHY` "
        "ends it on record alone; before either, `portcullis reconcile` says what the exchange says of its keys"
    )
