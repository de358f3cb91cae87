"""What the gateway knows of an account: what it can sell, and how to ask about its orders.

Rules:
1. Holdings are good for `HOLDINGS_US`; sales that were on their way or followed when they were asked for are taken off
   them. Who asks for them on behalf of a request gets them as they are after it came. They are of no later than
   `came_us`.
2. Everything is asked through the venue's view (`venue_view`), so by its meter; what fails stays missing.
3. Where a sale had left when they were asked for, and was not answered, they may show it or not: what is free is at
   most that much more (`perhaps`). So it is with every sale that is not answered, whenever it left: the venue may
   refuse it. So it is where others sell, and whose the asset is was told before that: what they
   sell is not free, and theirs. So it is where a sale may free what its old order binds, and where it is known only
   what it gives at most. As it is told it is enough for a yes, and for no definite no: its answer ends that.
   So it is on an account of several with what came free lately (`lately`): holdings may lag behind that.
4. A sale that was answered before they were asked for is not taken off, unless that answer told nothing: then it is
   until its receive window is over, and who is alone waits for none (`free`). They may lag behind it, too, and nobody
   can tell that from something that came meanwhile, a deposit or another system's purchase: it would keep honest exits.
"""

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from broker.gateway.clock import SystemClock
from broker.gateway.lately import Lately
from broker.gateway.limits import Need
from broker.gateway.places import Places
from broker.gateway.sales import Old, Sale
from broker.gateway.venue_view import GENERAL, LARGEST_FACT, TOO_LARGE, NotKnown, VenueView
from broker.gateway.wellbeing import Ask
from clients.venue import Credential, OrderRef
from clients.venues.binance import market
from clients.venues.binance.market import LONGEST_ORDER, MOST_OPEN, Holding
from clients.wire import OrderState

HOLDINGS_US = 2_000_000
_OLDEST_US = 5_000_000
"""Nothing older is judged by, also where it was late."""

ORDER_WEIGHT, OPEN_WEIGHT, ORDERS_WEIGHT, _HOLDINGS_WEIGHT = 4, 6, 20, 20
TRADES_WEIGHT, MOST_TRADES, _MOST_PAGES = 5, LARGEST_FACT // 400, 10
MOST_ORDERS = LARGEST_FACT // LONGEST_ORDER
"""Of one answer to a question of our own: as many as it has room for."""

LARGEST_OPEN = MOST_OPEN * LONGEST_ORDER
_FEWEST = 8
_LOOK_S = 0.01
_ZERO = Decimal(0)


class Shown(NamedTuple):
    """Orders of a symbol from one id upwards; `full`: there may be more behind them."""

    orders: tuple[OrderState, ...]
    full: bool


