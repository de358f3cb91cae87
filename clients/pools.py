"""urllib3 over `clients.lines`, for libraries that bring it: requests (hvac, Apprise) and the Kubernetes client.

Rules:
1. What is asked by a pool that is `bound`, or a session with a `BoundedAdapter`, is in the bounds of the call at work.
2. An answer that is compressed is refused: nobody asks for one, and a small one could become endless.
3. Whoever has something to look at before a body leaves is asked once its connection is there and its head was sent:
   a name, a proxy, a handshake may take as long as the call may. An end that hangs up after each answer, or between
   two, has a new connection made for the next request, so that one that was there before says nothing.
"""

import io
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError
from urllib3.response import HTTPResponse

from clients import lines
from clients.bounds import SentTooMuch, current

_PLAIN = frozenset({"", "identity"})


class _Reader(io.RawIOBase):
    """Reads a socket within the call's bounds; holds it open like any file of it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._file = sock, sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        call = current()
        self._sock.settimeout(call.left_s())
        try:
            count = self._file.readinto(buffer) or 0
        except TimeoutError:
            raise call.over() from None
        call.came(count)
        return count

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class _Bounded:
    """A socket as http.client uses one."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def sendall(self, data: Any) -> None:
        """Send everything within the call's time."""
        try:
            lines.Line(self._sock).write(memoryview(data).cast("B"))
        except TimeoutError:
            raise current().over() from None

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        """Return what answers are read from."""
        return io.BufferedReader(_Reader(self._sock))

    def settimeout(self, _: float | None) -> None:
        """Nothing: the call has its time."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def _dialled(connection: HTTPConnection) -> socket.socket:
    try:
        line = lines.connect(connection.host, connection.port or connection.default_port)
    except OSError as fault:
        raise NewConnectionError(connection, f"no connection: {type(fault).__name__}") from None
    try:
        line.sock.settimeout(current().left_s())  # of the whole handshake, which is one wait
    except BaseException:
        line.close()
        raise
    return line.sock


def _plain(response: HTTPResponse) -> HTTPResponse:
    if response.headers.get("Content-Encoding", "").lower() not in _PLAIN:
        response.close()
        raise SentTooMuch("it sent a compressed answer, which nobody asked for")
    return response


def _nothing() -> None:
    """Ask nobody."""


class _Asking(HTTPConnection):
    """Asks before each part of a body is sent; what it is asked for may raise, and nothing more is sent then."""

    before_body: Callable[[], object] = staticmethod(_nothing)
    _in_head = False

    def endheaders(self, *args: Any, **more: Any) -> None:
        """Connect where that is missing, and send the head. See http.client."""
        self._in_head = True
        try:
            super().endheaders(*args, **more)
        finally:
            self._in_head = False

    def send(self, data: Any) -> None:
        """See http.client."""
        if not self._in_head:
            self.before_body()
        super().send(data)


class _Plain(_Asking):
    def _new_conn(self) -> socket.socket:
        return _dialled(self)

    def connect(self) -> None:
        super().connect()
        self.sock = _Bounded(self.sock)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        return _plain(super().getresponse())


class _Tls(_Asking, HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _dialled(self)

    def connect(self) -> None:
        super().connect()
        if not isinstance(self.sock, ssl.SSLSocket):
            raise NewConnectionError(self, "no TLS")
        self.sock = _Bounded(self.sock)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        return _plain(super().getresponse())


class _Pool(HTTPConnectionPool):
    def __init__(self, before_body: Callable[[], object], *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._before_body = before_body

    def _new_conn(self) -> Any:
        made = super()._new_conn()
        made.before_body = self._before_body  # type: ignore[attr-defined] # ConnectionCls is ours
        return made


class _PlainPool(_Pool):
    ConnectionCls = _Plain


class _TlsPool(_Pool, HTTPSConnectionPool):
    ConnectionCls = _Tls


def bound(manager: urllib3.PoolManager, before_body: Callable[[], object] = _nothing) -> None:
    """Have a manager's connections keep to the bounds of the call at work.

    Args:
        manager: Makes them from now on.
        before_body: Asked before each part of a body leaves; raises where it must not.
    """
    made: dict[str, Any] = {  # all that is done with them is to call them
        "http": partial(_PlainPool, before_body), "https": partial(_TlsPool, before_body)
    }  # fmt: skip
    manager.pool_classes_by_scheme = made


class BoundedAdapter(HTTPAdapter):
    """What a session of requests is given for http and https."""

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        """See requests."""
        super().init_poolmanager(*args, **more)
        bound(self.poolmanager)

    def send(self, request: requests.PreparedRequest, *args: Any, **more: Any) -> requests.Response:
        """See requests."""
        request.headers["Accept-Encoding"] = "identity"
        return super().send(request, *args, **more)


def bounded_session() -> requests.Session:
    """Return a session that nothing of the environment changes."""
    session = requests.Session()
    session.trust_env = False
    for scheme in ("http://", "https://"):
        session.mount(scheme, BoundedAdapter())
    return session
