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
"""

import hashlib
import json
import logging
import time
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from broker import gate_document
from broker.db import cuts as store
from broker.db import meta, rows
from broker.db.turns import Urgency
from broker.errors import BrokerError, StoreUnavailable
from broker.gate import Mode
from broker.gate_document import NotedCut
from broker.model import EVERYTHING
from broker.service.adoption import FORGOTTEN, adopt, in_some_form, take_in
from broker.service.audit import Audit
from broker.service.continuity import Continuity
from broker.service.desk import Desk
from broker.service.host_guard import COMPARED, HISTORY, INSTANCE, STORE_BACK
from broker.service.marks import Marks
from broker.service.store_history import StoreHistory
from broker.service.words import in_plain_words
from broker.threads import Threads

NO_CUTS = frozenset({INSTANCE, HISTORY})
"""Documents of the mirror that are not about a cut."""

_MOST_OPEN = 100_000
_LATE_US = 1_000_000
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

    def note(self, cut: NotedCut) -> None:
        """Write a cut down, or that it is thawed. What was thawed stays thawed.

        Raises:
            StoreUnavailable: The secret store cannot answer.
        """

        def judge(known: str | None) -> str | None:
            if known is not None and cut.thawed_us is None:
                return None
            return gate_document.dump(cut)

        self._desk.secrets.mirror.change(cut.id, judge)
        self._agreed.add(cut.id)
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
        """
        self._under_way.append(cut.id)
        written = False
        try:
            self.note(replace(cut, thawed_us=at_us))
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
            self._close_again(holds, thaws)
            if self._holding(name) is None:  # somebody else thawed it this moment
                self.note(replace(holds, thawed_us=max(thaws)))

    def _close_again(self, cut: NotedCut, thaws: frozenset[int]) -> None:
        self._desk.secrets.mirror.change(cut.id, partial(_instead_of_thaw, cut, thaws))
        self._agreed.add(cut.id)
        self._open.add(cut.id)
        self._taken_back(cut.id, thaws)

    def _holding(self, name: str) -> NotedCut | None:
        """Return a cut that holds, on record or on its way there: looked for in the order in which it goes."""
        on_its_way = self._desk.closings.get(name)
        with self._desk.database.read() as connection:
            row = store.get(connection, name)
            if row is None:
                return on_its_way
            return None if row.thawed_us is not None else _noted(row, store.scopes(connection, name))

    def merge(self) -> None:
        """Bring both together, as far as they differ; called every few seconds.

        Raises:
            StoreUnavailable: The secret store or the database cannot answer.
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
        for cut in list(self._owed.values()):
            self.note(cut)
        self._marks.compare()
        forgotten = self._forgotten()
        for name in self._desk.secrets.mirror.names():
            if name not in NO_CUTS and (name not in self._agreed or name in forgotten):
                self._take_in(name)
        with self._desk.database.read() as connection:
            held = store.page(connection, 2**62, _MOST_OPEN, open_only=True)
            fresh = [
                _noted(row, store.scopes(connection, row.id)) for row in held if row.id not in self._agreed
            ]
        for cut in fresh:
            self.note(cut)
        if not self._marks.rival:
            self._hold_on()
        self._was_read = True
        self._desk.guard.took_in_cuts()
        if not self._marks.rival:
            with suppress(
                StoreUnavailable
            ):  # a database that is held says nothing of the secret store: next time
                self._store.note()

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
            if self._is_late(cut):
                self.note(cut)
            thaws = self._half.get(cut.id)
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
        noted = None if document is None else _read(name, document)
        if noted is not None:
            forms = (noted, in_plain_words(noted), _unreadable(name))
            in_some_form(f"gates/{name!a}", *(partial(self._adopt, form) for form in forms))
        if noted is not None and noted.thawed_us is None:
            self._open.add(name)
        else:
            self._open.discard(name)
            if noted is not None and noted.thawed_us is not None and not self._was_read:
                # who wrote it may have ended before the database had it
                self._remember_half(name, noted.thawed_us)
        self._agreed.add(name)

    def _claim(self) -> None:
        """Make sure that the mirror is ours, and nobody took our place."""
        self._desk.guard.hear()
        why = self.superseded
        if why and why != self._said:
            _LOG.error("nothing is served here any more: %s", why)
        self._said = why

    def _adopt(self, noted: NotedCut) -> None:
        """Close here what the mirror holds closed."""
        if noted.thawed_us is not None:
            return
        with self._desk.database.read() as connection:
            before = store.get(connection, noted.id)
            stands = store.standing(connection, [noted.id]).get(noted.id, False)
        if before is not None and before.thawed_us is None and before.reason == FORGOTTEN != noted.reason:
            with self._desk.database.write() as connection:
                store.describe(connection, noted.id, noted.reason, noted.actor, noted.opened_us)
        if stands or (before is not None and before.thawed_us is not None and self._is_thawed(noted.id)):
            return
        with self._desk.database.write(Urgency.SAFETY) as connection:
            row = store.get(connection, noted.id)
            if row is not None and (before is None or row.thawed_us != before.thawed_us):
                return  # made or thawed here meanwhile: by somebody who told the mirror
            noted, closed = adopt(connection, self._audit, noted, self._desk.clock.now_us())
        _LOG.warning("closed here, because the secret store's mirror says so: %s %s", noted.id, noted.scopes)
        self._desk.tell(closed)

    def _is_thawed(self, cut_id: str) -> bool:
        """Look again: a thaw is in the mirror before it is in the database, so what is thawed here is there."""
        document = self._desk.secrets.mirror.read(cut_id)
        try:
            return document is not None and gate_document.load(cut_id, document).thawed_us is not None
        except (ValueError, KeyError, TypeError):
            return False


def _noted(row: Any, names: tuple[str, ...]) -> NotedCut:
    return NotedCut(row.id, rows.mode(row.mode), names, row.reason, row.actor, row.opened_us)


def _instead_of_thaw(cut: NotedCut, thaws: Collection[int], document: str | None) -> str | None:
    """Return what takes the place of the document that one of some thaws wrote; None where there is another."""
    try:
        is_that = document is not None and gate_document.load(cut.id, document).thawed_us in thaws
    except (ValueError, KeyError, TypeError):
        return None
    return gate_document.dump(cut) if is_that else None


def _read(name: str, document: str) -> NotedCut:
    """Read a document; one that cannot be understood closes everything."""
    try:
        return gate_document.load(name, document)
    except (ValueError, KeyError, TypeError):
        return _unreadable(name)


def _unreadable(name: str) -> NotedCut:
    """Return what holds in the place of a document that cannot be understood: the same each time it is looked at."""
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:20]
    reason = (
        f"the gate document {name[:60]!r} in the secret store cannot be understood: find out who wrote it, "
        "delete it there, then thaw this"
    )
    return NotedCut(f"cut_{digest}", Mode.CLOSED, (EVERYTHING,), reason, "mirror", 0)
