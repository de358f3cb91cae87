"""How a cut is made: closed in this process and at its gateways at once, then put on record.

Rules:
1. What is closed does not wait for a store: a scope needs no look at the database, because one that nobody stands in
   holds nobody. Whether its target exists is found when it is committed, or looked up where that takes long; a cut that
   names what does not exist is taken back, whole and as soon as that is known. One that was answered as in force
   before anybody could look stays so for all that it names and that exists.
2. Where the commit takes long or fails, the secret store's mirror is told, too, and a file is left in the home
   (`leaving`), before it is answered that it is on no record: a restart finds the cut there, and so do those beside us.
3. A cut that was answered stays in force until it is on record, or thawed. It says of itself that it is not on record.
4. A key version that takes the place of one in scope before the cut is on record is covered as one that does it later:
   which one was in use is read as the cut is made.
"""

import contextvars
import threading
from concurrent.futures import Future, wait
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial

from broker.db import Connection, coverage, rows
from broker.db import cuts as store
from broker.db.faults import DISK_FULL, MAYBE_WRITTEN
from broker.db.turns import Urgency, urgency
from broker.errors import Malformed, NotFound, Problem, StoreUnavailable
from broker.gate import Mode
from broker.gate_document import NotedCut
from broker.model import EVERYTHING, ScopeKind, new_id
from broker.service import cut_rows, scopes, words
from broker.service.audit import Audit
from broker.service.desk import Change, Desk
from broker.service.leaving import Leaving
from broker.service.making import Made, Making, Thawing
from broker.service.mirror import Mirror
from broker.service.strays import Stray, Strays, absent
from broker.threads import Threads

_MOST_TRIES = 3
_THAW_S = 5.0
_LOOK_S = 1.0
_REHEARSED_S = 1.0
_LATE_LOOK_US = 250_000


class _Undone(Exception):
    """Raised to undo what was rehearsed."""


def _undo() -> None:
    raise _Undone


