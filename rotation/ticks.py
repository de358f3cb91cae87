"""Ticks: work that is called again and again, by a clock that nobody sets.

Rules:
1. A tick that comes late or is missed loses nothing: the next one asks the record again. So nothing is made up for,
   however long the host slept and whatever its clock is set to, forward or back.
2. Each work has a thread of its own, and never runs beside itself. One that hangs holds up no other.
"""

import threading
from collections.abc import Callable


class Ticks:
    """Calls work. What it raises ends its ticks: whoever gives it guards it."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def begin(self, work: Callable[[], None], every_s: float, first_s: float = 0.0) -> None:
        """Call work after `first_s`, then `every_s` after it is done."""

        def run() -> None:
            pause_s = first_s
            while not self._over.wait(pause_s):
                work()
                pause_s = every_s

        thread = threading.Thread(target=run, name="tick", daemon=True)
        thread.start()
        self._threads.append(thread)

    def are_over(self) -> bool:
        """Tell whether they are to stop: work that is long ends early."""
        return self._over.is_set()

    def stop(self) -> None:
        """Call nothing any more, and wait for what is being done."""
        self._over.set()
        for thread in self._threads:
            thread.join()
