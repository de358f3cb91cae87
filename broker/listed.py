"""What orders hold of an asset, with the lists they are of: what only one order can sell is held once. Pure.

Gateways and brokers share it.

Rules:
1. `listed` says which list an order is of and, where that is known, in which group of it: `7/0` is among the first
   orders of list 7, `7/1` among those that wait for these, `7` in either. Empty: it is of none. `?`: nobody said.
2. Orders of a list that are in the book at once are alternatives: the venue binds what the largest of them needs. Those
   that wait for another order bind nothing; they are offered all the same, but for what that one buys before, and of
   them too only one is filled.
3. Once one of a group has executed anything the others are over, whatever was told of them last. Where the group is not
   known they may be.
4. Of orders of which nobody said it, those of one size may be alternatives.
5. What is in doubt errs to both sides: offered is what they may sell at most, bound what certainly is. Where these are
   not the same it is said (`Held.sure`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

ZERO = Decimal(0)
NOT_SAID = "?"


class Leg(NamedTuple):
    """One order: which list it is of, what it executed, and what it may still; below zero while it waits."""

    listed: str
    executed: Decimal
    left: Decimal


class Held(NamedTuple):
    """What orders of a list hold; see rule 5."""

    offered: Decimal = ZERO
    bound: Decimal = ZERO
    sure: bool = True


def named(list_id: str | None, *, waits: bool | None) -> str:
    """Return how it is said of an order; `waits`: whether it is of those that wait for another one, None: not known."""
    if list_id is None or waits is None:
        return list_id or ""
    return f"{list_id}/{int(waits)}"


def list_of(listed: str) -> str:
    """Return the list that an order is of; empty where it is of none, or nobody said."""
    return "" if listed == NOT_SAID else listed.partition("/")[0]


def spellings(list_id: str) -> tuple[str, ...]:
    """Return all that is said of orders of a list."""
    return list_id, f"{list_id}/0", f"{list_id}/1"


def more_of(known: str, told: str) -> str:
    """Return what says more of the same order; where neither does, what was known."""
    return told if _says(told) > _says(known) else known


def _says(listed: str) -> int:
    return 0 if listed == NOT_SAID else 1 + bool(listed) + ("/" in listed)


def held(legs: Iterable[Leg], buys: Decimal = ZERO) -> Held:
    """Return what orders hold together: one alone, those of one list, or those of which nobody said.

    They are of one grant, pair and side; of a list those that are over are among them if they executed anything.
    `buys` is how much the order that they wait for may buy yet.
    """
    given = tuple(legs)
    if len(given) > 1 and any(leg.listed == NOT_SAID for leg in given):
        return _unsaid(given)
    at_most, at_least = ZERO, ZERO
    executed = Counter(leg.listed for leg in given if leg.executed)
    unsaid = sum(number for listed, number in executed.items() if "/" not in listed)
    for leg in given:
        itself, is_said = int(bool(leg.executed)), "/" in leg.listed
        others = executed.total() - itself
        beside = executed[leg.listed] - itself
        if leg.left > 0 and not (is_said and beside):
            at_most = max(at_most, leg.left)
            if not others or (is_said and not unsaid):
                at_least = max(at_least, leg.left)
    waiting = max((-leg.left for leg in given if leg.left < 0), default=ZERO)
    return Held(at_most + max(ZERO, waiting - buys), at_least, at_most == at_least)


def _unsaid(legs: tuple[Leg, ...]) -> Held:
    """Return it for orders of which nobody said whether they are of a list (rule 4)."""
    sizes: dict[Decimal, list[Decimal]] = defaultdict(list)
    for leg in legs:
        if leg.left:
            sizes[leg.executed + abs(leg.left)].append(leg.left)
    offered = sum((abs(left) for found in sizes.values() for left in found), ZERO)
    bound = sum((max(ZERO, min(found)) for found in sizes.values()), ZERO)
    return Held(offered, bound, all(len(found) == 1 for found in sizes.values()))
