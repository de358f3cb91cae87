"""Connections that are hung up on when their time is over.

A server that was stopped answers nothing, and a client that waits for it would wait for ever, with whoever waits for
its turn. Where no thread can be had for that, the work is done all the same, a cut among it: whoever asks next begins
the thread, which watches over what is under way by then as well.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa

STATEMENT_S = 30.0
"""For one statement of a long read, and what is done with its rows before the next: the server breaks it off before."""


_IDLE_S = 10.0


class Overdue:
    """Watches over connections, in a thread that begins with the first one, and ends where none came for a while."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: dict[int, tuple[float, socket.socket]] = {}
        self._number = 0
        self._runs = False

    @contextmanager
    def limited(self, fd: int, seconds: float) -> Iterator[int]:
        """Hang up on a connection unless the work is done in time; whoever waits for it is told that it broke."""
        watched = socket.socket(fileno=os.dup(fd))
        number = 0
        try:
            with self._changed:
                if not self._runs:
                    with suppress(RuntimeError):  # no thread can be had
                        threading.Thread(target=self._run, name="overdue", daemon=True).start()
                        self._runs = True
                self._number += 1
                number = self._number
                self._watched[number] = (time.monotonic() + seconds, watched)
                self._changed.notify()
            yield number
        finally:
            with self._changed:
                self._watched.pop(number, None)
            watched.close()

    @contextmanager
    def prolonged(self, fd: int, connection: sa.Connection) -> Iterator[None]:
        """Hang up on a connection where one statement after the other is asked, unless each is done in time."""
        with self.limited(fd, STATEMENT_S) as number:
            connection.info["prolong"] = lambda: self._prolong(number)
            try:
                yield
            finally:
                connection.info.pop("prolong", None)

    def _prolong(self, number: int) -> None:
        """Begin the time anew; who watches finds it later than it thought, and waits on."""
        known = self._watched.get(number)
        if known is not None:
            self._watched[number] = (time.monotonic() + STATEMENT_S, known[1])

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for number, (until, watched) in list(self._watched.items()):
                    if until <= now:
                        del self._watched[number]
                        with suppress(OSError):  # it is over already
                            watched.shutdown(socket.SHUT_RDWR)
                ends = min((until for until, _ in self._watched.values()), default=now + _IDLE_S)
                if not self._changed.wait(ends - now) and not self._watched:
                    self._runs = False
                    return
