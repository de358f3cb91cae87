"""Lines that could not be written yet: of exits that left while the spool could not be, and of what came of them.

Pure, in memory, bounded.

Rules:
1. They are written in the order they came in, an ask before what came of it: the broker takes no answer without one.
2. An ask gets its number when it is written, and what came of it names that: till then its request has none.
3. Of more than there is room for, the oldest of who has most goes: nobody's exits cost another's their line. What goes
   is counted, and said. An answer whose ask is gone goes with it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from broker.calllog import Answered, Ask, Fills
from broker.gateway.fair import Fair
from broker.gateway.sent import Sent

MOST = 2_000
Line = Ask | Answered


@dataclass(slots=True, eq=False)
class Unwritten:
    """One line. `of`: the ask that an answer belongs to, where that was not written either.

    `sent` are the orders of an ask; `number` is that of its line, once it has one.
    """

    line: Line
    sent: tuple[Sent, ...] = ()
    of: "Unwritten | None" = None
    number: int = 0
    gone: bool = False


class Late:
    """What waits to be written."""

    def __init__(self, most: int = MOST) -> None:
        self._of: Fair[Unwritten, None] = Fair(most)
        self._asks: dict[int, Unwritten] = {}
        self.dropped = 0
        """How many lines there was no room for since all was written."""
        self.spent = 0
        """How many asks that reserved budget wait, or were dropped."""
        self.on_end: Callable[[Fills, int], None] = lambda _fills, _number: None
        """Told what a line tells of orders, and its number once it is written; 0 where it never will be."""

    def __len__(self) -> int:
        return len(self._of)

    def ask(self, line: Ask, sent: tuple[Sent, ...]) -> Unwritten:
        """A request leaves that has no line."""
        one = Unwritten(line, sent)
        self.spent += bool(line.reserved)
        if sent:
            self._asks[sent[0].number] = one
        self._put(one, line.grant)
        return one

    def ask_of(self, number: int) -> Unwritten | None:
        """Return the ask of a request, by our own number, that waits here."""
        return self._asks.get(number)

    def answer(self, line: Answered, whose: str, of: Unwritten | None = None) -> None:
        """What came of a request has no line; `of`: nor has the request."""
        if of is None or not of.gone:
            self._put(Unwritten(line, of=of), whose)
        else:
            self.dropped += 1
            self._tell(line, 0)

    def write(self, write: Callable[[Line], None], following: Callable[[], int]) -> None:
        """Write all of it; `following` tells the number of the next line.

        Raises:
            OSError: It cannot be written: what is left stays.
        """
        for one in tuple(self._of):
            if one.of is not None and one.of.gone:
                self._drop(one)
                continue
            line = replace(one.line, seq=following())
            if one.of is not None and isinstance(line, Answered):
                line = replace(line, of=one.of.number)
            write(line)
            self._of.drop(one)
            self._written(one, line.seq)
            self._tell(line, line.seq)

    def _written(self, one: Unwritten, number: int) -> None:
        one.number = number
        self.spent -= isinstance(one.line, Ask) and bool(one.line.reserved)
        self._let_go(one)
        for sent in one.sent:
            sent.asked = number

    def _put(self, one: Unwritten, whose: str) -> None:
        for gone in self._of.put(one, None, whose):
            self._drop(gone)

    def _drop(self, one: Unwritten) -> None:
        self._of.drop(one)
        one.gone = True
        self.dropped += 1
        self._let_go(one)
        self._tell(one.line, 0)

    def _tell(self, line: Line, number: int) -> None:
        if isinstance(line, Answered) and line.fills:
            self.on_end(line.fills, number)

    def _let_go(self, one: Unwritten) -> None:
        if one.sent:
            self._asks.pop(one.sent[0].number, None)
