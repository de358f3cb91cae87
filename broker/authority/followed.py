"""Changes that gateways were told of, for as long as somebody may still tell what came of them.

A change that is in force everywhere is forgotten after `KEPT` others. One that is not, or of whose requests on their
way some are unanswered, is kept for `FOLLOWED_S` all the same: a flood of changes would make it one that nobody
acknowledged, and its requests ones that were never answered.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator

from broker.authority.link import OnTheirWay, Waiting
from broker.background import described
from broker.errors import StoreUnavailable

KEPT = 200
FOLLOWED_S = 30.0
Put = Callable[[str, OnTheirWay], Awaitable[None]]
_LOG = logging.getLogger("portcullis.authority")


class Followed(dict[int, Waiting]):
    """By their numbers. `cuts` are those that recent cuts made, by the cut's id."""

    def __init__(self) -> None:
        super().__init__()
        self.cuts: dict[str, int] = {}
        self._unnoted: dict[str, int] = {}

    def forget_old(self, number: int) -> None:
        """Forget what is old now that a change has this number."""
        since_s = time.monotonic() - FOLLOWED_S
        old = {
            known
            for known, one in self.items()
            if known <= number - KEPT and (one.over.is_set() or one.began_s < since_s)
        }
        for known in old:
            del self[known]
        if old:
            self.cuts = {cut: known for cut, known in self.cuts.items() if known not in old}

    # --- what was on its way at cuts, until that is on record --------------------------------

    def to_note(self, cut: str, number: int) -> None:
        """What was on its way at a cut is to be put on record."""
        self._unnoted[cut] = number

    async def note(
        self, cut: str, number: int, found: OnTheirWay | None, put: Put, pauses: Iterable[float]
    ) -> None:
        """Put it on record. Where the database does not take it, again: `unnoted` tells what it never took."""
        for pause in (*pauses, None):
            if self._unnoted.pop(cut, None) is None or found is None or not found.is_news:
                return
            try:
                await put(cut, found)
            except (StoreUnavailable, RuntimeError) as fault:  # the latter: no thread can be had
                _LOG.error("what was on its way at %s is not on record yet: %s", cut, described(fault))
                self.to_note(cut, number)
            else:
                return
            if pause is not None:
                await asyncio.sleep(pause)

    def unnoted(self) -> Iterator[tuple[str, OnTheirWay]]:
        """Yield what is not on record yet, as it is known now: we end."""
        for cut, number in list(self._unnoted.items()):
            del self._unnoted[cut]
            waiting = self.get(number)
            found = None if waiting is None else waiting.on_their_way()
            if found is not None and found.is_news:
                yield cut, found
