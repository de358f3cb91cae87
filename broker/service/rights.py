"""What the key in use may do at the exchange, against what grants need of it.

A rotation makes a key with the least that the grants of that moment need. One that is made or widened later may need
more: the exchange refuses its orders and cancels, exits as well, until another key is made. That is said at once, and
told for as long as it is so.
"""

import json
from collections.abc import Iterator
from functools import lru_cache

from broker import policy_document
from broker.db import Connection
from broker.db import accounts as account_store
from broker.db import grants as store
from broker.db import rotations as rotation_store
from broker.model import Grant, KeyRef
from broker.policy_document import PolicyMode
from clients.venue import Slot

_KEPT = 256


@lru_cache(maxsize=_KEPT)
def needs_trade(text: str) -> bool:
    """Tell whether a policy lets through what only a key does that may trade. What it is to observe may be anything."""
    policy = policy_document.load(text)
    if policy.mode is PolicyMode.OBSERVE:
        return True
    return "trade" in policy.allow or any(".order" in name for name in policy.allow)


def only_reads(connection: Connection, account: str) -> KeyRef | None:
    """Return an account's trade key in use if a rotation made it for grants that read only."""
    key = account_store.current_key(connection, account, Slot.TRADE)
    made = None if key is None else rotation_store.making(connection, key.ref)
    if key is None or made is None:
        return None
    return None if json.loads(made.document)["permissions"]["trade"] else key.ref


def short(connection: Connection) -> Iterator[tuple[Grant, KeyRef]]:
    """Yield each living grant that needs more than the key in use may do, with that key."""
    known: dict[str, KeyRef | None] = {}
    for one in store.grants(connection):
        if one.revoked_at is not None or not needs_trade(one.policy):
            continue
        if one.account not in known:
            known[one.account] = only_reads(connection, one.account)
        if (key := known[one.account]) is not None:
            yield one, key


def lacks(key: KeyRef) -> str:
    """Say what a grant lacks that needs more than this key may do."""
    return (
        f"the key in use, {key}, was made for grants that only read, and may not trade: the exchange refuses every "
        "order and cancel, exits as well, until another key is made"
    )


def beside(connection: Connection, grant: Grant) -> tuple[str, ...]:
    """Say to whoever makes a grant, or changes its policy, what the key in use lacks for it, and what mends that."""
    key = only_reads(connection, grant.account) if needs_trade(grant.policy) else None
    if key is None:
        return ()
    going_on = rotation_store.open_of(connection, grant.account, Slot.TRADE.value)
    first = "" if going_on is None else f"portcullis rotation watch {going_on.id}, then "
    return (f"{lacks(key)}: {first}portcullis rotation start --account {grant.account} --wait",)
