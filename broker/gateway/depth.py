"""The sides of the public book that bots trade against at the market: what is there, less what is being taken of it.

Rules:
1. A look is good for so long, for everybody behind this gateway: many who take from one pair share it.
2. What is sent from here that takes from a side is taken off a look which may not show it, from the best on, as far as
   its limit reaches (`policy_book`). Else those who share a look would each count the best of it, and get what lies
   behind. Whatever way out it took: there is one book.
3. What waits for something may take nothing, and what another bot has sent may be refused, too: what is left without
   it is told, too (`Page.more`). There only what its own bot sent and takes at once counts, unless it was more than is
   known to be there, and of others' what they sell at the market and are known to hold, whatever let it pass.
4. A page that is full says nothing of what lies behind its last level (`Page.is_full`). First a short one is asked for,
   it weighs a tenth; a deep one where that does not settle it. Who is judged by a deep look keeps it however many look
   at the first levels meanwhile: these are as they were seen last, what lies behind them as it was seen before.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from broker.gateway.clock import SystemClock
from broker.gateway.sales import MOST_KEPT, Sale
from broker.policy_book import Take, left
from broker.policy_facts import Page

BIDS_US, ASKS_US = 5_000_000, 2_000_000
"""Longer than a request waits in all: a look that it waited for is there when it is judged."""

LEVELS, WEIGHT = 100, 5
DEEP_LEVELS, DEEP_WEIGHT = 1000, 50
"""Where a page gives less than somebody wants of it: a hundred fine ticks of a deep book are next to nothing."""


class Taking(NamedTuple):
    """What a request may take from a side, which bot sent it, and what it takes at once, for no order has to wait.

    `is_held`: what it sells is known to be there. `beyond`: it is known not to be all there (`Allow.beyond`).
    """

    order: Sale
    takes: tuple[Take, ...]
    whose: str = ""
    at_once: tuple[Take, ...] = ()
    is_held: bool = False
    beyond: bool = False

    def surely(self, whose: str) -> tuple[Take, ...]:
        """Return what a bot may be refused for."""
        if self.whose == whose:
            return () if self.beyond else self.at_once
        return tuple(take for take in self.at_once if take.limit is None) if self.is_held else ()


class Takings:
    """What was sent against one side at a venue, by pair, whatever way out it took. In memory, bounded by time."""

    def __init__(self, clock: SystemClock, good_us: Callable[[], int]) -> None:
        self._clock, self.good_us = clock, good_us
        self._of: dict[str, deque[Taking]] = {}

    def add(self, symbol: str, taking: Taking) -> None:
        """Something is being sent."""
        known = self._of.setdefault(symbol, deque(maxlen=MOST_KEPT))
        if len(known) == MOST_KEPT:  # first goes what was refused, or every look shows
            kept = [one for one in known if one.order.after(self._clock.boot_us() - self.good_us())]
            known.clear()
            known.extend(kept)
        known.append(taking)

    def after(self, symbol: str, asked_us: int) -> list[Taking]:
        """Return what a look may not show that was asked for then."""
        return [one for one in self._of.get(symbol, ()) if one.order.after(asked_us)]

    def forget(self, now_us: int) -> None:
        """Let go of what every look shows."""
        for symbol, known in list(self._of.items()):
            kept = [one for one in known if one.order.after(now_us - self.good_us())]
            if len(kept) < len(known):
                self._of[symbol] = deque(kept, MOST_KEPT)
            if not kept:
                del self._of[symbol]

    def __len__(self) -> int:
        return len(self._of)


class _Look(NamedTuple):
    """What was seen last, and when; `whole`: with what was seen behind that, so long ago."""

    page: Page
    asked_us: int
    whole: Page | None = None
    whole_us: int = 0


class Depth:
    """One side as it is seen by one way out, by pair, less what was sent against it. In memory, bounded by time."""

    def __init__(self, clock: SystemClock, sent: Takings) -> None:
        self._clock, self._sent, self._good_us = clock, sent, sent.good_us
        self._seen: dict[str, _Look] = {}
        self._deep: dict[str, _Look] = {}

    def learn(self, symbol: str, page: Page, asked_us: int) -> None:
        """Take a look in that was asked for then; a short page that is full has a price that it was `seen_to`."""
        look = _Look(page, asked_us)
        for known in (self._seen, self._deep) if page.seen_to is None else (self._seen,):
            if symbol not in known or asked_us >= known[symbol].asked_us:
                known[symbol] = look
        seen, deep = self._seen[symbol], self._deep.get(symbol)
        if deep is not None and seen.page.seen_to is not None:
            self._seen[symbol] = _Look(*seen[:2], _together(seen.page, deep.page), deep.asked_us)

    def is_deep(self, symbol: str, now_us: int) -> bool:
        """Tell whether somebody looked deep lately."""
        page = self._page(symbol, now_us)
        return page is not None and (page.seen_to is None or page is not self._seen[symbol].page)

    def _page(self, symbol: str, now_us: int) -> Page | None:
        look = self._seen.get(symbol)
        if look is None or now_us - look.asked_us > self._good_us():
            return None
        return look.page if look.whole is None or now_us - look.whole_us > self._good_us() else look.whole

    def takes(self, symbol: str, taking: Taking) -> None:
        """Something is being sent that takes from it: until its answer is there a look may not show it."""
        self._sent.add(symbol, taking)

    def landed(self, order: Sale, *, took_place: bool) -> None:
        """The answer to it is there: what is asked for from here on shows it."""
        order.lands(self._clock.boot_us(), took_place=took_place)

    def of(self, symbol: str, now_us: int, whose: str = "") -> Page | None:
        """Return what is left of it for a bot; None where nobody looked lately."""
        page = self._page(symbol, now_us)
        if page is None:
            return None
        sent = self._sent.after(symbol, self._seen[symbol].asked_us)
        if not sent:
            return page
        perhaps = [take for one in sent for take in one.takes]
        surely = [take for one in sent for take in one.surely(whose)]
        rest = left(page.levels, perhaps)
        more = rest if len(surely) == len(perhaps) else left(page.levels, surely)
        return page._replace(levels=rest, more=None if more == rest else more)

    def forget(self, now_us: int) -> None:
        """Let go of what is too old."""
        good_us = self._good_us()
        for known in (self._seen, self._deep):
            for symbol in [name for name, look in known.items() if now_us - look.asked_us > good_us]:
                del known[symbol]
        self._sent.forget(now_us)


def _together(page: Page, deep: Page) -> Page | None:
    """Return a page with what a deep one shows behind it; None where that shows nothing there."""
    if not page.levels:
        return None
    first, last = page.levels[0][0], page.levels[-1][0]
    behind = tuple(level for level in deep.levels if (level[0] < last if last < first else level[0] > last))
    return page._replace(levels=(*page.levels, *behind), is_full=deep.is_full) if behind else None
