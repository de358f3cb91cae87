"""How failed logins slow down who tries, and nobody else. Pure but for its own memory, which is bounded.

Rules:
1. Tries are counted by operator and source: the address they come from, or this host's own socket. Five are free; then
   that source waits for that operator, for longer each time. The operator comes in from any other source meanwhile.
2. Who changes sources is held by a count over all of them: beyond it only this host, and sources that the operator has
   come in from, may try. Six digits are never guessed by asking from everywhere.
3. A try that is right clears its source, and takes what that source had failed out of the count over all: what others
   tried stays counted. Of sources the newest few thousand are remembered.
"""

import threading
from collections import OrderedDict
from contextvars import ContextVar
from dataclasses import dataclass, field

LOCAL = "local"
asking_from: ContextVar[str] = ContextVar("asking from", default=LOCAL)
"""Where who asks is; set once a request."""

FREE = 5
FIRST_WAIT_US, LONGEST_WAIT_US = 30_000_000, 900_000_000
MOST_IN_ALL, IN_ALL_US = 100, 3_600_000_000
_MOST_REMEMBERED = 4096


@dataclass(slots=True)
class _Tries:
    failures: int = 0
    until_us: int = 0
    came_in: bool = False


@dataclass(slots=True)
class _InAll:
    since_us: int
    failures: int = 0


@dataclass(slots=True)
class Throttle:
    """Remembers who failed."""

    _by_source: "OrderedDict[tuple[str, str], _Tries]" = field(default_factory=OrderedDict)
    _in_all: "OrderedDict[str, _InAll]" = field(default_factory=OrderedDict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def wait_us(self, operator: str, source: str, now_us: int) -> int:
        """Return how long this source has to wait before it may try this operator again; 0: not at all.

        `now_us` is of a clock that nobody sets, here and below: one that is set back would keep the operator out.
        """
        with self._guard:
            known = self._by_source.get((operator, source)) or _Tries()
            own_us = max(0, known.until_us - now_us)
            total = self._in_all.get(operator)
            if total is None or total.failures < MOST_IN_ALL or source == LOCAL or known.came_in:
                return own_us
            return max(own_us, total.since_us + IN_ALL_US - now_us)

    def failed(self, operator: str, source: str, now_us: int) -> int:
        """Count a failure; return how many this source has now."""
        with self._guard:
            known = self._by_source.pop((operator, source), None) or _Tries()
            known.failures += 1
            over = known.failures - FREE
            if over >= 0:
                known.until_us = now_us + min(LONGEST_WAIT_US, FIRST_WAIT_US << min(over, 10))
            self._by_source[operator, source] = known
            total = self._in_all.pop(operator, None)
            if total is None or total.since_us + IN_ALL_US <= now_us:
                total = _InAll(now_us)
            total.failures += 1
            self._in_all[operator] = total
            for remembered in (self._by_source, self._in_all):
                while len(remembered) > _MOST_REMEMBERED:
                    remembered.popitem(last=False)
            return known.failures

    def passed(self, operator: str, source: str) -> None:
        """Clear a source that was right."""
        with self._guard:
            before = self._by_source.pop((operator, source), None)
            total = self._in_all.get(operator)
            if before is not None and total is not None:
                total.failures = max(0, total.failures - before.failures)
            self._by_source[operator, source] = _Tries(came_in=True)
            while len(self._by_source) > _MOST_REMEMBERED:
                self._by_source.popitem(last=False)
