"""Cuts on their way to the record: in force since they were asked for, committed by one thread, until they are.

Rules:
1. What is made here is closed in this process and told to its gateways already. It ends on record; or thawed before
   that, which goes on record, too; or taken back, where it turns out to name what does not exist. Nothing else ends it:
   no answer about how it is to be held, least of all.
2. One thread commits, first what is new, then what failed before. What fails is tried again without end, with pauses;
   within a try the wait for a lock or a server is bounded. Where no thread can be had, that is tried again, too.
3. A thaw and a commit of one cut never cross: each holds the cut's `lock`, a commit from inside its transaction until
   its outcome is known. A commit never waits for it: a thaw may hang in the secret store, and the next write behind us.
4. Who ends tries each at once, beside all else that ends, and once more last of all; it waits for that, not for long,
   and does it itself where no thread can be had.
"""

import contextvars
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from broker.background import described
from broker.db.coverage import Place
from broker.errors import NotFound
from broker.gate import Gate
from broker.gate_document import NotedCut
from broker.service.desk import Change

_PAUSES_S = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0)
_IDLE_S = 30.0
_TOLD_EACH = 12
ENDS_WITHIN_S = 2.0
_LOG = logging.getLogger("portcullis.cuts")


@dataclass(frozen=True, slots=True)
class Thawing:
    """When, by whom and why a cut was thawed before it was on record."""

    at_us: int
    actor: str
    reason: str


@dataclass(slots=True, eq=False)
class Made:
    """A cut that is in force, and how far it is with the record.

    `settled` ends once that is known: True on record and in force, False on record and thawed, an error where it was
    taken back. `refused` is why it was taken back, `refusing` why it will be; `noting` that the secret store was asked
    to write it down. `doubt` says why it may be forgotten although it is committed, `fault` why it is not committed
    yet. `before`: which key versions were in use when it was made, where it names some. `left`: whether it lies in the
    home, once that was tried. `is_plain`: the database does not hold its words as they are.
    """

    noted: NotedCut
    change: Change
    context: contextvars.Context = field(repr=False)
    settled: "Future[bool]" = field(default_factory=Future)
    closed: list[Gate] = field(default_factory=list)
    doubt: str = ""
    fault: str = ""
    tries: int = 0
    again_s: float = 0.0
    on_record: bool = False
    is_plain: bool = False
    noting: bool = False
    thawing: Thawing | None = None
    refused: NotFound | None = None
    refusing: NotFound | None = None
    before: "Future[Mapping[Place, int | None]] | None" = None
    left: "Future[bool]" = field(default_factory=Future)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def in_use(self) -> Mapping[Place, int | None]:
        """What was in use as it was made; nothing where that could not be read: then it covers what is now."""
        before = self.before
        if before is None or not before.done() or before.cancelled() or before.exception():
            return {}
        return before.result()


class Making:
    """Commits cuts, one after the other."""

    def __init__(self, commit: Callable[[Made], None], take_back: Callable[[Made, NotFound], None]) -> None:
        self._commit, self._take_back = commit, take_back
        self._fresh: deque[Made] = deque()
        self._failed: list[Made] = []
        self._standing: dict[str, Made] = {}
        self._called = threading.Condition()
        self._thread: threading.Thread | None = None
        self._trying: Made | None = None
        self._begun_before: Made | None = None
        self._ends = False

    def add(self, made: Made) -> None:
        """Commit a cut soon."""
        with self._called:
            self._standing[made.noted.id] = made
            self._fresh.append(made)
            self._begin()
            self._called.notify()

    def wake(self) -> None:
        """Begin to commit what waits for a thread that could not be had; called every few seconds."""
        with self._called:
            if self._fresh or self._failed:
                self._begin()

    def _begin(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        thread = threading.Thread(target=self._work, name="cuts", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the host has none left for us; what is closed stays so
            _LOG.error("no thread can be had to put cuts on record; again soon")
            return
        self._thread = thread

    def standing(self) -> tuple[Made, ...]:
        """Return what is not on record yet, oldest first."""
        with self._called:
            return tuple(self._standing.values())

    def get(self, cut: str) -> Made | None:
        """Return one that is not on record yet."""
        with self._called:
            return self._standing.get(cut)

    def forget(self, made: Made) -> None:
        """One that was taken back is no longer shown; it is settled when its turn comes."""
        with self._called:
            self._standing.pop(made.noted.id, None)

    def hurry(self) -> None:
        """Try now what failed before, whenever its turn would come."""
        with self._called:
            self._fresh.extend(self._failed)
            self._failed.clear()
            if self._fresh:
                self._begin()
            self._called.notify()

    def end(self, within_s: float = ENDS_WITHIN_S) -> None:
        """Try each once more, then no more. What is not on record then is `standing`."""
        with self._called:
            self._ends, self._begun_before = True, self._trying
            self.hurry()
            thread = self._thread
        if thread is None or not thread.is_alive():
            self._end_ourselves(time.monotonic() + within_s)
        elif thread is not threading.current_thread():
            thread.join(within_s)

    def _end_ourselves(self, until_s: float) -> None:
        while time.monotonic() < until_s:
            with self._called:
                made = self._fresh.popleft() if self._fresh else None
            if made is None:
                return
            self._try(made)

    def _work(self) -> None:
        while True:
            with self._called:
                made = self._trying = self._next()
                if made is None:
                    self._thread = None
                    return
            self._try(made)

    def _next(self) -> Made | None:
        """Wait for what is to be committed next; None where nothing came for a while."""
        until_s = time.monotonic() + _IDLE_S
        while True:
            if self._fresh:
                return self._fresh.popleft()
            if self._ends:
                return None
            now_s = time.monotonic()
            due = min(self._failed, key=lambda one: one.again_s, default=None)
            if due is not None and due.again_s <= now_s:
                self._failed.remove(due)
                return due
            left_s = (until_s if due is None else due.again_s) - now_s
            if left_s <= 0:
                return None
            self._called.wait(left_s)

    def _try(self, made: Made) -> None:
        made.tries += 1
        try:
            made.context.run(self._commit, made)
        except NotFound as fault:  # that it cannot be held as it is says no such thing
            made.context.run(self._take_back, made, fault)
            self.forget(made)
            made.settled.set_exception(fault)
        except Exception as fault:  # noqa: BLE001 - whatever it is: it is in force, and has to get on record
            made.fault = described(fault)
            made.again_s = time.monotonic() + _PAUSES_S[min(made.tries, len(_PAUSES_S)) - 1]
            if made.tries % _TOLD_EACH == 1:
                _LOG.error(
                    "%s is in force here and NOT on record (try %d): %s",
                    made.noted.id, made.tries, made.fault,
                )  # fmt: skip
            with self._called:
                if (
                    made is self._begun_before
                ):  # this try began before we were told to end: it is not the last
                    self._begun_before = None
                    self._fresh.append(made)
                else:
                    self._failed.append(made)
        else:
            if made.tries > 1:
                _LOG.warning("%s is on record now", made.noted.id)
            self.forget(made)
            made.settled.set_result(made.thawing is None)
