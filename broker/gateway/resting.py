"""Orders that rest at the venue and that nobody here follows: those of an earlier start, or of another gateway.

Rules:
1. What such an order executed since, or that it ended, nobody has told. Whose an asset is depends on it. So the broker,
   and what is known here, name them to who asks whose it is, and from then on they are followed like own ones: an exit
   has the venue asked about them together or one by one (`followed`), and the settler asks on.
2. What could not be asked is in doubt: it counts at its worst against who wants to sell what is not its own, and is no
   definite no for anybody. It is followed on, so the next exit asks again, whatever failed before.
3. What was not seen for want of time or weight is in doubt too; so is everything where the broker names more than are
   read, or where no more can be followed here. An exit looks on, as long as it finds out anything (`fetch`).
4. An order stands for each of the two assets that it moves (`broker.paid`), and is looked at for each: what is found
   out for the one tells nothing of the other.
5. Nothing is asked of what the meter keeps for the facts of exits themselves (`followed`, rule 6).
"""

from collections.abc import Callable, Iterable
from decimal import Decimal
from itertools import count

from broker.gateway.bought import BUY, SELL
from broker.gateway.sent import Sent
from broker.gateway.settlement import Reservation, Settlement
from broker.paid import is_paid, pair_of

RestingPart = tuple[str, str, str, str]
"""Grant, symbol, the venue's order id, side."""

MOST_PAGES, PAGES_US = 20, 300_000
"""How often one exit asks the broker for more of them, and for how long."""

MOST_LOOKS, LOOKS_US = 5, 800_000
"""How often one exit looks on where not all were seen, and until when after it began."""

_NEVER = -1
_ZERO = Decimal(0)


class Resting:
    """Hands them to the settlement."""

    def __init__(self, settlement: Settlement, now_us: Callable[[], int]) -> None:
        self._settlement, self._now_us = settlement, now_us
        self._numbers = count(1)

    def take(self, where: str, base: str, orders: Iterable[RestingPart]) -> bool:
        """Follow orders that move an asset of an account; tell whether all of them are followed now."""
        named = list(orders)
        fresh = [one for one in named if not self._follows(where, one)]
        for one in fresh:
            self._follow(where, base, one)
        return all(self._follows(where, one) for one in fresh)

    def _follows(self, where: str, order: RestingPart) -> bool:
        """Tell whether an order is followed already, for the asset that it is named for."""
        sent = self._settlement.by_id(where, pair_of(order[1]), order[2])
        return sent is not None and bool(sent.quote if is_paid(order[1]) else sent.base)

    def _follow(self, where: str, asset: str, order: RestingPart) -> None:
        grant, symbol, order_id, side = order[0], pair_of(order[1]), order[2], order[3]
        base, quote = ("", asset) if is_paid(order[1]) else (asset, "")
        known = self._settlement.by_id(where, symbol, order_id)
        if known is not None:
            known.base, known.quote = known.base or base, known.quote or quote
            known.seen_us = _NEVER  # for this asset nobody was told of it
            self._settlement.pays(known)
            return
        if quote:
            side = SELL if side == BUY else BUY  # as its pair has it
        number, now_us = -next(self._numbers), self._now_us()
        sent = Sent(
            number,
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
            quote=quote,
        )
        self._settlement.hold(
            Reservation(number, grant, where, symbol, (), None, (sent,), held_us=now_us, asked_us=now_us)
        )
