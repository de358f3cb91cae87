"""Whose turn it is to ask for facts of exits while a venue asks everybody to wait. Pure, in memory.

Rules:
1. All keys together ask so many at once, then so many a second: each call may make a ban longer, on whose behalf it is.
2. Who may not ask now stands in a row, each key in one place, and has a turn of a few facts when it comes: a flood of
   one key's exits makes no other wait for more than one turn of it. Nobody passes by a row.
3. Who is told to wait is told for how long. A turn that is not taken `KEPT_US` after that goes on to others.
"""

from collections import OrderedDict
from dataclasses import dataclass

AT_ONCE, EACH_SECOND, TURN = 60, 3, 4
"""As many as three keys may ask by themselves (`limits`); a turn is what one exit is judged by."""

KEPT_US = 10_000_000
MOST_IN_ROW = 1_000
_SECOND_US = 1_000_000


@dataclass(slots=True)
class _Turn:
    left: int
    until_us: int


class Turns:
    """One way to a venue."""

    def __init__(self) -> None:
        self._free, self._filled_us = AT_ONCE, 0
        self._row: OrderedDict[str, tuple[int, int]] = OrderedDict()
        """The number of a place, and until when its key was told to wait."""
        self._turns: OrderedDict[str, _Turn] = OrderedDict()
        self._came = self._went = 0

    def take(self, whose: str, now_us: int) -> int:
        """Count one fact on behalf of a key, if it may be asked for: 0; else tell how many seconds it has to wait."""
        self._go_on(now_us)
        turn = self._turns.get(whose)
        if turn is not None:
            turn.left -= 1
            if not turn.left:
                del self._turns[whose]
            return 0
        if self._free and not self._row:
            self._free -= 1
            return 0
        number, _ = self._row.get(whose, (self._came + 1, 0))
        wait_s = max(1, -(-((number - self._went) * TURN - self._free) // EACH_SECOND))
        if whose in self._row or len(self._row) < MOST_IN_ROW:
            self._came = max(self._came, number)
            self._row[whose] = number, now_us + wait_s * _SECOND_US
        return wait_s

    def has_room(self, now_us: int) -> bool:
        """Tell whether what only helps may be asked: nobody waits, and a turn is left when it was."""
        self._go_on(now_us)
        return not self._row and self._free > TURN

    def _go_on(self, now_us: int) -> None:
        """Add what came since, second by second: who stood in the row had a turn then, though nobody looked."""
        while (seconds := (now_us - self._filled_us) // _SECOND_US) > 0:
            if self._row or self._turns:
                seconds = 1
            self._filled_us += seconds * _SECOND_US
            self._free += seconds * EACH_SECOND
            self._give(self._filled_us)
        self._give(now_us)

    def _give(self, now_us: int) -> None:
        """Take turns back that are over, and give some to those in front of the row."""
        while self._turns and next(iter(self._turns.values())).until_us <= now_us:
            self._free += self._turns.popitem(last=False)[1].left
        self._free = min(self._free, AT_ONCE - sum(turn.left for turn in self._turns.values()))
        while self._row and self._free >= TURN:
            whose, (self._went, told_us) = self._row.popitem(last=False)
            self._turns[whose] = _Turn(TURN, max(now_us, told_us) + KEPT_US)
            self._free -= TURN
