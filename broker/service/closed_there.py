"""Closes here what the mirror holds closed, as far as the record does not."""

import logging
from collections.abc import Mapping

from broker import gate_document
from broker.db import Connection
from broker.db import cuts as store
from broker.db.turns import Urgency
from broker.gate_document import NotedCut
from broker.service import scopes
from broker.service.adoption import FORGOTTEN, adopt
from broker.service.audit import Audit
from broker.service.desk import Desk
from broker.service.mirrored import is_stricter

_LOG = logging.getLogger("portcullis.mirror")


def close_here(desk: Desk, audit: Audit, noted: NotedCut) -> None:
    """Put on record, and close, what a document of the mirror holds and the record does not.

    Raises:
        StoreUnavailable: A store cannot answer.
    """
    if noted.thawed_us is not None:
        return
    with desk.database.read() as connection:
        before = store.get(connection, noted.id)
        closers = store.closers(connection, noted.id)
        stands = store.standing(connection, [noted.id]).get(noted.id, False)
        stands = stands and not says_more(connection, noted, closers)
    if before is not None and before.thawed_us is None and before.reason == FORGOTTEN != noted.reason:
        with desk.database.write() as connection:
            store.describe(connection, noted.id, noted.reason, noted.actor, noted.opened_us)
    if stands or (before is not None and before.thawed_us is not None and _is_thawed(desk, noted.id)):
        return
    with desk.database.write(Urgency.SAFETY) as connection:
        row = store.get(connection, noted.id)
        if row is not None and (before is None or row.thawed_us != before.thawed_us):
            return  # made or thawed here meanwhile: by somebody who told the mirror
        noted, closed = adopt(connection, audit, noted, desk.clock.now_us())
    _LOG.warning("closed here, because the secret store's mirror says so: %s %s", noted.id, noted.scopes)
    desk.tell(closed)


def _is_thawed(desk: Desk, cut_id: str) -> bool:
    """Look again: a thaw is in the mirror before it is in the database, so what is thawed here is there."""
    document = desk.secrets.mirror.read(cut_id)
    try:
        return document is not None and gate_document.load(cut_id, document).thawed_us is not None
    except (ValueError, KeyError, TypeError):
        return False


def says_more(connection: Connection, noted: NotedCut, closers: Mapping[str, str]) -> bool:
    """Tell whether a cut closes somebody who is there and is not closed like that by its closers."""
    return any(
        is_stricter(noted.mode, closers.get(name)) and (name in closers or scopes.exists(connection, name))
        for name in noted.scopes
    )
