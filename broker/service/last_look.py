"""The last look before a key leaves: at all that it was judged by, once more, in one transaction.

Rules:
1. What was judged before a wait counts no more after it: the gates, the guard, and whatever else made it right (a
   grant, a destination, the rotation that brings it). So all of it is judged here again, after the last wait.
2. It is a read: no cut waits for it. It takes no answer from a server that takes no writes: what a primary of before
   knows is of before the cut (`broker.db.primary`).
3. Who has this home's place is asked of the secret store as well, where that was asked longer ago than two seconds:
   the record of a home that was restored elsewhere does not tell.
4. It is asked from within calls to others, whose time is not its own (`clients.bounds.apart`): a destination that is
   slow does not make the secret store be away, for everybody, nor is a slow look the destination's fault.
5. A look takes time, too, and so may what comes between it and the key (a thread's turn, the loop's). It counts only
   while nothing was changed in this process since it began, and for a second: else it is looked again, a few times.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from broker.db import Connection
from broker.deeds import Deed
from broker.errors import StoreUnavailable
from broker.service.desk import Desk
from broker.service.early import Early, seen
from broker.service.host_guard import KNOWN_FOR_S
from clients.bounds import apart

COUNTS_FOR_S = 1.0
LOOKS = 3


@dataclass(frozen=True, slots=True)
class Look:
    """A look that found nothing in the way, as of when it began."""

    desk: Desk
    change: int
    at_s: float

    @property
    def counts(self) -> bool:
        """Whether a key may leave by it now."""
        return self.desk.changes == self.change and time.monotonic() - self.at_s < COUNTS_FOR_S


def look(desk: Desk, deed: Deed, judge: Callable[[Connection, Sequence[Early]], object]) -> Look:
    """Look once more. Blocks as the stores and the home's disk do: no transaction may be open.

    Args:
        desk: Knows the stores.
        deed: By which a key leaves.
        judge: What it was judged by before, in the transaction that recorded it: raises where it is so no more.

    Returns:
        A look that counts as it is returned; who waits after that asks it anew.

    Raises:
        Withheld: The deed may not be done any more.
        StoreUnavailable: That cannot be known now.
    """
    with apart():
        desk.guard.ensure(deed, KNOWN_FOR_S)
        for _ in range(LOOKS):
            change = desk.changes
            early = seen(desk)
            found = Look(desk, change, time.monotonic())
            with desk.database.read(at_primary=True) as connection:
                desk.guard.fence(connection, deed)
                judge(connection, early)
            if found.counts:
                return found
    raise too_slow()


def too_slow() -> StoreUnavailable:
    """Return the error of looks that never counted."""
    return StoreUnavailable(
        "look_slow",
        "what was cut could not be seen quickly enough, or changed again and again: the key stayed here; try again",
    )
