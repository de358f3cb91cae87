"""The bots' side: a small strict HTTP/1.1 server. Bytes in, `Inbound` out, answers back in order.

Rules:
1. Exactly one Host, and an allowed one; no header twice; targets as `form.py` has them.
2. A body has a Content-Length or does not exist: Transfer-Encoding, Expect and Upgrade are refused.
3. Limits in bytes, number and time for heads, bodies, connections and pipelined requests.
4. Requests of one connection are answered one after another. After a refusal of form the connection ends.
5. A client that goes away does not stop what was already sent to the venue.
"""

import asyncio
from collections import deque
from typing import cast

import httptools

from broker.gateway.form import (
    DECIMAL,
    LARGEST_BODY,
    LARGEST_HEAD,
    METHODS,
    MOST_HEADERS,
    BadForm,
    Handler,
    Headers,
    Inbound,
    answer_bytes,
    check_target,
    is_plain,
)

MOST_CONNECTIONS = 512
MOST_PIPELINED = 8
REQUEST_SECONDS = 10.0
IDLE_SECONDS = 75.0
_UNIX = "unix"
LARGEST_UNREAD = 64 * 1024 * 1024


class Listener:
    """All connections of one listening address."""

    def __init__(self, handler: Handler, allowed_hosts: frozenset[str]) -> None:
        self.handler, self.allowed_hosts = handler, allowed_hosts
        self.connections: set[Connection] = set()
        self.stopping = False
        self._drained = asyncio.Event()

    def __call__(self) -> "Connection":
        """Make the protocol of a new connection."""
        return Connection(self)

    def sweep(self, now: float) -> None:
        """End connections that are too slow; call it every second."""
        for connection in list(self.connections):
            connection.check_time(now)

    async def drain(self, seconds: float) -> None:
        """Take no new request, let those in flight end, then close everything."""
        self.stopping = True
        for connection in list(self.connections):
            connection.finish()
        self._check_drained()
        try:
            async with asyncio.timeout(seconds):
                await self._drained.wait()
        except TimeoutError:
            for connection in list(self.connections):
                connection.abort()

    def gone(self, connection: "Connection") -> None:
        """A connection is over."""
        self.connections.discard(connection)
        self._check_drained()

    def _check_drained(self) -> None:
        if self.stopping and not self.connections:
            self._drained.set()


