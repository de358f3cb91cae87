"""Work beside the rest: held until it is done, and seen where it fails.

Rules:
1. The event loop alone does not keep a task alive: whoever begins one holds it.
2. A failure is logged by its type and, where it is ours, its words; never by a traceback, whose frames could show
   values of a request.
3. What has to run for ever is begun anew after a failure, a pause later.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from broker.errors import BrokerError

AGAIN_SECONDS = 1.0


def described(fault: BaseException) -> str:
    """Return what may be said of a failure: its type, and its words where they are ours."""
    name = type(fault).__name__
    return f"{name}: {fault}" if isinstance(fault, BrokerError) else name


class Background:
    """Tasks of one owner."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._tasks: set[asyncio.Task[Any]] = set()

    def begin(self, work: Coroutine[Any, Any, Any], what: str) -> "asyncio.Task[Any]":
        """Run something once; its failure is logged under this name."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(done, what))
        return task

    def keep(self, work: Callable[[], Coroutine[Any, Any, None]], what: str) -> "asyncio.Task[Any]":
        """Run something until it returns or is cancelled; after a failure again."""

        async def running() -> None:
            while True:
                try:
                    await work()
                except Exception as fault:  # noqa: BLE001 - whatever it is, the work has to go on
                    self._log.error("%s failed and is begun anew: %s", what, described(fault))
                    await asyncio.sleep(AGAIN_SECONDS)
                else:
                    return

        return self.begin(running(), what)

    def end(self) -> None:
        """Cancel what still runs."""
        for task in list(self._tasks):
            task.cancel()

    def _ended(self, task: "asyncio.Task[Any]", what: str) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        fault = task.exception()
        if fault is not None:
            self._log.error("%s failed: %s", what, described(fault))
