"""Whose sub-account a manager key's list is of, by the keys of an account that it does not have.

Rules:
1. A key that the exchange serves and that list does not have belongs to another sub-account.
2. One that every host refuses by name, beside another one that is listed, is none of another sub-account's: where that
   was seen twice, a settling time apart, as `reconcile` asks for it. In a ban living keys are refused so.
3. One that a person says is deleted is asked for nowhere: where everything is closed, a word since then; else one of
   the last day. Whatever was said of a trouble that is over says nothing of today.
"""

from collections.abc import Collection, Mapping
from enum import Enum

import msgspec

from broker.db import Connection, meta
from broker.db import accounts as account_store
from broker.errors import Conflict
from broker.model import KeyRef, KeyVersion, Stage
from broker.service.declared import lately
from broker.service.reconcile_named import SETTLES_US, Seen, seen_since
from broker.steady import Moment

_SEEN = "manage_named"


class Heard(Enum):
    """What a venue says of a key, asked with itself."""

    SERVED = "served"
    NAMED = "refused by name, on every host"
    NOTHING = "nothing that decides"


def absent(connection: Connection, account: str, there: Collection[str]) -> list[KeyVersion]:
    """Return the keys that a list is to have and has not."""
    return [key for key in _living(connection, account) if key.venue_key_id not in there]


def seen_twice(
    connection: Connection, account: str, place: str, there: Collection[str], told: Mapping[KeyRef, Heard],
    now: Moment,
) -> frozenset[str]:  # fmt: skip
    """Put on record which keys are refused by name beside one that is listed; return those that were so before.

    `place` says of which sub-account the list is and with which manager key it was had, `there` which ids are in it,
    `told` what the venue says of each key that it does not have.
    """
    is_shown = any(key.venue_key_id in there for key in _living(connection, account))
    named = {str(ref) for ref, answer in told.items() if is_shown and answer is Heard.NAMED}
    known = _seen(connection)
    kept = {ref: seen for ref, seen in known.items() if KeyRef.parse(ref).account != account}
    here = {ref: seen_since(known.get(ref), place, now) for ref in named}
    if kept | here != known:
        meta.put(connection, _SEEN, msgspec.json.encode(kept | here).decode())
    return frozenset(ref for ref, seen in here.items() if seen.at.elapsed_us(now) >= SETTLES_US)


def refuse_strange(
    connection: Connection, account: str, subaccount: str, there: Collection[str], told: Mapping[KeyRef, Heard],
    twice: Collection[str], now: Moment,
) -> None:  # fmt: skip
    """Refuse a sub-account by the keys that its list does not have.

    Raises:
        Conflict: One of them belongs to another sub-account, or may.
    """
    deleted = lately(connection, now)
    is_shown = any(key.venue_key_id in there for key in _living(connection, account))
    for key in absent(connection, account, there):
        answer = told.get(key.ref, Heard.NOTHING)
        says = f"the exchange lists no key {key.venue_key_id[:8]}... under {subaccount}: {key.ref}"
        if answer is Heard.SERVED:
            raise Conflict(
                "other_account",
                f"{says} belongs to another sub-account, for it is served. Nothing was changed",
            )
        if str(key.ref) in deleted or str(key.ref) in twice:
            continue
        look = f"Look it up there; if it is deleted, say so, and then again: portcullis reconcile --deleted {key.ref}"
        if is_shown and answer is Heard.NAMED:
            raise Conflict(
                "seen_once",
                f"{says} is refused by name on every host, which was seen once and is no proof: a ban says the same of "
                f"a living key. Nothing was changed. Ask again in {SETTLES_US // 1_000_000} seconds. Or: {look}",
            )
        raise Conflict(
            "other_account",
            f"{says} belongs to another sub-account, or is deleted. Nothing was changed. {look}",
        )


def _living(connection: Connection, account: str) -> list[KeyVersion]:
    """Return the keys that a list is to have; one not made yet is in none."""
    return [
        key
        for key in account_store.keys(connection, account)
        if key.stage is not Stage.TOMBSTONE and key.venue_key_id
    ]


def _seen(connection: Connection) -> dict[str, Seen]:
    """Return what was seen before; what cannot be read was not."""
    try:
        return msgspec.json.decode(meta.get(connection, _SEEN) or "{}", type=dict[str, Seen])
    except msgspec.DecodeError:
        return {}
