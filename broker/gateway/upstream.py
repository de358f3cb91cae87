"""The venue's side: pooled connections to pinned hosts. A request goes out once, or not at all.

Rules:
1. A pool speaks to one base URL through one egress, by TLS; plain text only on loopback.
2. No retry, no redirect, no cookies. One request at a time on a connection, answered in full or not.
3. `take` gives a connection that is open; sending on it is synchronous, so nothing can change between the
   verdict and the first byte. An answer that breaks off is `Broken`: the outcome is not known.
4. A connection that was idle for `IDLE_SECONDS` is not used again: the venue may be closing it.
5. Who may use how many is `lines.py`'s to say. Who has to wait waits in order; connections are opened a few at a
   time, not one for each that waits.
6. An answer has an end: in time as a whole, in bytes, headers, pieces and interim answers; what all of them hold
   together is bounded too, at the cost of the largest read.
"""

import asyncio
import ssl as tls
from collections import deque
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

from broker.gateway.limits import Need, Permit
from broker.gateway.lines import ORDER, OURS, Shares, before
from broker.gateway.room import MOST_LINES
from broker.gateway.wellbeing import Ask, Silence
from clients.egress import Egress, open_connection
from clients.venue import Sealed

LARGEST_ANSWER = 32 * 1024 * 1024
LARGEST_WRITE_ANSWER = 1024 * 1024
LARGEST_COLLECTED = 64 * 1024 * 1024
"""Of all answers that are not whole yet."""

LARGEST_ANSWER_HEAD = 64 * 1024
MOST_ANSWER_HEADERS = 128
MOST_PIECES = 65_536
MOST_INTERIM = 8
MOST_OPENING = 16
MOST_WAITING = 256
IDLE_SECONDS = 25.0
ANSWER_SECONDS = 12.0
CONNECT_SECONDS = 5.0

_REDIRECT, _BAD, _SERVER_ERROR = 300, 400, 500
_TOO_MUCH = "too_much_at_once"

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


class Intake:
    """The answers that are being collected, over all pools of a process."""

    def __init__(self) -> None:
        self._sizes: dict[Line, int] = {}
        self._total = 0

    def grew(self, line: "Line", size: int) -> None:
        """An answer has grown to this size; where all of them are too large, the largest read ends."""
        self._total += size - self._sizes.get(line, 0)
        self._sizes[line] = size
        while self._total > LARGEST_COLLECTED:
            reads = [one for one in self._sizes if one.need is Need.READ]
            if not reads:
                return
            max(reads, key=self._sizes.__getitem__).break_off(_TOO_MUCH)

    def over(self, line: "Line") -> None:
        """An answer is whole, or never will be."""
        self._total -= self._sizes.pop(line, 0)


