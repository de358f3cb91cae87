"""Digests of call-log lines, as the chain keeps them: of what was asked, and of what came back. Pure.

Both are taken from what the database stores, so that they can be taken again from there.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Protocol

ASKED = (
    "gateway", "boot", "seq", "at_us", "grant", "consumer", "account", "key", "method", "endpoint", "action",
    "symbol", "side", "notional", "client_ids", "target", "decision", "reason", "source", "leaving", "reserved",
)  # fmt: skip
ANSWERED = ("gateway", "boot", "seq", "status", "code", "outcome", "latency_us", "released")


class Columns(Protocol):
    """A row of the call log, by column name."""

    def __getitem__(self, name: str, /) -> Any: ...


def combined(asks: Iterable[Columns], answers: Iterable[Columns]) -> str:
    """Return one digest of many rows, in the order given."""
    whole = hashlib.sha256()
    for columns, rows in ((ASKED, asks), (ANSWERED, answers)):
        for row in rows:
            line = json.dumps([row[name] for name in columns], separators=(",", ":"))
            whole.update(hashlib.sha256(line.encode()).digest())
    return whole.hexdigest()


def ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Return sorted numbers as inclusive ranges: `1 2 3 7` is `[[1, 3], [7, 7]]`."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found
