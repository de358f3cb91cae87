"""The digest of a run of call-log rows, as the chain keeps it. Pure.

It is taken from what the database stores, so that it can be taken again from there. A row that had no answer when it
was sealed is sealed by what was asked: its answer may still come.
"""

import hashlib
import json
from collections.abc import Collection, Iterable
from typing import Any, Protocol

ASKED = (
    "gateway", "boot", "seq", "at_us", "grant", "consumer", "account", "key", "method", "endpoint", "action",
    "symbol", "side", "notional", "client_ids", "target", "decision", "reason", "source", "leaving", "reserved",
)  # fmt: skip
ANSWERED = ("status", "code", "outcome", "latency_us", "released")


class Columns(Protocol):
    """A row of the call log, by column name."""

    def __getitem__(self, name: str, /) -> Any: ...


def digest(rows: Iterable[Columns], unanswered: Collection[int]) -> str:
    """Return one digest of rows, in the order given; of those unanswered without their answers."""
    whole = hashlib.sha256()
    for row in rows:
        columns = ASKED if row["seq"] in unanswered else ASKED + ANSWERED
        line = json.dumps([row[name] for name in columns], separators=(",", ":"))
        whole.update(hashlib.sha256(line.encode()).digest())
    return whole.hexdigest()
