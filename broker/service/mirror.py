"""Gates in two places: the database, and their mirror in the secret store. The stricter of both is in force.

Rules:
1. A cut is in the database first, because that is quick; then in the mirror, again and again until it is there. One
   that the database does not take for a while is in the mirror first.
2. A thaw is in the mirror first. What the mirror holds and the database does not is closed here, too, with all that a
   cut does: it covers what took a key version's place since, and ends checkouts. A thaw that the database did not take
   is none: the mirror has the cut as closed again, at once or as soon as both can be asked, after a restart as well.
3. No key leaves before the mirror was read once: a database restored from yesterday has forgotten a cut. Each
   time it is asked for what the mirror holds anew: it may be put back beneath a broker that runs. Nor before what an
   earlier life left in the home (`unrecorded`) is on record.
4. The mirror knows how far the record had come (`marks`): a database that was put back is found out by it.
5. The mirror also knows whose it is, and the instance's generation: an instance that a restore has superseded,
   or that found another one's mirror, serves nothing.
6. A person may write there at any time, also what has a name already: each document is read again in its turn
   (`mirrored.Turns`) and compared with the record. What is written anew after a thaw closes, what was made stricter is
   in force as it is there, and what was deleted there while it holds is written there again. Nothing is thawed
   over a document that says more than the record: it is taken in instead.
7. A document that cannot be read or written, in a store that answers, keeps no other back (`apart`).
"""

import json
import logging
import time
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial

from broker import gate_document
from broker.db import cuts as store
from broker.db import meta
from broker.errors import BrokerError, Conflict, StoreUnavailable
from broker.gate_document import NotedCut
from broker.service.adoption import FORGOTTEN, in_some_form, take_in
from broker.service.apart import Apart
from broker.service.audit import Audit
from broker.service.closed_there import close_here, says_more
from broker.service.continuity import Continuity
from broker.service.desk import Desk
from broker.service.host_guard import COMPARED, HISTORY, INSTANCE, STORE_BACK
from broker.service.marks import Marks
from broker.service.mirrored import Turns, instead_of_thaw, noted_of, understood, unreadable
from broker.service.store_history import StoreHistory
from broker.service.words import in_plain_words
from broker.threads import Threads

NO_CUTS = frozenset({INSTANCE, HISTORY})
"""Documents of the mirror that are not about a cut."""

_MOST_OPEN = 100_000
_LATE_US = 1_000_000
_AGAIN_US = 1_000_000
"""How long a round reads what it knows again: a slow store holds up nobody else."""

ENDS_WITHIN_S = 2.0
_LOG = logging.getLogger("portcullis.mirror")


