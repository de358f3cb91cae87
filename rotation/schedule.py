"""The tick: APScheduler wakes us, the record says what there is to do. The only home of APScheduler.

Rules:
1. A tick that comes late or is missed loses nothing: the next one asks the record again. So ticks that piled up are
   one (`coalesce`), none is too late (`misfire_grace_time=None`), and one look never runs beside itself.
2. Looks are short. What takes long is done by workers; each claims under a name of its own, and there are only so many.
3. Jobs carry nothing: no ids, no secrets.
"""

import logging
import random
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Lock

from apscheduler.executors.pool import ThreadPoolExecutor as Executor
from apscheduler.schedulers.background import BackgroundScheduler

from broker.db import rotations as store
from broker.errors import BrokerError
from broker.service import Service
from rotation.alerts.telling import Telling
from rotation.asks import Asks
from rotation.destinations.delivery import Deliveries
from rotation.effects import Effects
from rotation.journal import Journal, microseconds
from rotation.planner import MOST_IN_ALL, Planner
from rotation.returned import Returned
from rotation.runner import Runner
from rotation.sweeper import Sweeper
from rotation.venues import Venues

LOOK_S = 0.25
PLAN_S = 5.0
UPKEEP_S = 5.0
TELL_S = 5.0
SWEEP_S = 60.0
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
        self._asks = Asks(service, venues, self._journal(f"{who}-asks"), f"{who}-asks", now)
        self._telling = Telling(service, service.desk.clock.now_us)
        self._sweeper = Sweeper(service, venues, self._journal(f"{who}-sweep"))
        self._returned = Returned(service, self._journal(f"{who}-plan"))
        self._planner = Planner(service, self._journal(f"{who}-plan"), dice)
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="rotate")
        self._ticks = BackgroundScheduler(
            executors={"default": Executor(6)}, timezone="UTC",
            job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1},
        )  # fmt: skip

    def _journal(self, name: str) -> Journal:
        return Journal(self._service.desk.database, self._service.audit, name)

    def start(self) -> None:
        """Begin to tick, after what a crash left beside somebody's file is gone: it holds a key."""
        _guarded(self._clean)()
        logging.getLogger("apscheduler").setLevel(
            logging.ERROR
        )  # a look that lasts longer than a tick is no news
        for work, every_s in (
            (self.answer, LOOK_S),
            (self.look, LOOK_S),
            (self.plan, PLAN_S),
            (self.keep_up, UPKEEP_S),
            (self.tell, TELL_S),
            (self.sweep, SWEEP_S),
        ):
            first = self._now() + timedelta(seconds=min(every_s, SETTLED_S) if every_s > PLAN_S else 0)
            self._ticks.add_job(_guarded(work), "interval", seconds=every_s, next_run_time=first)
        self._ticks.start()

    def _clean(self) -> None:
        cleaned = Deliveries(self._service, self._service.desk.clock.now_us).clean()
        if cleaned:
            _LOG.warning("removed %d files with keys that a broken delivery had left", cleaned)

    def stop(self) -> None:
        """Stop ticking, and let every worker come to its next save."""
        self._ticks.shutdown(wait=True)
        self._workers.shutdown(wait=True)

    def answer(self) -> None:
        """Carry out what operators ask."""
        while self._asks.once():
            pass

    def look(self) -> None:
        """Put idle workers onto rotations that are due."""
        with self._service.desk.database.read() as connection:
            due = store.waiting(connection, self._names, microseconds(self._now()))
        with self._changing:
            taken = [self._idle.pop() for _ in range(min(due, len(self._idle)))]
        for name in taken:
            self._workers.submit(self._work, name)

    def plan(self) -> None:
        """Start what is due, and end checkouts that are over."""
        for trouble in sorted(set(troubles := self._returned.look(self._now())) - self._said):
            _LOG.error("%s", trouble)
        self._said = set(troubles)
        self._effects.burial.clear_up()
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