class AccountView:
    """What one account can sell."""

    def __init__(
        self, venue: VenueView, clock: SystemClock, lately: Lately | None = None, name: str = ""
    ) -> None:
        self._venue, self._clock = venue, clock
        self._lately, self._name = lately or Lately(), name
        self.may_trade = True
        self._page = MOST_ORDERS
        self._holdings: Mapping[str, Holding] = {}
        self._asked_us, self.came_us = -HOLDINGS_US, 0
        self._asking = 0
        # those that the holdings in use, or being asked for, may not show yet, and their sums by asset
        self._sales: set[Sale] = set()
        self._moves: set[Sale] = set()
        self._total: dict[str, Decimal] = {}

    @property
    def asked_us(self) -> int:
        """When the holdings in use were asked for."""
        return self._asked_us

    @property
    def held_as_of(self) -> tuple[int, int]:
        """When the holdings were asked for that are or come into use, by the wall clock and the venue's."""
        now_us = self._clock.boot_us()
        ago_us = min(now_us - self._asked_us, _OLDEST_US)
        return self._clock.wall_us() - ago_us, self._venue.venue_us() - ago_us

    def known(self, now_us: int) -> bool:
        """Whether holdings are fresh enough to judge by."""
        return now_us - self._asked_us <= HOLDINGS_US

    def free(self, asset: str, *, alone: bool = False) -> Decimal:
        """Return what is free, less sales that may not be taken off it yet.

        Args:
            asset: Of what.
            alone: Nobody else's is on the account. Then a sale that had left before holdings were asked for is not
                taken off: they may show it already, and if they do not, the venue sells nothing that is not there.
        """
        gone = self._total.get(asset, _ZERO)
        if gone and alone:
            mine = (one for one in self._sales if one.asset == asset)
            gone = sum((one.takes for one in mine if one.sent_us >= self._asked_us), _ZERO)
        elif gone:
            gone -= sum((one.amount - one.takes for one in self._moves if one.asset == asset), _ZERO)
        return self._free_of(asset) - gone

    def perhaps(
        self, asset: str, *, alone: bool = False, grant: str = "", since_us: int | None = None
    ) -> Decimal:
        """Return how much of what is taken off what is free it may not take, or holdings be without (rule 3).

        Args:
            asset: Of what.
            alone: As in `free`.
            grant: Who asks. What others sell is theirs until that is told.
            since_us: When it was asked whose the asset is: what was told before that is known.
        """
        lately = _ZERO if alone else self._lately.since(self._name, asset, self._asked_us)
        if not self._total.get(asset):
            return lately
        found = self._perhaps(asset)
        if since_us is not None and not alone:
            here = (one for one in self._sales if one.asset == asset and one.grant != grant)
            found += [one for one in here if one.untold(since_us) and one not in found]
        if alone:  # of these nothing else is taken off
            found = [one for one in found if one.in_doubt and one.sent_us >= self._asked_us]
        return sum((one.takes for one in found), lately)

    def _perhaps(self, asset: str) -> list[Sale]:
        found = (one for one in self._sales if one.asset == asset)
        return [one for one in found if one.sent_us < self._asked_us or one.in_doubt]

    async def landing(self, asset: str, seconds: float) -> None:
        """Wait, not for longer than that, until all sales are answered that holdings may show or not."""
        until_us = self._clock.boot_us() + int(seconds * 1_000_000)
        while (  # noqa: ASYNC110 - not for long
            any(one.landed_us is None for one in self._perhaps(asset)) and self._clock.boot_us() < until_us
        ):
            await asyncio.sleep(_LOOK_S)

    def locked(self, asset: str) -> Decimal:
        """Return what is bound in open orders."""
        held = self._holdings.get(asset)
        return Decimal(0) if held is None else held.locked

    def sells(
        self, asset: str, amount: Decimal, old: Old | None = None, *, at_most: bool = False, grant: str = ""
    ) -> Sale:
        """A sale of that much is being sent; it counts until holdings are asked for after its answer, or its window."""
        now_us = self._clock.boot_us()
        if not (self._asking or self.known(now_us)):  # else the next holdings let go of them
            over = [one for one in self._sales if one.landed_us is not None and not one.may_come(now_us)]
            for one in over:
                self._drop(one)
        sale = Sale(asset, amount, now_us, old=old, at_most=at_most, grant=grant)
        self._sales.add(sale)
        if old is not None:
            self._moves.add(sale)
        self._total[asset] = self._total.get(asset, _ZERO) + amount
        return sale

    def landed(self, sale: Sale, *, took_place: bool = True) -> None:
        """The answer to a sale is there, or never will be; `unsure` is said of it before."""
        now_us = self._clock.boot_us()
        sale.lands(now_us, took_place=took_place)
        if not took_place or not (self._asking or self.known(now_us) or sale.may_come(now_us)):
            self._drop(sale)

    def _drop(self, sale: Sale) -> None:
        if sale in self._sales:
            self._sales.discard(sale)
            self._moves.discard(sale)
            self._total[sale.asset] -= sale.amount

    async def fetch(self, credential: Credential, need: Need = Need.READ, whose: str = "") -> None:
        """Ask for the holdings as they are from now on; requests that need them share the question.

        One that was asked before this request came may not show what the bot was told since: a cancel, a fill.
        """
        came_us, name = self._clock.boot_us(), f"holdings:{id(self)}:{need}"
        work = partial(self._fetch, credential, need, whose)
        await self._venue.once(name, work, need, whose)
        if self._asked_us < came_us:
            await self._venue.once(name, work, need, whose)

    async def _fetch(self, credential: Credential, need: Need, whose: str) -> None:
        asked_us = self._clock.boot_us()
        self._asking += 1
        try:
            body = await self._venue.signed(credential, market.holdings(), _HOLDINGS_WEIGHT, need, whose)
        finally:
            self._asking -= 1
        holdings = market.parse_holdings(body)
        if asked_us < self._asked_us:
            return  # what was asked later has come already
        self._holdings, self._asked_us, self.may_trade = holdings, asked_us, market.parse_may_trade(body)
        self.came_us = self._clock.boot_us()
        for sale in [one for one in self._sales if not (one.after(asked_us) or one.may_come(asked_us))]:
            self._drop(sale)

    def _free_of(self, asset: str) -> Decimal:
        held = self._holdings.get(asset)
        return _ZERO if held is None else held.free

    async def answered(self, seconds: float) -> None:
        """Wait, not for longer than that, until no question for the holdings is under way."""
        running = [task for name, task in self._venue.running() if name.startswith(f"holdings:{id(self)}:")]
        if running:
            await asyncio.wait(running, timeout=seconds)

    def may_ask(self, weight: int) -> bool:
        """Tell whether the venue's limits leave room for a read of ours now."""
        return self._venue.meter.pause(Need.READ, GENERAL, weight, self._venue.now_us()) is None

    @property
    def asks_fewest(self) -> bool:
        """Whether no fewer orders can be asked for together than it is the next time."""
        return self._page <= _FEWEST

    def leaves_room(self, whose: str) -> bool:
        """Tell whether an order can be asked about beside an exit, and nothing is missed by those that follow."""
        return self._venue.meter.leaves_room(GENERAL, ORDER_WEIGHT, self._venue.now_us(), whose)

    @property
    def places(self) -> Places:
        """Those for questions on the way to the venue."""
        return self._venue.pool.places

    @property
    def is_silent(self) -> bool:
        """Whether the venue answers no questions now."""
        return Ask.QUESTION in self._venue.pool.silence.now(asyncio.get_running_loop().time())

    def venue_us(self) -> int:
        """Return the venue's time, as far as it was measured."""
        return self._venue.venue_us()

    async def fetch_order(
        self, credential: Credential, ref: OrderRef, need: Need = Need.READ, whose: str = ""
    ) -> OrderState:
        """Ask for the state of one order."""
        body = await self._venue.signed(credential, market.order(ref), ORDER_WEIGHT, need, whose)
        return market.parse_order(body)

    async def fetch_list(
        self, credential: Credential, ref: OrderRef, need: Need = Need.READ, whose: str = ""
    ) -> market.ListState:
        """Ask for an order list and its orders."""
        body = await self._venue.signed(credential, market.order(ref), ORDER_WEIGHT, need, whose)
        return market.parse_order_list(body)

    async def fetch_orders(
        self, credential: Credential, symbol: str, order_id: str, need: Need = Need.READ, whose: str = ""
    ) -> Shown:
        """Ask for the states of a symbol's orders from one id upwards.

        Raises:
            NotKnown: Among others, that the answer is too large: the next time it is asked for half as many.
        """
        most = self._page
        call = market.orders_from(symbol, order_id, most)
        try:
            body = await self._venue.signed(credential, call, ORDERS_WEIGHT, need, whose)
        except NotKnown as fault:
            if fault.reason == TOO_LARGE:
                self._page = max(_FEWEST, min(self._page, most // 2))
            raise
        self._page = min(MOST_ORDERS, self._page + _FEWEST)
        orders = market.parse_orders(body)
        return Shown(orders, len(orders) >= most)

    async def fetch_cost(
        self, credential: Credential, symbol: str, order_id: str, need: Need = Need.READ, whose: str = ""
    ) -> tuple[Decimal, tuple[tuple[str, Decimal], ...]]:
        """Ask how much an order executed by the venue's record of trades, and what that cost, by asset.

        Raises:
            NotKnown: Among others, that there are too many trades.
        """
        total, fees, first = _ZERO, dict[str, Decimal](), 0
        for _ in range(_MOST_PAGES):
            call = market.trades_of(symbol, order_id, first, MOST_TRADES)
            paid = market.parse_trades(await self._venue.signed(credential, call, TRADES_WEIGHT, need, whose))
            if any(one.order_id != order_id or one.number < first for one in paid):
                raise NotKnown("odd_answer")
            for one in paid:
                total += one.quantity
                fees[one.asset] = fees.get(one.asset, _ZERO) + one.fee
            if len(paid) < MOST_TRADES:
                return total, tuple(fees.items())
            first = max(one.number for one in paid) + 1
        raise NotKnown(TOO_LARGE)

    async def fetch_open(
        self, credential: Credential, symbol: str, need: Need = Need.READ, whose: str = ""
    ) -> tuple[OrderState, ...]:
        """Ask for the open orders of a symbol, as they are now."""
        call = market.open_orders(symbol)
        return market.parse_orders(
            await self._venue.signed(credential, call, OPEN_WEIGHT, need, whose, LARGEST_OPEN)
        )
