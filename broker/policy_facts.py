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
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from broker.calllog import Unheard
from clients.venue import SymbolInfo
from clients.wire import RefusalKind

FRESH_US = 5_000_000
"""A reference price older than this is only good for the collar of exits."""

ZERO, UNKNOWN = Decimal(0), Decimal("Infinity")


class Quote(Struct, frozen=True, gc=False):
    """A public price, in quote asset per base unit, and how old it is."""

    price: Decimal
    age_us: int


class Stake(Struct, frozen=True, gc=False):
    """Whose a base asset is, as far as executed orders tell.

    Attributes:
        bought_here: This grant has bought it in this very pair.
        own: What this grant bought of it, has not sold, and does not hold in open orders.
        freed: What the order holds of it that the request replaces.
        resting: Orders of it that may still execute, as far as anybody was told: grant, symbol, order id and side.
        more: Behind which of these there are more; empty where there are none.
        others: What other grants of the account bought of it, have not sold, and do not hold in open orders.
        upto: Up to which line of the gateway that asked the record was read; below zero where that was not told.
        as_of_us: Since when, on the gateway's clock, it was found out what others have of it.
        here: What each other grant had of it then by what was known at that gateway.
        doubted: How much of what is others' is so only at worst: followed orders of theirs may have bought it.
        at_most: What is this grant's own at most, where that is more: a sale that is not answered may take none of it.
        fees: How much less others may have bought: fees of theirs that nobody told.
        sure: Whether no more may be this grant's, or nobody's: where that is not known it is no reason for a no.
        unheard: Orders sent elsewhere, others' that bring it and this grant's that give it: nobody heard of them.
    """

    bought_here: bool = False
    own: Decimal = ZERO
    others: Decimal = ZERO
    freed: Decimal = ZERO
    resting: tuple[tuple[str, str, str, str], ...] = ()
    more: str = ""
    upto: int = -1
    as_of_us: int = 0
    here: tuple[tuple[str, Decimal], ...] = ()
    doubted: Decimal = ZERO
    fees: Decimal = ZERO
    at_most: Decimal = ZERO
    sure: bool = True
    unheard: tuple[Unheard, ...] = ()

    def less(self, amount: Decimal) -> "Stake":
        """Return it after a sale of so much."""
        return replace(self, own=max(ZERO, self.own - amount))


Levels = tuple[tuple[Decimal, Decimal], ...]
"""Price and quantity, best first."""


class Page(NamedTuple):
    """What was seen of one side of the public book; of a full one more may lie behind its last level.

    Attributes:
        levels: What is left of it at worst: behind all that is on its way from here.
        is_full: Nobody knows what lies behind its last level.
        seen_to: As far as this price it was seen last; of what lies behind, a look can be had (`deep:SYMBOL`), and what
            is there of it was seen before. None: all of it was seen.
        more: What is left where of that only takes what trades at once: what the asking bot sent, no more than is known
            to be there, and market sales of what others are known to hold; None where that is the same. What waits
            protects, and what else was sent may be refused: it makes no yes, and no definite no.
    """

    levels: Levels
    is_full: bool = False
    more: Levels | None = None
    seen_to: Decimal | None = None

    @property
    def best(self) -> "Page":
        """What is left of it at best."""
        return self if self.more is None else self._replace(levels=self.more, more=None)


_NO_ASKS: Mapping[str, Page] = MappingProxyType({})
_NOTHING: Mapping[str, Quote] = MappingProxyType({})
_NO_PAIRS: Mapping[str, SymbolInfo | None] = MappingProxyType({})
_NONE: Collection[str] = frozenset()


class Facts(Struct, frozen=True, gc=False):
    """What is known about the world at the moment of judging.

    Attributes:
        halted: The gates let pass only reads, cancels and exits.
        ended: So does the lease, which is over.
        account_owner: The grant speaks for the whole account.
        alone: No other grant is on the account: what it holds is this one's to sell.
        owner: Who the named order belongs to: `own`, `other`, `nobody` (unrecorded), None (not asked yet).
        pairs: Base and quote by symbol; None where the venue has no such pair; absent: not asked yet.
        quotes: Reference prices by symbol, the last known ones included.
        free: Base asset free to sell, exits on their way already taken off. None: not asked yet.
        perhaps: How much more it may be: taken off for exits that what the venue told may be without already, or told
            of orders lately, on an account with other grants, and not shown yet.
        locked: Base asset bound in open orders; counts for a replacement, which frees its own.
        stake: Whose the base asset is; None: not asked yet.
        bids: The public book's bids, and what is left of them; None: not asked yet.
        asks: The public book's asks by symbol, and what is left of them.
        budget: What is left of the rolling window, as far as it is lent here.
        limited: A rolling limit binds this grant, its own or one of its account or consumer.
        rate_free: Whether the order rate has room for this request.
        asked: Facts that were waited for on behalf of this request.
        failed: Those of them that did not come.
        final: Nothing more can be waited for.
    """

    halted: bool = False
    ended: bool = False
    account_owner: bool = False
    alone: bool = True
    owner: str | None = None
    pairs: Mapping[str, SymbolInfo | None] = _NO_PAIRS
    quotes: Mapping[str, Quote] = _NOTHING
    free: Decimal | None = None
    perhaps: Decimal = ZERO
    locked: Decimal = ZERO
    stake: Stake | None = None
    bids: Page | None = None
    asks: Mapping[str, Page] = _NO_ASKS
    budget: Decimal = ZERO
    limited: bool = False
    rate_free: bool = True
    asked: Collection[str] = _NONE
    failed: Collection[str] = _NONE
    final: bool = False

    @property
    def only_exits(self) -> bool:
        """Whether nothing passes but reads, cancels and exits."""
        return self.halted or self.ended

    @property
    def shown(self) -> "Facts":
        """The same facts, where what was told is without all that was taken off it."""
        stake = self.stake
        if stake is not None and stake.at_most:
            stake = replace(stake, own=max(stake.own, stake.at_most), at_most=ZERO)
        elif not self.perhaps:
            return self
        free = None if self.free is None else self.free + self.perhaps
        return replace(self, free=free, perhaps=ZERO, stake=stake)

    @property
    def at_best(self) -> "Facts":
        """The same facts, where nothing takes from the book that others have sent."""
        if (self.bids is None or self.bids.more is None) and all(
            page.more is None for page in self.asks.values()
        ):
            return self
        asks = {symbol: page.best for symbol, page in self.asks.items()}
        return replace(self, bids=None if self.bids is None else self.bids.best, asks=asks)

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
    the request may sell, for the holdings of the next one. `beyond`: that is more than is known to be there, on an
    account of one grant: the venue may show it late, and refuses what is not there.
    """

    leaving: bool = False
    counts: bool = False
    notional: Decimal = ZERO
    reserve: Decimal = ZERO
    sells: Decimal = ZERO
    observed: str | None = None
    only_sells: bool = False
    beyond: bool = False


class Deny(Struct, frozen=True, gc=False):
    """No. `reason` is short and stable; `detail` is for the bot's owner, in figures.

    `missing` names facts that could turn it: `pair:SYMBOL`, `price:SYMBOL`, `book:SYMBOL`, `deep:SYMBOL` (more of it),
    `asks:SYMBOL`, `holdings`, `landed` (holdings once what they may not show is answered), `stake`, `fees`, `budget`,
    `owner`. `wanted` is what the budget falls short by. `firm`: observing does not turn it into a yes.
    """

    reason: str
    kind: RefusalKind
    detail: str = ""
    missing: tuple[str, ...] = ()
    wanted: Decimal = ZERO
    firm: bool = False
