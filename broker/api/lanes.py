"""Lanes: what closes something never waits behind what does not, nor a person on this host behind the network.

Rules:
1. Every request has a lane by where it came from (the socket in the home, or TCP) and by what it asks for. A lane has
   threads and places of its own: a flood in one leaves the others as they are.
2. Few are served at once in a lane, the next ones wait in line, and those after them are told at once that it is
   busy. So the loop turns quickly whatever is sent, and nothing waits without end. Lines are no longer than
   connections allow: a quarter of those is always left to what closes.
3. Logging in hashes a password, on purpose slowly: one at a time. What asks an exchange may take long: it holds up
   only its like.
4. What closes also writes before everybody else (`broker.db.turns`), from the look at its token to its last write.
   A cut has a lane of its own with many places: it is in force once it has one, and then only waits to be answered.
   Others that close wait for the database, however long it takes.
5. What a request works on in threads is done in those of its lane; outside of a request, in those of the loop. Where no
   thread can be had for it, it is answered as not done, as where a store is away, and is not done later. The lanes of
   what closes have theirs since the start (`ready`).
"""

import asyncio
import contextvars
import functools
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from enum import StrEnum
from typing import ParamSpec, TypeVar

from broker.db.turns import Urgency
from broker.db.turns import urgency as urgency_of_writes
from broker.errors import StoreUnavailable
from broker.threads import Threads

P = ParamSpec("P")
T = TypeVar("T")


class Kind(StrEnum):
    """What a request asks for."""

    CUT = "cut"
    CLOSING = "closing"
    LOGIN = "login"
    VENUE = "venue"
    ORDINARY = "ordinary"


_CLOSES = frozenset({Kind.CUT, Kind.CLOSING})

LOCAL, NETWORK = "local", "network"
"""Where a request came from."""

_SIZES = {
    Kind.CUT: (4, 256, 256),
    Kind.CLOSING: (6, 8, 64),
    Kind.LOGIN: (1, 2, 16),
    Kind.VENUE: (2, 4, 16),
    Kind.ORDINARY: (3, 8, 128),
}
"""Threads, requests served at once, requests that wait."""

_SHARES = {Kind.ORDINARY: 2, Kind.VENUE: 8, Kind.LOGIN: 8}
"""Who is served or waits holds a connection: of the connections that may come from somewhere, one in so many at most.
So a quarter is left to what closes."""

CONNECTIONS = {LOCAL: 64, NETWORK: 256}
"""Where nobody says how many there may be."""

_WAIT_S = 5.0
_PLACES: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    (Kind.CUT, ("cuts",)),
    (
        Kind.CLOSING,
        (
            "grants/[^/]+/revoke", "checkouts/[^/]+/close", "operators/[^/]+/end", "sessions/end",
            "acts/[^/]+/cancel", "destinations/[^/]+/remove", "rotations/[^/]+/(pause|rollback)",
        ),
    ),
    (Kind.LOGIN, ("sessions", "operators/[^/]+/enrolment")),
    (
        Kind.VENUE,
        (
            "keys(/.+)?", "managers", "accounts/[^/]+/manager", "reconciliations", "sweeps",
            "rotations/[^/]+/answer",
        ),
    ),
)  # fmt: skip
_KINDS = tuple((kind, re.compile(rf"/v1/(?:{'|'.join(paths)})")) for kind, paths in _PLACES)


class Busy(Exception):
    """A lane is full, or nobody in it got ready in time; nothing was done."""


class Lane:
    """One lane."""

    def __init__(
        self, name: str, threads: int, places: int, line: int, wait_s: float = _WAIT_S,
        urgency: Urgency = Urgency.CONTROL,
    ) -> None:  # fmt: skip
        self._urgency = urgency
        self._free, self._line, self._wait_s = places, line, wait_s
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._threads = Threads(threads, f"api-{name}")

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place in the lane.

        Raises:
            Busy: There is none.
        """
        await self._enter()
        token, writes = _LANE.set(self), urgency_of_writes.set(self._urgency)
        try:
            yield
        finally:
            _LANE.reset(token)
            urgency_of_writes.reset(writes)
            self._leave()

    async def work(self, work: Callable[[], T]) -> T:
        """Do something in a thread of the lane.

        Raises:
            StoreUnavailable: No thread can be had; it is not done, now or later.
        """
        return await begun(self._threads, work)

    def ready(self) -> None:
        """Have a thread from now on.

        Raises:
            RuntimeError: None can be had.
        """
        self._threads.ready()

    async def _enter(self) -> None:
        if self._free > 0:
            self._free -= 1
            return
        if len(self._waiting) >= self._line:
            raise Busy
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except BaseException as fault:
            if turn.done() and not turn.cancelled():
                self._leave()  # it was our turn, and we are gone
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(fault, TimeoutError):
                raise Busy from None
            raise

    def _leave(self) -> None:
        """Hand the place to who waits longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Lanes:
    """The lanes of one application."""

    def __init__(self, connections: Mapping[str, int] | None = None) -> None:
        """Make them.

        Args:
            connections: How many connections there may be, by where they come from.
        """
        most = CONNECTIONS | dict(connections or {})
        self._lanes = {
            (origin, kind): Lane(
                f"{origin}-{kind.value}",
                *sizes_of(kind, most[origin]),
                urgency=Urgency.SAFETY if kind in _CLOSES else Urgency.CONTROL,
            )
            for origin in (LOCAL, NETWORK)
            for kind in Kind
        }

    def ready(self) -> None:
        """Have a thread in each lane of what closes, for when a host has none left.

        Raises:
            RuntimeError: One cannot be had.
        """
        for (_, kind), lane in self._lanes.items():
            if kind in _CLOSES:
                lane.ready()

    def of(self, origin: str, method: str, path: str) -> Lane:
        """Return the lane of a request."""
        return self._lanes[LOCAL if origin == LOCAL else NETWORK, kind_of(method, path)]


def sizes_of(kind: Kind, connections: int) -> tuple[int, int, int]:
    """Return threads, requests served at once and requests that wait, where there may be so many connections."""
    threads, places, line = _SIZES[kind]
    if kind not in _SHARES:
        return threads, places, line
    most = max(1, connections // _SHARES[kind])
    places = min(places, most)
    return threads, places, min(line, most - places)


def kind_of(method: str, path: str) -> Kind:
    """Tell what a request asks for."""
    if method in {"POST", "PUT"}:
        for kind, shape in _KINDS:
            if shape.fullmatch(path):
                return kind
    return Kind.ORDINARY


async def run(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run something that blocks in a thread of this request's lane, with this request's context.

    Raises:
        StoreUnavailable: No thread can be had; it is not done, now or later.
    """
    lane, context = _LANE.get(), contextvars.copy_context()
    whole = functools.partial(context.run, functools.partial(work, *args, **kwargs))
    return await (begun(None, whole) if lane is None else lane.work(whole))


def begun(threads: Threads | None, work: Callable[[], T]) -> "asyncio.Future[T]":
    """Have something done in a thread of these, or of the loop's own.

    Raises:
        StoreUnavailable: No thread can be had; it is not done, now or later.
    """
    try:
        return asyncio.get_running_loop().run_in_executor(threads, work)
    except RuntimeError:
        raise StoreUnavailable(
            "no_thread",
            "no thread can be had on the broker's host, or the broker ends: see which processes hold so many "
            "(ps -eLf), then again",
        ) from None


_LANE: ContextVar[Lane | None] = ContextVar("the lane of this request", default=None)
