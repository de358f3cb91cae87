"""What one call to a foreign end may cost in all: seconds, and bytes that come back. Every call has such bounds.

Rules:
1. The time counts from the begin of the call to its end: the name, the connection, TLS, what is sent and what comes. A
   limit for each read alone bounds nothing, because who sends a byte every few seconds keeps every such limit.
2. The bytes count too: heads, redirects and interim answers are bytes like any others.
3. Calls may be inside of one another. The inner one ends no later than the outer one. What is `apart` is in none: it
   is about another end, and the time that it takes is no time of those that it was asked in.
4. A foreign end is read through `clients.lines` only, which asks here before each wait; outside of `within` nothing is
   sent to anybody.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a call may take in all, and how many bytes may come back."""

    total_s: float
    most_bytes: int = MIB


class OutOfBounds(Exception):
    """A foreign end took too long in all, or sent too much; whether it did what was asked is unknown."""


class TookTooLong(OutOfBounds):
    """The call's time is over."""


class SentTooMuch(OutOfBounds):
    """More came back than anybody needs to say what was asked."""


class Call:
    """One call at work."""

    def __init__(self, bounds: Bounds, ends_s: float, outer: "Call | None" = None) -> None:
        self._bounds, self._ends_s, self._left_bytes = bounds, ends_s, bounds.most_bytes
        self._outer = outer

    @property
    def ends_s(self) -> float:
        """When it is over, on the monotonic clock."""
        return self._ends_s

    def left_s(self) -> float:
        """Return for how long a wait may last now.

        Raises:
            TookTooLong: The time is over.
        """
        left_s = self._ends_s - time.monotonic()
        if left_s <= 0:
            raise self.over()
        return left_s

    def over(self) -> TookTooLong:
        """Return the error of a call whose time is over."""
        return TookTooLong(f"it took longer than {self._bounds.total_s:g} s in all")

    def waited(self, took_s: float) -> None:
        """Leave out of the time of this call, and of those that it is in, what something of others took."""
        self._ends_s += took_s
        if self._outer is not None:
            self._outer.waited(took_s)

    def came(self, count: int) -> None:
        """Count bytes that came.

        Raises:
            SentTooMuch: They are more than the call may have.
        """
        self._left_bytes -= count
        if self._left_bytes < 0:
            raise SentTooMuch(f"it sent more than {self._bounds.most_bytes} bytes")


_CALL: ContextVar[Call | None] = ContextVar("call", default=None)


@contextmanager
def within(bounds: Bounds) -> Iterator[Call]:
    """Make what this thread asks of foreign ends until then one call."""
    outer = _CALL.get()
    ends_s = time.monotonic() + bounds.total_s
    call = Call(bounds, ends_s if outer is None else min(ends_s, outer.ends_s), outer)
    token = _CALL.set(call)
    try:
        yield call
    finally:
        _CALL.reset(token)


@contextmanager
def apart() -> Iterator[None]:
    """Set the call at work aside: what this thread asks until then is about another end, and has bounds of its own."""
    outer, began_s = _CALL.get(), time.monotonic()
    token = _CALL.set(None)
    try:
        yield
    finally:
        _CALL.reset(token)
        if outer is not None:
            outer.waited(time.monotonic() - began_s)


def current() -> Call:
    """Return the call that this thread is in.

    Raises:
        RuntimeError: It is in none: our fault.
    """
    call = _CALL.get()
    if call is None:
        raise RuntimeError("nothing calls a foreign end without bounds")
    return call
