"""Gates as one process knows them: what the record says, and above it what is closed without waiting for the record.

Rules:
1. Of two states of one gate the one with the higher epoch is told, within one history of the record. News of
   another one closes its scope, and opens nothing, until all of that history is told.
2. A new history replaces what is told, all at once. What was closed until then stays closed, by its own name, until
   the new history has it closed too, at that very scope, or says that a person opened it.
3. A closing stands above what is told, whatever its epoch: a cut whose transaction is not committed yet, or the want
   of knowledge. No news of a gate opens what a closing holds; it ends by its own name only. One that another history
   has taken over ends scope by scope, where the one that is told has it closed.
4. `now` is all of it together, the stricter of each: what every judge looks at, in place. It is written in whatever
   thread, one scope at a time, and no scope is open between a closing's end and the record that took its place.
5. Whoever missed some news is told the `Whole` of it: every gate, what stands above them and why, and what was opened
   since. What it closes by itself and finds in none of that ends; what another history closed ends only by its name
   among those that were opened.
"""

import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from broker import history as histories
from broker.gate import Gate, Mode, strictest
from broker.gate_document import NotedCut
from broker.gate_news import Opened, Taken, Whole

FOREIGN = "other_history"
"""Closing of what another history has news of, until all of it is told."""


class Gates:
    """Every gate that was ever touched, as of one history."""

    def __init__(self) -> None:
        self.now: dict[str, Gate] = {}
        self.history = ""
        """Which history is told; empty while nothing was."""
        self._told: dict[str, Gate] = {}
        self._above: dict[str, dict[str, Mode]] = {}
        self._kept: dict[str, set[str]] = {}
        """Closers above that are of another history, and at which scopes: over where the record has them."""
        self._closings: dict[str, NotedCut] = {}
        self._ending: set[str] = set()
        """Closings that a history has taken over that is not told yet, or was told before."""
        self._opened = Opened()
        self._lock = (
            threading.Lock()
        )  # else a reading from before a cut could be put over it between look and write

    def take(self, gates: Iterable[Gate], over: Iterable[str] = (), *, same: bool = False) -> Taken:
        """Take gates in as the record has them, then end closings that it has taken over, or that are taken back.

        Where one is of another history nothing ends: what it took over is not told here yet.

        Args:
            gates: One that is older than ours is passed over.
            over: Names of closings.
            same: Take in what one of the same epoch as ours has closed, too.
        """
        risen, foreign, gates = [], [], tuple(gates)
        with self._lock:
            for one in gates:
                self.history = self.history or one.history
                if one.history != self.history:
                    foreign.append(one)
                    self._keep(one)
                    if not histories.is_older(one.history, self.history):
                        self._shut(FOREIGN, Mode.CLOSED, (one.scope,))
                    continue
                known = self._told.get(one.scope)
                rose = known is None or one.epoch > known.epoch
                if rose:
                    self._tell(one)
                    risen.append(one)
                elif same and known is not None and one.epoch == known.epoch and one.closers != known.closers:
                    self._tell(
                        _both(known, one)
                    )  # no closer goes without a rise: a record that lost one is in error
            if foreign:
                self._ending.update(name for name in over if name in self._closings)
            for name in () if foreign else over:
                self._over(name)
                if not any(self._is_told(one.scope, name) for one in gates):
                    self._opened.note(name)  # taken back, or opened before it was told as closed
            if not foreign:
                self._end_those_told()
        return Taken(tuple(risen), tuple(foreign))

    def begin(
        self, history: str, gates: Iterable[Gate], over: Iterable[str] = (), ending: Iterable[str] = ()
    ) -> bool:
        """Go over to another history, of which this is every gate; False where ours is known to be newer.

        Args:
            history: Its name.
            gates: Every gate that was ever touched in it.
            over: Closers that are opened there by a person, whatever was known of them here.
            ending: Closings that are over: on record there, or taken back.
        """
        with self._lock:
            if histories.is_older(history, self.history):
                return False
            self._go_over(history, gates, frozenset(over), ending)
            self._end(FOREIGN)
            return True

    def begin_or_go_on(self, whole: Whole, ending: Iterable[str] = ()) -> bool:
        """Take in all that somebody else knows; False where ours is known to be newer.

        Args:
            whole: What is closed here and not there ends, but for what only another history has closed.
            ending: Closings of our own that end with it.
        """
        with self._lock:
            if self.history and histories.is_older(whole.history, self.history):
                return False
            for one in whole.closings:  # first: at no moment is open what is closed before and after
                self._close(one)
            for one in whole.kept:
                self._hold(one.id, one.mode, one.scopes)
            stand = {one.id for one in whole.closings}
            gone = {*ending, *self._closings, FOREIGN} - stand
            opened = frozenset(whole.opened).difference(stand, (one.id for one in whole.kept))
            if self.history not in {"", whole.history}:
                self._go_over(whole.history, whole.gates, opened, gone)
            else:
                self.history = whole.history
                for told in whole.gates:
                    known = self._told.get(told.scope)
                    if known is None or told.epoch > known.epoch:
                        self._tell(told)
                self._end_closings(gone)
                self._end_all(opened)
            for one in whole.closings:
                self._narrow(one)
            return True

    def close(self, closing: NotedCut) -> None:
        """Close some scopes until this closing is over."""
        with self._lock:
            self._close(closing)

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

    def whole(self) -> Whole:
        """Return all that is known, as of one moment."""
        with self._lock:
            gates, closings = tuple(self._told.values()), tuple(self._closings.values())
            foreign = tuple(scope for scope, above in self._above.items() if FOREIGN in above)
            if foreign:
                closings += (NotedCut(FOREIGN, Mode.CLOSED, foreign, "", "", 0),)
            kept = tuple(
                NotedCut(name, self._above[scope][name], (scope,), "", "", 0)
                for name, scopes in self._kept.items()
                for scope in scopes
            )
            stand = {name for one in gates for name in one.closers}
            stand.update(one.id for one in (*closings, *kept))
            return Whole(self.history, gates, closings, kept, self._opened.but(stand))

    def were_opened(self, names: Iterable[str]) -> None:
        """Take in which cuts the record had as thawed when we began, the last of them last."""
        with self._lock:
            self._opened.before(names)

    @property
    def keeps(self) -> bool:
        """Whether something is kept closed that only another history has on record."""
        return bool(self._kept or self._ending)

    @property
    def stands_above(self) -> bool:
        """Whether anything is closed here above what the record has closed."""
        return bool(self._above)

    def closers(self) -> dict[str, dict[str, Mode]]:
        """Return who holds which scopes closed, and how, but for closings that are on no record yet."""
        found: dict[str, dict[str, Mode]] = {}
        with self._lock:
            for one in self._told.values():
                for name, mode in one.closers.items():
                    found.setdefault(name, {})[one.scope] = mode
            for name, scopes in self._kept.items():
                for scope in scopes:
                    found.setdefault(name, {})[scope] = self._above[scope][name]
            for closing in (self._closings[name] for name in self._ending):
                for scope in closing.scopes:
                    found.setdefault(closing.id, {})[scope] = self._above[scope][closing.id]
        return found

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

    # --- under the lock ----------------------------------------------------------------------

    def _tell(self, one: Gate) -> None:
        """Take one gate in; what it has closed itself need not be kept from elsewhere."""
        known = self._told.get(one.scope)
        self._told[one.scope] = one
        self._put(one.scope)
        for name in one.closers.keys() & self._kept.keys():
            if one.scope in self._kept[name]:
                self._no_longer_kept(name, one.scope)
        for name in one.closers:
            self._opened.forget(name)
        if known is not None:
            for name in known.closers.keys() - one.closers.keys():
                self._opened.note(name)

    def _go_over(
        self, history: str, gates: Iterable[Gate], opened: frozenset[str], ending: Iterable[str]
    ) -> None:
        before = self._told
        for one in before.values():  # first: at no moment is open what was closed
            for name in one.closers.keys() - opened:
                self._hold(name, one.closers[name], (one.scope,), anew=True)
        self.history = history
        self._told = {}
        for one in gates:
            self._tell(one)
        for scope in before.keys() - self._told.keys():
            self._put(scope)
        self._end_closings(self._ending.union(ending))
        self._end_all(opened)

    def _end_closings(self, names: Iterable[str]) -> None:
        """End closings; what they held stays closed where it is kept."""
        for name in tuple(names):
            self._ending.discard(name)
            self._closings.pop(name, None)
            self._end(name, but=self._kept.get(name, ()))

    def _end_all(self, names: Iterable[str]) -> None:
        """End what a person opened, wherever it stands."""
        for name in names:
            self._opened.note(name)
        known = {name for above in self._above.values() for name in above}
        for name in known.intersection(names):
            self._over(name)

    def _over(self, name: str) -> None:
        """One closing is over, whatever holds it: on record, taken back, or opened."""
        self._ending.discard(name)
        self._closings.pop(name, None)
        self._end(name)

    def _end_those_told(self) -> None:
        """End closings that another history took over where ours has that cut by now: at those scopes."""
        for name in tuple(self._ending):
            closing, kept = self._closings[name], self._kept.get(name, ())
            left = [scope for scope in closing.scopes if not self._is_told(scope, name)]
            for scope in set(closing.scopes).difference(left, kept):
                self._open(name, scope)
            if left:
                self._closings[name] = replace(closing, scopes=tuple(left))
            else:
                self._ending.discard(name)
                del self._closings[name]

    def _is_told(self, scope: str, name: str) -> bool:
        told = self._told.get(scope)
        return told is not None and name in told.closers

    def _keep(self, one: Gate) -> None:
        """Keep closed what a gate of another history has closed, but for what was opened after an older one."""
        older = histories.is_older(one.history, self.history)
        for name, mode in one.closers.items():
            if not (older and name in self._opened):
                self._hold(name, mode, (one.scope,))

    def _hold(self, name: str, mode: Mode, scopes: Iterable[str], *, anew: bool = False) -> None:
        """Keep something closed that another history has closed: `anew` where ours is about to be replaced.

        Where ours has it closed as well it says itself when that is over.
        """
        for scope in scopes:
            told = (
                Mode.OPEN
                if anew or scope not in self._told
                else self._told[scope].closers.get(name, Mode.OPEN)
            )
            if strictest((mode, told)) is not told:
                self._kept.setdefault(name, set()).add(scope)
                self._shut(name, mode, (scope,))

    def _no_longer_kept(self, name: str, scope: str) -> None:
        self._kept[name].discard(scope)
        if not self._kept[name]:
            del self._kept[name]
        closing = self._closings.get(name)
        if closing is None or scope not in closing.scopes:
            self._open(name, scope)

    def _close(self, closing: NotedCut) -> None:
        self._opened.forget(closing.id)  # it was opened once, and stands again
        self._closings[closing.id] = closing
        self._shut(closing.id, closing.mode, closing.scopes)

    def _narrow(self, closing: NotedCut) -> None:
        """Let a closing hold no more than it says now."""
        held = [scope for scope, above in self._above.items() if closing.id in above]
        for scope in set(held).difference(closing.scopes, self._kept.get(closing.id, ())):
            self._open(closing.id, scope)

    def _shut(self, name: str, mode: Mode, scopes: Iterable[str]) -> None:
        for scope in scopes:
            above = self._above.setdefault(scope, {})
            above[name] = strictest((mode, above.get(name, Mode.OPEN)))
            self._put(scope)

    def _end(self, name: str, but: Collection[str] = ()) -> None:
        if not but:
            self._kept.pop(name, None)
        for scope in [scope for scope, closers in self._above.items() if name in closers]:
            if scope not in but:
                self._open(name, scope)

    def _open(self, name: str, scope: str) -> None:
        del self._above[scope][name]
        if not self._above[scope]:
            del self._above[scope]
        self._put(scope)

    def _put(self, scope: str) -> None:
        told = self._told.get(scope)
        if told is None and scope not in self._above:
            self.now.pop(scope, None)
            return
        self.now[scope] = self._joined(scope, told or Gate(scope, history=self.history))

    def _joined(self, scope: str, told: Gate) -> Gate:
        above = self._above.get(scope)
        if not above:
            return told
        return _both(Gate(scope, closers=above), told)


def _both(one: Gate, other: Gate) -> Gate:
    """Return a gate with the closers of two states of it."""
    closers = dict(one.closers)
    for name, mode in other.closers.items():
        closers[name] = strictest((mode, closers.get(name, Mode.OPEN)))
    return replace(other, closers=closers)
