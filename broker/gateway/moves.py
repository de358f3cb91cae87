"""Orders that are replaced, and the sales that are to take their places: what these take beside them.

Rules:
1. What an order binds is freed where the venue replaces it only if it was cancelled, and where it is asked about that
   order before anything is judged by it: such as are followed here. Who is alone on an account has nobody's to sell.
2. What nobody here was told of frees nothing as far as is known.
"""

from functools import partial

from broker.gateway.book import Held
from broker.gateway.fills import RecentFills
from broker.gateway.owners import Owners
from broker.gateway.sales import Old, Sale
from broker.gateway.settlement import Settlement
from broker.policy_facts import ZERO
from clients.venue import Intent


class Moves:
    """Finds out what a request replaces."""

    def __init__(self, owners: Owners, recent: RecentFills, settlement: Settlement) -> None:
        self._owners, self._recent, self._settlement = owners, recent, settlement

    def old(self, held: Held, intent: Intent, symbol: str, kept_as: str = "") -> Old | None:
        """Return the order that a request replaces, as it is kept for the asset that it sells (`broker.paid`)."""
        if intent.target is None:
            return None
        order_id = self._owners.order_id(held.account, symbol, intent.target)
        key = (held.account, kept_as or symbol, order_id)
        now = self._recent.binds(key)
        followed = self._settlement.follows(held.account, symbol, order_id)
        sure = now is not None and (held.sole or (followed and not intent.persists))
        return Old(key, held.lease.grant, partial(self._recent.binds, key), *(now or (ZERO, ZERO)), sure=sure)

    def begin(self, sale: Sale, symbol: str) -> None:
        """Remember of an order which sale is to take its place."""
        if sale.old is None:
            return
        account, _, order_id = sale.old.order
        sent = self._settlement.by_id(account, symbol, order_id)
        if sent is not None:
            sent.moved = sale
