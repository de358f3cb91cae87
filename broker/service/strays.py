"""Cuts that stop nobody although somebody was told that they are in force: what they name is not there.

Rules:
1. One is on record for a day, so that a restart does not hide it from who has to cut again.
2. That is so whether it was taken back (the database came back and has nothing of that name), or taken over as it is
   from before the last end of a broker. What a failover forgot, the name among it, is none: somebody had looked.
3. A database that does not take it, or does not answer, hides none of those that memory has. Who makes cuts does not
   wait for it: a thread of its own writes.
"""

import json
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace

from broker import gate_document
from broker.db import Connection, meta
from broker.errors import BrokerError
from broker.gate_document import NotedCut
from broker.model import EVERYTHING, is_readable
from broker.service import scopes
from broker.service.desk import Desk
from broker.threads import Threads

_FACT = "cuts-of-nobody"
_MOST = 20
_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Stray:
    """A cut, or the part of it that names nothing there is; why; and since when that is known."""

    noted: NotedCut
    why: str
    at_us: int


class Strays:
    """Those of the last day, on record and in memory."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._here: tuple[Stray, ...] = ()
        self._writer = Threads(1, "cut-strays")

    def add(self, noted: NotedCut, why: str) -> "Future[None] | None":
        """Tell of one from now on; return what is done once it is on record, None where no thread can be had."""
        stray = Stray(noted, why, self._desk.clock.now_us())
        self._here = (*self._here, stray)[-_MOST:]
        try:
            return self._writer.submit(self._write, stray)
        except RuntimeError:
            return None  # memory has it

    def shutdown(self) -> None:
        """Take no more, and wait for nothing: a restart tells less, and no cut is lost by it."""
        self._writer.shutdown(wait=False, cancel_futures=True)

    def _write(self, stray: Stray) -> None:
        with suppress(BrokerError), self._desk.database.write() as connection:
            record(connection, stray)

    def list(self) -> tuple[Stray, ...]:
        """Return those of the last day, the oldest first."""
        try:
            with self._desk.database.read() as connection:
                known = recorded(connection)
        except BrokerError:
            known = ()
        since_us = self._desk.clock.now_us() - _DAY_US
        every = {(one.noted.id, one.noted.scopes): one for one in (*self._here, *known)}
        return tuple(
            sorted((one for one in every.values() if one.at_us > since_us), key=lambda one: one.at_us)
        )


def of_nobody(connection: Connection, noted: NotedCut, now_us: int) -> None:
    """Put on record what a cut that is taken over names and what is not there; in the caller's transaction."""
    readable = [name for name in noted.scopes if is_readable(name) and name != EVERYTHING]
    nobody = tuple(name for name in readable if not scopes.exists(connection, name))
    if nobody:
        record(connection, Stray(replace(noted, scopes=nobody), absent(nobody), now_us))


def absent(names: Iterable[str]) -> str:
    """Say that there is nothing of some names."""
    return f"there is no {' and no '.join(names)}"


def record(connection: Connection, stray: Stray) -> None:
    """Put one on record, in the caller's transaction; of many the last stay."""
    kept = [one for one in recorded(connection) if one.noted.id != stray.noted.id]
    rows = [
        {"cut": gate_document.dump(one.noted), "why": one.why, "at_us": one.at_us} for one in (*kept, stray)
    ]
    meta.put(connection, _FACT, json.dumps(rows[-_MOST:]))


def recorded(connection: Connection) -> tuple[Stray, ...]:
    """Return those on record; one that cannot be read keeps no other back, nor who puts a cut on record."""
    found = []
    for one in json.loads(meta.get(connection, _FACT) or "[]"):
        with suppress(ValueError, KeyError, TypeError):
            cut = str(json.loads(one["cut"])["cut"])
            found.append(Stray(gate_document.load(cut, one["cut"]), str(one["why"]), int(one["at_us"])))
    return tuple(found)
