"""One connection to the venue: one request at a time, its answer in full or not.

Rules:
1. An answer that breaks off is `Broken`: the outcome is not known. Bytes nobody asked for end the connection, those
   that come with an answer too: the next request may be on it already, and they would count as the answer to that.
2. An answer has an end: in time as a whole, in bytes, headers, pieces and interim answers; what all of them hold
   together is bounded too, at the cost of the largest read.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from broker.gateway import packed
from broker.gateway.limits import Need

LARGEST_ANSWER = 32 * 1024 * 1024
LARGEST_WRITE_ANSWER = 1024 * 1024
LARGEST_COLLECTED = 64 * 1024 * 1024
"""Of all answers that are not whole yet."""

LARGEST_ANSWER_HEAD = 64 * 1024
MOST_ANSWER_HEADERS = 128
MOST_PIECES = 65_536
MOST_INTERIM = 8
ANSWER_SECONDS = 12.0
TOO_MUCH = "too_much_at_once"
"""Why we break a read off that the process has no room for: the venue did answer."""

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
            max(reads, key=self._sizes.__getitem__).break_off(TOO_MUCH)

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
        self._answered = False  # by the bytes that are being read

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
        self._answered = False
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
        if self._answered:
            raise ValueError("one answer to a request")
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
        body = bytes(self._body)
        if packed.is_packed(self._headers):
            body = packed.plain(self._headers, body)
        reply = Reply(status, self._headers, body)
        self._answered = True
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
