"""The venue's side: pooled connections to pinned hosts. A request goes out once, or not at all.

Rules:
1. A pool speaks to one base URL through one egress, by TLS; plain text only on loopback.
2. No retry, no redirect, no cookies. One request at a time on a connection, answered in full or not.
3. `take` gives a connection that is open (`venue_line.py`); sending on it is synchronous, so nothing can change
   between the verdict and the first byte.
4. A connection that was idle for `IDLE_SECONDS` is not used again: the venue may be closing it.
5. Who may use how many is `lines.py`'s to say. Who has to wait waits in order; connections are opened a few at a
   time, not one for each that waits.
"""

import asyncio
import ssl as tls
from collections import deque
from functools import partial
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from broker.gateway.alike import Alike
from broker.gateway.limits import Need, Permit
from broker.gateway.lines import ORDER, OURS, Shares, before
from broker.gateway.places import Places
from broker.gateway.room import WHOLE, Limits
from broker.gateway.venue_line import TOO_MUCH, Broken, Done, Intake, Line, Reply
from broker.gateway.wellbeing import Ask, Silence
from clients.egress import Egress, open_connection
from clients.venues.binance.codes import turned_away
from clients.wire import Sealed

MOST_OPENING = 16
IDLE_SECONDS = 25.0
CONNECT_SECONDS = 5.0
_GIVEN_UP, GIVEN_UP_SECONDS = "given_up", 1.0
"""A question of ours that nobody waits for any more keeps its line for no longer than that, if it is given up."""

_REDIRECT, _BAD, _SERVER_ERROR = 300, 400, 500


class Crowded(ConnectionError):
    """Too many wait for a connection already. The venue was not asked, and is not to blame."""


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
        limits: Limits = WHOLE,
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
        self._shares, self._most_waiting = Shares(limits.lines), limits.waiting_for_lines
        self.places = Places(limits.lines)
        self._intake = intake or Intake()
        self.silence, self.alike = Silence(), Alike(limits.sharing)
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

    def crowded(self, need: Need, key: str) -> bool:
        """Tell whether every line that may be used so is in use, by those who are answered."""
        silent = Ask.QUESTION in self.silence.now(asyncio.get_running_loop().time())
        return not silent and not self._shares.free(need, key)

    def held_up(self, need: Need, whose: str) -> bool:
        """Tell whether what is asked on behalf of a key waits for what that key itself uses."""
        key = whose or OURS
        return self._shares.used_up(need, key) and any(one.key == key for one in self._waiting[need])

    async def take(self, need: Need, key: str) -> Line:
        """Return an open connection; waits for one where there is none. Give it back, or send on it.

        Raises:
            Crowded: Too many are waiting.
            OSError: The venue cannot be reached. Nothing was sent.
        """
        line = self.ready(need, key)
        if line is not None:
            return line
        if need is not Need.EXIT and self._queued >= self._most_waiting:
            raise Crowded("too many wait for a connection to the venue")
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
        """Note whether the venue answered, before the answer is taken in; what we gave up says nothing of it."""
        if isinstance(result, Broken) and result.reason == _GIVEN_UP:
            done(result)
            return
        if isinstance(result, Reply):
            well = result.status < _SERVER_ERROR and not _REDIRECT <= result.status < _BAD
            if well:
                away = turned_away(result.status, result.headers, result.body)
                now_s = asyncio.get_running_loop().time()
                self.silence.answered(ask, now_s, result.status if away else None)
        else:
            well = result.reason == TOO_MUCH
        self.silence.heard(ask, asyncio.get_running_loop().time(), well=well)
        done(result)

    async def ask(self, sealed: Sealed, permit: Permit, need: Need, whose: str = "") -> Reply | Broken:
        """Send a request of our own, which the venue's meter let pass, and wait for the answer.

        `whose` is the key on behalf of which, as of its requests: facts that hang use no other's lines.

        Raises:
            OSError: The venue cannot be reached; nothing was sent.
        """
        del permit  # whoever has none cannot ask
        line = await self.take(need, whose or OURS)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Reply | Broken] = loop.create_future()
        sent_s = loop.time()

        def done(result: Reply | Broken) -> None:
            if not future.done():
                future.set_result(result)

        try:
            self.send(line, sealed, done)
        except RuntimeError:  # it ended while we waited for our turn
            self.give_back(line)
            return Broken("closed")
        try:
            return await future
        except asyncio.CancelledError:
            # a read: nothing is lost with its answer; where that is there the line may be another's already, and it is
            # not the future that was cancelled with us
            if future.cancelled() and loop.time() - sent_s >= GIVEN_UP_SECONDS:
                line.break_off(_GIVEN_UP)
            raise

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
