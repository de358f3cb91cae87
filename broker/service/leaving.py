"""What a broker leaves of cuts that no store has taken, for its next start: see `unrecorded`."""

import logging
import threading
from collections.abc import Iterable

from broker.service.desk import Desk
from broker.service.making import Made
from broker.service.mirror import Mirror

LEFT_WITHIN_S = 1.0
"""So long a disk that hangs keeps who ends; the record and the secret store are tried meanwhile."""

_LOG = logging.getLogger("portcullis.cuts")


class Leaving:
    """Writes cuts down in the home, and takes that back."""

    def __init__(self, desk: Desk, mirror: Mirror) -> None:
        self._desk, self._mirror = desk, mirror
        self._begun, self._left = set[str](), set[str]()

    def leave(self, made: Made) -> None:
        """Write a cut down, as long as it holds and is on no record."""
        if _holds(made):
            self._begun.add(made.noted.id)
            if self._desk.unrecorded.keep(made.noted):
                self._left.add(made.noted.id)
            if not _holds(made):  # who put it on record, or took it back, may have looked before
                self._drop(made)

    def over(self, made: Made) -> None:
        """It is on record, thawed, or taken back: nothing is left of it."""
        if made.noted.id in self._begun:  # else the disk is not asked: it may hang
            self._drop(made)

    def _drop(self, made: Made) -> None:
        self._begun.discard(made.noted.id)
        self._left.discard(made.noted.id)
        self._desk.unrecorded.drop(made.noted.id)

    def is_kept(self, cut: str) -> bool:
        """Tell whether a restart finds a cut that is on no record: in the secret store, or here."""
        return self._mirror.has(cut) or cut in self._left

    def leave_all(self, standing: Iterable[Made]) -> None:
        """Write them down, beside us where a thread can be had.

        What the secret store has, too: who lets keys go in another process, or before a start has read that store,
        looks here.
        """
        ones = [made for made in standing if _holds(made)]
        if not ones:
            return

        def work() -> None:
            for made in ones:
                self.leave(made)

        writing = threading.Thread(target=work, name="cuts left", daemon=True)
        try:
            writing.start()
        except RuntimeError:  # no thread can be had: a disk that hangs as well keeps us
            work()
        else:
            writing.join(LEFT_WITHIN_S)

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


def _holds(made: Made) -> bool:
    return not made.on_record and made.refused is None and made.thawing is None
