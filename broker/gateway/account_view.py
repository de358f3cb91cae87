"""What the gateway knows of an account: what it can sell, and how to ask about its orders.

Rules:
1. Holdings are good for `HOLDINGS_US`; sales that were on their way or followed when they were asked for are taken off
   them. Who asks for them on behalf of a request gets them as they are after it came.
2. Everything is asked through the venue's view (`venue_view`), so by its meter; what fails stays missing.
"""

from collections.abc import Mapping
from decimal import Decimal
from functools import partial

from broker.gateway.clock import SystemClock
from broker.gateway.limits import Need
from broker.gateway.sales import Sale
from broker.gateway.venue_view import GENERAL, VenueView
from clients.venue import Credential, OrderRef
from clients.venues.binance import market
from clients.venues.binance.market import Holding
from clients.wire import OrderState

HOLDINGS_US = 2_000_000
ORDER_WEIGHT, ORDERS_WEIGHT, _HOLDINGS_WEIGHT = 4, 20, 20
_ZERO = Decimal(0)


class AccountView:
    """What one account can sell."""

    def __init__(self, venue: VenueView, clock: SystemClock) -> None:
        self._venue, self._clock = venue, clock
        self.may_trade = True
        self._holdings: Mapping[str, Holding] = {}
        self._asked_us = -HOLDINGS_US
        self._asking = 0
        # those that the holdings in use, or being asked for, may not show yet, and their sums by asset
        self._sales: set[Sale] = set()
        self._total: dict[str, Decimal] = {}

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
        held = self._holdings.get(asset)
        gone = self._total.get(asset, _ZERO)
        if gone and alone:
            mine = (one for one in self._sales if one.asset == asset)
            gone = sum((one.amount for one in mine if one.sent_us >= self._asked_us), _ZERO)
        return (_ZERO if held is None else held.free) - gone

    def locked(self, asset: str) -> Decimal:
        """Return what is bound in open orders."""
        held = self._holdings.get(asset)
        return Decimal(0) if held is None else held.locked

    def sells(self, asset: str, amount: Decimal) -> Sale:
        """A sale of that much is being sent; it counts until holdings are asked for after its answer."""
        sale = Sale(asset, amount, self._clock.boot_us())
        self._sales.add(sale)
        self._total[asset] = self._total.get(asset, _ZERO) + amount
        return sale

    def landed(self, sale: Sale, *, took_place: bool = True) -> None:
        """The answer to a sale is there, or never will be."""
        now_us = self._clock.boot_us()
        sale.landed_us, sale.refused = now_us, not took_place
        if not took_place or not (self._asking or self.known(now_us)):
            self._drop(sale)

    def _drop(self, sale: Sale) -> None:
        if sale in self._sales:
            self._sales.discard(sale)
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
        for sale in [one for one in self._sales if not one.after(asked_us)]:
            self._drop(sale)

    def may_ask(self, weight: int) -> bool:
        """Tell whether the venue's limits leave room for a read of ours now."""
        return self._venue.meter.pause(Need.READ, GENERAL, weight, self._venue.now_us()) is None

    def leaves_room(self, whose: str) -> bool:
        """Tell whether an order can be asked about beside an exit, and nothing is missed by those that follow."""
        return self._venue.meter.leaves_room(GENERAL, ORDER_WEIGHT, self._venue.now_us(), whose)

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
        self, credential: Credential, symbol: str, order_id: str
    ) -> tuple[OrderState, ...]:
        """Ask for the states of a symbol's orders from one id upwards."""
        call = market.orders_from(symbol, order_id)
        return market.parse_orders(await self._venue.signed(credential, call, ORDERS_WEIGHT))
