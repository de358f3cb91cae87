"""How far the record had come, written down outside of it: a database that was put back keeps its timeline.

Rules:
1. The secret store holds the history and the last record of the audit trail that was seen; each time the mirror is
   merged it moves on. A record has one number and one digest for ever, so a database that lacks it, or has another in
   its place, was put back: from a volume snapshot, a dump, by a copy of its file.
2. What was put back begins another history: everything is closed in it until an operator has reconciled and thawed.
   The mark is its own from then on.
3. Two databases that both live behind one secret store take turns at that once, and not for ever: a second time the
   mark of the other stands, and nothing is served here, until an operator has reconciled here.
"""

import json
import logging

from broker.db import Connection, history, meta
from broker.db import cuts as cut_store
from broker.db.turns import Urgency
from broker.history import Mark, dump_mark
from broker.service.continuity import Continuity
from broker.service.desk import Desk
from broker.service.host_guard import COMPARED, HISTORY, RECONCILED, mark_of

_MARK_CUT, _RIVAL = "mark_cut", "mark_rival"
_LOG = logging.getLogger("portcullis.mirror")


class Marks:
    """Compares the record with the mark, and moves it on."""

    def __init__(self, desk: Desk, continuity: Continuity) -> None:
        self._desk, self._continuity = desk, continuity
        self.rival = ""
        """Why nothing is served: the secret store knows another history than the database has."""

    def compare(self) -> None:
        """Begin another history where the database lacks what the secret store knows of it; move the mark on.

        Raises:
            StoreUnavailable: The secret store or the database cannot answer, or the mark cannot be understood.
        """
        text = self._desk.secrets.mirror.read(HISTORY)
        mark = None if text is None else mark_of(text)
        with self._desk.database.read() as connection:
            ours, fits = history.mark(connection), mark is None or history.has(connection, mark)
        if fits:
            self.rival = ""
        elif mark is not None:
            ours = self._went_back(mark)
        if not self.rival:
            self._move_on(text, mark, ours)

    def _went_back(self, mark: Mark) -> Mark:
        """Answer a mark that the record lacks; return how far the record has come then."""
        with self._desk.database.write(Urgency.SAFETY) as connection:
            self.rival = ""
            standing = self._standing(connection)
            if history.has(connection, mark):
                return history.mark(connection)
            if standing is None:
                why = f"the database was put back: the secret store knows record {mark.seq} of history {mark.history}"
                cut = self._continuity.begin(connection, why, mark.history.number)
                meta.put(connection, _MARK_CUT, cut)
                meta.remove(connection, _RIVAL)
                _LOG.error("%s; everything is closed by %s", why, cut)
            elif _looked_since(connection, standing, str(mark.history)):
                history.begin(connection, max(mark.history.number, history.recorded(connection).number) + 1)
            else:
                self.rival = (
                    "the secret store knows another history than this database has: another database lives behind "
                    f"it, or this one was put back again; {standing} holds everything. Look which one is right, end "
                    "the other, and run `portcullis reconcile`"
                )
            return history.mark(connection)

    @staticmethod
    def _standing(connection: Connection) -> str | None:
        """Return the cut by which we answered another mark before, while it holds."""
        cut = meta.get(connection, _MARK_CUT)
        return cut if cut is not None and cut_store.standing(connection, [cut]).get(cut) else None

    def _move_on(self, text: str | None, mark: Mark | None, ours: Mark) -> None:
        if not ours.history.word:  # a home of an older program: its first heartbeat gives its history a word
            return
        if mark is not None and (mark.history, mark.seq) == (ours.history, ours.seq):
            return
        document = dump_mark(ours)
        # whoever was faster knows more: the next merge compares with that
        self._desk.secrets.mirror.change(HISTORY, lambda known: document if known == text else None)


def _looked_since(connection: Connection, cut: str, rival: str) -> bool:
    """Tell whether the record was compared with the exchanges after this rival was seen; note when it was seen."""
    if meta.get(connection, _RIVAL) == rival:
        return cut in json.loads(meta.get(connection, RECONCILED) or "[]")
    meta.put(connection, _RIVAL, rival)
    for fact in (COMPARED, RECONCILED):
        named = json.loads(meta.get(connection, fact) or "[]")
        meta.put(connection, fact, json.dumps([one for one in named if one != cut]))
    return False
