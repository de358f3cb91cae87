"""The rotator as our child: it meets us in the database alone, and is restarted when it dies.

Rules:
1. It claims work under one name for as long as we live, so that a restarted one goes on at once where it was cut off.
2. Its end stops nobody from trading: rotations wait, and `status` says so.
3. It says something every second. One that was stopped, or hangs, says nothing: `status` shows that too, and whoever
   is told of what is wrong is told by us for as long (`standing_in`). What we did not hear while we stood still
   ourselves counts for nothing.
"""

import asyncio
import secrets
import time
from collections.abc import Iterable

import structlog

from broker.api.context import Hazard
from broker.service import Service
from broker.service.conditions import ROTATOR
from portcullis import children
from portcullis.children import Child, ChildFailed
from portcullis.settings import Home

LONGEST_PAUSE_S = 30.0
SILENT_S = 4.0
_LISTEN_S = 0.25
_STEADY_S = 60.0


class RotatorChild:
    """Keeps one rotator running."""

    def __init__(self, home: Home, service: Service) -> None:
        self._service = service
        self._home, self._who = home, f"rotator-{secrets.token_hex(4)}"
        self._log = structlog.get_logger("rotator")
        self._keeping: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self.child: Child | None = None
        self._hearing: asyncio.Task[None] | None = None
        self._alive_s = self._heard_s = time.monotonic()

    async def start(self) -> None:
        """Start it, and keep it running. One that does not start is tried again: bots trade without."""
        try:
            self.child = await self._start()
        except (ChildFailed, OSError) as fault:
            self._log.error("the rotator did not start", why=str(fault))
        self._keeping = asyncio.create_task(self._keep(), name="keep the rotator")
        self._watching = asyncio.create_task(self._watch(), name="watch the rotator")

    @property
    def is_missed(self) -> bool:
        """Whether nothing was heard of it for a while."""
        return self._alive_s - self._heard_s >= SILENT_S

    async def end(self) -> None:
        """End it: every worker comes to its next save first."""
        for task in (self._watching, self._keeping, self._hearing):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self.child is not None:
            await self.child.end()

    def hazards(self) -> Iterable[Hazard]:
        """Return what is unsafe about it."""
        if self.child is None:
            yield Hazard(
                "no rotator runs: no key is rotated, bots trade on",
                "look into the log of the broker",
                ROTATOR,
            )
        elif self.is_missed:
            yield Hazard(
                f"the rotator (process {self.child.pid}) says nothing: it is stopped or hangs; no key is rotated or "
                "deleted, bots trade on",
                f"end its process (kill -KILL {self.child.pid}); it is started again by itself",
                ROTATOR,
            )

    async def _watch(self) -> None:
        """Note when we had a moment to listen."""
        while True:
            self._alive_s = time.monotonic()
            await asyncio.sleep(_LISTEN_S)

    async def _hear(self, child: Child) -> None:
        """Note when it says something, until it is over."""
        stream = child.process.stdout
        while stream is not None and await stream.readline():
            self._heard_s = time.monotonic()

    async def _start(self) -> Child:
        arguments = ["--home", str(self._home.root), "--who", self._who, "--with-parent"]
        number = self._service.desk.guard.seating.number
        if number is None:
            raise ChildFailed("the rotator waits: the store that says who runs this home does not answer")
        arguments += ["--seat", str(number), "--start", self._service.desk.guard.start]
        child = await children.start("rotator", "portcullis.rotator", arguments)
        self._heard_s = time.monotonic()
        self._hearing = asyncio.create_task(self._hear(child), name="hear the rotator")
        return child

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        pause = 0.0
        while True:
            began = loop.time()
            if self.child is not None:
                code = await self.child.ended()
                self.child = None
                self._log.error("the rotator is gone: no key is rotated", code=code)
            if loop.time() - began > _STEADY_S:
                pause = 0.0
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE_S, max(1.0, pause * 2))
            try:
                self.child = await self._start()
            except Exception as fault:  # noqa: BLE001 - whatever it was, it is tried again
                self._log.error("the rotator did not start", why=children.why(fault), again_in_s=pause)
            else:
                self._log.warning("the rotator is back", pid=self.child.pid)
