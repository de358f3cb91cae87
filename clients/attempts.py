"""Attempts to connect to several addresses of one host at once, within the call's time: for `clients.lines`.

Rules:
1. Who answers first wins, and the others are closed. Who began before the winner counts as failed.
2. An attempt that takes longer than it may ends; the others go on.
"""

import errno
import os
import select
import socket
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from clients.addresses import TRIED
from clients.bounds import current

_ON_ITS_WAY = frozenset({errno.EINPROGRESS, errno.EAGAIN})


class _Attempt(NamedTuple):
    sock: socket.socket
    place: tuple[str, int]
    ends_s: float


class Attempts:
    """The attempts of one call. `fault` is what the last one that failed failed by."""

    def __init__(self, most_s: float | None) -> None:
        self._most_s = float("inf") if most_s is None else most_s
        self._under_way: dict[int, _Attempt] = {}
        self._poll = select.poll()
        self.fault = OSError("none of its addresses answers")

    @property
    def under_way(self) -> bool:
        """Whether any goes on."""
        return bool(self._under_way)

    def begin(self, address: str, port: int, source: str | None, options: Iterable[Any]) -> None:
        """Begin one; where it fails at once that is its end."""
        place = address, port
        try:
            sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        except OSError as fault:  # of a kind that this host does not have, as a kernel without IPv6
            self._failed(place, fault)
            return
        try:
            for option in (*options, (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)):
                sock.setsockopt(*option)
            if source is not None:
                sock.bind((source, 0))
            sock.setblocking(False)
            where = socket.getaddrinfo(address, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)[0][4]
            code = sock.connect_ex(where)
        except OSError as fault:
            sock.close()
            self._failed(place, fault)
            return
        except BaseException:
            sock.close()
            raise
        if code and code not in _ON_ITS_WAY:
            sock.close()
            self._failed(place, OSError(code, os.strerror(code)))
            return
        self._under_way[sock.fileno()] = _Attempt(sock, place, time.monotonic() + self._most_s)
        self._poll.register(sock.fileno(), select.POLLOUT)  # at once where it is connected already

    def wait(self, most_s: float | None) -> socket.socket | None:
        """Return the first that is connected; None once so long is over, or once one has failed.

        Raises:
            OutOfBounds: The call's time is over.
        """
        until_s = float("inf") if most_s is None else time.monotonic() + most_s
        failed = False
        while self._under_way and not failed:
            left_s = current().left_s()
            now_s = time.monotonic()
            if now_s >= until_s:
                return None
            first_s = min(until_s, *(one.ends_s for one in self._under_way.values()))
            for fileno, _ in self._poll.poll(max(0.0, min(left_s, first_s - now_s)) * 1000):
                sock = self._under_way[fileno].sock
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if not code:
                    return self._won(fileno)
                self._over(fileno, OSError(code, os.strerror(code)))
                failed = True
            now_s = time.monotonic()
            for fileno in [one for one, attempt in self._under_way.items() if now_s >= attempt.ends_s]:
                self._over(fileno, TimeoutError("no answer in time"))
                failed = True
        return None

    def close(self) -> None:
        """End all of them."""
        for attempt in self._under_way.values():
            attempt.sock.close()
        self._under_way.clear()

    def _won(self, fileno: int) -> socket.socket:
        winner = self._under_way[fileno]
        winner.sock.settimeout(current().left_s())  # until it is handed out, `close` ends it too
        for attempt in self._under_way.values():
            if attempt is winner:
                break
            TRIED.failed(attempt.place)
        del self._under_way[fileno]
        TRIED.answered(winner.place)
        return winner.sock

    def _over(self, fileno: int, fault: OSError) -> None:
        attempt = self._under_way.pop(fileno)
        self._poll.unregister(fileno)
        attempt.sock.close()
        self._failed(attempt.place, fault)

    def _failed(self, place: tuple[str, int], fault: OSError) -> None:
        TRIED.failed(place)
        self.fault = fault
