"""What a venue lists against what the record knows. Pure: it compares and never acts.

Rules:
1. A key that carries the label of a rotation of ours and is not on record is an orphan: a create whose answer was lost.
2. Any other key that is not on record is unknown. It may be somebody's; a person decides what becomes of it.
3. Of a list with none of the account's living keys nothing shows whose it is: what is in it may be in use. One that is
   dead on record shows nothing, the account may have had it under another sub-account.
4. A tombstone that is listed is undead; a living key that is not listed is missing, which is no proof of its death.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from broker.model import KeyRef, KeyVersion, Stage
from clients.keys import VenueKey

LABEL = re.compile(r"rot_[0-9a-f]{20}")
"""How we label keys at a venue: with the id of the rotation that made them."""


class Oddity(StrEnum):
    """What is not as it is on record."""

    ORPHAN = "orphan"
    UNKNOWN = "unknown"
    UNDEAD = "undead"
    MISSING = "missing"


_WORDS = {
    Oddity.UNKNOWN: "a key that is not on record (label {label!r}): delete it at the exchange, or import it",
    Oddity.ORPHAN: "a key that {label} made and gave up: {done}",
    Oddity.UNDEAD: "{ref} is dead on record, and the exchange lists it: {done}. Find out why",
    Oddity.MISSING: "{ref} is on record as living, and the exchange does not list it",
}
_WHOSE = (
    "a key that is not on record (label {label!r}), in a list with none of this account's that live: look whose it is "
    "before anything is deleted there, it may be another sub-account's list (portcullis account list says whose is "
    "asked for)"
)


@dataclass(frozen=True, slots=True)
class Found:
    """One key that is not as it is on record. `ref` is None where the record does not know it."""

    what: Oddity
    key_id: str
    label: str = ""
    ref: KeyRef | None = None


def compare(known: Iterable[KeyVersion], listed: Iterable[VenueKey]) -> tuple[Found, ...]:
    """Compare one account's key versions with what its venue lists, in the order of the list."""
    recorded = {key.venue_key_id: key for key in known if key.venue_key_id}
    there = {key.key_id: key for key in listed}
    found = []
    for key in there.values():
        on_record = recorded.get(key.key_id)
        if on_record is None:
            ours = LABEL.fullmatch(key.label) is not None
            found.append(Found(Oddity.ORPHAN if ours else Oddity.UNKNOWN, key.key_id, key.label))
        elif on_record.stage is Stage.TOMBSTONE:
            found.append(Found(Oddity.UNDEAD, key.key_id, key.label, on_record.ref))
    found += [
        Found(Oddity.MISSING, key_id, "", key.ref)
        for key_id, key in recorded.items()
        if key.stage is not Stage.TOMBSTONE and key_id not in there
    ]
    return tuple(found)


def said(what: Oddity, one: Found, done: str, *, shows: bool) -> str:
    """Say what was found, as `what` it is taken for; `shows`: whether the list has a living key of the account."""
    words = _WHOSE if what is Oddity.UNKNOWN and not shows else _WORDS[what]
    return words.format(label=one.label, ref=one.ref, done=done)


def anothers(key: KeyVersion, account: str, *, shows: bool) -> str:
    """Say that an account's list has the key of another one."""
    says = f"this is {key.ref}, the key of another account: "
    if key.stage is Stage.TOMBSTONE:
        says = f"{says}it is dead on record, and lives. Delete it at the exchange, and find out why; "
    if shows:
        return f"{says}two accounts are one sub-account"
    return (
        f"{says}{account} is perhaps managed under another sub-account than its own (portcullis account list says "
        "whose is asked for)"
    )
