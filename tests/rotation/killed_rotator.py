"""A rotator as a process of its own that kills itself (-9) around one effect. `python killed_rotator.py DIR DEATH`.

DEATH is WHEN:STATE:EFFECT, as `after:creating:create`; WHEN is before, after, or stop: before it stops itself (SIGSTOP),
once, and goes on when it is let. `never`: it carries on until all is over. `pause-before` and `pause-after` stop it, too,
and from then on it says on stderr how each effect went, and goes on through whatever fails, until the rotation is over.
The secret store is the folder's Vault where `vault.json` there names one. Prints the state of the last rotation.
"""

import itertools
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from broker.errors import BrokerError
from broker.service.service import open_service
from portcullis.clock import SystemClock
from rotation.budget import Budgets
from rotation.effects import Effects
from rotation.journal import Journal
from rotation.runner import Runner
from rotation.state import Effect, Reply, Rotation, State
from rotation.venues import Venues
from rotation.weight import MINUTE_US
from tests.places import database_at, secrets_at

PATIENCE_S = 150.0


class Deadly(Effects):
    """Effects of which one is the last."""

    death = ""
    stopped = False

    def perform(self, rotation: Rotation, effect: Effect) -> Reply:
        here = f"{rotation.state.value}:{effect.do.value}"
        if self.death == f"before:{here}":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.death in {f"stop:{here}", f"pause-before:{here}"} and not self.stopped:
            self._stop()
        reply = super().perform(rotation, effect)
        if self.death == f"after:{here}":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.death == f"pause-after:{here}" and not self.stopped:
            self._stop()
        elif self.stopped:
            _say(f"{here} {reply.answer.value}")
        return reply

    def _stop(self) -> None:
        self.stopped = True
        os.kill(os.getpid(), signal.SIGSTOP)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main(directory: Path, death: str) -> int:
    database = database_at(directory)
    store = secrets_at(directory)
    service = open_service(database, store, SystemClock())
    service.desk.guard.took_in_cuts()  # the broker beside it has
    # what is waited for here in seconds takes minutes elsewhere: each look is a later minute
    hasty = Budgets(itertools.count(0.0, 5.0).__next__, itertools.count(0, MINUTE_US).__next__)
    effects = Deadly(service, Venues(service, hasty))
    effects.death = death
    who = f"rotator-{os.getpid()}"
    runner = Runner(Journal(database, service.audit, who), effects, lambda: datetime.now(UTC))
    deadline = time.monotonic() + PATIENCE_S
    pauses = death.startswith("pause")
    while time.monotonic() < deadline:
        try:
            found = runner.once()
            last = service.rotations.list(account="main").items[0] if pauses else None
        except BrokerError as fault:
            if not pauses:
                raise
            _say(f"trouble {fault.reason}")
            time.sleep(0.2)
            continue
        if last is not None and found is None and last.ended_at is not None:
            sys.stdout.write(last.state)
            return 0
        if effects.stopped and found is None and not pauses:
            sys.stdout.write("lost")
            return 0
        if found is not None and (found.over or found.state is State.STALLED):
            sys.stdout.write(found.state.value)
            return 0
        time.sleep(0.02)
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
