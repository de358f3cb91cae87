"""One connection of a bot: bytes in, one request at a time up to the handler, answers back in order.

Rules:
1. A request is taken off what was read only when the one before it is answered, and its answer is read. What
   waits is bytes, and reading stops at `MOST_WAITING` of them. Nothing here calls itself. What came behind a
   request that was answered at once has turns with that of other connections.
2. How bytes become a request is said in `reader.py`. A connection is a reader by inheritance, so that no request costs
   a call more.
3. Times are whole: a request has `REQUEST_SECONDS` from its first byte to its last, an answer `READ_SECONDS`
   to be read, the handler `ANSWER_SECONDS`. A trickle gains nothing.
4. Whatever the handler does, the request is answered once: an error of ours is an empty 503, a second answer
   goes nowhere.
5. A large answer is written in pieces, the next when the client has read the one before, and each in a turn of the
   loop. Its bytes may be those that other connections are reading, too (`loads.py`).
"""

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, cast

from broker.gateway.form import LARGEST_BODY, LARGEST_HEAD, BadForm, Headers, Inbound, answer_bytes
from broker.gateway.loads import PIECE
from broker.gateway.reader import UNIX, Reader
from broker.gateway.room import HALF, IDLE, SERVED, UNREAD

if TYPE_CHECKING:
    from broker.gateway.listener import Listener

REQUEST_SECONDS = 10.0
IDLE_SECONDS = 75.0
READ_SECONDS = 60.0
ANSWER_SECONDS = 30.0
MOST_WAITING = LARGEST_HEAD + LARGEST_BODY
HEAVY = 16 * 1024

