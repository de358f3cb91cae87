"""What unkept orders of an asset come to, kept up to date order by order. Pure, in memory.

Whoever leaves asks for it while nine thousand orders lie behind, each try anew: to walk them all held the loop for a
second. So each order counts as it was looked at last, and is looked at again once something of it has changed.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import NamedTuple

from broker.gateway.bought import BUY, ZERO, Known
from broker.gateway.on_record import Had, Part
from broker.gateway.unkept import Lane
from broker.listed import Held

MOST_CHANGED = 256
_EXACT = Context(prec=400, Emax=MAX_EMAX, Emin=MIN_EMIN)
"""What was added is taken off again to the last digit."""

_Key = tuple[str, str, str]
_Whose = tuple[str, ...]
_Amounts = tuple[Decimal, ...]


class Beyond(NamedTuple):
    """What a question has no room to name.

    Attributes:
        parts: What orders come to beyond what the broker has of them as of a line.
        as_of: That line.
        unsure: Of orders of which that is not known, how much the grant sold beyond what it bought, and others bought.
        doubted: How much the grant sold in all of them: an answer that does not count `parts` may count what it bought.
    """

    parts: tuple[Part, ...] = ()
    as_of: int = 0
    unsure: tuple[Decimal, Decimal] = (ZERO, ZERO)
    doubted: Decimal = ZERO


class Counted(NamedTuple):
    """An unkept order: where it lies, what is known of it, and what is on record of it if that is known.

    `holds` and `held`: what of it counts here of what it holds with others of its list, now and by the record.
    """

    lane: Lane
    order: Known
    had: Had | None
    holds: Held
    held: Held = Held()


class _Sums:
    """Amounts by whose they are, and how many orders each is of: of none nothing is left, not even a zero."""

    def __init__(self) -> None:
        self._of: dict[_Whose, tuple[int, _Amounts]] = {}

    def add(self, whose: _Whose, amounts: _Amounts) -> None:
        """Add those of an order."""
        known = self._of.get(whose)
        if known is None:
            self._of[whose] = 1, amounts
        else:
            self._of[whose] = known[0] + 1, tuple(map(_EXACT.add, known[1], amounts))

    def take_off(self, whose: _Whose, amounts: _Amounts) -> None:
        """Take those of an order off again."""
        count, known = self._of.pop(whose)
        if count > 1:
            self._of[whose] = count - 1, tuple(map(_EXACT.subtract, known, amounts))

    def less(self, named: "_Sums") -> dict[_Whose, _Amounts]:
        """Return them without those of some of the orders."""
        found = {}
        for whose, (count, amounts) in self._of.items():
            but = named.of(whose)
            if but is None:
                found[whose] = amounts
            elif count > but[0]:
                found[whose] = tuple(map(_EXACT.subtract, amounts, but[1]))
        return found

    def of(self, whose: _Whose) -> tuple[int, _Amounts] | None:
        """Return of how many orders they are, and what these come to."""
        return self._of.get(whose)


class _Weight(NamedTuple):
    """What an order adds to its asset: by grant, pair and side; of what is not on record; of what its grant sold."""

    counted: Counted
    part: tuple[_Whose, _Amounts] | None
    unsure: tuple[_Whose, _Amounts] | None
    sold: tuple[_Whose, _Amounts] | None


def _weigh(symbol: str, one: Counted) -> _Weight:
    (_, _, grant, placed), order, had, holds, held = one
    executed, part, unsure, sold = order.executed, None, None, None
    size, buys = holds.offered, order.side == BUY
    if had is not None:
        amounts = (
            _EXACT.subtract(executed, had.executed),
            _EXACT.subtract(size, held.offered),
            _EXACT.subtract(holds.bound, held.bound),
        )
        part = (grant, symbol, order.side), amounts
    if placed:
        at_most = _EXACT.add(executed, size)
        if had is None:
            unsure = (grant,), (executed if buys else at_most.copy_negate(),)
        if not buys:
            sold = (grant,), (at_most,)
    return _Weight(one, part, unsure, sold)


@dataclass(slots=True)
class _Asset:
    """Sums of orders of one asset; see `_Weight`."""

    count: int = 0
    part: _Sums = field(default_factory=_Sums)
    unsure: _Sums = field(default_factory=_Sums)
    sold: _Sums = field(default_factory=_Sums)

    def add(self, one: _Weight) -> None:
        """Add an order."""
        self.count += 1
        for sums, more in ((self.part, one.part), (self.unsure, one.unsure), (self.sold, one.sold)):
            if more is not None:
                sums.add(*more)

    def take_off(self, one: _Weight) -> None:
        """Take an order off again."""
        self.count -= 1
        for sums, less in ((self.part, one.part), (self.unsure, one.unsure), (self.sold, one.sold)):
            if less is not None:
                sums.take_off(*less)


class Tally:
    """Unkept orders by account, symbol and id; `look` tells of one as it is now, None where it is none of them."""

    def __init__(self, look: Callable[[_Key], Counted | None]) -> None:
        self._look = look
        self._counted: dict[_Key, _Weight] = {}
        self._assets: dict[tuple[str, str], _Asset] = {}
        self._changed: set[_Key] = set()
        self.changed = self._changed.add
        """Something of an order changes: it is looked at again, not before whoever changes it is done."""

    def spare(self) -> None:
        """Look at some of what changed, where that is much: who asks next need not look at all of it."""
        if len(self._changed) > MOST_CHANGED:
            self._settle(MOST_CHANGED)

    def count(self, account: str, base: str) -> int:
        """Return how many orders of an asset there are."""
        self._settle(len(self._changed))
        found = self._assets.get((account, base))
        return 0 if found is None else found.count

    def beyond(self, account: str, base: str, grant: str, named: Iterable[_Key], as_of: int) -> Beyond:
        """Return what orders of an asset come to for a grant, without those that are named."""
        self._settle(len(self._changed))
        found, less = self._assets.get((account, base)), _Asset()
        if found is None:
            return Beyond(as_of=as_of)
        for key in set(named):
            one = self._counted.get(key)
            if one is not None and one.counted.lane.account == account and one.counted.lane.base == base:
                less.add(one)
        parts = tuple(
            (whose[0], whose[1], whose[2], format(done, "f"), format(offered, "f"), format(bound, "f"))
            for whose, (done, offered, bound) in found.part.less(less.part).items()
        )
        unsure = {whose[0]: own for whose, (own,) in found.unsure.less(less.unsure).items()}
        sold = {whose[0]: size for whose, (size,) in found.sold.less(less.sold).items()}
        return Beyond(parts, as_of, _against(grant, unsure), sold.get(grant, ZERO))

    def _settle(self, most: int) -> None:
        for _ in range(most):
            key = self._changed.pop()
            was, now = self._counted.get(key), self._look(key)
            if was is not None and was.counted == now:
                continue
            if was is not None:
                self._take_off(key, was)
            if now is not None:
                one = self._counted[key] = _weigh(key[1], now)
                self._assets.setdefault((now.lane.account, now.lane.base), _Asset()).add(one)

    def _take_off(self, key: _Key, one: _Weight) -> None:
        del self._counted[key]
        where = (one.counted.lane.account, one.counted.lane.base)
        asset = self._assets[where]
        asset.take_off(one)
        if not asset.count:
            del self._assets[where]


def _against(grant: str, own: Mapping[str, Decimal]) -> tuple[Decimal, Decimal]:
    """Return how much a grant sold beyond what it bought, and how much the others bought beyond what they sold."""
    others = (max(ZERO, one) for whose, one in own.items() if whose != grant)
    return max(ZERO, -own[grant]) if grant in own else ZERO, sum(others, ZERO)
