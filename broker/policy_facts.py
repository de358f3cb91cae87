"""What a verdict is made of and what it says: facts, yes and no. Values only.

Rules:
1. A fact is unknown (None, absent), or known since some time. Before an exit is refused, whatever it lacked or what was
   known from before the request is asked anew, once: `Deny.missing` names it.
2. `Facts.asked` names what was waited for on behalf of this request, `failed` what of that did not come. What was asked
   and did not fail is known as it is now; what failed, or can no longer be waited for (`final`), cannot be had.
"""

from collections.abc import Collection, Mapping
from decimal import Decimal
from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import replace

from clients.venue import SymbolInfo
from clients.wire import RefusalKind

FRESH_US = 5_000_000
"""A reference price older than this is only good for the collar of exits."""

ZERO = Decimal(0)


class Quote(Struct, frozen=True, gc=False):
    """A public price, in quote asset per base unit, and how old it is."""

    price: Decimal
    age_us: int


class Stake(Struct, frozen=True, gc=False):
    """Whose a base asset is, as far as executed orders tell.

    Attributes:
        bought_here: This grant has bought it in this very pair.
        own: What this grant bought of it, has not sold, and does not hold in open orders.
        coming: What its open buys may have brought since: nobody's as long as holdings show nothing of it.
        freed: What the order holds of it that the request replaces.
        resting: Orders of it that may still execute, as far as anybody was told: grant, symbol, order id and side.
        more: Behind which of these there are more; empty where there are none.
        others: What other grants of the account bought of it, have not sold, and do not hold in open orders.
        upto: Up to which line of the gateway that asked the record was read; below zero where that was not told.
    """

    bought_here: bool = False
    own: Decimal = ZERO
    others: Decimal = ZERO
    freed: Decimal = ZERO
    coming: Decimal = ZERO
    resting: tuple[tuple[str, str, str, str], ...] = ()
    more: str = ""
    upto: int = -1

    def less(self, amount: Decimal) -> "Stake":
        """Return it after a sale of so much."""
        own = max(ZERO, self.own - amount)
        return replace(self, own=own, coming=max(ZERO, self.own + self.coming - amount) - own)


_NOTHING: Mapping[str, Quote] = MappingProxyType({})
_NO_PAIRS: Mapping[str, SymbolInfo | None] = MappingProxyType({})
_NONE: Collection[str] = frozenset()


class Facts(Struct, frozen=True, gc=False):
    """What is known about the world at the moment of judging.

    Attributes:
        halted: The gates let pass only reads, cancels and exits.
        account_owner: The grant speaks for the whole account.
        alone: No other grant is on the account: what it holds is this one's to sell.
        owner: Who the named order belongs to: `own`, `other`, `nobody` (unrecorded), None (not asked yet).
        pairs: Base and quote by symbol; None where the venue has no such pair; absent: not asked yet.
        quotes: Reference prices by symbol, the last known ones included.
        free: Base asset free to sell, exits on their way already taken off. None: not asked yet.
        locked: Base asset bound in open orders; counts for a replacement, which frees its own.
        stake: Whose the base asset is; None: not asked yet.
        bids: The public book's bids, price and quantity, best first; None: not asked yet.
        under_way: Base asset sold into that book since it was asked for.
        budget: What is left of the rolling window, as far as it is lent here.
        limited: A rolling limit binds this grant, its own or one of its account or consumer.
        rate_free: Whether the order rate has room for this request.
        asked: Facts that were waited for on behalf of this request.
        failed: Those of them that did not come.
        final: Nothing more can be waited for.
    """

    halted: bool = False
    account_owner: bool = False
    alone: bool = True
    owner: str | None = None
    pairs: Mapping[str, SymbolInfo | None] = _NO_PAIRS
    quotes: Mapping[str, Quote] = _NOTHING
    free: Decimal | None = None
    locked: Decimal = ZERO
    stake: Stake | None = None
    bids: tuple[tuple[Decimal, Decimal], ...] | None = None
    under_way: Decimal = ZERO
    budget: Decimal = ZERO
    limited: bool = False
    rate_free: bool = True
    asked: Collection[str] = _NONE
    failed: Collection[str] = _NONE
    final: bool = False

    def came(self, name: str) -> bool:
        """Tell whether a fact was asked for on behalf of this request, and answered."""
        return name in self.asked and name not in self.failed

    def may_ask(self, name: str) -> bool:
        """Tell whether a fact can still be asked for."""
        return not self.final and name not in self.asked

    def fresh(self, symbol: str) -> bool:
        """Tell whether a price is new enough to count an order by."""
        quote = self.quotes.get(symbol)
        return quote is not None and quote.age_us <= FRESH_US


class Allow(Struct, frozen=True, gc=False):
    """Yes. `reserve` is what to take from the budget; `observed` what would have been refused.

    `leaving` marks cancels and exits; `only_sells` an order within the limits that would leave all the same: no pause
    and no broken log stops either. `counts`: whether it uses up the order rate. `sells` is how much of the base asset
    the request may sell, for the holdings of the next one.
    """

    leaving: bool = False
    counts: bool = False
    notional: Decimal = ZERO
    reserve: Decimal = ZERO
    sells: Decimal = ZERO
    observed: str | None = None
    only_sells: bool = False


class Deny(Struct, frozen=True, gc=False):
    """No. `reason` is short and stable; `detail` is for the bot's owner, in figures.

    `missing` names facts that could turn it: `pair:SYMBOL`, `price:SYMBOL`, `book:SYMBOL`, `holdings`, `stake`,
    `budget`, `owner`. `wanted` is what the budget falls short by. `firm`: observing does not turn it into a yes.
    """

    reason: str
    kind: RefusalKind
    detail: str = ""
    missing: tuple[str, ...] = ()
    wanted: Decimal = ZERO
    firm: bool = False
