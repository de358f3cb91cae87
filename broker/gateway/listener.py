"""The bots' side: all connections of the gateway, the room they share, and their end.

Rules:
1. Exactly one Host, and an allowed one; no header twice; targets as `form.py` has them.
2. A body has a Content-Length or does not exist: Transfer-Encoding is refused. An offer to upgrade is ignored,
   as HTTP lets a server do; a WebSocket, which cannot go on without, is refused. `Expect: 100-continue` is
   answered.
3. Limits in bytes, number and time for heads, bodies, connections and answers; see `connection.py`.
4. A new connection always finds room, while any other is idle, half sent or not reading; see `room.py`. What
   all of them hold together is bounded: beyond it those that do not read are closed, the largest first. Bytes that
   several read are there once.
5. A client that goes away does not stop what was already sent to the venue.
"""

import asyncio
from collections import deque

from broker.gateway.connection import Connection
from broker.gateway.form import Handler
from broker.gateway.loads import Loads
from broker.gateway.room import LARGEST_HELD, MOST_CONNECTIONS, leaving

TURN_SECONDS = 0.002
"""For requests behind other requests of their connection, each time round the loop: thousands came in one write, of
hundreds of connections, and others waited for all of them."""

_BATCH = 16
"""One sixteenth of all leave at once, so that a flood does not cost a look at all of them each time."""


class Listener:
    """All connections of one gateway."""

    def __init__(self, handler: Handler, allowed_hosts: frozenset[str], most: int = MOST_CONNECTIONS) -> None:
        self.handler, self.allowed_hosts, self.most = handler, allowed_hosts, most
        self.connections: set[Connection] = set()
        self.stopping = False
        self.loads = Loads()
        self._held = 0
        self._turns: deque[Connection] = deque()
        self._turning = False
        self._loop = asyncio.get_running_loop()
        self._drained = asyncio.Event()

    def __call__(self) -> Connection:
        """Make the protocol of a new connection."""
        return Connection(self)

    def came(self, connection: Connection) -> bool:
        """Let a connection in, in the place of others where there is no room; tell whether there was."""
        if self.stopping:
            return False
        if len(self.connections) >= self.most:
            for other in leaving(self.connections, max(1, self.most // _BATCH), self.most):
                assert isinstance(other, Connection)  # noqa: S101 - narrows for the type checker
                self.connections.discard(other)
                other.abort()
            if len(self.connections) >= self.most:
                return False
        self.connections.add(connection)
        return True

    def gone(self, connection: Connection) -> None:
        """A connection is over."""
        self.connections.discard(connection)
        self._held -= connection.counted
        connection.counted = 0
        self._check_drained()

    def weigh(self, connection: Connection) -> None:
        """Count what a connection holds; where all of them together hold too much, close some."""
        weight = connection.weight
        self._held += weight - connection.counted
        connection.counted = weight
        if self._held + self.loads.total > LARGEST_HELD:
            self._relieve()

    def _relieve(self) -> None:
        """Count everything anew; then close strangers first, the largest first, until the rest fits."""
        loads = self.loads
        heavy = [one for one in self.connections if one.counted or one.load]
        for one in heavy:
            one.counted = one.weight
        self._held = sum(one.counted for one in heavy)
        sizes = {one: one.counted + loads.share(one.load) for one in heavy}
        for one in sorted(heavy, key=lambda one: (bool(one.owner), -sizes[one], id(one.load))):
            if self._held + loads.total <= LARGEST_HELD:
                return
            self._held -= one.counted
            one.counted = 0
            one.unload()
            one.abort()

    # --- turns ------------------------------------------------------------------------------

    def later(self, connection: Connection) -> None:
        """A connection has more to be taken up, behind what was answered at once: that has turns with the others'."""
        self._turns.append(connection)
        if not self._turning:
            self._turning = True
            self._loop.call_soon(self._take_turns)

    def _take_turns(self) -> None:
        """Serve those that have more, for a short while; then whatever else the loop has to do comes first."""
        until = self._loop.time() + TURN_SECONDS
        while self._turns and self._loop.time() < until:
            self._turns.popleft().turn()
        self._turning = bool(self._turns)
        if self._turning:
            self._loop.call_soon(self._take_turns)

    # --- time -------------------------------------------------------------------------------

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

    def _check_drained(self) -> None:
        if self.stopping and not self.connections:
            self._drained.set()
