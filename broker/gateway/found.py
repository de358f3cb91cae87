"""What the venue shows of orders that were sent, beside the answers to their requests: put on record.

Rules:
1. Whose an order is and what it may give are one line: whoever knows that it was found asks nobody about it any more.
2. What a purchase without a limit may pay follows from the price of now, where it is not known at which it was sent:
   that is asked for, and until it came the order may pay anything (`reported`).
3. What an order of an earlier start trades may not be known: its pair is asked for. Until then it was not found.
"""

from collections.abc import Callable, Coroutine, Hashable

from broker.calllog import Fills
from broker.gateway.book import Book
from broker.gateway.clock import SystemClock
from broker.gateway.ledger import Ledger
from broker.gateway.mounts import Mounts
from broker.gateway.reported import lacks_price, says_how_much
from broker.gateway.sent import Sent
from broker.gateway.venue_view import NotKnown, VenueView
from broker.policy_facts import FRESH_US
from clients.wire import OrderState


class Found:
    """Takes in what settling, reads and questions about orders were shown."""

    def __init__(
        self, book: Book, mounts: Mounts, ledger: Ledger, clock: SystemClock,
        beside: Callable[[Coroutine[None, None, None]], None],
    ) -> None:  # fmt: skip
        self._book, self._mounts, self._ledger, self._clock = book, mounts, ledger, clock
        self._beside = beside
        self._asked = set[Hashable]()

    def is_known(self, sent: Sent, state: OrderState | None) -> bool:
        """Tell whether it is known how much of which assets an order may give; what it trades is asked for if not."""
        self._note(sent)
        if state is not None and not says_how_much(sent, state):
            return False
        if sent.base:
            return True
        views = self._views(sent.symbol)
        if not views or any(sent.symbol in view.pairs for view in views):
            return True  # there is no such pair
        self._ask(("pair", sent.symbol), views[0].fetch_pair(sent.symbol), lambda: None)
        return False

    def found(self, sent: Sent, state: OrderState | None) -> None:
        """An order has its id; its own answer did not tell."""
        if sent.order_id is not None and not sent.is_list:
            self._book.recent.found(sent.account, sent.symbol, sent.order_id)
        if state is None or not sent.number:
            self._ledger.found(sent)
            return
        self._learn(sent, state)
        self._put(sent, self._book.recent.told_of(sent, state))  # all: what was put down before was nobody's

    def shown(self, sent: Sent, state: OrderState) -> None:
        """Settling was shown an order: what it executed counts for whose the asset is."""
        if fills := self._learn(sent, state):
            self._put(sent, fills)

    def _learn(self, sent: Sent, state: OrderState) -> Fills:
        """Take in what the venue showed of an order; return what of it is news."""
        self._note(sent)
        if lacks_price(sent) and not state.final:
            self._price(sent, state)
        return self._book.recent.learn(sent, state)

    def _put(self, sent: Sent, fills: Fills) -> None:
        line = self._ledger.found(sent, fills, self._book.recent.lists_of(fills))
        self._book.recent.written(fills, line)

    def _note(self, sent: Sent) -> None:
        """Note what an order trades that was sent before this gateway was started, or not from here."""
        if not sent.number or sent.base:
            return
        pairs = (view.pairs.get(sent.symbol) for view in self._mounts.views.values())
        pair = next((pair for pair in pairs if pair is not None), None)
        if pair is not None:
            sent.base = pair.base
            sent.quote = sent.quote or ("" if pair.quote in self._money(sent.grant) else pair.quote)

    def _price(self, sent: Sent, state: OrderState) -> None:
        """Note the price of now of an order's pair; where none is known it is asked for."""
        views, now_us = self._views(sent.symbol), self._clock.boot_us()
        quotes = (view.quotes(now_us).get(sent.symbol) for view in views)
        sent.market = next((one.price for one in quotes if one is not None and one.age_us <= FRESH_US), None)
        if views and not sent.market:
            ask = views[0].fetch_prices((sent.symbol,))
            self._ask(("price", sent), ask, lambda: self.shown(sent, state))

    def _views(self, symbol: str) -> list[VenueView]:
        """Return by what the venue can be asked, first who knows the pair."""
        return sorted(self._mounts.views.values(), key=lambda view: view.pairs.get(symbol) is None)

    def _ask(self, what: Hashable, ask: Coroutine[None, None, None], then: Callable[[], None]) -> None:
        """Ask the venue beside everything else, once at a time."""
        if what in self._asked:
            ask.close()
            return

        async def asking() -> None:
            try:
                await ask
            except (NotKnown, OSError, ValueError):
                return  # whoever is shown the order next has it asked again
            finally:
                self._asked.discard(what)
            then()

        self._asked.add(what)
        self._beside(asking())

    def _money(self, grant: str) -> set[str]:
        """Return what a grant's policy counts in, as far as it has a lease here."""
        return {
            held.policy.reference_asset for held in self._book.by_lease.values() if held.lease.grant == grant
        }
