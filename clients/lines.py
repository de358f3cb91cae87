"""Connections to foreign ends, each of whose waits ends with the call's time (`clients.bounds`).

Rules:
1. This is the one place that connects to what is not ours, but for the gateway's own connections to exchanges. HTTP
   libraries get their connections from here (`clients.outbound_http`, `clients.http`, `clients.pools`).
2. A name is looked up in a thread of its own, because the system's resolver knows no end. A look-up that hangs is left
   behind; who asks for the same name meanwhile waits for the same one, so that one name costs one thread.
3. Of several addresses the one that answers is used, whichever it is (`clients.addresses`).
"""

import contextlib
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from clients.addresses import STAGGER_S, TRIED, same_family
from clients.attempts import Attempts
from clients.bounds import current

_MOST_LOOKUPS = 32
"""Names looked up at one moment. More hang only where the resolver does."""

Lookup = Callable[[str, int], Sequence[str]]
"""Host and port to the addresses to connect to, in order."""


class Line:
    """A connection that is read and written within the call's bounds."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def read(self, most: int, most_s: float | None = None) -> bytes:
        """Return what comes next, at most so many bytes; empty at the end.

        Raises:
            OutOfBounds: The call has no more time, or no more bytes.
            TimeoutError: This wait took longer than `most_s`, and the call has time left.
            OSError: The connection is lost.
        """
        self._wait(most_s)
        try:
            data = self.sock.recv(most)
        except TimeoutError:
            current().left_s()
            raise
        current().came(len(data))
        return data

    def write(self, data: bytes | memoryview, most_s: float | None = None) -> None:
        """Send everything. Raises as `read` does."""
        left = memoryview(data)
        while left:
            self._wait(most_s)
            try:
                left = left[self.sock.send(left) :]
            except TimeoutError:
                current().left_s()
                raise

    def start_tls(self, context: ssl.SSLContext, name: str | None, most_s: float | None = None) -> "Line":
        """Return the line under TLS. Raises as `read` does; the line is closed then, and the address goes last."""
        try:
            place = self.sock.getpeername()[:2]
        except OSError:
            self.close()
            raise
        try:
            self._wait(most_s)
            return Line(context.wrap_socket(self.sock, server_hostname=name))
        except BaseException as fault:
            self.close()
            TRIED.failed(place)
            if isinstance(fault, TimeoutError):
                current().left_s()
            raise

    def close(self) -> None:
        """Close it."""
        with contextlib.suppress(OSError):
            self.sock.close()

    def _wait(self, most_s: float | None) -> None:
        left_s = current().left_s()
        self.sock.settimeout(left_s if most_s is None else min(left_s, most_s))


def connect(
    host: str,
    port: int,
    lookup: Lookup | None = None,
    *,
    most_s: float | None = None,
    source: str | None = None,
    options: Iterable[Any] = (),
) -> Line:
    """Connect to whichever of a host's addresses answers first.

    Args:
        host: A name or an address.
        port: Where.
        lookup: Gives the addresses, judged where they have to be; the system's answer where there is none.
        most_s: The longest wait for the look-up, and for one address.
        source: Our own address to connect from.
        options: Of the socket, each as `setsockopt` takes it.

    Raises:
        OutOfBounds: The call's time is over.
        OSError: None answers, or the host cannot be resolved.
    """
    addresses = _by_system(host, port, most_s) if lookup is None else lookup(host, port)
    if source is not None:
        addresses = [one for one in addresses if same_family(one, source)]
    waiting = deque(TRIED.ordered(addresses, lambda one: (one, port)))
    if not waiting:
        raise OSError("it has no address that can be reached from here")
    attempts = Attempts(most_s)
    try:
        while waiting or attempts.under_way:
            if waiting:
                attempts.begin(waiting.popleft(), port, source, options)
            if (sock := attempts.wait(STAGGER_S if waiting else None)) is not None:
                return Line(sock)
    finally:
        attempts.close()
    raise attempts.fault


def looked_up(host: str, port: int, *more: Any) -> Sequence[tuple[Any, ...]]:
    """Ask the system for a host's addresses, as `socket.getaddrinfo` does, within the call's time.

    Raises:
        OutOfBounds: The call's time is over.
        OSError: It cannot be resolved.
    """
    return _LOOKUPS.ask((host, port, *more))


def connect_unix(path: str, most_s: float | None = None) -> Line:
    """Connect to a Unix socket, within the call's time. Raises as `connect` does."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    line = Line(sock)
    try:
        left_s = current().left_s()
        sock.settimeout(left_s if most_s is None else min(left_s, most_s))
        sock.connect(path)
    except TimeoutError:
        line.close()
        current().left_s()
        raise
    except BaseException:
        line.close()
        raise
    return line


def _by_system(host: str, port: int, most_s: float | None) -> Sequence[str]:
    found = _LOOKUPS.ask((host, port, 0, socket.SOCK_STREAM), most_s)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class _Asked:
    """One look-up on its way."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.found: Sequence[tuple[Any, ...]] = ()
        self.fault = ""


class _Lookups:
    """Look-ups in threads of their own."""

    def __init__(self) -> None:
        self._lock, self._on_way = threading.Lock(), dict[tuple[Any, ...], _Asked]()

    def ask(self, what: tuple[Any, ...], most_s: float | None = None) -> Sequence[tuple[Any, ...]]:
        """See `looked_up`."""
        with self._lock:
            asked = self._on_way.get(what)
            if asked is None:
                if len(self._on_way) >= _MOST_LOOKUPS:
                    raise OSError("the resolver does not answer")
                asked = self._begun(what)
        left_s = current().left_s()
        if not asked.done.wait(left_s if most_s is None else min(left_s, most_s)):
            current().left_s()
            raise TimeoutError("the resolver does not answer")
        if asked.fault:
            raise OSError(asked.fault)
        return asked.found

    def _begun(self, what: tuple[Any, ...]) -> _Asked:
        """Begin a look-up; one that no thread can be had for is not on its way, so that the next one is."""
        asked = _Asked()
        try:
            threading.Thread(target=self._work, args=(what, asked), name="resolve", daemon=True).start()
        except RuntimeError:
            raise OSError("no thread can be had to ask the resolver") from None
        self._on_way[what] = asked
        return asked

    def _work(self, what: tuple[Any, ...], asked: _Asked) -> None:
        try:
            asked.found = socket.getaddrinfo(*what)
        except (OSError, UnicodeError) as fault:
            asked.fault = f"it cannot be resolved ({type(fault).__name__})"
        except BaseException:
            asked.fault = "it cannot be resolved"
            raise
        finally:
            with self._lock:
                self._on_way.pop(what, None)
            asked.done.set()


_LOOKUPS = _Lookups()
