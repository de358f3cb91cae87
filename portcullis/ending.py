"""How a broker ends, and how long each part of that may take.

Rules:
1. Cuts that are on no record come first: each is tried again at once, beside everything else, and lies in the home
   before any part is ended. They are tried once more last of all.
2. Each part ends within its time, whatever it waits for, and the next one goes on. What is left of it then was a store
   that does not answer; no cut waits for it. All of it is well within what service managers give (`install`).
3. A thread that still waits for a store as everything has ended does not keep the process.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress

from broker.background import described
from broker.service.leaving import LEFT_WITHIN_S
from broker.service.making import ENDS_WITHIN_S as MADE_WITHIN_S
from broker.service.mirror import ENDS_WITHIN_S as MIRRORED_WITHIN_S
from portcullis.api_server import DRAIN_S
from portcullis.children import PATIENCE_S

CHILDREN_S = PATIENCE_S + 1.0
API_S = DRAIN_S + 1.0
AUTHORITY_S = 3.0
TRAIL_S = 2.0
PAPER_S = 2.0
SEAT_S = 1.0
WITNESS_S = 1.0
STORES_S = 5.0
"""For the embedded secret store, whose connection waits for a lock as long as this before it is closed."""

LEAVES_WITHIN_S = 1.0
ALL_S = (
    2 * LEFT_WITHIN_S + CHILDREN_S + API_S + AUTHORITY_S + TRAIL_S + PAPER_S + SEAT_S + WITNESS_S
    + MADE_WITHIN_S + MIRRORED_WITHIN_S + STORES_S + LEAVES_WITHIN_S
)  # fmt: skip
"""The longest end: every part of it takes all its time."""

_LOG = logging.getLogger("portcullis.run")


async def within(seconds: float, what: str, end: Callable[[], Awaitable[object]]) -> None:
    """End a part, and wait for that no longer than so. What fails in it is said."""
    ending = asyncio.ensure_future(end())
    await asyncio.wait({ending}, timeout=seconds)
    if not ending.done():
        _LOG.error("%s did not end within %.0f s: it is left as it is", what, seconds)
        ending.cancel()
    elif not ending.cancelled() and (fault := ending.exception()) is not None:
        _LOG.error("%s did not end in order: %s", what, described(fault))


async def beside(seconds: float, what: str, end: Callable[[], object]) -> None:
    """End what blocks, in a thread of its own; here, where none can be had."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def work() -> None:
        try:
            end()
        except BaseException as fault:  # noqa: BLE001 - said by who waits
            _tell(loop, done, fault)
        else:
            _tell(loop, done, None)

    try:
        threading.Thread(target=work, name="ending", daemon=True).start()
    except RuntimeError:
        work()
    await within(seconds, what, lambda: done)


def _tell(loop: asyncio.AbstractEventLoop, done: "asyncio.Future[None]", fault: BaseException | None) -> None:
    def tell() -> None:
        if done.done():
            return
        if fault is None:
            done.set_result(None)
        else:
            done.set_exception(fault)

    with suppress(RuntimeError):  # the loop is over, and nobody waits
        loop.call_soon_threadsafe(tell)


def leave_soon(code: int) -> None:
    """Everything has ended: go, with this code, however long threads still wait for a store that does not answer."""

    def go(*_: object) -> None:
        os._exit(code)

    signal.signal(signal.SIGALRM, go)
    signal.setitimer(signal.ITIMER_REAL, LEAVES_WITHIN_S)
    with suppress(OSError):  # whoever reads what we say may be gone
        sys.stdout.flush()
        sys.stderr.flush()
