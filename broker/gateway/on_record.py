"""What the broker's record has of orders, as of the last line that it keeps; and what they come to beyond that. Pure.

Rules:
1. Of an order that was placed here it has nothing before its first line, and then what the last kept line tells.
2. Where a line is lost, or the record goes back, that is not known until a later line is kept; of what an earlier start
   wrote it never is.
"""

from collections import deque
from collections.abc import Callable
from decimal import Decimal
from operator import itemgetter
from typing import NamedTuple

_ZERO = Decimal(0)
_Key = tuple[str, str, str]

Part = tuple[str, str, str, str, str, str]
"""Grant, symbol, side, executed, offered and bound quantity, as `frames.StakeQuery.rest` has it."""


class Had(NamedTuple):
    """What is on record of an order, and which line told it."""

    line: int
    executed: Decimal
    left: Decimal


_NOTHING = Had(0, _ZERO, _ZERO)


class OnRecord:
    """Orders by account, symbol and id."""

    def __init__(self, changed: Callable[[_Key], object] = lambda _: None) -> None:
        """Begin; `changed` is told of each order of which something else is on record from now on."""
        self._changed = changed
        self._had: dict[_Key, Had] = {}
        self._coming: deque[tuple[int, _Key, Decimal, Decimal]] = deque()
        self.upto = 0
        """The last line that the broker keeps, with all before it."""

    def of(self, key: _Key) -> Had | None:
        """Return what is on record of an order; None where that is not known."""
        return self._had.get(key)

    def placed(self, key: _Key) -> None:
        """An order was placed here just now."""
        self._had[key] = _NOTHING
        self._changed(key)

    def written(self, key: _Key, line: int, executed: Decimal, left: Decimal) -> None:
        """A line tells of an order."""
        self._coming.append((line, key, executed, left))

    def unsure(self, key: _Key) -> None:
        """What is on record of an order is not known, or of no interest, any more."""
        self._had.pop(key, None)
        self._changed(key)

    def kept(self, line: int, unreadable: tuple[int, ...], stands: Callable[[_Key], bool]) -> None:
        """The broker has every line up to this one, but for some; `stands`: for which orders that is all it takes."""
        while self._coming and self._coming[0][0] <= line:
            number, key, executed, left = self._coming.popleft()
            if number in unreadable or not stands(key):
                self.unsure(key)
            else:
                self._had[key] = Had(number, executed, left)
                self._changed(key)
        self.upto = max(self.upto, line)

    def forgotten(self, first: int, first_again: int) -> None:
        """The record lost lines from one on; they go again from another one on."""
        lost = {key: had for key, had in self._had.items() if had.line >= first}
        for key in lost:
            self.unsure(key)
        again = [
            (had.line, key, had.executed, had.left) for key, had in lost.items() if had.line >= first_again
        ]
        self._coming = deque(sorted([*again, *self._coming], key=itemgetter(0)))
        self.upto = min(self.upto, first_again - 1)
