"""Whose an asset is on a shared account, added up from what grants' orders executed and hold. Pure.

Rules:
1. What a grant bought, has not sold and does not offer in open orders is its own; what a buy may still execute is
   nobody's: else an order that is never filled would let its grant sell what others bought.
2. What others hold in open orders of theirs is bound at the venue: it is not taken off what is free a second time.
3. What a grant offers in open orders it has no more, but for the order that a request replaces, and all that ends with
   it: else the same would be sold over and over. Two sales that cancel each other count twice: what is free beyond that
   of others stays sellable. An order that waits for another one binds nothing at the venue yet: of others it is none.
4. Orders of one list hold once what only one of them can sell (`broker.listed`).
5. What a revoked grant bought is its consumer's next grant's, and only that one's: else each of two would sell it. What
   others of the consumer sold beyond what they bought is taken off it, for it may be that. Where the consumer has none
   it is nobody's, as if it had been held before.
6. An order counts for both assets that it moves (`broker.paid`): what a purchase pays is sold, what a sale brings is
   bought. Where nobody said how much that was it is at most all that it may be, and is no reason for a no. That one
   waits for another order is known as long as that one is open: after it nobody tells that it binds something.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from broker.budget import ZERO
from broker.listed import NOT_SAID, Held, Leg, held, list_of
from broker.paid import is_paid
from broker.policy_facts import Stake

BUY, SELL = "BUY", "SELL"


@dataclass(frozen=True, slots=True)
class Fill:
    """One order, what it executed and what it still may, in base asset, and of which list it is (`broker.listed`).

    `counted`: how much of what it executed is in a sum already.
    """

    account: str
    symbol: str
    order_id: str
    grant: str
    base: str
    side: str
    executed: Decimal
    open: Decimal
    told_us: int = 0
    listed: str = ""
    counted: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Rest:
    """What orders of a grant in a pair come to on one side, beyond what is on record of them.

    Attributes:
        grant: Whose.
        symbol: The pair.
        side: Of them.
        executed: What they executed.
        offered: What they hold, also those that wait for another one.
        bound: What they hold at the venue.
    """

    grant: str
    symbol: str
    side: str
    executed: Decimal
    offered: Decimal
    bound: Decimal


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose orders count as whose (rule 5).

    Attributes:
        own: The grants that the asking one stands for.
        gone: Revoked ones that nobody stands for.
        heirs: Living grants by revoked ones of their consumers.
        left: Those of its own that are revoked.
        kin: Other living grants of its consumer.
    """

    own: frozenset[str]
    gone: frozenset[str] = frozenset()
    heirs: Mapping[str, str] = field(default_factory=dict)
    left: frozenset[str] = frozenset()
    kin: frozenset[str] = frozenset()


class _Group(NamedTuple):
    """Which orders hold what they hold together: those of a list, or one; of a grant, in a pair, on a side."""

    symbol: str
    grant: str
    side: str
    of: str


_List = tuple[str, str, str]
"""Symbol, grant and list."""


def weigh(
    fills: Iterable[Fill], whose: Whose, symbol: str, replaces: str = "", rest: Iterable[Rest] = ()
) -> Stake:
    """Add orders up, for a request that replaces one of them or none."""
    groups: dict[_Group, list[Fill]] = defaultdict(list)
    entries = set[_List]()
    freed, bought_here, sure = ZERO, False, True
    net: dict[str, Decimal] = defaultdict(Decimal)
    bound: dict[str, Decimal] = defaultdict(Decimal)
    offered: dict[str, Decimal] = defaultdict(Decimal)
    replaced: _Group | None = None

    def adds(grant: str, side: str, executed: Decimal, holds: Held) -> None:
        who = grant if grant in whose.own else whose.heirs.get(grant, grant)
        net[who] += executed if side == BUY else -executed
        if side == SELL:
            bound[who] += holds.bound
            offered[who] += holds.offered

    for fill in fills:
        groups[_group_of(fill)].append(fill)
        if fill.open and fill.listed.endswith("/0"):
            entries.add(_list_of(fill))
        if (fill.symbol, fill.order_id) == (symbol, replaces) != (symbol, ""):
            replaced = _group_of(fill)._replace(side=SELL)  # whichever of its list it is
        adds(fill.grant, fill.side, fill.executed - fill.counted, Held())
        bought_here = bought_here or _bought(fill, whose, symbol)
    for part in rest:
        adds(part.grant, part.side, part.executed, Held(part.offered, part.bound))
        sure = sure and (not is_paid(part.symbol) or part.offered == part.bound or part.grant in whose.gone)
        bought_here = bought_here or _bought(part, whose, symbol)
    for group, orders in groups.items():
        buys = held(_legs(groups.get(group._replace(side=BUY), ()))).bound if group.side == SELL else ZERO
        holds = held(_legs(orders), buys)
        told = (holds.sure or group.side == BUY) and not any(_is_untold(one, entries) for one in orders)
        sure = sure and (told or group.grant in whose.gone)
        if group == replaced and group.grant in whose.own:
            ends = [one for one in orders if group.of != NOT_SAID or one.order_id == replaces]
            freed += held(_legs(ends)).bound
            holds = held((_legs(one for one in orders if one not in ends)), buys)
        adds(group.grant, group.side, ZERO, holds)
    has = {who: left - offered[who] for who, left in net.items()}
    own = sum((has.get(who, ZERO) for who in whose.own - whose.left), ZERO)
    inherited = sum((has.get(who, ZERO) for who in whose.left), ZERO)
    taken = sum((max(ZERO, -has.get(who, ZERO)) for who in whose.kin), ZERO)
    own += min(inherited, max(ZERO, inherited - taken))
    not_others = whose.own | whose.gone
    others = sum((max(ZERO, left - bound[who]) for who, left in net.items() if who not in not_others), ZERO)
    return Stake(bought_here, max(ZERO, own), others, freed, sure=sure)


def _legs(orders: Iterable[Fill]) -> Iterator[Leg]:
    return (Leg(one.listed, one.executed, one.open) for one in orders)


def _group_of(fill: Fill) -> _Group:
    """Return with which orders one holds what it holds; those of which nobody said it are looked at together."""
    of = list_of(fill.listed)
    of = f"%{of}" if of else fill.listed if fill.listed == NOT_SAID else f"#{fill.order_id}"
    return _Group(fill.symbol, fill.grant, fill.side, of)


def _list_of(one: Fill) -> _List:
    return one.symbol, one.grant, list_of(one.listed)


def _is_untold(one: Fill, entries: Collection[_List]) -> bool:
    """Tell whether nobody knows what an order paid or may pay: it waits then, and no open order is what it waits for.

    `entries` are the lists of which the first order is open (rule 6).
    """
    waits = one.listed.endswith("/1") and _list_of(one) in entries
    return is_paid(one.symbol) and one.open < 0 and not waits


def _bought(one: Fill | Rest, whose: Whose, symbol: str) -> bool:
    return one.grant in whose.own and (one.symbol, one.side) == (symbol, BUY)
