"""Gates as one process knows them: what the record says, and above it what is closed without waiting for the record.

Rules:
1. Of two states of one gate the one with the higher epoch is told.
2. A closing stands above what is told, whatever its epoch: a cut whose transaction is not committed yet, or the want
   of knowledge. No news of a gate opens what a closing holds; it ends by its own name only.
3. `now` is both together, the stricter of the two: what every judge looks at, in place. It is written in whatever
   thread, one scope at a time, and no scope is open between a closing's end and the record that took its place.
"""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace

from broker.gate import Gate, Mode, strictest
from broker.gate_document import NotedCut


class Gates:
    """Every gate that was ever touched."""

    def __init__(self) -> None:
        self.now: dict[str, Gate] = {}
        self._told: dict[str, Gate] = {}
        self._above: dict[str, dict[str, Mode]] = {}
        self._closings: dict[str, NotedCut] = {}
        self._lock = (
            threading.Lock()
        )  # else a reading from before a cut could be put over it between look and write

    def take(self, gates: Iterable[Gate], over: Iterable[str] = (), *, same: bool = False) -> list[Gate]:
        """Take gates in as the record has them, then end closings that it has taken over, or that are taken back.

        Args:
            gates: One that is older than ours is passed over.
            over: Names of closings.
            same: Take one of the same epoch as ours, too.

        Returns:
            The gates that rose.
        """
        risen = []
        with self._lock:
            for one in gates:
                known = self._told.get(one.scope)
                rose = known is None or one.epoch > known.epoch
                if rose or (same and known is not None and one.epoch == known.epoch):
                    self._told[one.scope] = one
                    self._put(one.scope)
                if rose:
                    risen.append(one)
            for name in over:
                self._closings.pop(name, None)
                self._end(name)
        return risen

    def close(self, closing: NotedCut) -> None:
        """Close some scopes until this closing is over."""
        with self._lock:
            self._closings[closing.id] = closing
            self._shut(closing.id, closing.mode, closing.scopes)

    def closing(self) -> tuple[str, ...]:
        """Return the names of the closings that stand."""
        return tuple(self._closings)

    def shut(self, name: str, scopes: Iterable[str]) -> None:
        """Close some more scopes by a closing that is nobody's cut."""
        with self._lock:
            self._shut(name, Mode.CLOSED, scopes)

    def states(self) -> tuple[tuple[Gate, ...], tuple[NotedCut, ...]]:
        """Return every gate as it is told, and the closings above them, as of one moment."""
        with self._lock:
            return tuple(self._told.values()), tuple(self._closings.values())

    def widen(self, name: str, scope: str) -> NotedCut | None:
        """Close one more scope by a closing that stands; None where it is over."""
        with self._lock:
            known = self._closings.get(name)
            if known is None:
                return None
            self._closings[name] = known = replace(known, scopes=(*known.scopes, scope))
            self._shut(name, known.mode, (scope,))
            return known

    def early(self) -> tuple[NotedCut, ...]:
        """Return the closings that stand."""
        return tuple(self._closings.values())

    def with_closings(self, gates: Mapping[str, Gate]) -> dict[str, Gate]:
        """Return gates that were read elsewhere with the closings that stand above them here."""
        with self._lock:
            return {scope: self._joined(scope, one) for scope, one in gates.items()}

    def _shut(self, name: str, mode: Mode, scopes: Iterable[str]) -> None:
        for scope in scopes:
            self._above.setdefault(scope, {})[name] = mode
            self._put(scope)

    def _end(self, name: str) -> None:
        for scope in [scope for scope, closers in self._above.items() if name in closers]:
            del self._above[scope][name]
            if not self._above[scope]:
                del self._above[scope]
            self._put(scope)

    def _put(self, scope: str) -> None:
        told = self._told.get(scope)
        if told is None and scope not in self._above:
            self.now.pop(scope, None)
            return
        self.now[scope] = self._joined(scope, told or Gate(scope))

    def _joined(self, scope: str, told: Gate) -> Gate:
        above = self._above.get(scope)
        if not above:
            return told
        closers = dict(told.closers)
        for name, mode in above.items():
            closers[name] = strictest((mode, closers.get(name, Mode.OPEN)))
        return Gate(scope, told.epoch, closers)
