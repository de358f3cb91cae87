"""What purchases brought: a fee may be taken from what is bought, and not each answer tells it. Pure, in memory.

Rules:
1. A fee that is taken from what is bought is never its buyer's: a thousand purchases would leave it the right to sell
   one of another's. Whether it is taken there is the account's setting, so what was told of one purchase counts for
   those of which nothing was told.
2. That is a guess: fees depend on the pair, on who made the price, and on what there is to pay them with. So an order
   of which they were not told is one whose fees are `untold`, until the venue's own record of trades tells them
   (`fees`). Until then it may have brought less, by `HIGHEST_FEE` of it at the most.
3. What was told of an order counts for that order: of what it executed later the guess is made for the rest alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

from broker.calllog import HIGHEST_FEE
from broker.gateway.bought import BUY, ZERO

MOST_RATES, MOST_TRIES = 2_000, 5
"""Of how many accounts a rate is known; how often nobody's exit has the venue asked about one order."""

_PLACES = Decimal("1e-12")
_Key = tuple[str, str, str]
Fees = tuple[tuple[str, Decimal], ...] | None
"""What executions cost, by asset; None where that was not told of each of them."""


@dataclass(slots=True)
class _Untold:
    """What an order executed, whose it is, and how often it was asked what that cost."""

    gross: Decimal
    whose: str
    tries: int = 0


class Costs:
    """Purchases by account, symbol and the venue's id."""

    def __init__(self) -> None:
        self._rates: dict[str, Decimal] = {}
        self._told: dict[_Key, tuple[Decimal, Decimal]] = {}
        self._untold: dict[tuple[str, str], dict[_Key, _Untold]] = {}
        self._sums: dict[tuple[str, str], dict[str, Decimal]] = {}

    def received(self, key: _Key, base: str, side: str, gross: Decimal, fees: Fees) -> Decimal:
        """Return what an order brought."""
        account = key[0]
        if side != BUY or not gross:
            return gross
        if fees is not None:
            rate = min(sum((fee for asset, fee in fees if asset == base), ZERO) / gross, HIGHEST_FEE)
            if len(self._rates) < MOST_RATES or account in self._rates:
                self._rates[account] = rate
            return _less(gross, rate)
        before, net = self._told.get(key, (ZERO, ZERO))
        if before > gross:
            before = net = ZERO
        return min(gross, net + _less(gross - before, self._rates.get(account, ZERO)))

    def note(
        self, key: _Key, base: str, side: str, gross: Decimal, net: Decimal | None = None, whose: str = ""
    ) -> None:
        """An order executed that much; `net` is what it brought, where each fee was told."""
        if side != BUY or not gross:
            return
        untold = self._untold.get((key[0], base), {})
        told = self._told.get(key, (ZERO, ZERO))[0]
        before = max(told, untold[key].gross if key in untold else ZERO)
        if gross < before or (gross == before and net is None):
            return  # it came late, or is no news
        self._tell(key, base)
        if net is None:
            self._untold.setdefault((key[0], base), {})[key] = _Untold(gross, whose)
            self._add((key[0], base), whose, gross)
        else:
            self._told[key] = gross, net

    def drop(self, key: _Key, base: str) -> None:
        """Nothing is known of an order any more."""
        self._told.pop(key, None)
        self._tell(key, base)

    def untold(self, account: str, base: str) -> dict[_Key, Decimal]:
        """Return the orders of an asset whose fees are not told, and what they executed."""
        return {key: one.gross for key, one in self._untold.get((account, base), {}).items()}

    def bound(self, account: str, base: str, but: str) -> Decimal:
        """Return what the fees of an asset's purchases that are not told come to at most, but for a grant's."""
        sums = self._sums.get((account, base), {})
        return sum((gross for whose, gross in sums.items() if whose != but), ZERO) * HIGHEST_FEE

    def turns(self, accounts: Iterable[str]) -> list[tuple[tuple[str, str], list[_Key]]]:
        """Return by asset of which orders to ask where no exit waits for it: what was not asked for longest first."""
        shared = frozenset(accounts)
        found = (
            (asset, [key for key, one in orders.items() if one.tries < MOST_TRIES])
            for asset, orders in self._untold.items()
            if asset[0] in shared
        )
        return [one for one in found if one[1]]

    def asked(self, asset: tuple[str, str], keys: Iterable[_Key]) -> None:
        """Orders were asked about where no exit waits for it; others come first the next time."""
        orders = self._untold.pop(asset, None)
        if orders is None:
            return
        self._untold[asset] = orders
        for key in keys:
            one = orders.pop(key, None)
            if one is not None:
                one.tries += 1
                orders[key] = one

    def _tell(self, key: _Key, base: str) -> None:
        asset = (key[0], base)
        untold = self._untold.get(asset, {})
        one = untold.pop(key, None)
        if one is None:
            return
        self._add(asset, one.whose, -one.gross)
        if not untold:  # nothing is left of it, not even what rounding leaves
            del self._untold[asset], self._sums[asset]

    def _add(self, asset: tuple[str, str], whose: str, gross: Decimal) -> None:
        sums = self._sums.setdefault(asset, {})
        sums[whose] = sums.get(whose, ZERO) + gross


def _less(gross: Decimal, rate: Decimal) -> Decimal:
    return min(gross, (gross * (1 - rate)).quantize(_PLACES, ROUND_DOWN)) if rate else gross
