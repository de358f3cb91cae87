"""Threads that do what they took, or never, and that end in a bounded time.

Python's own pool keeps work queued whose thread could not begin: whoever asked is told that it failed, and it is done
later, by the thread of somebody else.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads(ThreadPoolExecutor):
    """A pool whose refusal is one: work that `submit` raised for is never done."""

    def __init__(self, threads: int, name: str, begin: Callable[[], object] = lambda: None) -> None:
        """Name the threads; `begin` is called in each before anything else."""
        self._begun, self._over, self._begin = False, False, begin
        self._open: set[Future[Any]] = set()
        super().__init__(threads, name, self._in_each)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Have something done; where no more threads can be had, by one that there is.

        Raises:
            RuntimeError: There is none, or all is over; it is not done, now or later.
        """
        done: Future[T] = Future()
        self._open.add(done)
        done.add_done_callback(self._open.discard)

        def work() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                found = fn(*args, **kwargs)
            except BaseException as fault:  # noqa: BLE001 - whoever waits for it is told, whatever it was
                done.set_exception(fault)
            else:
                done.set_result(found)

        try:
            queued = super().submit(work)
        except RuntimeError:
            if (self._begun and not self._over) or not done.cancel():
                return done  # it is in line, before threads that live
            raise
        queued.add_done_callback(lambda one: done.cancel() if one.cancelled() else None)
        return done

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See `ThreadPoolExecutor`."""
        self._over = True
        super().shutdown(wait, cancel_futures=cancel_futures)

    def end(self, until_s: float) -> None:
        """Do what is in line by now, until an instant of the monotonic clock; the rest is not waited for."""
        wait(tuple(self._open), max(0.0, until_s - time.monotonic()))
        self.shutdown(wait=False, cancel_futures=True)

    def _in_each(self) -> None:
        self._begun = True
        self._begin()
