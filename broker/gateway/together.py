"""Orders of one list, and what they hold together: it counts as one order's, whichever that is. Pure, in memory.

Sums go order by order, and what alternatives hold is held once (`broker.listed`). So one order of a list, on a side and
of a grant, stands for it: all of it counts there, and nothing at the others.

A list has three orders at most. What an answer says to be of a list that has `MOST` is of none: each order that is
taken in costs a walk of its list.
"""

from collections.abc import Iterable, Iterator, Mapping

from broker.gateway.bought import BUY, ZERO, Known
from broker.gateway.on_record import Had
from broker.listed import Held, Leg, held, list_of

MOST = 4

_Key = tuple[str, str, str]
_NOTHING = Held()


class Together:
    """Lists of orders by account, symbol and id; `known` is what is known of those."""

    def __init__(self, known: Mapping[_Key, Known]) -> None:
        self._known = known
        self._of: dict[_Key, dict[_Key, None]] = {}

    def read(self, key: _Key, listed: str) -> str:
        """Return of which list an order is that is told to be of this one: of none, where that is none."""
        found = self._of.get((*key[:2], list_of(listed)), {}) if list_of(listed) else {}
        return "" if len(found) >= MOST and key not in found else listed

    def put(self, key: _Key, listed: str) -> None:
        """An order is of a list, if it is of any."""
        if list_of(listed):
            self._of.setdefault((*key[:2], list_of(listed)), {})[key] = None

    def drop(self, key: _Key, listed: str) -> None:
        """Nothing is known of an order any more."""
        where = (*key[:2], list_of(listed))
        found = self._of.get(where, {})
        found.pop(key, None)
        if not found:
            self._of.pop(where, None)

    def whole(self, key: _Key, listed: str) -> tuple[_Key, ...]:
        """Return an order and all of its list that are known, in the same order whichever it is."""
        found = self._of.get((*key[:2], list_of(listed)), {}) if list_of(listed) else {}
        return tuple(found) if key in found else (*found, key)

    def beside(self, key: _Key, order: Known) -> tuple[_Key, ...]:
        """Return an order and those of its list that are of the same grant, as far as they are known."""
        found = ((one, self._known.get(one)) for one in self.whole(key, order.listed))
        return tuple(one for one, other in found if other is not None and other.whose == order.whose)

    def held(self, key: _Key, order: Known, side: str = "") -> Held:
        """Return what an order holds, with those of its side; or what those of another side of its list do."""
        found = {one: self._known[one] for one in self.beside(key, order)}
        return _held(side or order.side, [(other.side, _leg(other)) for other in found.values()])

    def had(self, key: _Key, order: Known, had: Mapping[_Key, Had]) -> Held:
        """Return what they held by what is on record of each."""
        found = {one: self._known[one] for one in self.beside(key, order)}
        legs = [
            (other.side, Leg(other.listed, had[one].executed, had[one].left)) for one, other in found.items()
        ]
        return _held(order.side, legs)

    def stands(self, key: _Key, order: Known) -> bool:
        """Tell whether an order stands for those of its side: the first of these, better one that a grant placed."""
        found = [one for one in self.beside(key, order) if self._known[one].side == order.side]
        return key == min(found, key=lambda one: not self._known[one].placed)

    def share(self, key: _Key, order: Known) -> Held:
        """Return what an order counts for, of what it holds with others."""
        if not list_of(order.listed):
            return held([_leg(order)])
        return self.held(key, order) if self.stands(key, order) else _NOTHING

    def complete(self, keys: Iterable[_Key], most: int) -> Iterator[_Key]:
        """Yield orders, each with those beside it or not at all, so many at most."""
        found = dict[_Key, None]()
        for key in keys:
            beside = self.beside(key, self._known[key])
            if key not in found and len(found) + len(beside) <= most:
                found.update(dict.fromkeys(beside))
        return iter(found)


def _held(side: str, legs: Iterable[tuple[str, Leg]]) -> Held:
    given = tuple(legs)
    buys = held(leg for other, leg in given if other == BUY).bound if side != BUY else ZERO
    return held((leg for other, leg in given if other == side), buys)


def _leg(order: Known) -> Leg:
    return Leg(order.listed, order.executed, order.left)
