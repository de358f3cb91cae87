"""What a rotator does by the clock: `ticks` wake us, the record says what there is to do.

Rules:
1. A tick that comes late or is missed loses nothing: the next one asks the record again.
2. Looks are short. What takes long is done by workers; each claims under a name of its own, and there are only so many.
3. When the wall clock was set, whatever waits is looked at anew: it was put off by that clock.
"""

import logging
import random
import traceback
from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Lock

from broker.db import rotations as store
from broker.deeds import Deed
from broker.errors import BrokerError
from broker.service import Service
from broker.steady import SLEWED_US, Moment
from broker.threads import Threads
from rotation.alerts.telling import Telling
from rotation.asks import EVERY, SLOW, Asks
from rotation.effects import Effects
from rotation.journal import CLAIM_US, Journal, microseconds
from rotation.planner import MOST_IN_ALL, Planner
from rotation.returned import Returned
from rotation.runner import Runner
from rotation.sweeper import Sweeper
from rotation.ticks import Ticks
from rotation.venues import Venues

LOOK_S = 0.25
PLAN_S = 5.0
UPKEEP_S = 5.0
TELL_S = 2.0
SWEEP_S = 60.0
CLEAR_S = 3600.0
"""What earlier lives left in the inbox is looked for at once, and then so often; nothing waits for it."""

SWEPT_FOR = timedelta(hours=1)
"""Each account is looked at so often; a look a minute takes as many as the venue's budget lets."""

SETTLED_S = 60.0
"""What looks at everything begins this long after the start."""

_LOG = logging.getLogger("portcullis.rotation")


