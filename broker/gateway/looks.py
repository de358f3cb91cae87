"""Which orders that nobody here follows the venue may be asked about now: it is not asked at every exit. Pure, bounded.

Rules:
1. What could not be had is asked for again after `FIRST_PAUSE_US`, then twice as long each time, up to `LAST_PAUSE_US`:
   an answer that was lost once is needed by the very next try, an order that the venue does not show is not.
2. What rests is looked at again after `RESTS_US`, if nobody follows it by then. What ended changes no more; it is
   looked at again after `LAST_PAUSE_US` only, because the broker still names it: its record may have gone back.
3. Those that were never asked about come first, then those that were asked about longest ago.
4. Of one account `MOST_AT_ONCE` looks for each key, then one in `EVERY_US`: two minutes of its exits cost 960 of the
   venue's weight at worst, each further one 240 of its 6,000, however many orders there are and however many exits.
   Another key's exits use up none of them.
5. The broker names so many at once. Where all of these are known, the next ones are asked for, up to `MOST_PAGES`
   within `PAGES_US` of an exit, and the next exit goes on there: followed orders that are told of rarely stand before
   others for good. It begins with the first ones again after `FROM_FIRST_US`: what was known then may not be any more.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

Place = tuple[str, str, str]
"""Account, symbol and the venue's id of an order, as it is kept for one of the assets that it moves (`broker.paid`)."""

FIRST_PAUSE_US, LAST_PAUSE_US, RESTS_US = 1_000_000, 600_000_000, 30_000_000
MOST_AT_ONCE, EVERY_US = 120, 1_000_000
MOST_REMEMBERED, MOST_KEYS = 20_000, 1_000
MOST_PAGES, PAGES_US, FROM_FIRST_US = 5, 250_000, 5_000_000
_NEVER = -1
_T = TypeVar("_T")


class _Look(NamedTuple):
    """When an order was asked about last, and from when on it may be again."""

    asked_us: int
    pause_us: int
    again_us: int


class Looks:
    """What came of looks, by order; and how many more each account may have."""

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self._most = most
        self._of: OrderedDict[Place, _Look] = OrderedDict()
        self._left: dict[tuple[str, str], tuple[int, int]] = {}

    def wanted(self, orders: Iterable[tuple[Place, _T]], now_us: int) -> list[tuple[Place, _T]]:
        """Return those that may be asked about now, in the order of rule 3."""
        found = [one for one in orders if self._again_us(one[0]) <= now_us]
        return sorted(found, key=lambda one: self._asked_us(one[0]))

    def take(self, account: str, whose: str, now_us: int) -> bool:
        """Count a look at an order of an account on behalf of a key; tell whether it may be made."""
        if len(self._left) >= MOST_KEYS and (account, whose) not in self._left:
            full_us = now_us - MOST_AT_ONCE * EVERY_US
            self._left = {one: known for one, known in self._left.items() if known[1] > full_us}
        left, at_us = self._left.get((account, whose), (MOST_AT_ONCE, now_us))
        more = (now_us - at_us) // EVERY_US
        left, at_us = min(MOST_AT_ONCE, left + more), at_us + more * EVERY_US
        self._left[account, whose] = max(0, left - 1), at_us
        return left > 0

    def failed(self, place: Place, now_us: int) -> None:
        """An order could not be looked at."""
        known = self._of.get(place)
        pause_us = FIRST_PAUSE_US if known is None or not known.pause_us else known.pause_us * 2
        self._put(place, now_us, min(pause_us, LAST_PAUSE_US), min(pause_us, LAST_PAUSE_US))

    def well(self, place: Place) -> None:
        """An order that could not be looked at before was looked at: nothing keeps it from being asked about again."""
        self._of.pop(place, None)

    def rests(self, place: Place, now_us: int) -> None:
        """An order may still execute."""
        self._put(place, now_us, 0, RESTS_US)

    def ended(self, place: Place, now_us: int) -> None:
        """An order is final."""
        self._put(place, now_us, 0, LAST_PAUSE_US)

    def _put(self, place: Place, now_us: int, pause_us: int, wait_us: int) -> None:
        self._of[place] = _Look(now_us, pause_us, now_us + wait_us)
        self._of.move_to_end(place)
        if len(self._of) > self._most:
            self._of.popitem(last=False)

    def _again_us(self, place: Place) -> int:
        known = self._of.get(place)
        return _NEVER if known is None else known.again_us

    def _asked_us(self, place: Place) -> int:
        known = self._of.get(place)
        return _NEVER if known is None else known.asked_us


class Pages:
    """Behind which of the orders that the broker names the next question goes on, by account and asset."""

    def __init__(self) -> None:
        self._after: dict[tuple[str, str], tuple[str, int]] = {}

    def after(self, account: str, base: str, now_us: int) -> str:
        """Return it; empty for the first ones."""
        after, since_us = self._after.get((account, base), ("", now_us))
        return after if now_us - since_us < FROM_FIRST_US else ""

    def turn(self, account: str, base: str, after: str, more: str, now_us: int) -> None:
        """All are known that were named behind one; there are more behind another."""
        since_us = now_us if not after else self._after.get((account, base), ("", now_us))[1]
        self._after[account, base] = more, since_us
