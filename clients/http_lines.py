"""httpcore over `clients.lines`: what an httpx client needs so that its calls have bounds in all."""

import select
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore

from clients import lines
from clients.lines import Line, Lookup


class BoundedBackend(httpcore.NetworkBackend):
    """Connects within the bounds of the call at work; to addresses that a look-up gives, where one is named."""

    def __init__(self, lookup: Lookup | None = None) -> None:
        self._lookup = lookup

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """See httpcore."""
        with _as(httpcore.ConnectTimeout, httpcore.ConnectError):
            line = lines.connect(
                host, port, self._lookup,
                most_s=timeout, source=local_address, options=socket_options or (),
            )  # fmt: skip
        return _Stream(line)

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        """See httpcore."""
        del socket_options  # there are none for such a socket
        with _as(httpcore.ConnectTimeout, httpcore.ConnectError):
            return _Stream(lines.connect_unix(path, timeout))


class _Stream(httpcore.NetworkStream):
    def __init__(self, line: Line) -> None:
        self._line = line

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _as(httpcore.ReadTimeout, httpcore.ReadError):
            return self._line.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _as(httpcore.WriteTimeout, httpcore.WriteError):
            self._line.write(buffer, timeout)

    def close(self) -> None:
        self._line.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        with _as(httpcore.ConnectTimeout, httpcore.ConnectError):
            return _Stream(self._line.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        if info == "socket":
            return self._line.sock
        if info == "ssl_object" and isinstance(self._line.sock, ssl.SSLSocket):
            return self._line.sock
        if info == "server_addr":
            return self._line.sock.getpeername()
        if info == "is_readable":
            return _is_readable(self._line.sock)
        return None


def _is_readable(sock: socket.socket) -> bool:
    """Tell whether something waits to be read on an idle connection: it was closed by the other end."""
    if sock.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


@contextmanager
def _as(late: type[Exception], failed: type[Exception]) -> Iterator[None]:
    """Raise httpcore's errors in the place of the system's; what says that the call is over stays what it is."""
    try:
        yield
    except TimeoutError as fault:
        raise late(str(fault)) from None
    except OSError as fault:
        raise failed(str(fault)) from None
