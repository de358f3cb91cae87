"""Which history the record is in: read in the transaction whose numbers it is to tell apart.

Rules:
1. What is read is the record's own word and the server's timeline of this very moment: where a failover has changed
   it, and nobody has looked yet, that is another history than any that was ever written down.
2. The audit trail is what a history is known again by: a record of it has one number and one digest for ever.
"""

import secrets
from dataclasses import replace

from sqlalchemy import Connection, select

from broker.audit.chain import CONTROL
from broker.db import meta, replication
from broker.db import tables as t
from broker.history import History, Mark

FACT, TIMELINE = "history", "timeline"


def fresh(number: int = 0) -> str:
    """Return the fact of a history that begins now."""
    return f"{number}.{secrets.token_hex(4)}"


def here(connection: Connection) -> History:
    """Return the history this transaction reads."""
    return replace(recorded(connection), timeline=_timeline(connection))


def recorded(connection: Connection) -> History:
    """Return the history as it was written down last; its word is empty where none was yet."""
    query = select(t.META.c.name, t.META.c.value).where(t.META.c.name.in_((FACT, TIMELINE, "generation")))
    facts = {row.name: row.value for row in connection.execute(query)}
    number, _, word = facts.get(FACT, "0.").partition(".")
    return History(int(facts.get("generation", 0)), int(number), facts.get(TIMELINE, ""), word)


def begin(connection: Connection, number: int) -> History:
    """Write down that another history begins here."""
    meta.put(connection, FACT, fresh(number))
    meta.put(connection, TIMELINE, _timeline(connection))
    return recorded(connection)


def _timeline(connection: Connection) -> str:
    return replication.timeline(connection) if connection.dialect.name == "postgresql" else ""


def mark(connection: Connection) -> Mark:
    """Return how far the record has come."""
    c = t.AUDIT.c
    query = select(c.seq, c.digest).where(c.writer == CONTROL).order_by(c.seq.desc()).limit(1)
    row = connection.execute(query).first()
    return Mark(recorded(connection), *((0, "") if row is None else (row.seq, row.digest)))


def has(connection: Connection, known: Mark) -> bool:
    """Tell whether what somebody knows of the record is in it still.

    A newer history was closed when it began, whatever it lacks.
    """
    ours = recorded(connection)
    if ours.height != known.history.height:
        return ours.height > known.history.height
    if ours.word != known.history.word:
        return False
    c = t.AUDIT.c
    query = select(c.digest).where(c.writer == CONTROL, c.seq == known.seq)
    return known.seq == 0 or connection.execute(query).scalar() == known.digest
