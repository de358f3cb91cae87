"""Connections that are hung up on when their time is over.

A server that was stopped answers nothing, and a client that waits for it would wait for ever, with whoever waits for
its turn.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Overdue:
    """Watches over connections, in a thread that begins with the first one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: dict[int, tuple[float, socket.socket]] = {}
        self._number = 0
        self._runs = False

    @contextmanager
    def limited(self, fd: int, seconds: float) -> Iterator[None]:
        """Hang up on a connection unless the work is done in time; whoever waits for it is told that it broke."""
        watched = socket.socket(fileno=os.dup(fd))
        with self._changed:
            self._number += 1
            number = self._number
            self._watched[number] = (time.monotonic() + seconds, watched)
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._run, name="overdue", daemon=True).start()
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._watched.pop(number, None)
            watched.close()

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for number, (until, watched) in list(self._watched.items()):
                    if until <= now:
                        del self._watched[number]
                        with suppress(OSError):  # it is over already
                            watched.shutdown(socket.SHUT_RDWR)
                ends = min((until for until, _ in self._watched.values()), default=now + 3600)
                self._changed.wait(ends - now)
