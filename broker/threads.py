"""Threads that do what they took, or never, and that end in a bounded time.

Python's own pool keeps work queued whose thread could not begin: whoever asked is told that it failed, and it is done
later, by the thread of somebody else. Nobody waits for ever: what is not done when all is over is cancelled.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def _nothing() -> None:
    return


class Threads(ThreadPoolExecutor):
    """A pool whose refusal is one: work that `submit` raised for is never done."""

    _begun = _over = False

    def __init__(self, threads: int, name: str, begin: Callable[[], object] = lambda: None) -> None:
        """Name the threads; `begin` is called in each before anything else."""
        self._begin, self._mine = begin, threading.local()
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

        self._mine.in_line = False
        try:
            queued = super().submit(work)
        except RuntimeError:
            if (self._mine.in_line and self._lives) or not done.cancel():
                return done  # it is in line, before threads that live
            raise
        queued.add_done_callback(lambda one: done.cancel() if one.cancelled() else None)
        return done

    def ready(self) -> None:
        """Have a thread from now on: where no more can be had later, it does the work.

        Raises:
            RuntimeError: None can be had.
        """
        self.submit(_nothing)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See `ThreadPoolExecutor`."""
        self._over = True
        super().shutdown(wait, cancel_futures=cancel_futures)
        if cancel_futures:  # what is in line although no thread could be had for it has no other end
            for one in tuple(self._open):
                one.cancel()

    def end(self, until_s: float) -> None:
        """Do what is in line by now, until an instant of the monotonic clock; the rest is not waited for."""
        wait(tuple(self._open), max(0.0, until_s - time.monotonic()))
        self.shutdown(wait=False, cancel_futures=True)

    @property
    def _lives(self) -> bool:
        return self._begun and not self._over

    def _adjust_thread_count(self) -> None:
        """Called by `submit` once the work is in line; a refusal before that (all is over, the process ends) is one."""
        self._mine.in_line = True
        super()._adjust_thread_count()

    def _in_each(self) -> None:
        self._begun = True
        self._begin()
