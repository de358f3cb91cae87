"""Sales that were sent, and what they leave of what was known before them. Pure, in memory, bounded.

Rules:
1. Whoever is asked what there is to sell may answer as of before a sale that is on its way, or whose answer came after
   the question: such a sale is taken off the answer. Else many that wait for one fact would each sell the whole of it.
2. A sale that the venue refused took nothing. One whose outcome is unknown counts as made: what is the grant's own is
   less by it until the venue shows its orders, or has none of them.
3. A request that the venue did not take within its receive window it never will: so a sale whose answer hangs is in
   what the venue is asked for later, or was not made. It keeps nobody from trying again.
4. While the broker is silent, what orders executed here tells of what a grant bought, and nothing of what others did.
"""

from collections import deque
from dataclasses import dataclass
from decimal import Decimal

from broker.policy_facts import ZERO, Stake

MOST_KEPT = 1000
TAKEN_US = 3_000_000
"""The longest receive window that is signed here, and how far clocks may be apart."""

_Known = dict[tuple[str, str], tuple[str, Stake, int]]


@dataclass(slots=True, eq=False)
class Sale:
    """A sale that was sent, and since when its answer is there. `unsure`: that answer told nothing of what it did."""

    asset: str
    amount: Decimal
    sent_us: int = 0
    landed_us: int | None = None
    refused: bool = False
    unsure: bool = False

    def after(self, asked_us: int) -> bool:
        """Tell whether what the venue was asked then may not show it."""
        until_us = self.sent_us + TAKEN_US
        return not self.refused and asked_us <= min(until_us, self.landed_us or until_us)

    def untold(self, asked_us: int) -> bool:
        """Tell whether what was known here or to the broker then cannot show it."""
        return not self.refused and (self.unsure or self.landed_us is None or self.landed_us >= asked_us)

    def found(self, now_us: int) -> None:
        """What became of it is known from here on, as orders tell it."""
        if self.unsure:
            self.unsure, self.landed_us = False, now_us

    def never(self) -> None:
        """It was not made: the venue has no order of it."""
        self.refused = True


class Stakes:
    """Whose base assets are, as the broker said of one grant, less what that grant has sold since it was asked."""

    def __init__(self) -> None:
        self._told: _Known = {}
        self._seen: _Known = {}
        self._sales: deque[Sale] = deque()

    def sells(self, sale: Sale) -> None:
        """A sale is being sent."""
        self._sales.append(sale)
        if len(self._sales) > MOST_KEPT:
            self._fold(self._sales.popleft())

    def learn(self, symbol: str, base: str, stake: Stake, asked_us: int, replaces: str = "") -> None:
        """Take an answer of the broker in."""
        self._put(self._told, (symbol, replaces), (base, stake, asked_us))
        seen = self._seen.get((symbol, replaces))
        if seen is not None and seen[2] <= asked_us:
            del self._seen[symbol, replaces]

    def is_told(self, symbol: str, since_us: int, replaces: str = "") -> bool:
        """Tell whether the broker answered what it was asked since then."""
        told = self._told.get((symbol, replaces))
        return told is not None and told[2] >= since_us

    def see(self, symbol: str, base: str, stake: Stake, seen_us: int, replaces: str = "") -> None:
        """Take in what orders here tell, because the broker does not answer."""
        self._put(self._seen, (symbol, replaces), (base, stake, seen_us))

    def of(self, symbol: str, replaces: str = "") -> Stake | None:
        """Return whose a pair's base asset is now; None where nobody has said."""
        told = self._less(self._told.get((symbol, replaces)))
        seen = self._less(self._seen.get((symbol, replaces)))
        if told is None or seen is None:
            return told or seen
        own = max(told.own, seen.own)
        return Stake(
            told.bought_here or seen.bought_here,
            own,
            told.others,
            max(told.freed, seen.freed),
            max(told.own + told.coming, seen.own + seen.coming) - own,
        )

    def _less(self, known: "tuple[str, Stake, int] | None") -> Stake | None:
        """Take off what was sold since."""
        if known is None:
            return None
        base, stake, asked_us = known
        gone = sum(
            (sale.amount for sale in self._sales if sale.asset == base and sale.untold(asked_us)), ZERO
        )
        return stake.less(gone) if gone else stake

    def _put(self, into: _Known, key: tuple[str, str], known: tuple[str, Stake, int]) -> None:
        before = into.get(key)
        if before is not None and before[2] > known[2]:
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
            for key, (base, stake, asked_us) in kept.items():
                if base == sale.asset and sale.untold(asked_us):
                    kept[key] = (base, stake.less(sale.amount), asked_us)
