"""One append-only chain of records per writer. Pure.

Rules:
1. A record's digest covers everything in it, its number and the digest of the record before.
2. Numbers of a writer begin at 1 and leave none out.
3. A record says who did what to what; never a secret.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

FIRST = "0" * 64
"""What the first record of a chain takes for the digest before it."""

CONTROL = "control"
"""The writer of what operators and the program do; calls have chains of their own."""

Detail = str | int | bool | None | list[str] | list[list[int]]


@dataclass(frozen=True, slots=True)
class Entry:
    """What happened: `actor` did `action` (as in `grant.create`) to `subject`."""

    at_us: int
    actor: str
    action: str
    subject: str
    details: str = "{}"
    """Canonical JSON, see `details_text`."""


@dataclass(frozen=True, slots=True)
class Record:
    """An entry in its place. `digest` is what was stored, right or wrong."""

    writer: str
    seq: int
    entry: Entry
    previous: str
    digest: str


def details_text(details: Mapping[str, Detail]) -> str:
    """Return details as canonical JSON."""
    return json.dumps(details, sort_keys=True, separators=(",", ":"))


def digest(writer: str, seq: int, entry: Entry, previous: str) -> str:
    """Return the digest a record must have, SHA-256 as hex."""
    fields = [writer, seq, entry.at_us, entry.actor, entry.action, entry.subject, entry.details, previous]
    return hashlib.sha256(json.dumps(fields, separators=(",", ":")).encode()).hexdigest()


def follow(writer: str, seq: int, previous: str, entry: Entry) -> Record:
    """Return the record after the one with number `seq` and digest `previous`; 0 and `FIRST` begin a chain."""
    return Record(writer, seq + 1, entry, previous, digest(writer, seq + 1, entry, previous))
