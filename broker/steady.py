"""Spans of time that guard a key, counted so that a clock that steps costs a delay and never a key in use.

Rules:
1. A span on record names its base: the boot of the host whose CLOCK_BOOTTIME it was counted on. Processes of one host
   share it. Its end is kept by both clocks, as `until_us` (wall) and how far the wall was ahead (`skew_us`).
2. On its own base a span is over when both clocks say so. One that says that more is left than the whole span was set
   back, and is not asked.
3. Hosts share nothing but a record, and no host's wall clock is believed by another; after a reboot none is. There a
   span is over when who looks has seen it unchanged for its whole length, by both of its own clocks. So whoever is
   started anew begins to count anew.
4. Spans that last for hours cannot be watched like that: they are over by the wall clock, and `UNSURE_US` later.
5. Windows of money are counted by a clock of their own that is on record (`Counted`): a day's limit is not lent a
   second time because somebody set a clock, nor because a process was started anew after that.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol
from uuid import uuid4

UNSURE_US = 3_900_000_000
"""By how much a wall clock that nothing checks may be wrong: an hour, and a little."""

SLEWED_US = 2_000_000
"""How far two clocks of one host may drift apart within a span: more is a step."""

_MOST = 65_536
"""More than there are holds and claims of a boot that is gone: who is pushed out is watched anew, for ever."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIME = Path("/proc/self/ns/time")


class Clocks(Protocol):
    """The two clocks of a host (`broker.ports.Clock` has them)."""

    def now_us(self) -> int:
        """Microseconds since the epoch."""
        ...

    def boot_us(self) -> int:
        """Microseconds on a clock that never goes back and also runs while the machine sleeps."""
        ...


@cache
def base() -> str:
    """Name the base that this host counts on: its boot, and the time namespace that we are in.

    Where that cannot be told, a name of this process: nobody shares it.
    """
    try:
        return f"{_BOOT_ID.read_text(encoding='ascii').strip()}/{_TIME.readlink()}"[:64]
    except OSError:
        return uuid4().hex


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment by both clocks of a host."""

    base: str
    boot_us: int
    wall_us: int

    def at(self, wall_us: int) -> "Moment":
        """Return another moment of the same host, named by its wall time, with no step in between."""
        return Moment(self.base, self.boot_us + wall_us - self.wall_us, wall_us)

    def steps_us(self, later: "Moment") -> int:
        """Return by how much the two clocks went apart until a later moment of the same host."""
        return abs((later.wall_us - self.wall_us) - (later.boot_us - self.boot_us))

    def elapsed_us(self, later: "Moment") -> int:
        """Return how much time has surely passed until a later moment of the same base: the clock that went less far.

        One that went back is not asked. On another base nothing is sure.
        """
        if later.base != self.base:
            return 0
        sure = [one for one in (later.boot_us - self.boot_us, later.wall_us - self.wall_us) if one >= 0]
        return min(sure, default=0)


@dataclass(frozen=True, slots=True)
class Span:
    """A span on record. Without a base it is of an older program, and its wall time is all that is known."""

    until_us: int
    length_us: int
    base: str = ""
    skew_us: int = 0

    @property
    def boot_until_us(self) -> int:
        """When it ends by the boot clock of its base."""
        return self.until_us - self.skew_us


@dataclass(frozen=True, slots=True)
class Counted:
    """How far a clock of its own had come at a moment."""

    us: int
    at: Moment


def carried_us(known: Counted, now: Moment) -> int:
    """Return how far a clock has surely come since it was written down.

    On its own base that is what has surely passed; on another what the wall clock went on, less `UNSURE_US`.
    """
    if known.at.base == now.base:
        return known.us + known.at.elapsed_us(now)
    return known.us + max(0, now.wall_us - known.at.wall_us - UNSURE_US)


def moment(clock: Clocks) -> Moment:
    """Read both clocks."""
    return Moment(base(), clock.boot_us(), clock.now_us())


def span(now: Moment, length_us: int) -> Span:
    """Begin a span."""
    return Span(now.wall_us + length_us, length_us, now.base, now.wall_us - now.boot_us)


def left_us(one: Span, now: Moment) -> int | None:
    """Return how much is left of a span by its own base's clocks, not more than zero where it is over.

    None where they cannot tell: on another base, or where both were set back.
    """
    if one.base != now.base:
        return None
    lefts = (one.boot_until_us - now.boot_us, one.until_us - now.wall_us)
    sane = [left for left in lefts if left <= one.length_us + SLEWED_US]
    return max(sane) if sane else None


def long_left_us(one: Span, now: Moment) -> int:
    """Return how much is left of a span that lasts for hours, by rule 4 where its base is gone."""
    known = left_us(one, now)
    return one.until_us + UNSURE_US - now.wall_us if known is None else known


@dataclass(slots=True)
class _Seen:
    span: Span
    since: Moment
    left_us: int


class Watch:
    """Looks at spans that others wrote, and remembers since when it has seen them as they are. For several threads."""

    def __init__(self, clock: Clocks, here: Callable[[Clocks], Moment] = moment) -> None:
        self._clock, self._here = clock, here
        self._seen: dict[str, _Seen] = {}
        self._changing = threading.Lock()
        self._last = self._since = self.now()
        self._sure_us = self._before_us = 0

    def now(self) -> Moment:
        """Read both clocks."""
        return self._here(self._clock)

    def sure_us(self) -> int:
        """Return a clock of this process alone, which goes on by what has surely passed: no step moves it."""
        with self._changing:
            now = self.now()
            if now.base != self._since.base or self._since.steps_us(now) > SLEWED_US:
                # not a look apart from the last one each time: two clocks are not read at once, and less would add up
                self._before_us = self._sure_us + self._last.elapsed_us(now)
                self._since = now
            self._sure_us = max(self._sure_us, self._before_us + self._since.elapsed_us(now))
            self._last = now
            return self._sure_us

    def begin(self, length_us: int) -> Span:
        """Begin a span of our own."""
        return span(self.now(), length_us)

    def left_us(self, name: str, one: Span) -> int:
        """Return how much is left of a span, zero or less where it is over.

        Args:
            name: What names the span for as long as it is on record.
            one: As it is on record now.
        """
        now = self.now()
        known = left_us(one, now)
        if known is not None:
            self._seen.pop(name, None)
            return known
        with self._changing:
            seen = self._seen.get(name)
            if seen is None or seen.span != one or _went_back(seen.since, now):
                self._make_room()
                seen = self._seen[name] = _Seen(one, now, self._at_first(one, now))
        return seen.left_us - seen.since.elapsed_us(now)

    def is_over(self, name: str, one: Span) -> bool:
        """Tell whether a span is over."""
        return self.left_us(name, one) <= 0

    @staticmethod
    def _at_first(one: Span, now: Moment) -> int:
        """Return what may be left of a span that is seen for the first time."""
        return one.length_us if one.base else one.until_us - now.wall_us

    def _make_room(self) -> None:
        while len(self._seen) >= _MOST:
            del self._seen[next(iter(self._seen))]


def _went_back(since: Moment, now: Moment) -> bool:
    return since.base != now.base or min(now.boot_us - since.boot_us, now.wall_us - since.wall_us) < 0
