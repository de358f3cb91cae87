"""What one call to a foreign end may cost in all: seconds, and bytes that come back. Every call has such bounds.

Rules:
1. The time counts from the begin of the call to its end: the name, the connection, TLS, what is sent and what comes. A
   limit for each read alone bounds nothing, because who sends a byte every few seconds keeps every such limit.
2. The bytes count too: heads, redirects and interim answers are bytes like any others.
3. Calls may be inside of one another. The inner one ends no later than the outer one.
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

    def __init__(self, bounds: Bounds, ends_s: float) -> None:
        self._bounds, self._ends_s, self._left_bytes = bounds, ends_s, bounds.most_bytes

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
    call = Call(bounds, ends_s if outer is None else min(ends_s, outer.ends_s))
    token = _CALL.set(call)
    try:
        yield call
    finally:
        _CALL.reset(token)


def current() -> Call:
    """Return the call that this thread is in.

    Raises:
        RuntimeError: It is in none: our fault.
    """
    call = _CALL.get()
    if call is None:
        raise RuntimeError("nothing calls a foreign end without bounds")
    return call
