"""The venue's side: pooled connections to pinned hosts. A request goes out once, or not at all.

Rules:
1. A pool speaks to one base URL through one egress, by TLS; plain text only on loopback.
2. No retry, no redirect, no cookies. One request at a time on a connection, answered in full or not.
3. `take` gives a connection that is open; sending on it is synchronous, so nothing can change between the
   verdict and the first byte. An answer that breaks off is `Broken`: the outcome is not known.
4. A connection that was idle for `IDLE_SECONDS` is not used again: the venue may be closing it.
"""

import asyncio
import ssl as tls
from collections.abc import Callable
from ipaddress import ip_address
from typing import cast
from urllib.parse import urlsplit

import httptools

from broker.gateway.limits import Permit
from clients.egress import Egress, open_connection
from clients.venue import Sealed

LARGEST_ANSWER = 32 * 1024 * 1024
MOST_CONNECTIONS = 128
IDLE_SECONDS = 25.0
ANSWER_SECONDS = 12.0
CONNECT_SECONDS = 5.0

Done = Callable[["Reply | Broken"], None]


class Reply:
    """An answer of the venue: status, headers by lower-case name, whole body."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body


class Broken:
    """No whole answer came. The request may have taken effect. `reason` is short and stable."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


class Line(asyncio.Protocol):
    """One connection to the venue."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._done: Done | None = None
        self._back: Callable[[Line], None] | None = None
        self._deadline = 0.0
        self.idle_since = self._loop.time()
        self.usable = True
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by type

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        del exc
        self.usable = False
        self._transport = None
        self._end(Broken("closed"))

    def send(self, data: bytes, done: Done, back: "Callable[[Line], None]") -> None:
        """Write one request; `done` is called once, `back` then gives the line to its pool."""
        if self._done is not None or self._transport is None:
            raise RuntimeError("a line carries one request at a time")
        self._done, self._back = done, back
        self._deadline = self._loop.time() + ANSWER_SECONDS
        self._transport.write(data)

    def check_time(self, now: float) -> None:
        """Give up on an answer that takes too long."""
        if self._done is not None and now > self._deadline:
            self.close()
            self._end(Broken("timeout"))

    def close(self) -> None:
        """Close now."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if self._done is None:  # bytes nobody asked for
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()
            self._end(Broken("bad_answer"))

    def on_message_begin(self) -> None:
        """See httptools."""
        self._headers, self._body, self._size = {}, [], 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        self._size += len(name) + len(value)
        if self._size > LARGEST_ANSWER:
            raise ValueError("too large")
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._size += len(body)
        if self._size > LARGEST_ANSWER:
            raise ValueError("too large")
        self._body.append(body)

    def on_message_complete(self) -> None:
        """See httptools."""
        status = self._parser.get_status_code()
        if status < 200:  # noqa: PLR2004 - an interim answer; the real one follows
            return
        if not self._parser.should_keep_alive():
            self.usable = False
            if self._transport is not None:
                self._transport.close()
        reply = Reply(status, self._headers, b"".join(self._body))
        self._headers, self._body = {}, []
        self._end(reply)

    def _end(self, result: Reply | Broken) -> None:
        done, back = self._done, self._back
        self._done = self._back = None
        if done is None:
            return
        self.idle_since = self._loop.time()
        try:
            if back is not None:
                back(self)
        finally:
            done(result)


class Pool:
    """Connections to one base URL through one egress."""

    def __init__(self, base_url: str, egress: Egress, context: tls.SSLContext | None = None) -> None:
        """Pin the place.

        Raises:
            ValueError: The URL is not https, nor http on loopback.
        """
        parts = urlsplit(base_url)
        host = parts.hostname or ""
        if parts.scheme not in {"http", "https"} or not host or parts.path.strip("/") or parts.query:
            raise ValueError("an upstream is https://host[:port], or http:// on loopback")
        if parts.scheme == "http" and not _loopback(host):
            raise ValueError("plain http is for loopback only")
        self._ssl = None if parts.scheme == "http" else (context or tls.create_default_context())
        self._host, self._port = host, parts.port or (80 if self._ssl is None else 443)
        shown = f"[{host}]" if ":" in host else host
        self._host_line = f"Host: {shown}{f':{parts.port}' if parts.port else ''}\r\n".encode()
        self._egress = egress
        self._idle: list[Line] = []
        self._lines: set[Line] = set()
        self._opening = 0

    def ready(self) -> Line | None:
        """Return an open connection, if one is there now."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            line = self._idle.pop()
            if line.usable and now - line.idle_since < IDLE_SECONDS:
                return line
            line.close()
            self._lines.discard(line)
        return None

    async def take(self) -> Line:
        """Return an open connection; opens one where none is idle.

        Raises:
            OSError: The venue cannot be reached, or too many connections are in use. Nothing was sent.
        """
        line = self.ready()
        if line is not None:
            return line
        if len(self._lines) + self._opening >= MOST_CONNECTIONS:
            raise ConnectionError("too many connections to the venue are in use")
        self._opening += 1
        try:
            _, line = await open_connection(
                self._egress, self._host, self._port, self._ssl, Line, timeout_s=CONNECT_SECONDS
            )
        finally:
            self._opening -= 1
        self._lines.add(line)
        return line

    def give_back(self, line: Line) -> None:
        """Keep a connection for the next request, if it can carry one."""
        if line.usable:
            self._idle.append(line)
        else:
            self._lines.discard(line)

    def send(self, line: Line, sealed: Sealed, done: Done) -> None:
        """Write a request on a connection that was taken; when this returns, it is on its way."""
        parts = [sealed.method.encode(), b" ", sealed.target, b" HTTP/1.1\r\n", self._host_line]
        for name, value in sealed.headers:
            parts += (name, b": ", value, b"\r\n")
        if sealed.body or sealed.method in {"POST", "PUT", "DELETE"}:
            parts.append(b"Content-Length: %d\r\n" % len(sealed.body))
        parts += (b"\r\n", sealed.body)
        line.send(b"".join(parts), done, self.give_back)

    async def ask(self, sealed: Sealed, permit: Permit) -> Reply | Broken:
        """Send a request of our own, which the venue's meter let pass, and wait for the answer.

        Raises:
            OSError: The venue cannot be reached; nothing was sent.
        """
        del permit  # whoever has none cannot ask
        line = await self.take()
        future: asyncio.Future[Reply | Broken] = asyncio.get_running_loop().create_future()

        def done(result: Reply | Broken) -> None:
            if not future.done():
                future.set_result(result)

        self.send(line, sealed, done)
        return await future

    def sweep(self, now: float) -> None:
        """Give up on answers that take too long, and close what was idle too long."""
        for line in list(self._lines):
            line.check_time(now)
            if not line.usable:
                self._lines.discard(line)
        old = [line for line in self._idle if now - line.idle_since >= IDLE_SECONDS]
        for line in old:
            self._idle.remove(line)
            self._lines.discard(line)
            line.close()

    def close(self) -> None:
        """Close everything."""
        for line in list(self._lines):
            line.close()
        self._idle.clear()
        self._lines.clear()


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
