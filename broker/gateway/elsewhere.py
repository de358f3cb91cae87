"""Orders that were sent through other gateways, or in starts of this one whose files are gone, and nobody heard of.

Rules:
1. The broker names them where somebody asks whose an asset is: what others bought so is in no count, what the asking
   grant sold so is counted at most. From then on they are followed like our own unheard ones: the venue is asked by
   their names (`followed`, `settler`), and what it says is written down for the record. Until then they are in doubt.
2. They are let go of once the broker names them no more: it has heard. What has its id by then is followed on.
3. What was found out here is not begun anew where the broker has not heard of it yet.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count

from broker.calllog import Unheard
from broker.gateway.clock import SystemClock
from broker.gateway.owners import Owners
from broker.gateway.sent import Sent
from broker.gateway.settlement import Reservation, Settlement

MOST_KNOWN = 5_000
_FIRST_NUMBER = 1 << 41
"""Below those of `recall`: numbers of reservations are never used twice."""

_BUY = "BUY"
_Key = tuple[str, str, int, str]


@dataclass(slots=True)
class _Known:
    """One that was named, with what is held of its request; for which assets it still is."""

    sent: Sent
    held: Reservation
    bases: set[str] = field(default_factory=set)


class Elsewhere:
    """Follows them."""

    def __init__(self, owners: Owners, settlement: Settlement, clock: SystemClock) -> None:
        self._owners, self._settlement, self._clock = owners, settlement, clock
        self._numbers = count(_FIRST_NUMBER)
        self._known: OrderedDict[_Key, _Known] = OrderedDict()
        self._of: dict[tuple[str, str], set[_Key]] = defaultdict(set)

    def take(self, account: str, base: str, grant: str, named: Collection[Unheard]) -> None:
        """Take in what the broker names to a grant that asks about an asset."""
        keys = set(map(_key_of, named))
        for key in self._of[account, base] - keys:
            if _is_told(self._known[key].sent, base, grant):
                self._unnamed(key, account, base)
        fresh: dict[tuple[str, str, int], list[Unheard]] = defaultdict(list)
        for one in named:
            key = _key_of(one)
            if key in self._known:
                self._names(key, account, base, one)
            elif not self._is_ours(account, one):
                fresh[key[:3]].append(one)
        for request in fresh.values():
            self._follow(account, base, request)
        if not self._of[account, base]:
            del self._of[account, base]
        while len(self._known) > MOST_KNOWN:
            oldest = next(iter(self._known))
            for asset in tuple(self._known[oldest].bases):
                self._unnamed(oldest, self._known[oldest].sent.account, asset)

    def _names(self, key: _Key, account: str, base: str, one: Unheard) -> None:
        known = self._known[key]
        known.bases.add(base)
        known.sent.base, known.sent.quote = known.sent.base or one.base, known.sent.quote or one.quote
        self._settlement.pays(known.sent)
        self._known.move_to_end(key)
        self._of[account, base].add(key)

    def _is_ours(self, account: str, one: Unheard) -> bool:
        """Tell whether an earlier start's files told of it: it is followed as that."""
        waiting = self._owners.waiting.named((account, one.symbol, one.name))
        return any((sent.boot, sent.asked) == (one.boot, one.seq) for sent in waiting)

    def _follow(self, account: str, base: str, request: Sequence[Unheard]) -> None:
        """Begin to ask about orders of one request: none of them is absent before all are."""
        number, now_us, first = -next(self._numbers), self._clock.boot_us(), request[0]
        orders = tuple(
            Sent(
                number, one.grant, account, one.symbol, one.name, one.side,
                Decimal(one.quantity) if one.quantity else None, Decimal(one.price or "0"), one.sent_us, one.until_us,
                exact=one.exact, asked=one.seq, base=one.base, boot=one.boot, quote=one.quote, gateway=one.gateway,
            )
            for one in request
        )  # fmt: skip
        held = Reservation(
            number, first.grant, account, first.symbol, (), None, orders, held_us=now_us, asked_us=now_us
        )
        self._settlement.hold(held)
        for one, sent in zip(request, orders, strict=True):
            self._owners.waiting.add(sent)
            self._known[_key_of(one)] = _Known(sent, held)
            self._names(_key_of(one), account, base, one)

    def _unnamed(self, key: _Key, account: str, base: str) -> None:
        """The broker names it no more for an asset: it has heard, where that was the last one."""
        known = self._known[key]
        known.bases.discard(base)
        self._of[account, base].discard(key)
        if known.bases:
            return
        del self._known[key]
        sent, held = known.sent, known.held
        self._owners.waiting.remove(sent)
        if sent.order_id is None and self._settlement.holds(held.number):
            self._settlement.refused(held.number)
            held.orders = tuple(one for one in held.orders if one is not sent)
            if held.orders:
                self._settlement.hold(held)


def _key_of(one: Unheard) -> _Key:
    return one.gateway, one.boot, one.seq, one.name


def _is_told(sent: Sent, base: str, grant: str) -> bool:
    """Tell whether a grant that asks about an asset is told of an order: others' that bring it, own that give it."""
    brings = (sent.side == _BUY) is (sent.base == base)
    return brings is (sent.grant != grant)
