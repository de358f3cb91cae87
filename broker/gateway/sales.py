"""Sales that were sent, and what they leave of what was known before them. Pure, in memory, bounded.

Rules:
1. Whoever is asked what there is to sell may answer as of before a sale that is on its way, or whose answer came after
   the question: such a sale is taken off the answer. Else many that wait for one fact would each sell the whole of it.
2. A sale that the venue refused took nothing. One whose outcome is unknown counts as made: what is the grant's own is
   less by it until the venue shows its orders, or has none of them. So does one that is not answered yet. Either may
   have been refused: that is enough for no yes, and for no definite no (`at_most`).
3. A request that the venue did not take within its receive window it never will: so a sale whose answer hangs is in
   what the venue is asked for later, or was not made. It keeps nobody from trying again. So it is with one whose answer
   tells nothing: that is no answer, and until its window is over the venue may still make it (`may_come`).
4. A sale that replaces an order sells what that one binds: no more is taken off than it sells beside that. What the old
   one executed meanwhile it does not free any more. Where nobody here knows what it binds, or the sale may be made
   although it was not cancelled, the whole is taken off: that is enough for a yes, and for no definite no (`at_most`).
   So it is with what a purchase pays: what is known of that is a bound (`Sale.at_most`).
5. While the broker is silent, what orders executed here tells of what a grant bought, and nothing of what others did:
   that follows from all orders of all gateways. What was told of others before is not known to be all they have now.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple

from msgspec.structs import replace

from broker.policy_facts import ZERO, Stake

MOST_KEPT = 1000
TAKEN_US = 3_000_000
"""The longest receive window that is signed here, and how far clocks may be apart."""

_Pair = tuple[str, str]
_Order = tuple[str, str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Old:
    """The order that a sale replaces, and what ends with it.

    Attributes:
        order: Account, symbol and the venue's id.
        grant: Whose sale replaces it.
        now: What it binds of the asset now, and what it has executed; None where that is not known.
        bound: What it bound when the sale left.
        executed: What it had executed then.
        sure: Whether the sale frees that, so that the rest of it is all that it takes.
    """

    order: _Order
    grant: str
    now: Callable[[], tuple[Decimal, Decimal] | None]
    bound: Decimal = ZERO
    executed: Decimal = ZERO
    sure: bool = False


@dataclass(slots=True, eq=False)
class Sale:
    """A sale that was sent, and since when its answer is there. `unsure`: that answer told nothing of what it did.

    `at_most`: it may give less than its amount.
    """

    asset: str
    amount: Decimal
    sent_us: int = 0
    landed_us: int | None = None
    refused: bool = False
    unsure: bool = False
    old: Old | None = None
    at_most: bool = False
    grant: str = ""

    @property
    def takes(self) -> Decimal:
        """How much it takes of what was free when it left (rule 4)."""
        now = None if self.old is None or not self.old.sure else self.old.now()
        if self.old is None or now is None:
            return self.amount
        return self._beside(self.old.bound - (now[1] - self.old.executed))

    def beside(self, bound: Decimal | None) -> Decimal:
        """Return how much it sells beside what its old order bound, as far as a question about that could tell.

        None: that was asked before it left.
        """
        if self.old is None or not self.old.sure:
            return self.amount
        return self._beside(self.old.bound if bound is None else bound)

    @property
    def binds(self) -> Decimal:
        """How much its old order binds now, for `beside`."""
        now = None if self.old is None else self.old.now()
        return ZERO if now is None else now[0]

    @property
    def may_take_less(self) -> bool:
        """Whether it may take less than that."""
        return self.at_most or (self.old is not None and not self.old.sure)

    @property
    def in_doubt(self) -> bool:
        """Whether it may take less than that, or nothing: who has no answer may have been refused."""
        return self.may_take_less or self.unsure or self.landed_us is None

    def _beside(self, bound: Decimal) -> Decimal:
        return self.amount - min(self.amount, max(ZERO, bound))

    def after(self, asked_us: int) -> bool:
        """Tell whether what the venue was asked then may not show it."""
        until_us = self.sent_us + TAKEN_US
        return not self.refused and asked_us <= min(until_us, self.landed_us or until_us)

    def may_come(self, now_us: int) -> bool:
        """Tell whether the venue may make it after that: its answer told nothing, and its window is not over."""
        return self.unsure and not self.refused and now_us <= self.sent_us + TAKEN_US

    def untold(self, asked_us: int) -> bool:
        """Tell whether what was known here or to the broker then cannot show it."""
        return not self.refused and (self.unsure or self.landed_us is None or self.landed_us >= asked_us)

    def lands(self, now_us: int, *, took_place: bool) -> None:
        """Its answer is there, or never will be."""
        self.landed_us, self.refused = now_us, not took_place

    def found(self, now_us: int) -> None:
        """What became of it is known from here on, as orders tell it."""
        if self.unsure:
            self.unsure, self.landed_us = False, now_us

    def never(self) -> None:
        """It was not made: the venue has no order of it."""
        self.refused = True


Binding = Mapping[Sale, Decimal]
"""What orders bound at a time, by the sales that replace them."""

_NONE: Binding = MappingProxyType({})


class _Known(NamedTuple):
    """What was told of a pair's base asset, or seen, and as of when."""

    base: str
    stake: Stake
    asked_us: int
    binding: Binding = _NONE


