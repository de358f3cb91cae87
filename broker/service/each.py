"""Sources of what is wrong, looked at one by one: a fault of one hides nothing that another finds, and is found itself.

The database is away for all of them: whoever looks asks it for something first, and says so.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from broker.errors import BrokerError

UNSEEN = "unseen"
"""The kind of what could not be looked at: while it stands, that nothing of its kinds is found proves nothing."""

STEP = "see to that, and look again: portcullis status"
FINDS: Mapping[str, frozenset[str]] = {
    "whether keys are rotated here": frozenset({"withheld"}),
    "rotations": frozenset({"stalled", "waits", "slow"}),
    "rotations that were given up": frozenset({"given-up"}),
    "dates of keys": frozenset({"overdue", "expiring"}),
    "keys that left": frozenset({"key", "checkout"}),
    "refused orders": frozenset({"refused-orders"}),
    "restarts of gateways": frozenset({"restarts"}),
    "cuts": frozenset({"cut"}),
    "findings of the sweep": frozenset({"key"}),
    "limits of grants": frozenset({"limits"}),
    "operators": frozenset({"no-codes", "no-admin"}),
}
"""The kinds of what a source finds; one that is not named may find all kinds that none of these does."""

T = TypeVar("T")
_LOG = logging.getLogger("portcullis.conditions")


def may_stand(kind: str, unseen: Iterable[str]) -> bool:
    """Tell whether something of a kind may stand that nobody found, where these sources could not be looked at."""
    named = any(kind in kinds for kinds in FINDS.values())
    return any(kind in FINDS[what] if what in FINDS else not named for what in unseen)


def each(sources: Mapping[str, Callable[[], Iterable[T]]], unseen: Callable[[str, str], T]) -> Iterator[T]:
    """Yield what every source finds.

    Args:
        sources: By what each looks at, in words.
        unseen: Makes a find of what could not be looked at, and why not.
    """
    for what, source in sources.items():
        try:
            yield from source()
        except BrokerError as fault:
            yield unseen(
                what, f"{what} could not be looked at, and what is wrong there is not shown: {fault}"
            )
        except Exception as fault:  # noqa: BLE001 - whatever it is, it hides nothing else; its text may quote
            name = type(fault).__name__
            _LOG.critical("%s could not be looked at: failed unforeseen (%s)", what, name)
            yield unseen(what, f"{what} could not be looked at: it failed unforeseen ({name})")
