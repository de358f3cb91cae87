"""Whoever stands still between any two lines while the old key is retired changes nothing when it wakes.

The lines of one retirement are counted first; then a rotator is stopped at one after the other, another ends the
rotation meanwhile, and the first goes on. `make test` takes a few lines, evenly spread; `PORTCULLIS_LONG=1` many more.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from rotation.runner import Runner
from rotation.state import Effect, Reply, Rotation, State
from tests.long import LONG
from tests.rotation.deaths import one_living_key, release
from tests.rotation.place import Place, running_place, trading
from tests.rotation.test_late import everything

pytestmark = [pytest.mark.sockets, pytest.mark.timeout(3000 if LONG else 600)]
LINES = 60 if LONG else 4
OURS = ("/rotation/", "/broker/db/rotations.py", "/broker/db/accounts.py", "/clients/venues/")
PATIENCE_S = 120.0


class Stopping:
    """Stops a thread at a line of ours, counted from the first effect of retiring the old key."""

    def __init__(self, at: int, here: Place) -> None:
        self.at, self.lines, self.where = at, 0, ""
        self.stopped, self.goes_on = threading.Event(), threading.Event()
        self._turns = (here.world.service.desk.database.turns, here.world.service.desk.database.log.turns)
        self._counts = False

    def watch(self, runner: Runner) -> None:
        """Count from the first effect of the retirement on; once for a runner, for it stays in place."""
        perform = runner.effects.perform

        def performing(rotation: Rotation, effect: Effect) -> Reply:
            self._counts = self._counts or rotation.state is State.RETIRING_OLD
            return perform(rotation, effect)

        runner.effects.perform = performing  # type: ignore[method-assign]

    def run(self, runner: Runner) -> None:
        """Carry on until nothing is due, or another does."""
        sys.settrace(self._trace)
        try:
            found = runner.once()
            while found is not None and not found.over and not self.where:
                found = runner.once()
        finally:
            sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        if event == "call":
            file = frame.f_code.co_filename
            return self._trace if "/tests/" not in file and any(part in file for part in OURS) else None
        if event == "line" and self._counts:
            self.lines += 1
            if self.lines >= self.at > 0 and not self.stopped.is_set() and not self._holds_a_turn():
                self.where = f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
                self.stopped.set()
                self.goes_on.wait(PATIENCE_S)
        return self._trace

    def _holds_a_turn(self) -> bool:
        """Tell whether it writes just now: then others wait for it, and nothing can overtake it."""
        return any(one._holder == threading.get_ident() for one in self._turns)


async def retired(here: Place, at: int) -> Stopping:
    """Rotate, and stop whoever does it at a line; let another end it, and then the first go on."""
    planned = here.plan()
    first = here.runner("first")
    await asyncio.to_thread(first.journal.plan, planned)
    stopping = Stopping(at, here)
    stopping.watch(first)
    work = asyncio.create_task(asyncio.to_thread(_until_over, stopping, here, first, planned.id))
    await asyncio.to_thread(stopping.stopped.wait, PATIENCE_S)
    if stopping.where:
        release(here)
        done = await here.carried_out(planned.id, here.runner("second"), 6000)
        assert done.state is State.DONE, (stopping.where, done)
        known = everything(here)
        stopping.goes_on.set()
        await work
        assert everything(here) == known, f"it woke at {stopping.where}, and changed something"
    await work
    assert here.world.service.rotations.get(planned.id).state == "done", stopping.where
    one_living_key(here)
    return stopping


def _until_over(stopping: Stopping, here: Place, runner: Runner, rotation: str) -> None:
    try:
        while not stopping.where and here.world.service.rotations.get(rotation).ended_at is None:
            stopping.run(runner)
            time.sleep(0.02)
    finally:
        stopping.stopped.set()


async def test_who_stands_still_at_any_line_of_a_retirement_changes_nothing_when_it_wakes(
    tmp_path: Path,
) -> None:
    async with running_place(tmp_path) as here:
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        async with trading(here.bot) as answers:
            whole = (await retired(here, 0)).lines
            assert whole > 100, "nothing was counted"
            for number in range(LINES):
                await retired(here, 1 + number * (whole - 1) // max(1, LINES - 1))
        assert set(answers()) == {(200, None)}
