"""Which number the next key of an account's slot gets: one that neither the record nor the secret store ever gave.

A database that was put back has forgotten numbers that were given, and the secret store has not: what lies under one
of them, destroyed or not, is another key's, maybe one that is in use. No number is given twice.
"""

import logging

from broker.model import KeyRef
from broker.ports import SecretStore
from clients.venue import Slot

_LOG = logging.getLogger("portcullis.keys")


def next_version(secrets: SecretStore, account: str, slot: Slot, last: int) -> int:
    """Return the next free number; `last` is the highest one on record.

    Raises:
        StoreUnavailable: The secret store cannot say what it holds.
    """
    highest = _highest(secrets, account, slot)
    if highest > last > 0:
        _LOG.warning(
            "%s/%s: the secret store holds a key number %d and the record knows none above %d, so it was put back; "
            "the next one is number %d",
            account, slot.value, highest, last, highest + 1,
        )  # fmt: skip
    return max(highest, last) + 1


def _highest(secrets: SecretStore, account: str, slot: Slot) -> int:
    folder = KeyRef(account, slot, 0).path.removesuffix("0")
    names = {path.removeprefix(folder).partition("/")[0] for path in secrets.paths(folder)}
    return max((int(name) for name in names if name.isascii() and name.isdigit()), default=0)
