"""The call log under seal: once a minute the chain gets the digest of the calls that came since.

Rules:
1. A run of calls of one gateway's boot is sealed up to the first that has no answer yet, and past it when that is
   ten minutes old: then by what was asked, because its answer may still come.
2. What is not sealed yet (a minute, as a rule) is not proven by the chain; it is in the gateway's spool as well.
3. A broker that was killed goes on where the chain ends.
4. Read, digested and sealed one after the other: no transaction of the state waits for the log, and none that writes
   reads more of the chain than was added since: a cut waits for it.
5. What is not kept any more is given up by the chain first: all runs that were sealed up to one of its records, at most
   once a day, each of them older than `KEPT_DAYS`. What was given up may be gone, and is gone an hour later at the
   earliest.
"""

import json
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from broker.audit import calls as digests
from broker.audit import chain
from broker.audit.chain import Detail, Entry
from broker.audit.verify import CALLS_ACTION, GIVEN_UP_ACTION, KEPT_DAYS
from broker.db import Connection
from broker.db import audit as audit_store
from broker.db import calls as call_store
from broker.db.database import Database
from broker.db.turns import Urgency
from broker.service.desk import Desk

WRITER = "calls"
_EVERY_US = 60_000_000
_PATIENCE_US = 600_000_000
_LOOK_BACK_US = 2 * 24 * 3600 * 1_000_000
_MOST = 2000
_DAY_US = 24 * 3600 * 1_000_000
_SETTLED_US = 3600 * 1_000_000


class CallSeal:
    """Seals calls."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._touched: set[tuple[str, str]] | None = None
        self._sealed_us = -(2**62)
        self._lock = threading.Lock()

    def touch(self, gateway: str, boot: str) -> None:
        """Note that there are calls to seal."""
        with self._lock:
            if self._touched is not None:
                self._touched.add((gateway, boot))

    def seal(self, *, at_once: bool = False) -> int:
        """Seal what there is, at most once a minute; return how many calls were sealed.

        Raises:
            StoreUnavailable: The database cannot answer; the rest is sealed the next time.
        """
        now_us = self._desk.clock.now_us()
        if not at_once and 0 <= now_us - self._sealed_us < _EVERY_US:
            return 0
        with self._lock:
            touched, self._touched = self._touched, set()
        if touched is None:  # our first look: what another process left
            with self._desk.database.log.read() as connection:
                touched = set(call_store.boots_since(connection, now_us - _LOOK_BACK_US))
        sealed = 0
        for gateway, boot in sorted(touched):
            while (count := self._run(gateway, boot, now_us)) > 0:
                sealed += count
        self._sealed_us = now_us
        return sealed

    def _run(self, gateway: str, boot: str, now_us: int) -> int:
        """Seal one run of a boot; return how many calls it has."""
        subject = f"{gateway}/{boot}"
        with self._desk.database.read() as connection:
            known, first = audit_store.head(connection, WRITER), _sealed(connection, subject)
        with self._desk.database.log.read() as connection:
            rows = call_store.after(connection, gateway, boot, first, _MOST)
        ready = _ready(rows, now_us - _PATIENCE_US)
        if len(ready) < len(rows) or len(rows) == _MOST:
            self.touch(gateway, boot)
        if not ready:
            return 0
        unanswered = [row["seq"] for row in ready if not _is_final(row)]
        details: dict[str, Detail] = {
            "gateway": gateway, "boot": boot, "first": first + 1, "last": ready[-1]["seq"],
            "unanswered": [[seq, seq] for seq in unanswered], "digest": digests.digest(ready, set(unanswered)),
        }  # fmt: skip
        entry = Entry(now_us, gateway, CALLS_ACTION, subject, chain.details_text(details))
        with self._desk.database.write(Urgency.UPKEEP) as connection:
            if audit_store.last_of(connection, WRITER, subject, after=known):  # another broker was faster
                self.touch(gateway, boot)
                return 0
            audit_store.append(connection, WRITER, entry)
        return len(ready)


def _sealed(connection: Connection, subject: str) -> int:
    """Return the number of the last call of a boot that is sealed."""
    last = audit_store.last_of(connection, WRITER, subject)
    return 0 if last is None else int(json.loads(last.entry.details)["last"])


def give_up(database: Database, now_us: int, before_us: int) -> None:
    """Put on record, at most once a day, that runs which were sealed before an instant are not kept any more.

    Raises:
        StoreUnavailable: The database cannot answer.
    """
    with database.read() as connection:
        head, known = audit_store.head(connection, WRITER), audit_store.last_of(connection, WRITER, WRITER)
        first = 0 if known is None else _through(known.entry)
        through = audit_store.through(connection, WRITER, CALLS_ACTION, first, before_us)
    if through <= first or (known is not None and 0 <= now_us - known.entry.at_us < _DAY_US):
        return
    details: dict[str, Detail] = {"through": through, "days": KEPT_DAYS}
    entry = Entry(now_us, WRITER, GIVEN_UP_ACTION, WRITER, chain.details_text(details))
    with database.write(Urgency.UPKEEP) as connection:
        if (
            audit_store.last_of(connection, WRITER, WRITER, after=head) is None
        ):  # or another broker was faster
            audit_store.append(connection, WRITER, entry)


def settled(connection: Connection, now_us: int) -> int:
    """Return up to which record runs were given up, and that long enough ago; the chain may be read for it, whole."""
    last = audit_store.about(connection, WRITER, WRITER, 2)
    return max((_through(one) for one in last if not 0 <= now_us - one.at_us < _SETTLED_US), default=0)


def given_up(
    connection: Connection, boots: Iterable[tuple[str, str]], through: int
) -> dict[tuple[str, str], int]:
    """Return by boot up to which number its calls were given up, by the records up to one of them (`settled`)."""
    found = {}
    for gateway, boot in boots if through else ():
        last = audit_store.last_of(connection, WRITER, f"{gateway}/{boot}", through)
        if last is not None:
            found[gateway, boot] = int(json.loads(last.entry.details)["last"])
    return found


def _through(entry: Entry) -> int:
    return int(json.loads(entry.details)["through"])


def sealed_digest(connection: Connection, details: str) -> str:
    """Return the digest of the calls that a record is about, as they are stored now."""
    found = json.loads(details)
    rows = call_store.between(connection, found["gateway"], found["boot"], found["first"], found["last"])
    return digests.digest(rows, {seq for seq, _ in found["unanswered"]})


def _is_final(row: dict[str, Any]) -> bool:
    return row["outcome"] is not None or row["decision"] == "deny"


def _ready(rows: Sequence[dict[str, Any]], before_us: int) -> list[dict[str, Any]]:
    """Return the rows up to the first whose answer may be on its way."""
    ready = []
    for row in rows:
        if not _is_final(row) and row["at_us"] > before_us:
            break
        ready.append(row)
    return ready
