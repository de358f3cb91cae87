"""Goes through paths of the secret store of which each may fail, and starves none of them.

Rules:
1. One that fails at once keeps no other. One that fails slowly ends the round, so that a store that is away is waited
   for once, and not by everything behind it. The next round begins behind that one, so that all others come before it.
2. Paths that fail say nothing of the store, however many they are: our role may lack a right, or somebody may have
   been at them. The store is away where it does not answer another question either; else they are told by their names.
"""

from collections.abc import Callable, Iterable

from broker.db import faults
from broker.errors import BrokerError, StoreUnavailable

SOME_PATHS = "some_paths"
"""The reason of failures that say nothing of the store, and nothing of any other path."""

OUTAGE_US = 1_000_000
"""What takes longer to fail was waited for, and the others may have to wait as long."""

_MOST_NAMED = 5


class Rounds:
    """Goes round. For one thread; remembers in memory where it was, and who failed."""

    def __init__(self) -> None:
        self._ended_at = ""
        self._failing = set[str]()
        """What was not done when it was tried last."""

    def go(
        self, paths: Iterable[str], work: Callable[[str], bool], boot_us: Callable[[], int],
        answers: Callable[[], object],
    ) -> None:  # fmt: skip
        """Do every path once, those behind where the last round ended first.

        Args:
            paths: All there are; what failed and is not among them any more is forgotten.
            work: Does one; tells whether the store did something for it.
            boot_us: The clock by which it is slow.
            answers: Asks the store something that lies at none of these paths; raises where it does not answer.

        Raises:
            BrokerError: One of them failed, and is tried again in the next round: `SOME_PATHS` where the store answers
                all the same. The others were done, or come before it then.
        """
        known = sorted(set(paths))
        self._failing &= set(known)
        behind = [path for path in known if path > self._ended_at]
        failed: BrokerError | None = None
        answered = False
        for path in behind + known[: len(known) - len(behind)]:
            began_us = boot_us()
            try:
                done = work(path)
            except BrokerError as fault:
                failed, answered = fault, False
                self._failing.add(path)
                if boot_us() - began_us > OUTAGE_US:
                    self._ended_at = path
                    break
            else:
                self._failing.discard(path)
                answered = answered or done
        if failed is None:
            return
        if faults.is_ours(failed.reason) or not isinstance(failed, StoreUnavailable):
            raise failed  # the database's, which is no path's
        if not answered:
            answers()
        raise StoreUnavailable(SOME_PATHS, self._told(failed))

    def _told(self, fault: BrokerError) -> str:
        some = sorted(self._failing)
        more = len(some) - _MOST_NAMED
        named = ", ".join(some[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        them, last = ("it", "") if len(some) == 1 else ("them", "; of the last one")
        return f"{named} cannot be cleared away, and all others come before {them}{last}: {fault}"
