"""A rotator as a process of its own that kills itself (-9) at one point. `python killed_rotator.py DIR POINT WHEN`.

POINT counts effects from 1; WHEN is before or after that effect. POINT 0 never dies: it carries on until all is over.
Prints the state of the last rotation at its end.
"""

import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from broker.service.service import open_service
from broker.stores.embedded import key as keys
from broker.stores.embedded.store import EmbeddedStore
from portcullis.clock import SystemClock
from rotation.effects import Effects
from rotation.journal import Journal
from rotation.runner import Runner
from rotation.state import Effect, Reply, Rotation, State
from rotation.venues import Venues
from tests.places import database_at

PATIENCE_S = 60.0


class Deadly(Effects):
    """Effects of which one is the last."""

    point = 0
    when = "before"
    count = 0

    def perform(self, rotation: Rotation, effect: Effect) -> Reply:
        self.count += 1
        if self.count == self.point and self.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        reply = super().perform(rotation, effect)
        if self.count == self.point:
            os.kill(os.getpid(), signal.SIGKILL)
        return reply


def main(directory: Path, point: int, when: str) -> int:
    database = database_at(directory)
    store = EmbeddedStore(directory / "secrets.db", keys.from_file(directory / "kek"))
    service = open_service(database, store, SystemClock())
    effects = Deadly(service, Venues(service))
    effects.point, effects.when = point, when
    who = f"rotator-{os.getpid()}"
    runner = Runner(Journal(database, service.audit, who), effects, lambda: datetime.now(UTC))
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = runner.once()
        if found is not None and (found.over or found.state is State.STALLED):
            sys.stdout.write(found.state.value)
            return 0
        time.sleep(0.02)
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
