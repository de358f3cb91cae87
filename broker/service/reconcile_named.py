"""Keys that every host of the exchange refuses by name: which of them are dead, for reconciling. Pure.

A refusal by name is evidence and no proof: from an address in a ban, living keys are told so. It counts together with
one thing that shows that the exchange serves others from here, and only when both were seen twice, a settling time
apart:

1. Where a manager key lists the account's keys: the list was had, does not have it, and has another one of the account
   that is on record. A label shows nothing: another sub-account has keys that rotations made, too, and a list of its
   lacks a living key as well as a dead one. What any list has lives.
2. Where none does: another key that is asked by the same way, and is served there after all that is refused: one that
   was served in the comparison is asked once more at its end. A ban may begin in the middle of it.
3. Where a list has none of the account's, and none of them but this one is in use: an empty list says as little as a
   ban. So somebody has to be served by the same way there, too: the manager key with that list, else as in 2. Where
   another one is in use, and that list lacks it as well, nothing counts.

Where there is neither, it is undecided, however often it is refused: a person looks it up and says so. What was seen
the first time is kept between two comparisons, as of which moment, for a week; on another host, or after a reboot,
it begins anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

from broker.model import Stage
from broker.service.reconcile_facts import Finding, Listing, Looked, is_listed, is_missing
from broker.steady import Moment

NAMED = "unknown_key"
SETTLES_US = 10_000_000
"""Between two looks. Our caution: the venue documents none."""

LASTS_US = 7 * 86_400_000_000
"""So old what was seen first may be: of what was before nobody knows how it goes together with today. More than a day,
or who compares once a day never has a second look."""

_LISTED = "its manager key's list does not have it"
_OTHERS = "its manager key's list has none of this account's keys on record, and may be another sub-account's"


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a key that is refused by name, and when first."""

    beside: str
    at: Moment


def seen_since(before: Seen | None, beside: str, now: Moment) -> Seen:
    """Return since when a key was seen refused by name beside the same thing: since now, where it was not before."""
    if before is None or before.beside != beside or before.at.base != now.base:
        return Seen(beside, now)
    return before if before.at.elapsed_us(now) <= LASTS_US else Seen(beside, now)


def witnesses(
    looked: tuple[Looked, ...], listed: Mapping[str, Listing], ways: Mapping[str, object]
) -> tuple[str, ...]:
    """Return the keys to ask once more, after all others: one that was served by each way by which one is refused."""
    asked = {
        ways[one.account]
        for one in looked
        if one.reason == NAMED
        and one.account in ways
        and _needs_another(one, looked, listed.get(one.account))
    }
    found = dict[object, str]()
    for one in looked:
        way = ways.get(one.account)
        if one.is_served and way in asked:
            found.setdefault(way, one.key)
    return tuple(found.values())


def judge(
    looked: tuple[Looked, ...],
    after: tuple[Looked, ...],
    listed: Mapping[str, Listing],
    ways: Mapping[str, object],
    before: Mapping[str, Seen],
    now: Moment,
) -> tuple[tuple[Looked, ...], Mapping[str, Listing], dict[str, Seen]]:
    """Judge the keys that are refused by name.

    Args:
        looked: Every key, as it was asked.
        after: The witnesses, as they were asked after all of them.
        listed: What the lists of managed accounts had against the record.
        ways: By account, the way by which its keys are asked: those of one way hear the same of an address.
        before: What was seen at the last comparison.
        now: By both clocks of this host.

    Returns:
        The keys and the lists, with what was replaced and is proven dead taken out of what they lack; what to keep.
    """
    found, lists, kept = list[Looked](), dict(listed), dict[str, Seen]()
    for one in looked:
        if one.reason != NAMED:
            found.append(one)
            continue
        beside = _beside(one, looked, after, listed, ways)
        if not beside:
            note = "every host refuses it by name, and nothing here shows that a living key would be served"
            if one.account in listed and _lacks(one, listed[one.account]):
                note = f"{note}: {_OTHERS}"
            found.append(replace(one, note=note))
            continue
        kept[one.key] = first = seen_since(before.get(one.key), beside, now)
        note = f"every host refuses it by name, and {beside}"
        if first.at.elapsed_us(now) < SETTLES_US:
            found.append(replace(one, note=f"{note}: seen once, which is no proof"))
            continue
        found.append(replace(one, finding=Finding.DEAD, note=f"{note}: seen twice, a settling time apart"))
        if one.account in lists and one.stage is not Stage.CURRENT:  # what is in use has a step of its own
            known = lists[one.account]
            odd = tuple(word for word in known.odd if not is_missing(one.key, word))
            lists[one.account] = replace(known, odd=odd)
    return tuple(found), lists, kept


class _Shows(Enum):
    """What a list that lacks a key has besides."""

    ANOTHER = "another key of the account"
    NONE = "none, and no other one is in use"
    BARE = "none, and another one is in use"


def _shows(one: Looked, looked: tuple[Looked, ...], listing: Listing) -> _Shows:
    """Tell what a list has besides. What was not made yet is in none."""
    others = [
        other
        for other in looked
        if other.account == one.account and other.key != one.key and other.finding is not Finding.PENDING
    ]
    if not all(listing.lacks(other.key) for other in others):
        return _Shows.ANOTHER
    return _Shows.BARE if any(other.stage is Stage.CURRENT for other in others) else _Shows.NONE


def _lacks(one: Looked, listing: Listing) -> bool:
    return not listing.reason and listing.lacks(one.key)


def _needs_another(one: Looked, looked: tuple[Looked, ...], listing: Listing | None) -> bool:
    """Tell whether a key of the same way has to be served, for a refusal by name to count (rules 2 and 3)."""
    if listing is None:
        return True
    return _lacks(one, listing) and not listing.alike and _shows(one, looked, listing) is _Shows.NONE


def _beside(
    one: Looked,
    looked: tuple[Looked, ...],
    after: tuple[Looked, ...],
    listed: Mapping[str, Listing],
    ways: Mapping[str, object],
) -> str:
    """Say what shows that a refusal by name is about this key; empty where nothing does."""
    if is_listed(one.key, listed):
        return ""
    listing = listed.get(one.account)
    if listing is not None and not _lacks(one, listing):
        return ""
    if listing is not None:
        shows = _shows(one, looked, listing)
        if shows is _Shows.BARE:
            return ""
        if shows is _Shows.ANOTHER:
            return _LISTED
        if listing.alike:
            return f"{_LISTED}, which was had by the same way"
    way = ways.get(one.account)
    for other in after:
        if other.is_served and way is not None and ways.get(other.account) == way:
            return f"{other.key} was served by the same way after it"
    return ""
