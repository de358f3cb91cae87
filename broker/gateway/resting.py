"""Orders that rest at the venue and that nobody here follows: those of an earlier start, or of another gateway.

Rules:
1. What such an order executed since, or that it ended, nobody has told. Whose an asset is depends on it: so before an
   exit of a shared account is judged by it, the venue is asked, once; from then on it is settled like an own one.
2. What cannot be asked now is left as it is on record: it refuses no exit.
3. A few at a time, those that were told of longest ago first: the broker names no more than `MOST`.
"""

import asyncio
from collections.abc import Callable, Iterable
from decimal import Decimal
from itertools import count

from broker.gateway.account_view import AccountView
from broker.gateway.limits import Need
from broker.gateway.sent import Sent
from broker.gateway.settlement import Reservation, Settlement
from broker.gateway.venue_view import NotKnown
from clients.venue import Credential, OrderRef
from clients.wire import OrderState

RestingPart = tuple[str, str, str, str]
"""Grant, symbol, the venue's order id, side."""

_ZERO = Decimal(0)


class Resting:
    """Looks at them, and hands them to the settler."""

    def __init__(self, settlement: Settlement, now_us: Callable[[], int]) -> None:
        self._settlement, self._now_us = settlement, now_us
        self._numbers = count(1)
        self.on_state: Callable[[Sent, OrderState], None] = lambda _sent, _state: None

    async def look(
        self, account: AccountView, credential: Credential, where: str, base: str, orders: Iterable[RestingPart],
        seconds: float,
    ) -> bool:  # fmt: skip
        """Ask the venue about orders that nobody here follows; tell whether any was looked at."""
        unknown = [order for order in orders if not self._settlement.follows(where, order[1], order[2])]
        if not unknown:
            return False
        looks = [self._look(account, credential, where, base, order) for order in unknown]
        try:
            async with asyncio.timeout(seconds):
                return any(await asyncio.gather(*looks))
        except TimeoutError:
            return True  # some may have come

    async def _look(
        self, account: AccountView, credential: Credential, where: str, base: str, order: RestingPart
    ) -> bool:
        grant, symbol, order_id, side = order
        try:
            state = await account.fetch_order(credential, OrderRef(symbol, order_id), Need.EXIT)
        except (NotKnown, OSError, ValueError):
            return False
        sent = Sent(
            -next(self._numbers),
            grant,
            where,
            symbol,
            "",
            side,
            None,
            _ZERO,
            0,
            0,
            order_id=order_id,
            base=base,
        )
        self.on_state(sent, state)
        if not state.final and not self._settlement.follows(where, symbol, order_id):
            now_us = self._now_us()
            self._settlement.hold(
                Reservation(
                    sent.number, grant, where, symbol, (), None, (sent,), held_us=now_us, asked_us=now_us
                )
            )
        return True
