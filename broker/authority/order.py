"""One thread that does work in order. What must not wait for the rest goes first, and waits for none that waits."""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class InOrder:
    """A thread that begins with its first work. `begin` is called in it before anything else."""

    def __init__(self, name: str, begin: Callable[[], object]) -> None:
        self._name, self._begin = name, begin
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._first: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._thread: threading.Thread | None = None
        self._over = False

    def submit(self, work: Callable[[], T], *, first: bool = False) -> "Future[T]":
        """Have work done after what came before; `first`: after what is being done, before all that waits.

        Raises:
            RuntimeError: It is over, or no thread can be had; it is not done, now or later.
        """
        done: Future[T] = Future()
        with self._changed:
            if self._over:
                raise RuntimeError("nothing more is done after the end")
            if self._thread is None:  # before the work is in line: without a thread it is none of ours
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                thread.start()
                self._thread = thread
            (self._first if first else self._waiting).append((done, work))
            self._changed.notify()
        return done

    def end(self, until_s: float) -> None:
        """Do what waits, then end; wait for that until an instant of the monotonic clock. The rest is cancelled."""
        with self._changed:
            self._over = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(max(0.0, until_s - time.monotonic()))
        with self._changed:
            for done, _ in (*self._first, *self._waiting):
                done.cancel()

    def _run(self) -> None:
        self._begin()
        while True:
            with self._changed:
                while not (self._first or self._waiting):
                    if self._over:
                        return
                    self._changed.wait()
                done, work = (self._first or self._waiting).popleft()
            if not done.set_running_or_notify_cancel():
                continue
            try:
                found = work()
            except BaseException as fault:  # noqa: BLE001 - whoever waits for it is told, whatever it was
                done.set_exception(fault)
            else:
                done.set_result(found)
            del done, work
