"""The rotator as our child: it meets us in the database alone, and is restarted when it dies.

Rules:
1. It claims work under one name for as long as we live, so that a restarted one goes on at once where it was cut off.
2. Its end stops nobody from trading: rotations wait, and `status` says so.
"""

import asyncio
import secrets
from collections.abc import Iterable

import structlog

from broker.api.context import Hazard
from portcullis import children
from portcullis.children import Child, ChildFailed
from portcullis.settings import Home

LONGEST_PAUSE_S = 30.0
_STEADY_S = 60.0


class RotatorChild:
    """Keeps one rotator running."""

    def __init__(self, home: Home) -> None:
        self._home, self._who = home, f"rotator-{secrets.token_hex(4)}"
        self._log = structlog.get_logger("rotator")
        self._keeping: asyncio.Task[None] | None = None
        self.child: Child | None = None

    async def start(self) -> None:
        """Start it, and keep it running. One that does not start is tried again: bots trade without."""
        try:
            self.child = await self._start()
        except (ChildFailed, OSError) as fault:
            self._log.error("the rotator did not start", why=str(fault))
        self._keeping = asyncio.create_task(self._keep(), name="keep the rotator")

    async def end(self) -> None:
        """End it: every worker comes to its next save first."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self.child is not None:
            await self.child.end()

    def hazards(self) -> Iterable[Hazard]:
        """Return what is unsafe about it."""
        if self.child is None:
            yield Hazard(
                "no rotator runs: no key is rotated, bots trade on",
                "look into the log of the broker",
                "rotator",
            )

    async def _start(self) -> Child:
        arguments = ("--home", str(self._home.root), "--who", self._who, "--with-parent")
        return await children.start("rotator", "portcullis.rotator", arguments)

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
