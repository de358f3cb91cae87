"""Asks the venue what became of orders that hold budget, until they are final. Fair to grants, sparing with weight.

Rules:
1. Every few seconds, a few calls: grants in turn, those first that were not asked about for longest. Any key of the
   account may ask; a grant whose account has none here takes no place of another's.
2. Where several orders of one symbol are due, one call shows hundreds: so 20,000 orders that are over are released
   within minutes, and not one a second. One that it does not show is asked for alone the next time; so are all where
   even the shortest answer is larger than what is read of one (`account_view`).
3. The weight meter is asked before the venue: settling waits while reads have to, and leaves bots two fifths of it.
4. An order with an id is asked for by its id, one whose answer never came by the name it was sent with (`settlement`,
   rule 5; `sent`).
5. Whatever fails is asked again later, and nothing is released for it.
6. What it finds is told (`on_state`): an order that ended or was filled without a word to its bot changes whose the
   asset is. So is it that the venue has none of a request's orders (`on_absent`): on record they may exist for ever.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable

from broker.budget import Parts
from broker.gate import Shut
from broker.gateway.account_view import ORDER_WEIGHT, ORDERS_WEIGHT, AccountView
from broker.gateway.book import Book
from broker.gateway.clock import SystemClock
from broker.gateway.limits import Need
from broker.gateway.link import LinkClient
from broker.gateway.mounts import Mounts
from broker.gateway.owners import Owners
from broker.gateway.reported import tells_all
from broker.gateway.sent import Sent, is_on_record
from broker.gateway.settlement import Reservation, Settlement
from broker.gateway.venue_view import TOO_LARGE, NotKnown
from clients.venue import Credential, OrderRef
from clients.venues.binance.market import NO_SUCH_ORDER
from clients.wire import OrderState

ASK_AGAIN_US = 30_000_000
EVERY_S = 5.0
CALLS_AT_ONCE = 5
MOST_DUE = 2000
TOGETHER = ORDERS_WEIGHT // ORDER_WEIGHT + 1
_SPARE_WEIGHT = 2400
_ASK_SECONDS = 5.0
_Pair = tuple[str, str]
_LOG = logging.getLogger("portcullis.gateway")


class Settler:
    """Settles the reservations of one gateway."""

    def __init__(
        self, book: Book, mounts: Mounts, owners: Owners, settlement: Settlement, link: LinkClient, clock: SystemClock
    ) -> None:  # fmt: skip
        self._book, self._mounts, self._owners = book, mounts, owners
        self._settlement, self._link, self._clock = settlement, link, clock
        self._told_unkept = 0
        self.on_state: Callable[[Sent, OrderState], None] = lambda _sent, _state: None
        self.on_absent: Callable[[Sent], None] = lambda _: None

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.settle()
            except (NotKnown, OSError, ValueError):
                continue
            except Exception:  # noqa: BLE001 - a bug must not end settling for good
                _LOG.error("internal error while settling; it goes on", exc_info=False)

    async def settle(self) -> None:
        """Ask about what is due, a few calls of it."""
        if self._settlement.unkept != self._told_unkept:
            self._told_unkept = self._settlement.unkept
            _LOG.warning(
                "%d orders hold budget beyond what is kept here: theirs stays spent for the day",
                self._told_unkept,
            )
        askers = self.askers()
        due = self._settlement.due(
            self._clock.boot_us(), ASK_AGAIN_US, MOST_DUE, lambda held: held.account in askers
        )
        groups: dict[_Pair, list[Reservation]] = defaultdict(list)
        for held in due:
            if not held.alone and _lowest((held,)) is not None:
                groups[(held.account, held.symbol)].append(held)
        covered: set[int] = set()
        grouped = {held.number for group in groups.values() if len(group) >= TOGETHER for held in group}
        calls = 0
        for held in due:
            if calls >= CALLS_AT_ONCE:
                return
            if held.number in covered:
                continue
            account, credential = askers[held.account]
            several = held.number in grouped
            weight = ORDERS_WEIGHT if several else ORDER_WEIGHT * len(held.orders)
            if not account.may_ask(weight + (_SPARE_WEIGHT if calls else 0)):
                continue  # the others may be behind another egress
            calls += 1
            try:
                async with asyncio.timeout(_ASK_SECONDS):
                    if several:
                        group = [
                            one for one in groups[(held.account, held.symbol)] if one.number not in covered
                        ]
                        covered |= await self._ask_together(account, credential, group)
                    else:
                        await self._ask_one(account, credential, held)
            except (NotKnown, OSError, ValueError, TimeoutError):
                self._settlement.asked(held, self._clock.boot_us())

    def askers(self) -> dict[str, tuple[AccountView, Credential]]:
        """Return who can be asked about each account: any lease that the gates leave open will do."""
        found: dict[str, tuple[AccountView, Credential]] = {}
        for held in self._book.by_lease.values():
            credential = self._book.material.get(held.key_text)
            if credential is None or held.account in found or isinstance(self._book.judge(held), Shut):
                continue
            found[held.account] = (self._mounts.account_of(held), credential)
        return found

    async def _ask_together(
        self, account: AccountView, credential: Credential, group: list[Reservation]
    ) -> set[int]:
        """Ask about a symbol's orders from the lowest id that is due; return the reservations that were covered."""
        lowest, fewest = _lowest(group), account.asks_fewest
        if lowest is None:
            return set()
        try:
            states, full = await account.fetch_orders(credential, group[0].symbol, str(lowest))
        except NotKnown as fault:
            if fault.reason == TOO_LARGE and fewest:
                for held in group:
                    held.alone = True
            raise
        shown = {state.order_id: state for state in states}
        highest = max((int(name) for name in shown if name is not None and name.isdigit()), default=lowest)
        covered = set()
        for held in group:
            numbers = [int(one.order_id) for one in held.orders if one.order_id is not None and not one.done]
            if full and numbers and min(numbers) > highest:
                continue
            covered.add(held.number)
            self._settlement.asked(held, self._clock.boot_us())
            held.alone = not any(one.order_id in shown for one in held.orders if one.order_id is not None)
            for one in held.orders:
                state = shown.get(one.order_id)
                if state is not None and state.symbol == one.symbol:
                    self.take(held.account, state, -1)  # it may have been so some time ago
        return covered

    async def _ask_one(self, account: AccountView, credential: Credential, held: Reservation) -> None:
        self._settlement.asked(held, self._clock.boot_us())
        for sent in held.orders:
            if not sent.done and (sent.order_id is not None or sent.name):
                await self.ask(account, credential, held, sent)

    async def ask(
        self, account: AccountView, credential: Credential, held: Reservation, sent: Sent,
        need: Need = Need.READ, whose: str = "",
    ) -> None:  # fmt: skip
        """Ask what became of one order, and take it in."""
        by_name = None if sent.order_id is not None else sent.name
        asked_us, seen_us = account.venue_us(), self._clock.boot_us()
        ref = OrderRef(sent.symbol, sent.order_id, by_name)
        try:
            state = await account.fetch_order(credential, ref, need, whose)
        except NotKnown as fault:
            if fault.code != NO_SUCH_ORDER:
                return
            parts = self._settlement.absent(held, sent, asked_us)
            if parts is not None:
                for one in held.orders:
                    self._owners.waiting.remove(one)
                self.on_absent(sent)
                self._release(held.grant, parts)
            return
        sent.absent_us, sent.gone = (
            None,
            False,
        )  # something bears its name: that it is not ours proves nothing
        self._owners.identify(held.account, state, asked_us)
        self.take(held.account, state, seen_us)

    def take(self, account: str, state: OrderState, asked_us: int) -> None:
        """Take in what the venue told of an order; it was asked then."""
        sent = self._settlement.sent_as(account, state)
        if sent is not None:
            if is_on_record(sent):
                sent.price = state.price or sent.price
            sent.seen_us = max(sent.seen_us, asked_us)
            sent.rested = tells_all(state)
            self.on_state(sent, state)
        grant, parts = self._settlement.settle(account, state)
        self._release(grant, parts)

    def _release(self, grant: str, parts: Parts) -> None:
        if parts:
            standing = self._book.standing.get(grant)
            self._link.give_back(parts if standing is None else standing.purse.release(parts))


def _lowest(group: "list[Reservation] | tuple[Reservation, ...]") -> int | None:
    """Return the lowest id among orders that go on; None where they have none that is a number."""
    numbers = [
        int(sent.order_id)
        for held in group
        for sent in held.orders
        if sent.order_id is not None and sent.order_id.isdigit() and not sent.done
    ]
    return min(numbers, default=None)
