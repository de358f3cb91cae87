"""Whose turn it is to write: one writer at a time in a process, the most urgent first.

Rules:
1. Whoever writes to a store takes a turn before its transaction begins, in the thread that asked, and gives it back
   when the transaction is over. Nothing takes the store's write lock without a turn.
2. `SAFETY` (gates, heartbeat, leases) goes before `CONTROL`, that before `UPKEEP` (log, seals, checkpoints); among
   equals who came first. Nobody is interrupted, so every transaction is short; but who has a turn and waits for
   another process's lock lets the more urgent go first.
3. Each waits for a bounded time, the store's lock included. Who gives up has begun nothing, so what was answered
   "nothing was changed" is not done later.
4. Before its next batch the log lets urgent writes of the state pass: they share disk and processor.
"""

import heapq
import itertools
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import IntEnum

from broker.errors import StoreUnavailable


class Urgency(IntEnum):
    """How urgent a write is."""

    SAFETY = 0
    CONTROL = 1
    UPKEEP = 2


PATIENCE_S = {Urgency.SAFETY: 15.0, Urgency.CONTROL: 8.0, Urgency.UPKEEP: 5.0}
"""Turn and store lock together. A cut waits longest; the command line waits 20 s for its answer."""

urgency: ContextVar[Urgency] = ContextVar("urgency", default=Urgency.CONTROL)
"""How urgent the writes are that do not say so themselves: a request that cuts sets it for all it does."""

_GIVES_WAY_S = 0.5
_LOOK_S = {Urgency.SAFETY: (0.001, 0.001), Urgency.CONTROL: (0.005, 0.020), Urgency.UPKEEP: (0.010, 0.040)}
"""How long to wait before looking again at a lock that another process holds: the urgent find it free first."""


class Turns:
    """The turns of one store in this process."""

    def __init__(self, gives_way_to: "Turns | None" = None) -> None:
        self.gives_way_to = gives_way_to
        self.urgent = threading.Event()
        """Set while a `SAFETY` write waits or is done."""
        self._calm = threading.Event()
        self._calm.set()
        self._lock = threading.Lock()
        self._waiting: list[tuple[Urgency, int, threading.Event]] = []
        self._number = itertools.count()
        self._holder: int | None = None
        self._safety = 0

    @contextmanager
    def turn(self, how: Urgency, patience_s: float | None = None) -> "Iterator[Turn]":
        """Wait for a turn, as long as is usual for its urgency or as long as given.

        Raises:
            StoreUnavailable: It did not come in time; nothing was done, and nothing will be.
            RuntimeError: This thread is writing already: it would wait for itself.
        """
        if self._holder == threading.get_ident():
            raise RuntimeError("a write within a write of the same store")
        patience_s = PATIENCE_S[how] if patience_s is None else patience_s
        turn = Turn(self, how, next(self._number), patience_s)
        if self.gives_way_to is not None and how is Urgency.UPKEEP:
            self.gives_way_to.let_urgent_pass(min(patience_s, _GIVES_WAY_S))
        self._safety_by(1 if how is Urgency.SAFETY else 0)
        try:
            self.take(turn)
            try:
                yield turn
            finally:
                self.give_back(turn)
        finally:
            self._safety_by(-1 if how is Urgency.SAFETY else 0)

    def let_urgent_pass(self, seconds: float) -> bool:
        """Wait while a `SAFETY` write waits or is done, but not for long; tell whether none is left."""
        return self._calm.wait(seconds)

    def take(self, turn: "Turn") -> None:
        """Wait until it is this one's turn."""
        called = threading.Event()
        with self._lock:
            if self._holder is None:
                self._holder, turn.has_it = turn.thread, True
                return
            heapq.heappush(self._waiting, (turn.how, turn.number, called))
        try:
            called.wait(max(0.0, turn.until - time.monotonic()))
        finally:
            with self._lock:
                turn.has_it = called.is_set()  # perhaps just now: then it is ours, in time or not
                if turn.has_it:
                    self._holder = turn.thread
                else:
                    self._waiting = [one for one in self._waiting if one[2] is not called]
                    heapq.heapify(self._waiting)
        if not turn.has_it:
            raise turn.given_up()

    def give_back(self, turn: "Turn") -> None:
        """Call the next one."""
        with self._lock:
            if not turn.has_it:
                return
            turn.has_it = False
            self._holder = None
            if self._waiting:
                self._holder = -1  # called, and about to say who it is
                heapq.heappop(self._waiting)[2].set()

    def _safety_by(self, change: int) -> None:
        with self._lock:
            self._safety += change
            if self._safety:
                self._calm.clear()
                self.urgent.set()
            else:
                self.urgent.clear()
                self._calm.set()


class Turn:
    """One writer's turn. Waiting for the store's own lock is part of it."""

    def __init__(self, turns: Turns, how: Urgency, number: int, patience_s: float) -> None:
        self.how, self.number = how, number
        self.until = time.monotonic() + patience_s
        self.thread, self.has_it = threading.get_ident(), False
        self._turns = turns

    def look_again(self) -> None:
        """Wait a moment, because another process holds the store's lock. The more urgent go first meanwhile.

        Raises:
            StoreUnavailable: It was held too long; nothing was done.
        """
        left = self.until - time.monotonic()
        if left <= 0:
            raise self.given_up()
        pause = min(left, random.uniform(*_LOOK_S[self.how]))  # noqa: S311 - so that two do not look in step
        if self.how is Urgency.SAFETY:
            time.sleep(pause)
        elif self._turns.urgent.wait(pause):
            self._turns.give_back(self)
            self._turns.take(self)

    def given_up(self) -> StoreUnavailable:
        """Return what is said of a turn that was given up."""
        return StoreUnavailable(
            "store_busy",
            "the database was busy with other writes for too long: nothing was changed",
        )