class Connection(asyncio.Protocol):
    """One connection of a bot."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._loop = asyncio.get_running_loop()
        self._peer = ""
        self._queue: deque[Inbound | str] = deque()
        self._busy = False
        self._ending = False
        self._paused = False
        self._started = 0.0  # when the request now being read began; zero between requests
        self._idle_since = self._loop.time()
        self._reset()

    def _reset(self) -> None:
        self._target = b""
        self._names: list[bytes] = []
        self._values: list[bytes] = []
        self._headers: dict[bytes, bytes] = {}
        self._head_size = 0
        self._body: list[bytes] = []
        self._body_size = 0
        self._in_body = False

    # --- transport ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by type
        peer = self._transport.get_extra_info("peername")
        self._peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) and len(peer) > 1 else _UNIX
        if self._listener.stopping or len(self._listener.connections) >= MOST_CONNECTIONS:
            self._transport.write(answer_bytes(503, ((b"Retry-After", b"1"),), b"", close=True))
            transport.close()
            return
        self._listener.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        del exc
        self._transport = None
        self._queue.clear()
        self._listener.gone(self)

    def eof_received(self) -> bool:
        """A client that half closes still gets its answer; half a request gets a refusal."""
        if self._started and not self._ending:
            self._refuse("incomplete")
        self.finish()
        return True

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if self._ending:
            return
        self._started = self._started or self._loop.time()
        if not self._in_body:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse("upgrade")
        except httptools.HttpParserError as fault:
            cause = fault.__context__
            self._refuse(cause.reason if isinstance(cause, BadForm) else "http")
        else:
            if self._started and not self._in_body and self._head_size > LARGEST_HEAD:
                self._refuse("head_too_large")

    # --- httptools ------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """See httptools."""
        self._reset()
        self._started = self._loop.time()

    def on_url(self, url: bytes) -> None:
        """See httptools; a long target comes in pieces."""
        self._target += url
        if len(self._target) > LARGEST_HEAD:
            raise BadForm("head_too_large")

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools. Judged once all are there; until then only their number is bounded, here, and size."""
        names = self._names
        names.append(name)
        self._values.append(value)
        if len(names) > MOST_HEADERS:
            raise BadForm("too_many_headers")

    def on_headers_complete(self) -> None:
        """See httptools."""
        values = self._values
        names = b"\n".join(self._names).lower()
        if len(names) + sum(map(len, values)) > LARGEST_HEAD:
            raise BadForm("head_too_large")
        if not is_plain(names, values):
            raise BadForm("header_bytes")
        self._headers = headers = dict(zip(names.split(b"\n"), values, strict=False))
        if len(headers) != len(values):
            raise BadForm("repeated_header")
        if self._parser.get_method() not in METHODS:
            raise BadForm("method")
        if b"transfer-encoding" in headers or b"content-encoding" in headers:
            raise BadForm("body_framing")
        if b"expect" in headers or b"upgrade" in headers:
            raise BadForm("upgrade")
        length = headers.get(b"content-length")
        if length is not None:
            if not length or not DECIMAL.issuperset(length) or len(length) > 8:  # noqa: PLR2004 - digits
                raise BadForm("body_framing")
            if int(length) > LARGEST_BODY:
                raise BadForm("body_too_large")
        self._check_host(headers.get(b"host"))
        self._path, self._query = check_target(self._target)
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._body_size += len(body)
        if self._body_size > LARGEST_BODY:
            raise BadForm("body_too_large")
        self._body.append(body)

    def on_message_complete(self) -> None:
        """See httptools."""
        inbound = Inbound(
            self._parser.get_method().decode("ascii"),
            self._path,
            self._query,
            b"".join(self._body),
            self._headers,
            self._peer,
        )
        if self._headers.get(b"connection", b"").lower() == b"close" or not self._parser.should_keep_alive():
            self._ending = True
        self._started = 0.0
        self._in_body = False
        self._head_size = 0
        self._queue.append(inbound)
        self._next()

    # --- order of answers -----------------------------------------------------------------

    def _check_host(self, host: bytes | None) -> None:
        if host is None:
            raise BadForm("no_host")
        if self._peer == _UNIX:
            return
        name = host.decode("ascii").lower()
        bare = name.rpartition(":")[0] if not name.endswith("]") and ":" in name else name
        if bare not in self._listener.allowed_hosts:
            raise BadForm("foreign_host")

    def _refuse(self, reason: str) -> None:
        self._ending = True
        self._started = 0.0
        self._queue.append(reason)
        self._next()

    def _next(self) -> None:
        """Take up the next request, unless one is being answered."""
        transport = self._transport
        if transport is None:
            return
        if not self._busy and self._queue:
            self._busy = True
            entry = self._queue.popleft()
            if isinstance(entry, str):
                self._reply(*self._listener.handler.refuse_form(entry, self._peer))
            else:
                self._listener.handler.handle(entry, self._reply)
        crowded = len(self._queue) >= MOST_PIPELINED
        if crowded != self._paused:
            self._paused = crowded
            (transport.pause_reading if crowded else transport.resume_reading)()

    def _reply(self, status: int, headers: Headers, body: bytes) -> None:
        self._busy = False
        self._idle_since = self._loop.time()
        transport = self._transport
        if transport is None:
            return
        last = (self._ending or self._listener.stopping) and not self._queue
        transport.write(answer_bytes(status, headers, body, close=last))
        if last or transport.get_write_buffer_size() > LARGEST_UNREAD:
            transport.close()
            return
        if self._queue:
            self._next()

    def finish(self) -> None:
        """Take nothing more; close once everything is answered."""
        self._ending = True
        if not self._busy and not self._queue and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close now."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def reading(self) -> bool:
        """Whether a request has begun and is not whole yet."""
        return self._started > 0

    def check_time(self, now: float) -> None:
        """End the connection where a request comes too slowly, or none comes at all."""
        if self._started and now - self._started > REQUEST_SECONDS:
            self._refuse("too_slow")
        elif not self._busy and not self._started and now - self._idle_since > IDLE_SECONDS:
            self.finish()