class Stakes:
    """Whose base assets are, as the broker said of one grant, less what that grant has sold since it was asked."""

    def __init__(self) -> None:
        self._told: dict[_Pair, _Known] = {}
        self._seen: dict[_Pair, _Known] = {}
        self._sales: deque[Sale] = deque()

    def sells(self, sale: Sale) -> None:
        """A sale is being sent."""
        self._sales.append(sale)
        if len(self._sales) > MOST_KEPT:
            self._fold(self._sales.popleft())

    def binding(self, base: str) -> Binding:
        """Return what the orders bind now that sales on their way replace: what is told of now counts it so."""
        return {
            sale: sale.binds
            for sale in self._sales
            if sale.old is not None and sale.asset == base and (sale.unsure or sale.landed_us is None)
        }

    def learn(
        self, symbol: str, base: str, stake: Stake, asked_us: int, replaces: str = "", binding: Binding = _NONE
    ) -> None:  # fmt: skip
        """Take an answer of the broker in; `binding` is of when it was asked."""
        self._put(self._told, (symbol, replaces), _Known(base, stake, asked_us, binding))
        seen = self._seen.get((symbol, replaces))
        if seen is not None and seen.stake.as_of_us <= asked_us:
            del self._seen[symbol, replaces]

    def is_told(self, symbol: str, since_us: int, replaces: str = "") -> bool:
        """Tell whether the broker answered what it was asked since then."""
        told = self._told.get((symbol, replaces))
        return told is not None and told.asked_us >= since_us

    def see(
        self, symbol: str, base: str, stake: Stake, seen_us: int, replaces: str = "", binding: Binding = _NONE
    ) -> None:  # fmt: skip
        """Take in what orders here tell, because the broker does not answer what it was asked at `stake.as_of_us`."""
        self._put(self._seen, (symbol, replaces), _Known(base, stake, seen_us, binding))

    def of(self, symbol: str, replaces: str = "") -> Stake | None:
        """Return whose a pair's base asset is now; None where nobody has said."""
        told = self._less((symbol, replaces), self._told)
        seen = self._less((symbol, replaces), self._seen)
        if told is None or seen is None:
            return told or seen
        return Stake(
            told.bought_here or seen.bought_here,
            max(told.own, seen.own),
            told.others,
            max(told.freed, seen.freed),
            as_of_us=told.as_of_us,
            here=told.here,
            doubted=told.doubted,
            fees=told.fees,
            at_most=max(told.at_most, seen.at_most),
        )

    def _less(self, pair: _Pair, among: dict[_Pair, _Known]) -> Stake | None:
        """Take off what was sold since."""
        known = among.get(pair)
        if known is None:
            return None
        gone = least = ZERO
        for sale in self._sales:
            if sale.asset == known.base and sale.untold(known.asked_us):
                takes = _taken(sale, pair, known)
                gone += takes
                least += ZERO if sale.in_doubt else takes
        if not gone:
            return known.stake
        return replace(known.stake.less(gone), at_most=ZERO if least == gone else known.stake.less(least).own)

    def _put(self, into: dict[_Pair, _Known], key: _Pair, known: _Known) -> None:
        before = into.get(key)
        if before is not None and before.asked_us > known.asked_us:
            return  # what was asked later has come already
        into.pop(key, None)
        into[key] = known
        while (
            len(into) > MOST_KEPT
        ):  # first what was asked beside an order that is replaced: it is asked once
            del into[next((one for one in into if one[1]), next(iter(into)))]

    def _fold(self, sale: Sale) -> None:
        """Let go of a sale: what was known before it is less for good."""
        for kept in (self._told, self._seen):
            for pair, known in kept.items():
                if known.base == sale.asset and sale.untold(known.asked_us):
                    kept[pair] = known._replace(stake=known.stake.less(_taken(sale, pair, known)))


def _taken(sale: Sale, pair: _Pair, known: _Known) -> Decimal:
    """Return what a sale takes of what was told of a pair: there its old order is offered, unless it was left out."""
    left_out = sale.old is not None and sale.old.order[1:] == pair
    return sale.amount if left_out else sale.beside(known.binding.get(sale))
