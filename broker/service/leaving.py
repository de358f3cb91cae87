"""What a broker leaves of cuts that are on no record, for its next start, and for who lets keys go beside us.

Rules:
1. A cut that is on no record a moment after it was made is written down in the home (`unrecorded`), whatever became of
   its first try or of other cuts, whether anybody waits for it or not: it is known elsewhere before it is answered.
2. One thread writes, and takes away what is over. No cut waits for it to be in force, and none to be committed; who
   answers, thaws or ends waits for a bounded time, because a disk may hang.
3. Where no thread can be had, it is written by who needs it there.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field

from broker.service.desk import Desk
from broker.service.making import Made
from broker.service.mirror import Mirror

LEFT_AFTER_S = 0.5
"""Most cuts are on record before that, and the disk is not asked."""

LEFT_WITHIN_S = 1.0
"""So long a disk that hangs keeps who ends; the record and the secret store are tried meanwhile."""

_LOG = logging.getLogger("portcullis.cuts")


@dataclass(frozen=True, slots=True)
class _Errand:
    made: Made
    due_s: float = 0.0
    done: threading.Event = field(default_factory=threading.Event)


class Leaving:
    """Writes cuts down in the home, and takes that back."""

    def __init__(self, desk: Desk, mirror: Mirror) -> None:
        self._desk, self._mirror = desk, mirror
        self._begun, self._left = set[str](), set[str]()
        self._called = threading.Condition()
        self._now, self._later = deque[_Errand](), deque[_Errand]()
        self._thread: threading.Thread | None = None

    def soon(self, made: Made) -> None:
        """Have a cut written down if it is on no record in a moment."""
        with self._called:
            self._later.append(_Errand(made, time.monotonic() + LEFT_AFTER_S))
            self._begin()

    def wake(self) -> bool:
        """Go on with what waits for a thread; tell whether none is missing."""
        with self._called:
            return not (self._now or self._later) or self._begin()

    def at_once(self, made: Made) -> threading.Event | None:
        """Have a cut written down now, or taken away where it is over; None where no thread could be had: it is."""
        errand = _Errand(made)
        with self._called:
            there = self._begin()
            if there:
                self._now.append(errand)
                self._called.notify()
        if not there:
            self.leave(made)
        return errand.done if there else None

    def leave(self, made: Made) -> None:
        """Write a cut down, as long as it holds and is on no record; take it away where it does not."""
        cut = made.noted.id
        if not _holds(made):
            if cut in self._begun:
                self._drop(cut)
            return
        if cut not in self._left:
            self._begun.add(cut)
            if self._desk.unrecorded.keep(made.noted):
                self._left.add(cut)
            if not _holds(made):  # who put it on record, or took it back, may have looked before
                self._drop(cut)
        with suppress(InvalidStateError):  # it is known already
            made.left.set_result(cut in self._left)

    def over(self, made: Made) -> None:
        """It is on record, thawed, or taken back: nothing is left of it."""
        if made.noted.id in self._begun:  # else the disk is not asked: it may hang
            done = self.at_once(made)
            if done is not None:
                done.wait(LEFT_WITHIN_S)

    def _drop(self, cut: str) -> None:
        self._begun.discard(cut)
        self._left.discard(cut)
        self._desk.unrecorded.drop(cut)

    def is_kept(self, cut: str) -> bool:
        """Tell whether a restart finds a cut that is on no record: in the secret store, or here."""
        return self._mirror.has(cut) or self.is_left(cut)

    def is_left(self, cut: str) -> bool:
        """Tell whether it lies in the home: who lets keys go beside us finds it there."""
        return cut in self._left

    def leave_all(self, standing: Iterable[Made]) -> None:
        """Write them down, beside us where a thread can be had.

        What the secret store has, too: who lets keys go in another process, or before a start has read that store,
        looks here.
        """
        asked = [self.at_once(made) for made in standing if _holds(made)]
        until_s = time.monotonic() + LEFT_WITHIN_S
        for done in asked:
            if done is not None:
                done.wait(max(0.0, until_s - time.monotonic()))

    def tell(self, standing: Iterable[Made]) -> None:
        """Say what becomes of those that are on no record as we end."""
        for made in standing:
            if not _holds(made):
                continue
            cut, why = made.noted.id, made.fault or "no answer"
            if self.is_kept(cut):
                _LOG.error("%s is on no record as we end (%s): the next start here puts it there", cut, why)
            else:
                _LOG.error(
                    "%s ENDS WITH US unless the secret store takes it now: it is on no record (%s); make it again",
                    cut, why,
                )  # fmt: skip

    # --- the thread that writes -----------------------------------------------------------

    def _begin(self) -> bool:
        """Make sure that somebody writes; called with the lock held."""
        if self._thread is not None and self._thread.is_alive():
            return True
        thread = threading.Thread(target=self._work, name="cuts left", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return False
        self._thread = thread
        return True

    def _work(self) -> None:
        while True:
            with self._called:
                errand = self._next()
                if errand is None:
                    self._thread = None
                    return
            try:
                self.leave(errand.made)
            except Exception as fault:  # noqa: BLE001 - whatever it is, the next one is written down
                _LOG.critical(
                    "%s could not be written down: failed unforeseen (%s)",
                    errand.made.noted.id, type(fault).__name__,
                )  # fmt: skip
            finally:
                errand.done.set()

    def _next(self) -> _Errand | None:
        """Wait for what is due next; None where nothing is left."""
        while True:
            if self._now:
                return self._now.popleft()
            if not self._later:
                return None
            left_s = self._later[0].due_s - time.monotonic()
            if left_s <= 0:
                return self._later.popleft()
            self._called.wait(left_s)


def _holds(made: Made) -> bool:
    return not made.on_record and made.refused is None and made.thawing is None