class Rotator:
    """Everything a rotator does, by the clock. `who` is what it claims work under: its own, also after a restart."""

    def __init__(
        self,
        service: Service,
        who: str,
        now: Callable[[], datetime],
        dice: random.Random,
        workers: int = MOST_IN_ALL,
    ) -> None:
        self._service, self._now = service, now
        self._names = [f"{who}-{number}" for number in range(workers)]
        self._idle, self._changing = list(self._names), Lock()
        venues = Venues(service)
        self._effects = Effects(service, venues)
        self._said: set[str] = set()
        self._runners = {name: Runner(self._journal(name), self._effects, now) for name in self._names}
        self._asks = Asks(service, venues, self._journal(f"{who}-asks"), f"{who}-asks", now, EVERY - SLOW)
        self._slow = Asks(service, venues, self._journal(f"{who}-slow"), f"{who}-slow", now, SLOW)
        self._telling = Telling(service, service.desk.clock.now_us)
        self._sweeper = Sweeper(service, venues, self._journal(f"{who}-sweep"))
        self._returned = Returned(service, self._journal(f"{who}-plan"))
        self._planner = Planner(service, self._journal(f"{who}-plan"), dice)
        self._workers = Threads(workers, "rotate")
        self._ticks = Ticks()
        self._looked: Moment | None = None

    def _journal(self, name: str) -> Journal:
        return Journal(self._service.desk.database, self._service.audit, name)

    def start(self) -> None:
        """Begin to tick, after what a crash left beside somebody's file is gone: it holds a key."""
        _guarded(self._clean)()
        for work, every_s in (
            (self.answer, LOOK_S),
            (self.answer_slow, LOOK_S),
            (self.clear_inbox, CLEAR_S),
            (self.look, LOOK_S),
            (self.end_checkouts, PLAN_S),
            (self.clear_up, PLAN_S),
            (self.plan, PLAN_S),
            (self.keep_up, UPKEEP_S),
            (self.tell, TELL_S),
            (self.sweep, SWEEP_S),
        ):
            first_s = min(every_s, SETTLED_S) if PLAN_S < every_s < CLEAR_S else 0.0
            self._ticks.begin(_guarded(work), every_s, first_s)

    def _clean(self) -> None:
        if self._service.desk.guard.allows(Deed.DELIVER) is not None:
            return  # another host may be writing them
        cleaned, unknown = self._effects.deliveries.clean()
        if cleaned:
            _LOG.warning("removed %d files with keys that a broken delivery had left", cleaned)
        if unknown:
            _LOG.error(
                "the disks of these destinations do not answer, so a broken delivery may have left a file with a key "
                "beside theirs: %s", ", ".join(unknown),
            )  # fmt: skip

    def stop(self) -> None:
        """Stop ticking, and let every worker come to its next save."""
        self._ticks.stop()
        self._workers.shutdown(wait=True)

    def answer(self) -> None:
        """Carry out what operators ask."""
        while self._asks.once():
            pass

    def answer_slow(self) -> None:
        """Carry out what operators ask and strangers may hold up."""
        while self._slow.once():
            pass

    def clear_inbox(self) -> None:
        """Destroy what an earlier life left of what operators brought, and what no ask is on record of.

        A secret store may be slow over it.
        """
        try:
            self._asks.clear(self._ticks.are_over)
        finally:
            self._service.secrets.tidy(inbox=True)

    def look(self) -> None:
        """Put idle workers onto rotations that are due."""
        spans, now_us = self._service.desk.spans, microseconds(self._now())
        self._look_for_steps(spans.now(), now_us)
        with self._service.desk.database.read() as connection:
            due = store.waiting(connection, self._names, now_us, spans.begin(CLAIM_US), spans)
        with self._changing:
            taken = [self._idle.pop() for _ in range(min(due, len(self._idle)))]
        for name in taken:
            try:
                self._workers.submit(self._work, name)
            except RuntimeError:  # no thread can be had, or we end: the next look puts it onto what is due
                with self._changing:
                    self._idle.append(name)

    def _look_for_steps(self, now: Moment, now_us: int) -> None:
        """Have everything that waits looked at, at the start and where a clock was set since the last look."""
        last = self._looked
        if last is None or last.steps_us(now) > SLEWED_US:
            with self._service.desk.database.write() as connection:
                store.look_anew(connection, now_us)
        self._looked = now

    def end_checkouts(self) -> None:
        """End checkouts that are over."""
        for trouble in sorted(set(troubles := self._returned.look(self._now())) - self._said):
            _LOG.error("%s", trouble)
        self._said = set(troubles)

    def clear_up(self) -> None:
        """Clear away what rotations left that were given up."""
        self._effects.burial.clear_up()

    def plan(self) -> None:
        """Start what is due."""
        for started in self._planner.look(self._now()):
            _LOG.info("%s is due and was started", started)

    def sweep(self) -> None:
        """Compare what the venues list with the record."""
        for trouble in self._sweeper.sweep(self._now(), SWEPT_FOR):
            _LOG.warning("%s", trouble)

    def tell(self) -> None:
        """Tell people what is wrong."""
        self._telling.look()

    def keep_up(self) -> None:
        """Keep the way to the secret store open."""
        self._service.desk.secrets.maintain()

    def _work(self, name: str) -> None:
        try:
            _guarded(self._until_none(self._runners[name]))()
        finally:
            with self._changing:
                self._idle.append(name)

    @staticmethod
    def _until_none(runner: Runner) -> Callable[[], None]:
        def work() -> None:
            while runner.once() is not None:
                pass

        return work


def _guarded(work: Callable[[], None]) -> Callable[[], None]:
    """Return work whose failure is logged and forgotten: what is on record is asked for again."""

    def guarded() -> None:
        try:
            work()
        except BrokerError as fault:
            _LOG.error("the rotator could not work: %s", fault)
        except Exception as fault:  # noqa: BLE001 - one bad rotation must not stop the others; its text may quote
            where = traceback.extract_tb(fault.__traceback__)[-1]
            _LOG.critical(
                "the rotator failed unforeseen: %s at %s:%s", type(fault).__name__, where.name, where.lineno
            )

    return guarded
