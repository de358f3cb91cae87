"""What this process did and a database that went back has undone: done again, as another history begins.

Rules:
1. A key that was handed out, or asked back, is so on record again. Whoever has such a key trades past every gate; a cut
   ends it by its line on record alone, and so does its time.
2. An operator who was ended is ended: their token, and what they had logged in with, count no more.
3. What takes a right away is done again; what gives one is not.
"""

import logging
from dataclasses import replace

from broker.db import Connection
from broker.db import accounts as account_store
from broker.db import checkouts as store
from broker.db import operators as operator_store
from broker.db.checkouts import Checkout
from broker.service.audit import Audit
from broker.service.desk import Desk

_MOST = 1_000
_LOG = logging.getLogger("portcullis.authority")


def note(desk: Desk, one: Checkout) -> None:
    """Keep in mind that a key was handed out, or asked back, once that is committed."""
    desk.handed.pop(one.id, None)
    desk.handed[one.id] = one
    if len(desk.handed) > _MOST:
        del desk.handed[next(iter(desk.handed))]


def do_again(connection: Connection, desk: Desk, audit: Audit) -> None:
    """Put on record what the record has forgotten."""
    for one in list(desk.handed.values()):
        if _put_back(connection, one):
            details = {"key": str(one.ref), "holder": one.holder}
            audit.record(connection, "checkout.adopt", one.id, dict(details))
    for name, digest in list(desk.ended.items()):
        row = operator_store.by_name(connection, name)
        if (
            row is not None
            and row.digest == digest
            and operator_store.end(connection, name, desk.clock.now_us())
        ):
            operator_store.end_sessions(connection, name)
            audit.record(connection, "operator.end", f"operator:{name}", {"why": "the database forgot it"})


def _put_back(connection: Connection, one: Checkout) -> bool:
    there = store.get(connection, one.id)
    if there is not None:
        if one.closed_at is None or there.closed_at is not None or there.dead_at is not None:
            return False
        return store.close(connection, one.id, store.microseconds(one.closed_at))
    if one.ref not in {key.ref for key in account_store.keys(connection, one.ref.account)}:
        _LOG.error(  # on record, as a key that is not there, it would be called dead
            "%s has a key that the record has forgotten (%s, checkout %s): delete it at the exchange",
            one.holder, one.ref, one.id,
        )  # fmt: skip
        return False
    store.restore(connection, replace(one, rotation=None))
    return True
