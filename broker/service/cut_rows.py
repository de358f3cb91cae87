"""How a cut, and its thaw where that came first, are written into the record: a row, its gates, its line of the trail.

Inside the transaction of whoever makes it (`closing`). What of its words the database does not hold is said in others
(`Made.is_plain`): they never decide whether it holds.
"""

from dataclasses import replace

from broker import gate
from broker.audit.chain import Detail
from broker.db import Connection, checkouts, rows
from broker.db import cuts as store
from broker.gate import Mode
from broker.service import words
from broker.service.audit import Audit
from broker.service.making import Made, Thawing

_US = 1_000_000


def add(connection: Connection, audit: Audit, made: Made, names: tuple[str, ...], now_us: int) -> None:
    """Write a cut down, and close what it holds.

    Args:
        connection: In a transaction that writes.
        audit: The trail.
        made: Gets the gates that were closed.
        names: What it holds, as the record has it now.
        now_us: By the wall clock.
    """
    noted = replace(made.noted, scopes=names)
    held = words.in_plain_words(noted) if made.is_plain else noted
    record = {
        "id": noted.id, "mode": noted.mode.value, "reason": held.reason, "actor": held.actor,
        "opened_us": noted.opened_us,
    }  # fmt: skip
    store.add(connection, record, names)
    details: dict[str, Detail] = {"mode": noted.mode.value, "scopes": list(names), "reason": noted.reason}
    if made.thawing is None:
        known = rows.gates_of(connection, names)
        for name in names:
            made.closed.append(gate.close(known[name], noted.id, noted.mode))
            rows.save_gate(connection, made.closed[-1])
    late_s = (now_us - noted.opened_us) // _US
    if made.tries > 1 or late_s:
        details["on_record_after_s"] = late_s
    ended = checkouts.end_in(connection, names, noted.opened_us) if noted.mode is Mode.CLOSED else []
    if ended:
        details["checkouts"] = ended
    audit.record(connection, "cut.close", noted.id, details)


def add_thaw(connection: Connection, audit: Audit, made: Made, thawing: Thawing) -> None:
    """Write down that it was thawed before it was on record itself; `made` gets the gates that were opened."""
    names = store.scopes(connection, made.noted.id)
    for known in rows.gates(connection, names).values():
        thawed = gate.thaw(known, made.noted.id)
        if thawed is not None:
            rows.save_gate(connection, thawed)
            made.closed.append(thawed)
    by, why = thawing.actor, thawing.reason
    if made.is_plain:
        by, why = words.plain_actor(by), words.plain(why)
    store.thaw(connection, made.noted.id, thawing.at_us, by, why)
    details: dict[str, Detail] = {"reason": thawing.reason, "scopes": list(names), "by": thawing.actor}
    audit.record(connection, "cut.thaw", made.noted.id, details)
