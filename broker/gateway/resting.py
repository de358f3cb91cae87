"""Orders that rest at the venue and that nobody here follows: those of an earlier start, or of another gateway.

Rules:
1. What such an order executed since, or that it ended, nobody has told. Whose an asset is depends on it: so before an
   exit of a shared account is judged by it, the venue is asked; from then on it is settled like an own one.
2. What cannot be asked now is left as it is on record: it refuses no exit.
3. A few at a time, `MOST`: those that the broker names first, it names those that were told of longest ago; then those
   that an earlier start wrote down and the broker has no line of yet. Who comes while one is asked about shares that.
4. An order stands for each of the two assets that it moves (`broker.paid`), and is looked at for each: what is found
   out for the one tells nothing of the other.
5. Exits are never short of the venue's weight because of it: not each of them asks (`looks`), and nothing is asked of
   what the meter keeps for the facts of exits themselves.
"""

import asyncio
from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import partial
from itertools import count

from broker.gateway.account_view import AccountView
from broker.gateway.bought import BUY, SELL
from broker.gateway.limits import Need
from broker.gateway.looks import Looks, Pages, Place
from broker.gateway.sent import Sent
from broker.gateway.settlement import Reservation, Settlement
from broker.gateway.venue_view import NotKnown
from broker.paid import is_paid, pair_of
from clients.venue import Credential, OrderRef
from clients.wire import OrderState

RestingPart = tuple[str, str, str, str]
"""Grant, symbol, the venue's order id, side."""

MOST = 20
_ZERO = Decimal(0)


class Resting:
    """Looks at them, and hands them to the settler."""

    def __init__(self, settlement: Settlement, now_us: Callable[[], int]) -> None:
        self._settlement, self._now_us = settlement, now_us
        self._numbers = count(1)
        self._looks, self.pages = Looks(), Pages()
        self._under_way: dict[Place, asyncio.Task[bool]] = {}
        self.on_state: Callable[[Sent, OrderState], None] = lambda _sent, _state: None

    async def look(
        self, account: AccountView, credential: Credential, where: str, base: str, orders: Iterable[RestingPart],
        seconds: float, whose: str = "",
    ) -> bool:  # fmt: skip
        """Ask the venue about orders that nobody here follows, on behalf of a key; tell whether any was looked at."""
        unknown = self._unknown(where, orders)
        looks = [self._under_way[place] for place, _ in unknown if place in self._under_way]
        fresh = [one for one in unknown if one[0] not in self._under_way]
        for place, order in self._looks.wanted(fresh, self._now_us())[:MOST]:
            if not (account.leaves_room(whose) and self._looks.take(where, whose, self._now_us())):
                break  # who comes while this one may not look any more looks himself
            look = asyncio.ensure_future(self._look(account, credential, base, order, place, seconds, whose))
            self._under_way[place] = look
            look.add_done_callback(partial(self._over, place))
            looks.append(look)
        if not looks:
            return False
        done, late = await asyncio.wait(looks, timeout=seconds)
        return bool(late) or any(not look.cancelled() and look.result() for look in done)

    def wants(self, where: str, orders: Iterable[RestingPart]) -> bool:
        """Tell whether any of these is to be asked about still."""
        return bool(self._looks.wanted(self._unknown(where, orders), self._now_us()))

    def _unknown(self, where: str, orders: Iterable[RestingPart]) -> list[tuple[Place, RestingPart]]:
        named: dict[Place, RestingPart] = {}
        for order in orders:
            named.setdefault((where, order[1], order[2]), order)
        return [one for one in named.items() if not self._follows(*one)]

    def _follows(self, place: Place, order: RestingPart) -> bool:
        """Tell whether an order is followed already, for the asset that it is asked about for."""
        where, symbol, order_id = place
        sent = self._settlement.by_id(where, pair_of(symbol), order_id)
        return sent is not None and bool(sent.quote if is_paid(order[1]) else sent.base)

    def _over(self, place: Place, look: "asyncio.Task[bool]") -> None:
        del look
        self._under_way.pop(place)

    async def _look(
        self, account: AccountView, credential: Credential, base: str, order: RestingPart, place: Place, seconds: float,
        whose: str,
    ) -> bool:  # fmt: skip
        where, order_id, symbol = place[0], place[2], pair_of(place[1])
        grant, side, now_us = order[0], order[3], self._now_us()
        paid = is_paid(place[1])
        if paid:
            side = SELL if side == BUY else BUY  # as it moves what its pair is quoted in
        if not account.leaves_room(whose):
            return False
        self._looks.failed(place, now_us)  # until it answers
        try:
            async with asyncio.timeout(seconds):
                state = await account.fetch_order(credential, OrderRef(symbol, order_id), Need.EXIT, whose)
        except (NotKnown, OSError, ValueError):
            return False
        number = -next(self._numbers)
        sent = Sent(
            number, grant, where, symbol, "", side, None, _ZERO, 0, 0, order_id=order_id, seen_us=now_us,
            base="" if paid else base, quote=base if paid else "",
        )  # fmt: skip
        followed = self._settlement.by_id(where, symbol, order_id)
        sent.price = state.price or _ZERO
        if followed is not None:
            followed.base, followed.quote = followed.base or sent.base, followed.quote or sent.quote
            self._settlement.pays(followed)
        self.on_state(sent, state)
        now_us = self._now_us()
        if state.final:
            self._looks.ended(place, now_us)
            return True
        self._looks.rests(place, now_us)
        if not self._settlement.follows(where, symbol, order_id):
            self._settlement.hold(
                Reservation(number, grant, where, symbol, (), None, (sent,), held_us=now_us, asked_us=now_us)
            )
        return True
