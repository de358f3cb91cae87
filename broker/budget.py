"""Money limits over a rolling window: slices lent to gateways, reservations taken from them. Pure.

Rules:
1. The broker lends slices; a gateway reserves only from slices it holds. What is lent counts as used.
2. A slice counts in full while it is open, and by what was kept of it for one window after it was closed. So what is
   spent counts at least a window long, and a little longer. Nothing is reserved from one that is `SLICE_LIFE_US` old:
   so one that nobody ever gives back counts for its life and a window, not for ever.
3. A reservation is released only on proof (`release`); an unknown outcome stays reserved.
4. A slice is the order cap or a tenth of the window, whichever is larger, and never more than is left. Of a limit that
   others share it is no larger than a tenth, nor a quarter of what is left, unless a request needs more.
5. Limits stand beside each other: of the grant, its account, its consumer. What is lent counts for all three, and no
   more is lent than the strictest leaves. A changed rule recounts what was lent under the old one (`Rules.number`).
6. What was used in another asset than the limit's cannot be compared: it uses the window up, until it is a window old.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

WINDOW_US = 24 * 3600 * 1_000_000
SLICE_LIFE_US = 3600 * 1_000_000
_TENTH, _QUARTER = 10, 4
ZERO = Decimal(0)

Parts = tuple[tuple[str, Decimal], ...]
"""What was taken from which slice."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One loan as the broker's ledger has it. Instants are microseconds since the epoch; `rules`: of a fresh one."""

    id: str
    amount: Decimal
    lent_us: int
    returned: Decimal = ZERO
    closed_us: int | None = None
    grant: str = ""
    account: str | None = None
    consumer: str | None = None
    asset: str | None = None
    rules: int = 0


