"""Connections to the API: how many, how long each may take for what, and who leaves when there is no room.

Rules:
1. A listener has a door of its own with so many places. When all are taken, the connection that has waited longest
   for its client (half a head, half a body, nothing at all) is closed for the new one; what is being worked on never
   is. Without such a one the new connection is closed.
2. A head, a body, a pause between requests and the reading of an answer each have a time limit.
3. A head has a size limit, known before the parser sees it; a body comes in a bounded number of chunks. One request at
   a time: what comes behind one that is not answered yet is not read, and the connection closes after its answer.
"""

import math
import resource
import time
from collections.abc import Callable
from enum import Enum
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

LARGEST_HEAD = 16 * 1024
_MOST_HEADERS, _MOST_CHUNKS = 64, 512
_HEAD_END = b"\r\n\r\n"
_RESERVED_FILES = 448
"""For the stores, children, logs and the socket in the home, whoever connects by TCP."""

_FEWEST, _MOST, _MOST_AT_HOME = 16, 256, 64


class Waits(Enum):
    """What a connection waits for."""

    HEAD = "head"
    BODY = "body"
    WORK = "work"
    READER = "reader"
    NEXT = "next"


_MOST_S = {Waits.HEAD: 10.0, Waits.BODY: 15.0, Waits.READER: 30.0, Waits.NEXT: 10.0}
"""For how long; what we work on has no limit here."""


def places_by_network(files: int | None = None) -> int:
    """Return how many connections by TCP we take, so that files are left for everything else."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if files is None else files
    if limit == resource.RLIM_INFINITY:
        return _MOST
    return max(_FEWEST, min(_MOST, limit - _RESERVED_FILES))


def places_at_home(files: int | None = None) -> int:
    """Return how many connections we take by the socket in the home: an eighth of the files, so that some are left."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if files is None else files
    if limit == resource.RLIM_INFINITY:
        return _MOST_AT_HOME
    return max(_FEWEST, min(_MOST_AT_HOME, limit // 8))


class Door:
    """The connections of one listener."""

    def __init__(self, places: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self._places, self.now_s = places, now_s
        self._inside: set[Connection] = set()

    def __len__(self) -> int:
        return len(self._inside)

    def admit(self, one: "Connection") -> None:
        """Let a connection in, at the cost of who waits longest; or close it."""
        if len(self._inside) >= self._places:
            idle = [other for other in self._inside if other.waits in _FOR_CLIENT]
            if not idle:
                one.transport.abort()
                return
            oldest = min(idle, key=lambda other: other.since_s)
            self._inside.discard(oldest)
            oldest.transport.abort()
        self._inside.add(one)

    def leave(self, one: "Connection") -> None:
        """Forget a connection that ended."""
        self._inside.discard(one)

    def sweep(self) -> None:
        """Close every connection whose time is up."""
        now_s = self.now_s()
        for one in [one for one in self._inside if now_s - one.since_s > _MOST_S.get(one.waits, math.inf)]:
            one.transport.abort()


_FOR_CLIENT = frozenset({Waits.HEAD, Waits.BODY, Waits.NEXT})


class _NoMore(Exception):
    """Raised in a callback to make the parser stop."""


class Connection(HttpToolsProtocol):
    """One connection; see the module's rules."""

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any], door: Door
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._door = door
        self._deaf = False
        self._head, self._chunks, self._left = b"", 0, 0
        self.waits, self.since_s = Waits.HEAD, door.now_s()

    def connection_made(self, transport: Any) -> None:
        """See asyncio."""
        super().connection_made(transport)
        self._now(Waits.HEAD)
        self._door.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._door.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if self._left and not self.transport.is_closing():
            self._take(data)
        if self._deaf or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        if self.waits in {Waits.HEAD, Waits.NEXT} and self._is_large(data):
            self._refuse("The head is too large.")
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            # Nothing but HTTP/1.1 is spoken here: this request is answered, and no other. The parser leaves its body.
            self._hear_no_more()
            self._left = self._declared()
            self._take(data[offer.args[0] :])
        except httptools.HttpParserError:
            if not self._deaf:
                self._refuse("Invalid HTTP request received.")

    def on_message_begin(self) -> None:
        """See httptools."""
        if self._at_work() is not None:
            self._hear_no_more()
            raise _NoMore
        super().on_message_begin()
        self._chunks = 0
        self._now(Waits.HEAD)

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        if len(self.headers) >= _MOST_HEADERS:
            raise _NoMore
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._head = b""
        super().on_headers_complete()
        self._now(Waits.BODY)

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._chunks += 1
        if self._chunks > _MOST_CHUNKS:
            raise _NoMore
        super().on_body(body)

    def on_message_complete(self) -> None:
        """See httptools."""
        if self.parser.should_upgrade() and self._declared():
            return
        super().on_message_complete()
        if self.waits is Waits.BODY:
            self._now(Waits.WORK)

    def pause_writing(self) -> None:
        """See asyncio."""
        super().pause_writing()
        self._now(Waits.READER)

    def on_response_complete(self) -> None:
        """See uvicorn."""
        self._now(Waits.READER if self.transport.is_closing() else Waits.NEXT)
        super().on_response_complete()

    def _now(self, waits: Waits) -> None:
        self.waits, self.since_s = waits, self._door.now_s()

    def _is_large(self, data: bytes) -> bool:
        """Tell whether a head goes on for longer than any of ours, before it is parsed."""
        if self.waits is Waits.NEXT:
            self._now(Waits.HEAD)
        known = len(self._head)
        self._head += data[: LARGEST_HEAD + 1]
        if self._head.find(_HEAD_END, max(0, known - len(_HEAD_END)), LARGEST_HEAD) >= 0:
            return False
        return len(self._head) > LARGEST_HEAD

    def _declared(self) -> int:
        """Return the length of the body that a request declared."""
        lengths = [value for name, value in self.headers if name == b"content-length"]
        return int(lengths[0]) if len(lengths) == 1 and lengths[0].isdigit() else 0

    def _take(self, data: bytes) -> None:
        """Take a part of a body that the parser left; what comes behind it is not ours."""
        part, cycle = data[: self._left], self._at_work()
        self._left -= len(part)
        if cycle is None or not self._left + len(part):
            return
        cycle.body += part
        cycle.more_body = self._left > 0
        cycle.message_event.set()
        if not self._left:
            self._now(Waits.WORK)

    def _hear_no_more(self) -> None:
        """Answer what is being worked on, then close."""
        self._deaf = True
        cycle = self._at_work()
        if cycle is not None:
            cycle.keep_alive = False

    def _refuse(self, why: str) -> None:
        self._deaf = True
        cycle = self._at_work()
        if cycle is None or not cycle.response_started:
            self.send_400_response(why)
        else:
            self.transport.abort()

    def _at_work(self) -> RequestResponseCycle | None:
        """Return the request that is not answered yet."""
        cycle: RequestResponseCycle | None = self.cycle
        return None if cycle is None or cycle.response_complete else cycle