_LOG = logging.getLogger("portcullis.gateway")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(Reader, asyncio.Protocol):
    """One connection of a bot."""

    def __init__(self, listener: "Listener") -> None:
        super().__init__(listener.allowed_hosts)
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self.address = ""
        self._data, self._at = b"", 0  # what was read, and how much of it was taken up
        self._advancing = False
        self._half_closed = False
        self._paused = False
        self._choked = False  # the client does not read as fast as we write
        self.load, self._written = b"", 0  # a large answer, and how much of it was given to the transport
        self._queued = False  # for a turn
        self.counted = 0  # of its weight, by the listener
        self._turn = 0  # of the request being answered
        self._inbound: Inbound | None = None  # the one being answered
        self._since = self._loop.time()  # when it became idle, or busy
        self._unread_since = 0.0  # when the client stopped reading, or a large answer began; else zero

    # --- transport ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by type
        peer = self._transport.get_extra_info("peername")
        if isinstance(peer, tuple) and len(peer) > 1:
            self.peer, self.address = f"{peer[0]}:{peer[1]}", str(peer[0])
        else:
            self.peer = self.address = UNIX
        if not self._listener.came(self):
            self._ending = True
            self._transport.write(answer_bytes(503, ((b"Retry-After", b"1"),), b"", close=True))
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        del exc
        self._transport = None
        self._ending = True
        self._data, self._at = b"", 0
        self._pieces.clear()
        self.unload()
        self._listener.gone(self)

    def eof_received(self) -> bool:
        """A client that half closes still gets its answers; half a request gets a refusal."""
        self._half_closed = True
        self._advance()
        return True

    def pause_writing(self) -> None:
        """See asyncio: the client does not read as fast as it asks."""
        self._choked = True
        self._unread_since = self._unread_since or self._loop.time()
        self._listener.weigh(self)

    def resume_writing(self) -> None:
        """See asyncio."""
        self._choked = False
        if self.load:
            self._loop.call_soon(self._next_piece)  # asyncio's own does not bear a close in the midst of this
        else:
            self._all_read()

    def _all_read(self) -> None:
        """What was answered is read, or as good as: go on."""
        self._unread_since = 0.0
        self._advance()

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if self._ending:
            return
        self._data = data if self._at >= len(self._data) else self._data[self._at :] + data
        self._at = 0
        self._advance()

    # --- one request after another ----------------------------------------------------------

    def _advance(self) -> None:
        """Take up what was read, until something has to wait. Never entered twice."""
        if self._advancing:
            return
        self._advancing = True
        try:
            self._take_up()
        except BadForm as fault:
            self._refuse(fault.reason)
        finally:
            self._advancing = False
        if self._ending or self._at >= len(self._data):
            self._data, self._at = b"", 0
        self._flow()

    def _take_up(self) -> None:
        """Do the work of `_advance`.

        Raises:
            BadForm: What comes next is not in form.
        """
        while not (self._ending or self._inbound is not None or self._unread_since or self._queued):
            if self._at >= len(self._data):
                self._ran_dry()
                return
            self._at, inbound = self._read(self._data, self._at)
            if inbound is None:
                continue
            self._handle(inbound)
            if self._more():
                self._queue_up()

    def _more(self) -> bool:
        """Tell whether something is left that could be taken up now."""
        return not (self._ending or self._inbound is not None) and self._at < len(self._data)

    def _queue_up(self) -> None:
        """Let the others have their turn before what is left."""
        if not self._queued:
            self._queued = True
            self._listener.later(self)

    def turn(self) -> None:
        """Go on with what is left, one request."""
        self._queued = False
        self._advance()

    def _ran_dry(self) -> None:
        """Nothing is left of what was read; of a client that half closed nothing more comes."""
        if self._half_closed and self._started:
            self._refuse("incomplete")
        elif self._half_closed:
            self.finish()

    def _flow(self) -> None:
        """Stop reading while enough waits, and go on when it does not."""
        transport = self._transport
        if len(self._data) > HEAVY or self.counted:
            self._listener.weigh(self)
        crowded = len(self._data) - self._at >= MOST_WAITING
        if transport is not None and crowded != self._paused and not transport.is_closing():
            self._paused = crowded
            (transport.pause_reading if crowded else transport.resume_reading)()

    def _handle(self, inbound: Inbound) -> None:
        self._inbound, self._since = inbound, self._loop.time()
        reply = partial(self._reply, self._turn)
        try:
            self._listener.handler.handle(inbound, reply)
        except Exception:  # noqa: BLE001 - a bug of ours is an outage of one request, not of its connection
            _LOG.error("internal error while handling a request; it was refused", exc_info=False)
            reply(503, (), b"")

    def _reply(self, turn: int, status: int, headers: Headers, body: bytes) -> None:
        inbound = self._inbound
        if inbound is None or turn != self._turn:
            return
        self._inbound = None
        self._turn += 1
        self._since = self._loop.time()
        self.owner = inbound.vouched or self.owner
        last = self._ending or self._listener.stopping
        self._write(status, headers, body, last=last)
        if not last:
            self._advance()

    def _refuse(self, reason: str) -> None:
        """Say no to what is not in form. Where it ends nobody knows, so the connection ends with it."""
        self._ending = True
        self._started = 0.0
        self._write(*self._listener.handler.refuse_form(reason, self.peer), last=True)

    def _write(self, status: int, headers: Headers, body: bytes, *, last: bool) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if len(body) <= HEAVY:
            transport.write(answer_bytes(status, headers, body, close=last))
        else:  # not copied into one
            transport.write(answer_bytes(status, headers, b"", close=last, length=len(body)))
            if len(body) > PIECE:
                self._ending = self._ending or last
                self._take_load(body)
                return
            transport.write(body)
        if last:
            self._close()
        if transport.get_write_buffer_size() > HEAVY:
            self._listener.weigh(self)

    def _close(self) -> None:
        """Take nothing more, and close once all that was answered is read."""
        self._ending = True
        self._unread_since = self._unread_since or self._loop.time()
        if self._transport is not None and not self.load:
            self._transport.close()

    def _take_load(self, body: bytes) -> None:
        self.load, self._written = body, 0
        self._unread_since = self._unread_since or self._loop.time()  # of all of it: a trickle gains nothing
        self._listener.loads.enter(body)
        self._listener.weigh(self)
        self._next_piece()

    def unload(self) -> None:
        """Let go of an answer that is not, or no more, to be written."""
        load, self.load = self.load, b""
        if load:
            self._listener.loads.leave(load)

    def _next_piece(self) -> None:
        """Write on while the client reads, one piece at a time."""
        transport = self._transport
        if transport is None or transport.is_closing() or not self.load or self._choked:
            return
        piece = self.load[self._written : self._written + PIECE]
        self._written += len(piece)
        if self._written >= len(self.load):
            self.unload()
        transport.write(piece)
        if self.load:
            if not self._choked:
                self._loop.call_soon(self._next_piece)
        elif self._ending:
            self._close()
        elif not self._choked:
            self._loop.call_soon(self._all_read)

    def _may_continue(self) -> None:
        """Tell a client that waits for it that its body may come."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_CONTINUE)

    # --- time and room ----------------------------------------------------------------------

    @property
    def reading(self) -> bool:
        """Whether a request has begun and is not whole yet."""
        return self._started > 0

    @property
    def weight(self) -> int:
        """How many bytes are kept for it alone: requests not taken up, answers not read."""
        unread = 0 if self._transport is None else self._transport.get_write_buffer_size()
        return len(self._data) + len(self._pieces) + unread

    def condition(self) -> tuple[int, float]:
        """See `room.Guest`."""
        if self._unread_since:
            return UNREAD, self._unread_since
        if self._inbound is not None:
            return SERVED, self._since
        if self._started:
            return HALF, self._started
        return IDLE, self._since

    def finish(self) -> None:
        """Take nothing more; close once what was taken is answered."""
        self._ending = True
        if self._inbound is None and self._transport is not None:
            self._close()

    def abort(self) -> None:
        """Close now."""
        if self._transport is not None:
            self._transport.abort()

    def check_time(self, now: float) -> None:
        """End the connection where a request comes too slowly, an answer is not read, or none comes at all."""
        if self._unread_since:
            if now - self._unread_since > READ_SECONDS:
                self.abort()
        elif self._inbound is not None:
            if now - self._since > ANSWER_SECONDS:
                self.abort()
        elif self._started:
            if now - self._started > REQUEST_SECONDS:
                self._refuse("too_slow")
        elif now - self._since > IDLE_SECONDS:
            self.finish()