class Line(asyncio.Protocol):
    """One connection to the venue. `need` and `key` say what it is used for, while it is."""

    def __init__(self, intake: Intake) -> None:
        self._loop = asyncio.get_running_loop()
        self._intake = intake
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._done: Done | None = None
        self._back: Callable[[Line], None] | None = None
        self._deadline = 0.0
        self.idle_since = self._loop.time()
        self.usable = True
        self.need: Need | None = None
        self.key = ""
        self._reset()
        self._interim = 0

    def _reset(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._body: bytes | bytearray = b""
        self._head_size = self._pieces = 0
        self._in_body = False

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
        self._interim = 0
        self._deadline = self._loop.time() + ANSWER_SECONDS
        self._transport.write(data)

    @property
    def busy(self) -> bool:
        """Whether an answer is waited for."""
        return self._done is not None

    def check_time(self, now: float) -> None:
        """Give up on an answer that takes too long, however it trickles."""
        if self._done is not None and now > self._deadline:
            self.break_off("timeout")

    def break_off(self, reason: str) -> None:
        """Give up on the answer."""
        self.close()
        self._end(Broken(reason))

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
            self.break_off("bad_answer")
            return
        if not self.busy:
            return
        if self._in_body:
            self._intake.grew(self, len(self._body))
        else:
            self._head_size += len(data)  # a head that came with these bytes, and not to its end
            if self._head_size > LARGEST_ANSWER_HEAD:
                self.break_off("bad_answer")

    def on_message_begin(self) -> None:
        """See httptools."""
        self._reset()

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools; what follows a body in pieces comes here too."""
        self._head_size += len(name) + len(value)
        if len(self._headers) >= MOST_ANSWER_HEADERS or self._head_size > LARGEST_ANSWER_HEAD:
            raise ValueError("too large")
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._pieces += 1
        most = LARGEST_ANSWER if self.need is Need.READ else LARGEST_WRITE_ANSWER
        if len(self._body) + len(body) > most or self._pieces > MOST_PIECES:
            raise ValueError("too large")
        if not self._body:
            self._body = body
            return
        if isinstance(self._body, bytes):
            self._body = bytearray(self._body)
        self._body += body

    def on_message_complete(self) -> None:
        """See httptools."""
        status = self._parser.get_status_code()
        if status < 200:  # noqa: PLR2004 - an interim answer; the real one follows
            self._interim += 1
            self._in_body = False
            if self._interim > MOST_INTERIM:
                raise ValueError("too many interim answers")
            return
        if not self._parser.should_keep_alive():
            self.usable = False
            if self._transport is not None:
                self._transport.close()
        reply = Reply(status, self._headers, bytes(self._body))
        self._reset()
        self._end(reply)

    def _end(self, result: Reply | Broken) -> None:
        self._intake.over(self)
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


class Waiter(NamedTuple):
    """Somebody who waits for a line."""

    future: "asyncio.Future[Line]"
    need: Need
    key: str


class Pool:
    """Connections to one base URL through one egress."""

    def __init__(
        self,
        base_url: str,
        egress: Egress,
        context: tls.SSLContext | None = None,
        *,
        most: int = MOST_LINES,
        intake: Intake | None = None,
    ) -> None:
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
        self._shares = Shares(most)
        self._intake = intake or Intake()
        self.silence = Silence()
        self._waiting: dict[Need, deque[Waiter]] = {need: deque() for need in ORDER}
        self._queued = 0
        self._opening: set[asyncio.Task[None]] = set()

    def ready(self, need: Need, key: str) -> Line | None:
        """Return an open connection, if one is there now for who comes so.

        Args:
            need: What for.
            key: Whose signature was checked; empty for strangers.
        """
        if self._queued and any(self._waiting[other] and before(other, need) for other in ORDER):
            return None
        if not self._shares.free(need, key):
            return None
        line = self._open_line()
        return None if line is None else self._used(line, need, key)

    async def take(self, need: Need, key: str) -> Line:
        """Return an open connection; waits for one where there is none. Give it back, or send on it.

        Raises:
            OSError: The venue cannot be reached, or too many are waiting. Nothing was sent.
        """
        line = self.ready(need, key)
        if line is not None:
            return line
        if need is not Need.EXIT and self._queued >= MOST_WAITING:
            raise ConnectionError("too many wait for a connection to the venue")
        future: asyncio.Future[Line] = asyncio.get_running_loop().create_future()
        waiter = Waiter(future, need, key)
        self._waiting[need].append(waiter)
        self._queued += 1
        self._serve()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.give_back(future.result())
            raise
        finally:
            self._queued -= 1
            if waiter in self._waiting[need]:
                self._waiting[need].remove(waiter)

    def _open_line(self) -> Line | None:
        """Take an idle connection that can be used."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            line = self._idle.pop()
            if line.usable and now - line.idle_since < IDLE_SECONDS:
                return line
            line.close()
            self._lines.discard(line)
        return None

    def _used(self, line: Line, need: Need, key: str) -> Line:
        self._shares.enter(need, key)
        line.need, line.key = need, key
        return line

    def _serve(self) -> None:
        """Give connections to those who wait, in order; open a few more where none is idle."""
        wanted = 0
        for need in ORDER:
            queue, passed = self._waiting[need], 0
            while len(queue) > passed and wanted < MOST_OPENING:
                waiter = queue[passed]
                if waiter.future.done():
                    del queue[passed]
                elif not self._shares.free(need, waiter.key):
                    passed += 1
                elif (line := self._open_line()) is not None:
                    del queue[passed]
                    waiter.future.set_result(self._used(line, need, waiter.key))
                else:
                    wanted += 1
                    passed += 1
        while len(self._opening) < wanted and len(self._lines) + len(self._opening) < self._shares.most:
            task = asyncio.ensure_future(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opened)

    async def _open(self) -> None:
        try:
            _, line = await open_connection(
                *(self._egress, self._host, self._port, self._ssl, partial(Line, self._intake)),
                timeout_s=CONNECT_SECONDS,
            )
        except Exception as fault:  # noqa: BLE001 - told to who waits for it
            self.silence.heard(Ask.QUESTION, asyncio.get_running_loop().time(), well=False)
            first = next((queue.popleft() for queue in self._waiting.values() if queue), None)
            if first is not None and not first.future.done():
                first.future.set_exception(
                    fault
                    if isinstance(fault, OSError)
                    else ConnectionError("the connection could not be opened")
                )
        else:
            self._lines.add(line)
            self._idle.append(line)

    def _opened(self, task: "asyncio.Task[None]") -> None:
        self._opening.discard(task)
        if not task.cancelled():
            self._serve()

    def give_back(self, line: Line) -> None:
        """Keep a connection for the next request, if it can carry one."""
        if line.need is not None:
            self._shares.leave(line.need, line.key)
            line.need, line.key = None, ""
        if line.usable:
            self._idle.append(line)
        else:
            self._lines.discard(line)
        if self._queued:
            self._serve()

    def send(self, line: Line, sealed: Sealed, done: Done) -> None:
        """Write a request on a connection that was taken; when this returns, it is on its way."""
        parts = [sealed.method.encode(), b" ", sealed.target, b" HTTP/1.1\r\n", self._host_line]
        for name, value in sealed.headers:
            parts += (name, b": ", value, b"\r\n")
        if sealed.body or sealed.method in {"POST", "PUT", "DELETE"}:
            parts.append(b"Content-Length: %d\r\n" % len(sealed.body))
        parts += (b"\r\n", sealed.body)
        ask = Ask.QUESTION if sealed.method == "GET" else Ask.WRITE
        line.send(b"".join(parts), partial(self._heard, ask, done), self.give_back)

    def _heard(self, ask: Ask, done: Done, result: "Reply | Broken") -> None:
        """Note whether the venue answered, before the answer is taken in."""
        if isinstance(result, Reply):
            well = result.status < _SERVER_ERROR and not _REDIRECT <= result.status < _BAD
        else:
            well = result.reason == _TOO_MUCH
        self.silence.heard(ask, asyncio.get_running_loop().time(), well=well)
        done(result)

    async def ask(self, sealed: Sealed, permit: Permit, need: Need) -> Reply | Broken:
        """Send a request of our own, which the venue's meter let pass, and wait for the answer.

        Raises:
            OSError: The venue cannot be reached; nothing was sent.
        """
        del permit  # whoever has none cannot ask
        line = await self.take(need, OURS)
        future: asyncio.Future[Reply | Broken] = asyncio.get_running_loop().create_future()

        def done(result: Reply | Broken) -> None:
            if not future.done():
                future.set_result(result)

        try:
            self.send(line, sealed, done)
        except RuntimeError:  # it ended while we waited for our turn
            self.give_back(line)
            return Broken("closed")
        return await future

    def sweep(self, now: float) -> None:
        """Give up on answers that take too long, and close what was idle too long."""
        for line in list(self._lines):
            line.check_time(now)
            if not line.usable and line.need is None:
                self._lines.discard(line)
        old = [line for line in self._idle if now - line.idle_since >= IDLE_SECONDS]
        for line in old:
            self._idle.remove(line)
            self._lines.discard(line)
            line.close()

    def close(self) -> None:
        """Close everything."""
        for task in self._opening:
            task.cancel()
        for queue in self._waiting.values():
            for waiter in queue:
                waiter.future.cancel()
            queue.clear()
        for line in list(self._lines):
            line.close()
        self._idle.clear()
        self._lines.clear()


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
