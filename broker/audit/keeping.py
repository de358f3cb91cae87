"""Brings checkpoints to their anchors, beside everything else: an anchor that hangs holds up itself alone.

Rules:
1. Each anchor has a thread of its own while there is something to bring to it, and gets lines in their order. Nothing
   waits for it but who asks to, and that for a bounded time.
2. While one is being brought, only the newest of those that come is kept for later: it covers the others.
3. What an anchor took is noted until somebody asks (`taken`); one that failed, or does not answer, is said (`failed`).
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence

from broker.audit.ports import Anchor, AnchorFailed

SLOW_S = 15.0
"""After this an anchor that does not answer is said to have failed."""

_LOG = logging.getLogger("portcullis.audit")


class Keeping:
    """The anchors of one signer at work."""

    def __init__(self, anchors: Sequence[Anchor] = ()) -> None:
        self._lanes = [_Lane(one) for one in anchors]

    def bring(self, number: int, line: str) -> None:
        """Have a checkpoint brought to every anchor; returns at once."""
        for lane in self._lanes:
            lane.bring(number, line)

    def wait(self, patience_s: float) -> bool:
        """Wait until nothing is on its way, for so long at most; tell whether that came about."""
        ends_s = time.monotonic() + patience_s
        return all(lane.idle.wait(max(0.0, ends_s - time.monotonic())) for lane in self._lanes)

    def failed(self) -> Mapping[str, str]:
        """Return the anchors that did not take the last checkpoint they were brought, and why."""
        return {lane.anchor.name: why for lane in self._lanes if (why := lane.why())}

    def taken(self) -> Mapping[str, Sequence[int]]:
        """Return the numbers that each anchor took since this was asked last."""
        return {lane.anchor.name: numbers for lane in self._lanes if (numbers := lane.taken())}


class _Lane:
    """The way to one anchor."""

    def __init__(self, anchor: Anchor) -> None:
        self.anchor, self.idle = anchor, threading.Event()
        self.idle.set()
        self._lock = threading.Lock()
        self._next: tuple[int, str] | None = None
        self._began_s: float | None = None
        self._failed, self._taken = "", list[int]()

    def bring(self, number: int, line: str) -> None:
        with self._lock:
            self._next = (number, line)
            if not self.idle.is_set():
                return
            try:
                threading.Thread(target=self._work, name="anchor", daemon=True).start()
            except RuntimeError:  # the next one that comes is brought, and covers this one
                self._failed = "no thread can be had to bring it there"
                return
            self.idle.clear()

    def why(self) -> str:
        with self._lock:
            waited_s = 0.0 if self._began_s is None else time.monotonic() - self._began_s
            return f"it has not answered for {waited_s:.0f} s" if waited_s > SLOW_S else self._failed

    def taken(self) -> list[int]:
        with self._lock:
            taken, self._taken = self._taken, []
            return taken

    def _work(self) -> None:
        while True:
            with self._lock:
                if self._next is None:
                    self._began_s = None
                    self.idle.set()
                    return
                (number, line), self._next = self._next, None
                self._began_s = time.monotonic()
            why = self._keep(line)
            with self._lock:
                self._failed = why
                if not why:
                    self._taken.append(number)

    def _keep(self, line: str) -> str:
        """Return why it did not go; empty where it did."""
        try:
            self.anchor.keep(line)
        except AnchorFailed as fault:
            why = str(fault)
        except Exception as fault:  # noqa: BLE001 - whatever it is, the lane goes on; its text may quote
            why = f"failed unforeseen ({type(fault).__name__})"
        else:
            return ""
        _LOG.error("a checkpoint could not be anchored at %s: %s", self.anchor.name, why)
        return why