@dataclass(frozen=True, slots=True)
class Limit:
    """One rolling limit: what all of these may use together. `asset` is what it is counted in."""

    amount: Decimal
    asset: str
    grants: frozenset[str] = frozenset()
    account: str | None = None
    consumer: str | None = None

    @property
    def shared(self) -> bool:
        """Whether several grants may use it, so that what one of them holds unused the others lack."""
        return not self.grants

    def covers(self, loan: Slice) -> bool:
        """Tell whether a slice counts for it."""
        return (
            loan.grant in self.grants
            or (self.account is not None and loan.account == self.account)
            or (self.consumer is not None and loan.consumer == self.consumer)
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """The limits of one grant, and the number of their state: every change that touches one of them raises it."""

    number: int
    asset: str
    order_max: Decimal | None = None
    limits: tuple[Limit, ...] = ()

    @property
    def usual(self) -> Decimal:
        """The size of a usual slice; zero where nothing is limited."""
        if not self.limits:
            return ZERO
        return min(
            limit.amount / _TENTH if limit.shared else max(self.order_max or ZERO, limit.amount / _TENTH)
            for limit in self.limits
        )


def used(slices: Iterable[Slice], now_us: int) -> Decimal:
    """Return how much of the window is taken."""
    total, since_us = ZERO, now_us - WINDOW_US
    for loan in slices:
        if loan.closed_us is not None:
            total += loan.amount - loan.returned if loan.closed_us > since_us else ZERO
        elif spent_until_us(loan.lent_us) > since_us:
            total += loan.amount
    return total


def spent_until_us(lent_us: int) -> int:
    """Return until when a slice can have been spent, at the latest."""
    return lent_us + SLICE_LIFE_US


def to_lend(limit: Decimal, order_max: Decimal | None, taken: Decimal, wanted: Decimal = ZERO) -> Decimal:
    """Return how much to lend next; zero where the window is used up.

    Args:
        limit: The rolling limit.
        order_max: The cap per order, if there is one.
        taken: What `used` says.
        wanted: What one request needs, where it is more than a usual slice.
    """
    usual = max(order_max or ZERO, limit / _TENTH, wanted)
    return max(ZERO, min(usual, limit - taken))


def lendable(rules: Rules, slices: Iterable[Slice], now_us: int, wanted: Decimal = ZERO) -> Decimal:
    """Return how much to lend a grant next: what the strictest of its limits gives; zero where one is used up.

    Args:
        rules: Of the grant.
        slices: All that count for one of its limits.
        now_us: Now.
        wanted: What one request needs, where it is more than a usual slice.
    """
    known, found = list(slices), []
    for limit in rules.limits:
        used_up = taken(limit, rules.asset, known, now_us)
        if limit.shared:
            left = limit.amount - used_up
            usual = min(limit.amount / _TENTH, left / _QUARTER)
            found.append(max(ZERO, min(left, max(usual, wanted))))
        else:
            found.append(to_lend(limit.amount, rules.order_max, used_up, wanted))
    return min(found, default=ZERO)


def taken(limit: Limit, asset: str, slices: Iterable[Slice], now_us: int) -> Decimal:
    """Return how much of a limit is taken, for somebody who counts in an asset (rule 6)."""
    covered = [loan for loan in slices if limit.covers(loan)]
    foreign = [loan for loan in covered if loan.asset not in {None, limit.asset}]
    if asset != limit.asset or used(foreign, now_us) > ZERO:
        return limit.amount
    return used(covered, now_us)


def may_spare(rules: Rules, slices: Iterable[Slice], now_us: int, amount: Decimal) -> bool:
    """Tell whether a slice may go out that nobody needs yet: half of each window stays for who needs one first."""
    known = list(slices)
    return all(
        (taken(limit, rules.asset, known, now_us) + amount) * 2 <= limit.amount for limit in rules.limits
    )


class Purse:
    """The slices one gateway holds for one grant, oldest first. Changed in place, never across an await.

    Instants are the gateway's own; a slice is as old as the ask for it, so older than the broker thinks.
    """

    def __init__(self) -> None:
        self._left: dict[str, Decimal] = {}
        self._lent: dict[str, tuple[Decimal, int]] = {}

    @property
    def left(self) -> Decimal:
        """What was neither reserved nor given back."""
        return sum(self._left.values(), ZERO)

    @property
    def empty(self) -> bool:
        """Whether it holds no slice, not even a used up one."""
        return not self._left

    def spendable(self, now_us: int) -> Decimal:
        """Return what can still be reserved: what is left of slices that are not too old (rule 2)."""
        return sum((left for name, left in self._left.items() if self._lives(name, now_us)), ZERO)

    def _lives(self, slice_id: str, now_us: int) -> bool:
        return now_us < spent_until_us(self._lent[slice_id][1])

    def add(self, slice_id: str, amount: Decimal, now_us: int) -> None:
        """Take a slice in; the same slice twice counts once."""
        if slice_id not in self._lent:
            self._left[slice_id] = amount
            self._lent[slice_id] = (amount, now_us)

    def reserve(self, amount: Decimal, now_us: int) -> Parts | None:
        """Take an amount, oldest slices first; None where it is not there, and nothing is taken."""
        if amount > self.spendable(now_us):
            return None
        parts = []
        for slice_id, left in self._left.items():
            if amount <= ZERO:
                break
            taken = min(left, amount) if self._lives(slice_id, now_us) else ZERO
            if taken > ZERO:
                parts.append((slice_id, taken))
                amount -= taken
        for slice_id, taken in parts:
            self._left[slice_id] -= taken
        return tuple(parts)

    def release(self, parts: Parts) -> Parts:
        """Give back what a request did not use; return the parts whose slices have left this purse."""
        gone = []
        for slice_id, amount in parts:
            if slice_id in self._left:
                self._left[slice_id] = min(self._lent[slice_id][0], self._left[slice_id] + amount)
            else:
                gone.append((slice_id, amount))
        return tuple(gone)

    def wants(self, slice_amount: Decimal, now_us: int) -> bool:
        """Tell whether to ask for the next slice: less than half of a usual one is left."""
        return self.spendable(now_us) * 2 < slice_amount

    def close(self, now_us: int, *, everything: bool = False) -> Parts:
        """Give slices back with what is left of them: the used up, the old, or all."""
        closing = [
            slice_id
            for slice_id, left in self._left.items()
            if everything or left <= ZERO or not self._lives(slice_id, now_us)
        ]
        back = tuple((slice_id, self._left.pop(slice_id)) for slice_id in closing)
        for slice_id in closing:
            del self._lent[slice_id]
        return back


def portion(parts: Parts, amount: Decimal) -> Parts:
    """Return the last parts that add up to an amount: what to release after a partial execution."""
    chosen = []
    for slice_id, held in reversed(parts):
        taken = min(held, amount)
        if taken > ZERO:
            chosen.append((slice_id, taken))
            amount -= taken
    return tuple(chosen)
