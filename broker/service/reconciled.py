"""Whether what the program closed by itself may be thawed: what the last comparison left on record says.

An account that was given up (nobody has a grant on it, its key is declared deleted) stood in no way as it was compared.
Who has a grant on it since has changed that: it is compared once more.
"""

import json

from broker.db import cuts as cut_store
from broker.db import grants as grant_store
from broker.db import meta
from broker.errors import Conflict
from broker.model import EVERYTHING
from broker.service.audit import ITSELF
from broker.service.desk import Desk
from broker.service.host_guard import RECONCILED

GIVEN_UP = "reconciled_given_up"


def refuse_unreconciled(desk: Desk, cut_id: str) -> None:
    """Refuse the thaw of what the program closed by itself, until somebody has reconciled.

    Raises:
        Conflict: Nobody has since, or a grant was made since on an account that was given up.
    """
    with desk.database.read() as connection:
        row = cut_store.get(connection, cut_id)
        if row is None or row.actor != ITSELF or EVERYTHING not in cut_store.scopes(connection, cut_id):
            return
        compared = texts(meta.get(connection, RECONCILED))
        used = grant_store.used_accounts(connection) & set(texts(meta.get(connection, GIVEN_UP)))
    if cut_id not in compared:
        raise Conflict(
            "not_reconciled",
            f"the record was not compared with the exchanges since {cut_id}, or something is left to do: "
            "`portcullis reconcile` lists it, and says when this can be thawed",
        )
    if used:
        raise Conflict(
            "not_reconciled",
            f"{', '.join(sorted(used))} was given up, and somebody has a grant on it since: `portcullis reconcile` "
            "says what its key needs",
        )


def texts(document: str | None) -> tuple[str, ...]:
    """Read a list of texts; what is none is empty."""
    found = json.loads(document or "[]")
    return tuple(map(str, found)) if isinstance(found, list) else ()