class Closing:
    """Makes cuts."""

    def __init__(self, desk: Desk, audit: Audit, mirror: Mirror) -> None:
        self._desk, self._audit, self._mirror = desk, audit, mirror
        self._making = Making(self._commit, self._taken_back)
        self._strays = Strays(desk)
        self._answered: set[str] = set()
        self._telling = threading.Lock()
        self._leaving = Leaving(desk, mirror)
        self._looks = Threads(1, "cut-looks", partial(urgency.set, Urgency.SAFETY))
        self.get, self.standing = self._making.get, self._making.standing
        self.is_kept, self.is_left = self._leaving.is_kept, self._leaving.is_left

    def begin(self, *, targets: tuple[str, ...], mode: Mode, reason: str, actor: str) -> Made:
        """Close at once, and begin to put it on record; see `Cuts.close`.

        Raises:
            Malformed: No target, a target that is none, or no reason.
            NotFound: A target cannot exist; nothing was closed.
        """
        problems, reason = [], words.shortened(words.as_text(reason))
        if not targets:
            problems.append(Problem("targets", "name at least one, or everything"))
        if not words.is_reason(reason):
            problems.append(Problem("reason", words.SAY_WHY))
        names = scopes.scopes_of(targets, tuple(problems))
        noted = NotedCut(new_id("cut"), mode, names, reason, actor, self._desk.clock.now_us())
        made = Made(noted, self._desk.close_now(noted), contextvars.copy_context())
        if any(name.startswith(f"{ScopeKind.KEY_VERSION.value}:") for name in names):
            with suppress(RuntimeError):  # we end, or no thread can be had
                made.before = self._looks.submit(self._in_use, noted)
        self._making.add(made)
        self._leaving.soon(made)
        return made

    def wake(self) -> None:
        """Begin with what waits for a thread that could not be had; called every few seconds."""
        self._making.wake()
        self._leaving.wake()

    def hurry(self) -> None:
        """We are about to end: what is on no record is tried everywhere now, and written down in the home."""
        self._making.hurry()
        for made in self.standing():
            if not made.noting:
                with suppress(RuntimeError):
                    self.note(made)
        self._leaving.leave_all(self.standing())

    def end(self) -> None:
        """Put on record what can be put there now, and no more after that."""
        self.hurry()
        self._making.end()
        self._looks.shutdown(wait=False, cancel_futures=True)
        self._strays.shutdown()
        self._leaving.tell(self.standing())

    def _in_use(self, noted: NotedCut) -> dict[coverage.Place, int | None]:
        """Look which key versions are in use as a cut is made: what replaces them until it is on record it covers.

        Where that has changed since, or may have in a look that took long, it is not known what was in use.
        """
        since_us = noted.opened_us
        with self._desk.database.read() as connection:
            found = coverage.in_use(connection, noted.scopes)
            took_us = self._desk.clock.now_us() - noted.opened_us
            if took_us < 0:  # the clock was set back: the trail's instants do not tell what came later
                found.clear()
            if took_us > _LATE_LOOK_US:
                since_us -= coverage.LONGEST_US
            for place in coverage.changed_since(connection, noted.scopes, since_us):
                found.pop(place, None)
        self._desk.in_use[noted.id] = found
        if noted.id not in self._desk.closings:
            self._desk.in_use.pop(noted.id, None)
        return found

    def note(self, made: Made) -> "Future[None]":
        """Write a cut down in the secret store, in a thread of its own; in the home, where a `RuntimeError` says no."""
        made.noting = True
        if not self._leaving.wake():
            self._leaving.leave(made)
        try:
            return self._mirror.note_soon(made.noted)
        except RuntimeError:
            self._leaving.leave(made)
            raise

    def is_noted(self, cut: str) -> bool:
        """Tell whether the secret store has it: then a restart finds it there."""
        return self._mirror.has(cut)

    def answered(self, made: Made) -> None:
        """A person is told that it is in force; where it is taken back later, that has to be said.

        Raises:
            NotFound: It was, or is being, taken back.
        """
        with self._telling:
            if (refused := made.refused or made.refusing) is not None:
                raise refused
            self._answered.add(made.noted.id)

    def look(self, made: Made) -> None:
        """See whether what a cut names exists, without waiting for its commit.

        Raises:
            NotFound: It does not; the cut is taken back.
            StoreUnavailable: That is not known.
        """
        try:
            with self._desk.database.read() as connection:
                scopes.ensure(connection, made.noted.scopes)
        except NotFound as fault:
            if self._refuse(made, fault):
                raise
        except Malformed:  # it cannot read a name, which does not say that there is nothing of it
            raise StoreUnavailable(
                "database", "the database cannot say whether what is named exists"
            ) from None

    def _refuse(self, made: Made, fault: NotFound) -> bool:
        """Take a cut back before its commit finds out, for which it may have to wait; False where it is on record.

        Raises:
            StoreUnavailable: It is being committed, or thawed; it is in force until that is over.
        """
        if not made.lock.acquire(timeout=_LOOK_S):
            raise StoreUnavailable("being_committed", "the cut is being put on record")
        try:
            if made.on_record:
                return False
            self._taken_back(made, fault)
            self._making.forget(made)
            return True
        finally:
            made.lock.release()

    def thaw(self, made: Made, *, reason: str, actor: str) -> Change | None:
        """End a cut that is not on record; it goes on record as thawed. None where it came on record meanwhile.

        Raises:
            StoreUnavailable: It is being committed right now, or the mirror cannot be told; it stays closed.
        """
        now_us = self._desk.clock.now_us()
        if not made.lock.acquire(timeout=_THAW_S):
            raise StoreUnavailable(
                "being_committed",
                "the cut is being put on record and the database does not answer; thaw it again soon",
            )
        try:
            if made.on_record:
                return None
            with self._mirror.thawing(made.noted, now_us):
                made.thawing = Thawing(now_us, actor, reason)
                self._leaving.over(made)
                return self._desk.take_back(made.noted.id)
        finally:
            made.lock.release()

    def strays(self) -> tuple[Stray, ...]:
        """Return what stops nobody, of the last day, although somebody had been told that it is in force."""
        return self._strays.list()

    def ready(self) -> None:
        """Have the threads that a cut is looked at and written down by, for when a host has none left.

        Raises:
            RuntimeError: One cannot be had.
        """
        self._looks.ready()
        self._mirror.ready()

    def rehearse(self) -> None:
        """Do once all that a cut does to the database, and undo it: the first cut after a start is as quick as others.

        Raises:
            StoreUnavailable: The database takes no writes.
        """
        noted = NotedCut(new_id("cut"), Mode.CLOSED, (EVERYTHING,), "rehearsed", "portcullis", 0)
        made = Made(noted, Change(0), contextvars.copy_context())
        with (
            suppress(_Undone),
            self._desk.database.write(Urgency.SAFETY, patience_s=_REHEARSED_S) as connection,
        ):
            self._add(connection, made)
            _undo()

    # --- in the thread that commits ---------------------------------------------------------

    def _commit(self, made: Made) -> None:
        """Put a cut on record, and tell that it is.

        Raises:
            NotFound: A target does not exist; nothing else says that.
            StoreUnavailable, Malformed: It is not on record, or nobody knows.
        """
        if made.refused is not None:
            raise made.refused
        if made.before is not None:
            wait((made.before,), _LOOK_S)
        try:
            self._make(made)
        except (StoreUnavailable, Malformed) as fault:
            if made.tries == 1:
                self._leaving.at_once(made)
            if fault.reason not in MAYBE_WRITTEN or not made.lock.acquire(blocking=False):
                raise
            try:
                if made.thawing is not None or not self._is_there(made):
                    raise
                made.doubt = str(fault) if fault.reason == "not_replicated" else ""
                made.on_record = True
            finally:
                made.lock.release()
        self._answered.discard(made.noted.id)
        if made.thawing is None:
            self._desk.committed(made.change, made.noted.id, made.closed)
        elif made.closed:
            self._desk.tell(made.closed)
        self._leaving.over(made)

    def _make(self, made: Made) -> None:
        """Commit a cut. On a full disk it takes the room that is kept for it; others may be quicker: more than once.

        What of its words the database does not hold is said in others.
        """
        for _ in range(_MOST_TRIES):
            try:
                return self._write(made)
            except (Malformed, UnicodeError):
                if made.is_plain:
                    raise
                made.is_plain = True
            except StoreUnavailable as fault:
                if fault.reason != DISK_FULL:
                    raise
                self._desk.database.reserve.free()
        return self._write(made)

    def _write(self, made: Made) -> None:
        made.closed.clear()
        with ExitStack() as until_known:
            with self._desk.database.write(Urgency.SAFETY) as connection:
                if not made.lock.acquire(blocking=False):
                    raise StoreUnavailable("being_thawed", "it is being thawed, and the secret store is slow")
                until_known.callback(made.lock.release)
                if made.refused is not None:
                    raise made.refused
                row = store.get(connection, made.noted.id)
                # a row: another broker took it over from the mirror, or a commit's answer was lost
                names = self._add(connection, made) if row is None else store.scopes(connection, row.id)
                thawed = row is not None and row.thawed_us is not None
                if made.thawing is not None and not thawed:
                    cut_rows.add_thaw(connection, self._audit, made, made.thawing)
                elif row is not None:
                    made.closed.extend(rows.gates(connection, names).values())
            made.on_record = True
            self._know(made, names)

    def _know(self, made: Made, names: tuple[str, ...]) -> None:
        """Take in what a cut holds that is on record now, and say what of it there is not."""
        nobody = tuple(name for name in made.noted.scopes if name not in names)
        if nobody:
            self._strays.add(replace(made.noted, scopes=nobody), f"{absent(nobody)}; the rest of it holds")
        if names != made.noted.scopes:
            made.noted = replace(made.noted, scopes=names)

    def _names(self, connection: Connection, made: Made) -> tuple[str, ...]:
        """Return what a cut holds, as the record has it now.

        Raises:
            NotFound: It names what does not exist, and nobody was told that it is in force; or nothing that does.
        """
        there = [name for name in made.noted.scopes if scopes.exists(connection, name)]
        if len(there) < len(made.noted.scopes):
            with self._telling:
                if not there or made.noted.id not in self._answered:
                    made.refusing = scopes.nothing([one for one in made.noted.scopes if one not in there])
                    raise made.refusing  # whoever is answered from here on is told
        return tuple(sorted({*there, *coverage.heirs(connection, there, made.in_use)}))

    def _add(self, connection: Connection, made: Made) -> tuple[str, ...]:
        names = self._names(connection, made)
        cut_rows.add(connection, self._audit, made, names, self._desk.clock.now_us())
        return names

    def _is_there(self, made: Made) -> bool:
        with self._desk.database.read() as connection:
            return store.get(connection, made.noted.id) is not None

    def _taken_back(self, made: Made, fault: NotFound) -> None:
        with self._telling:
            if made.refused is not None:
                return
            made.refused = fault
            answered = made.noted.id in self._answered
            self._answered.discard(made.noted.id)
        self._desk.take_back(made.noted.id)
        self._leaving.over(made)
        if answered:
            self._strays.add(made.noted, str(fault))
        if made.noting or self._mirror.has(made.noted.id):  # in turn: it may still be on its way there
            with suppress(RuntimeError):  # no thread can be had: `merge` does it
                self._mirror.note_soon(replace(made.noted, thawed_us=self._desk.clock.now_us()))
