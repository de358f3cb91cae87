"""Frames that could not be read or applied: what is shut instead, and what the broker is asked to say again.

Rules:
1. What a frame may have closed is shut until every gate is told anew; where nobody can say what it was, everything is.
2. Nothing that is said once only stays missed for good: the broker is asked at once, and again at each beat until it
   was heard. So it is where anything is closed here by less than the record's word and news of gates came since all of
   it was heard; without news now and then.
3. One ask is on its way at a time: an answer that cannot be read either is no reason to ask without a pause.
4. What a lease is judged by (policy, key version, owner) comes with the lease: where that may be missed, all are given
   back and opened anew. So it is with a key: a lease that came without is given back, and the key is asked for.
"""

import logging
from collections.abc import Callable

from broker.gateway.asking import ANSWERS
from broker.gateway.book import Book
from broker.link import frames
from broker.link.codec import BadFrame
from broker.link.frames import Frame

EVERYTHING = ("everything",)
_ASKED_FOR_AGAIN = frozenset(
    kind.__name__
    for kind in (
        *ANSWERS, frames.Material, frames.Renewed, frames.Canary, frames.CallsKept, frames.CallsNotKept,
        frames.SpoolClosed,
    )
)  # fmt: skip
"""Whoever waits for these fails, or asks again."""

_SAID_ONCE = frozenset(kind.__name__ for kind in (frames.Serves, frames.CallsForgotten, frames.Marked))
"""They close nothing, and nobody waits for them."""

_LOOK_BEATS = 15
_OF_GATES = frozenset(kind.__name__ for kind in (frames.GateChanged, frames.CloseNow, frames.AllGates))
_LOG = logging.getLogger("portcullis.link")


class Missed:
    """What this gateway does not know, and asks for."""

    def __init__(self, book: Book, send: Callable[[Frame], None]) -> None:
        self._book, self._send = book, send
        self._lacks: set[str] = set()
        self._lost = self._asked_for = self._heard = 0
        self._asked_lacks: frozenset[str] = frozenset()
        self._asking = self._news = False
        self._beats = 0

    def unreadable(self, fault: BadFrame) -> None:
        """Nobody can say what a frame was about, or not all of it."""
        if fault.name in _ASKED_FOR_AGAIN:
            return
        if fault.name not in _OF_GATES:
            self._lost += 1
        if fault.name not in _SAID_ONCE:
            if fault.name not in _OF_GATES:
                self.end(tuple(self._book.by_lease))
            self.shut(EVERYTHING)

    def not_applied(self, frame: Frame) -> None:
        """Shut what a frame may have closed; what it may have opened is asked for."""
        self._news = True
        match frame:
            case frames.GateChanged():
                self.shut(tuple(state.scope for state in frame.gates))
            case frames.CloseNow():
                self.shut(frame.closing.scopes)
            case frames.PolicyChanged():
                self.shut(tuple(state.scope for state in frame.gates))
                self.end(tuple(self._book.drop_grant(frame.grant)))
            case frames.Cutover():
                self.end(self._book.drop_key(frame.old))
            case frames.Wipe():
                for key in frame.keys:
                    self._book.forget_key(key)
            case frames.AllGates() if frame.change or not self._book.is_of(frame.history):
                self._book.shut(EVERYTHING)
            case _ if type(frame).__name__ in _SAID_ONCE:
                self._lost += 1
            case _:
                pass  # what was shut stays shut; the beat asks again

    def shut(self, scopes: tuple[str, ...]) -> None:
        """Shut scopes until every gate is told anew."""
        if scopes:
            self._book.shut(scopes)
            if not self._asking:
                self._ask()

    def end(self, leases: tuple[str, ...]) -> None:
        """Give leases back."""
        for lease_id in leases:
            self._book.drop(lease_id)
        if leases:
            self._send(frames.EndLease(leases))

    def lacks(self, key: str) -> None:
        """A key was used that never came: the broker believes that it is here."""
        self._lacks.add(key)
        if not self._asking:
            self._ask()

    def news(self) -> None:
        """Something was told of gates."""
        self._news = True

    def heard(self) -> None:
        """Every gate was told anew, and what else was asked for comes behind it."""
        self._asking = self._news = False
        self._beats = 0
        self._lacks -= self._asked_lacks
        self._heard, self._asked_lacks = self._asked_for, frozenset()

    def ask_again(self) -> None:
        """Ask for what is still missed."""
        self._beats += 1
        doubtful = self._book.stands_above and (self._news or self._beats % _LOOK_BEATS == 0)
        if self._book.unsure or doubtful or self._lacks or self._lost > self._heard:
            self._ask()

    def _ask(self) -> None:
        self._asking, self._asked_for, self._asked_lacks = True, self._lost, frozenset(self._lacks)
        holds, anew = tuple(sorted(self._book.material)), self._lost > self._heard
        self._send(frames.AskGates(holds, tuple(sorted(self._lacks)), anew))
