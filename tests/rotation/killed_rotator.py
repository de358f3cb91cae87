"""A rotator as a process of its own that kills itself (-9) around one effect. `python killed_rotator.py DIR DEATH`.

DEATH is WHEN:STATE:EFFECT, as `after:creating:create`; WHEN is before, after, or stop: before it stops itself (SIGSTOP),
once, and goes on when it is let. `never`: it carries on until all is over.
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

PATIENCE_S = 60.0


class Deadly(Effects):
    """Effects of which one is the last."""

    death = ""
    stopped = False

    def perform(self, rotation: Rotation, effect: Effect) -> Reply:
        here = f"{rotation.state.value}:{effect.do.value}"
        if self.death == f"before:{here}":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.death == f"stop:{here}" and not self.stopped:
            self.stopped = True
            os.kill(os.getpid(), signal.SIGSTOP)
        reply = super().perform(rotation, effect)
        if self.death == f"after:{here}":
            os.kill(os.getpid(), signal.SIGKILL)
        return reply


def main(directory: Path, death: str) -> int:
    database = database_at(directory)
    store = secrets_at(directory)
    service = open_service(database, store, SystemClock())
    # what is waited for here in seconds takes minutes elsewhere: each look is a later minute
    hasty = Budgets(itertools.count(0.0, 5.0).__next__, itertools.count(0, MINUTE_US).__next__)
    effects = Deadly(service, Venues(service, hasty))
    effects.death = death
    who = f"rotator-{os.getpid()}"
    runner = Runner(Journal(database, service.audit, who), effects, lambda: datetime.now(UTC))
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = runner.once()
        if effects.stopped and found is None:
            sys.stdout.write("lost")
            return 0
        if found is not None and (found.over or found.state is State.STALLED):
            sys.stdout.write(found.state.value)
            return 0
        time.sleep(0.02)
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