class Mirror:
    """Keeps database and mirror together."""

    def __init__(self, desk: Desk, audit: Audit, continuity: Continuity) -> None:
        self._desk, self._audit = desk, audit
        self._agreed: set[str] = set()
        self._owed: dict[str, NotedCut] = {}
        """Cuts that were taken back, until they are thawed there."""
        self._open: set[str] = set()
        """Those among the agreed that hold, as the mirror was read last."""
        self._half: dict[str, frozenset[int]] = {}
        """Thaws that may be in the mirror alone: by cut, when each was tried; which of them is there is not known."""
        self._under_way: list[str] = []
        """Cuts that are being thawed."""
        self._was_read = False
        self._turns = Turns()
        self._empty: set[str] = set()
        """Names that the store lists although their document was deleted, as they were read last."""
        self._apart = Apart(lambda: desk.secrets.mirror.read(HISTORY))
        self._writer = Threads(1, "mirror")
        self._said = ""
        self._marks = Marks(desk, continuity)
        self._store = StoreHistory(desk, audit)

    @property
    def serves(self) -> bool:
        """Whether leases may be granted, and keys go to gateways."""
        return self._desk.guard.lets_go and not self._marks.rival

    @property
    def superseded(self) -> str:
        """Why this instance may serve nothing any more; empty while it may."""
        return self._desk.guard.superseded

    def put_back(self) -> str:
        """Return the name of the secret store's going back; empty where it did not, or all is well since."""
        with self._desk.database.read() as connection:
            return meta.get(connection, STORE_BACK) or ""

    def compared(self, closing: str) -> bool:
        """Tell whether the record was compared since something closed it, or since the secret store went back."""
        with self._desk.database.read() as connection:
            return closing in json.loads(meta.get(connection, COMPARED) or "[]")

    def note_soon(self, cut: NotedCut) -> "Future[None]":
        """Write a cut down in a thread of its own, one after the other: a slow store holds up nobody else."""
        if cut.thawed_us is not None:
            self._owed[cut.id] = cut
        return self._writer.submit(self.note, cut)

    def ready(self) -> None:
        """Have the thread that writes.

        Raises:
            RuntimeError: It cannot be had.
        """
        self._writer.ready()

    def has(self, cut: str) -> bool:
        """Tell whether a cut is known to be written down there."""
        return cut in self._agreed

    def close(self, within_s: float = ENDS_WITHIN_S) -> None:
        """Let the thread end, once it wrote what waits, but not for long: a cut may be nowhere else.

        What of it is on record is written by `merge` at the next start.
        """
        self._writer.end(time.monotonic() + within_s)

    def note(self, cut: NotedCut, *, compared: bool = False) -> None:
        """Write a cut down, or that it is thawed. What was thawed stays thawed.

        Raises:
            StoreUnavailable: The secret store cannot answer.
            Conflict: It is to be `compared` first, and what lies there says more than what is to be thawed.
        """

        def judge(known: str | None) -> str | None:
            if known is not None and cut.thawed_us is None:
                return None
            if known is not None and compared:
                self._refuse_unknown(cut, understood(cut.id, known))
            return gate_document.dump(cut)

        self._desk.secrets.mirror.change(cut.id, judge)
        self._stands(cut.id)
        if cut.thawed_us is None:
            self._open.add(cut.id)
        else:
            self._open.discard(cut.id)
            self._owed.pop(cut.id, None)

    @contextmanager
    def thawing(self, cut: NotedCut, at_us: int) -> Iterator[None]:
        """Write down that a cut is thawed, before the database does within this; where that fails it is none.

        Raises:
            StoreUnavailable: The secret store cannot answer.
            Conflict: Somebody wrote it anew there; that is taken in, and nothing is opened.
        """
        self._under_way.append(cut.id)
        written = False
        try:
            self._note_thaw(replace(cut, thawed_us=at_us))
            written = True
            yield
        except BaseException:
            self._remember_half(cut.id, at_us)
            self._under_way.remove(cut.id)
            if written:
                with suppress(BrokerError):  # `merge` does it later
                    self._hold_on()
            raise
        self._under_way.remove(cut.id)

    def _note_thaw(self, cut: NotedCut) -> None:
        try:
            self.note(cut, compared=True)
        except Conflict:
            with suppress(BrokerError):  # its turn comes
                self._take_in(cut.id)
            raise

    def _refuse_unknown(self, cut: NotedCut, there: NotedCut) -> None:
        """Refuse to thaw over a document that says more than what is thawed: nobody has seen yet what it closes."""
        if there.id == cut.id and there.thawed_us is not None:
            return
        with self._desk.database.read() as connection:
            if there.id != cut.id:  # it cannot be understood
                is_known = store.get(connection, there.id) is not None
            else:
                is_known = not says_more(connection, there, dict.fromkeys(cut.scopes, cut.mode.value))
        if not is_known:
            raise Conflict(
                "written_anew",
                f"{cut.id} was written anew in the secret store: NOTHING was opened, and it closes what is written "
                "there; look at it with portcullis cuts, and thaw it again",
            )

    def _remember_half(self, cut: str, at_us: int) -> None:
        self._half[cut] = self._half.get(cut, frozenset()) | {at_us}

    def _taken_back(self, cut: str, thaws: frozenset[int]) -> None:
        left = self._half.pop(cut, frozenset()) - thaws  # it may have been tried once more meanwhile
        if left:
            self._half[cut] = left

    def _hold_on(self) -> None:
        """Have the mirror close again what the database has never heard was thawed.

        Raises:
            StoreUnavailable: A store cannot answer.
        """
        for name, thaws in list(self._half.items()):
            if name in self._under_way:
                continue  # its database may be about to take it; if not, it comes here
            holds = self._holding(name)
            if holds is None:
                self._taken_back(name, thaws)
                continue
            with self._apart.by_itself(name):
                self._close_again(holds, thaws)
                if self._holding(name) is None:  # somebody else thawed it this moment
                    self.note(replace(holds, thawed_us=max(thaws)))

    def _close_again(self, cut: NotedCut, thaws: frozenset[int]) -> None:
        self._desk.secrets.mirror.change(cut.id, partial(instead_of_thaw, cut, thaws))
        self._stands(cut.id)
        self._open.add(cut.id)
        self._taken_back(cut.id, thaws)

    def _holding(self, name: str) -> NotedCut | None:
        """Return a cut that holds, on record or on its way there: looked for in the order in which it goes."""
        on_its_way = self._desk.closings.get(name)
        with self._desk.database.read() as connection:
            row = store.get(connection, name)
            if row is None:
                return on_its_way
            return None if row.thawed_us is not None else noted_of(row, store.scopes(connection, name))

    def merge(self) -> None:
        """Bring both together, as far as they differ; called every few seconds.

        Raises:
            StoreUnavailable: The secret store or the database cannot answer; `SOME_PATHS` where some documents cannot
                be read or written (`apart`), and all else was done.
        """
        self._claim()
        if self.superseded:
            self._desk.guard.remember()
            return
        self._note_closings()
        if not self._was_read:
            take_in(self._desk, self._audit)
        if self._desk.guard.remember():
            return
        if self._store.went_back():
            self._agreed.clear()  # each cut is looked for there again, and written down where it is gone
            self._open.clear()
            self._empty.clear()
        for cut in list(self._owed.values()):
            with self._apart.by_itself(cut.id):
                self.note(cut)
        self._marks.compare()
        forgotten, agreed = self._forgotten(), frozenset(self._agreed)
        there = frozenset(self._desk.secrets.mirror.names()) - NO_CUTS
        self._gone(agreed - there)
        self._empty &= there
        for name in self._apart.in_order(there - self._empty):
            if name not in agreed or name in forgotten:
                with self._apart.by_itself(name):
                    self._take_in(name)
        unread = there - self._empty - self._agreed
        held = self._write_fresh()
        if not self._marks.rival:
            self._hold_on()
        if not self._was_read and not self._unheld(unread):
            self._was_read = True
        if self._was_read:
            self._desk.guard.took_in_cuts()
        if not self._marks.rival:
            with suppress(
                StoreUnavailable
            ):  # a database that is held says nothing of the secret store: next time
                self._store.note()
        self._look_again(self._turns.next(there & agreed))
        self._look_again(self._turns.deleted(there & self._empty))
        self._apart.tell(there | held | self._owed.keys() | self._half.keys() | self._desk.closings.keys())

    def _unheld(self, names: Collection[str]) -> set[str]:
        """Return those of some that hold nothing on record: what could not be read there may be a cut."""
        with self._desk.database.read() as connection:
            standing = store.standing(connection, names)
        return {name for name in names if not standing.get(name)}

    def _write_fresh(self) -> frozenset[str]:
        """Write down what holds on record and is not known to be in the mirror; return all that holds."""
        with self._desk.database.read() as connection:
            held = store.page(connection, 2**62, _MOST_OPEN, open_only=True)
            fresh = [
                noted_of(row, store.scopes(connection, row.id)) for row in held if row.id not in self._agreed
            ]
        for cut in fresh:
            with self._apart.by_itself(cut.id):
                self.note(cut)
        return frozenset(row.id for row in held)

    def _look_again(self, names: Iterator[str]) -> None:
        """Read again what was read before: somebody may have written it anew, or made it stricter."""
        began_us = self._desk.clock.boot_us()
        for name in names:
            # what is being put there, or taken back, is ours and on no record yet
            if name not in self._desk.closings and name not in self._owed:
                with self._apart.by_itself(name):
                    self._take_in(name)
            if self._desk.clock.boot_us() - began_us > _AGAIN_US:
                return

    def _stands(self, name: str) -> None:
        self._agreed.add(name)
        self._empty.discard(name)

    def _gone(self, names: frozenset[str]) -> None:
        """Forget that something is there: it was deleted, and is written there again where it holds."""
        self._agreed -= names
        self._open -= names

    def note_closings(self) -> None:
        """Write down cuts that are in force and that the database has not taken yet; before all that waits for it.

        Raises:
            StoreUnavailable: The secret store cannot answer.
        """
        if any(self._is_late(cut) or cut.id in self._half for cut in list(self._desk.closings.values())):
            self._claim()
            if not self.superseded:
                self._note_closings()

    def _note_closings(self) -> None:
        for cut in list(self._desk.closings.values()):
            thaws = self._half.get(cut.id)
            with self._apart.by_itself(cut.id):
                if self._is_late(cut):
                    self.note(cut)
                if thaws is not None and cut.id not in self._under_way:
                    self._close_again(cut, thaws)

    def _is_late(self, cut: NotedCut) -> bool:
        """Tell whether a cut should be on record by now, and is not known to be in the mirror."""
        age_us = self._desk.clock.now_us() - cut.opened_us
        return cut.id not in self._agreed and not 0 <= age_us <= _LATE_US  # below: the clock was set back

    def _forgotten(self) -> set[str]:
        """Return the cuts that hold by the mirror and are no longer on record, or no longer stand there."""
        asked = self._open - self._desk.closings.keys()  # those are being put there
        with self._desk.database.read() as connection:
            standing = store.standing(connection, asked)
            nameless = store.with_reason(connection, asked, FORGOTTEN)
        return {name for name in asked if not standing.get(name)} | nameless

    def _take_in(self, name: str) -> None:
        document = self._desk.secrets.mirror.read(name)
        if document is None:
            self._gone(frozenset([name]))
            self._empty.add(name)
            return
        noted = understood(name, document)
        forms = (noted, in_plain_words(noted), unreadable(name, document))
        in_some_form(
            f"gates/{name!a}", *(partial(close_here, self._desk, self._audit, form) for form in forms)
        )
        if noted.thawed_us is None:
            self._open.add(name)
        else:
            self._open.discard(name)
            if not self._was_read:
                # who wrote it may have ended before the database had it
                self._remember_half(name, noted.thawed_us)
        self._stands(name)

    def _claim(self) -> None:
        """Make sure that the mirror is ours, and nobody took our place."""
        self._desk.guard.hear()
        why = self.superseded
        if why and why != self._said:
            _LOG.error("nothing is served here any more: %s", why)
        self._said = why
