"""How far the secret store had come, written down in the database: a Vault that was restored from a snapshot forgot.

Rules:
1. The mark that each merge moves on in the secret store (`marks`) is noted in the database after it was written. A
   store that shows an earlier one, one of an older history, or none, was put back: cuts, thaws, a higher generation
   and secrets may be gone.
2. Then every cut is written there again, and the guard lets nothing be made, moved, handed out or deleted until
   the record was compared with the exchanges: the secret of the key in use may be in a gateway's memory alone.
3. What was written between the last merge and the snapshot cannot be told by the mark; the secret of a key that stays
   is looked for right before another one is deleted.
"""

import json
import logging

from broker import history as histories
from broker.db import Connection, meta
from broker.history import Mark
from broker.model import new_id
from broker.service.audit import Audit
from broker.service.desk import Desk
from broker.service.host_guard import HISTORY, STORE_BACK, mark_of

_SEEN = "store_seen"
_LOG = logging.getLogger("portcullis.mirror")


class StoreHistory:
    """Compares the mark in the secret store with what is known of it."""

    def __init__(self, desk: Desk, audit: Audit) -> None:
        self._desk, self._audit = desk, audit
        self._noted: tuple[str, int] | None = None

    def went_back(self) -> bool:
        """Tell whether the store was put back since the last look; note it where it was.

        Raises:
            StoreUnavailable: A store cannot answer, or the mark cannot be understood.
        """
        with self._desk.database.read() as connection:  # first: whoever moves the mark on notes it after that
            seen = _seen(connection)
        if seen is None:
            return False
        text = self._desk.secrets.mirror.read(HISTORY)
        mark = None if text is None else mark_of(text)
        if mark is not None and not _is_before(mark, seen):
            return False
        found = "no mark" if mark is None else f"record {mark.seq} of history {mark.history}"
        with self._desk.database.write() as connection:
            if _seen(connection) != seen:
                return False  # another broker saw to it
            name = new_id("store")
            meta.put(connection, STORE_BACK, name)
            self._put(connection, mark)
            self._audit.record(connection, "store.put-back", name, {"knew": seen[1], "shows": found})
        _LOG.error("the secret store was put back (it knew record %d, it shows %s): %s", seen[1], found, name)
        return True

    def note(self) -> None:
        """Note how far the store has come.

        Raises:
            StoreUnavailable: A store cannot answer.
        """
        text = self._desk.secrets.mirror.read(HISTORY)
        if text is None:
            return
        mark = mark_of(text)
        here = (str(mark.history), mark.seq)
        if here == self._noted:
            return
        with self._desk.database.write() as connection:
            seen = _seen(connection)
            if seen is None or seen[0] != here[0] or seen[1] < here[1]:
                self._put(connection, mark)
        self._noted = here

    def _put(self, connection: Connection, mark: Mark | None) -> None:
        self._noted = None
        if mark is None:
            meta.remove(connection, _SEEN)
        else:
            meta.put(connection, _SEEN, json.dumps([str(mark.history), mark.seq]))


def _is_before(mark: Mark, seen: tuple[str, int]) -> bool:
    """Tell whether a mark is of a time before the one that was seen: of an older history, or of earlier in this one.

    Histories in the store only rise, so one put back to before a failover shows an older one.
    """
    if str(mark.history) == seen[0]:
        return mark.seq < seen[1]
    return histories.is_older(str(mark.history), seen[0])


def _seen(connection: Connection) -> tuple[str, int] | None:
    found = json.loads(meta.get(connection, _SEEN) or "null")
    return None if not isinstance(found, list) else (str(found[0]), int(found[1]))
