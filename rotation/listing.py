"""What a manager key's list says of a key that was deleted: that it lacks it is worth what else it shows.

An exchange that answers with no keys, or with another sub-account's, lacks a living key as well as a dead one. So a
list counts where it has another key of the account that is on record. It is bare where it has none, and one has to
live. Where none has to, as after an incident that ends the only one, it counts beside the exchange's own word that it
deleted the key; or beside a refusal of the key itself by name, on every host, where the manager key is asked by the
same way: that it is served shows that no ban is why. Two things that say nothing prove nothing together: neither does
an empty list beside what each key hears from an address in a ban, nor beside what it hears from one that left its list.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from broker.model import KeyVersion
from clients.keys import Standing
from rotation.retire import ABSENT, BARE, LISTED, NAMED_ALONE, UNASKED, UNNAMED
from rotation.venues import Desk

Heard = Callable[[KeyVersion], Standing | None]


@dataclass(frozen=True, slots=True)
class Beside:
    """The other keys of an account: those on record that no tombstone is for, and which of them have to live.

    `alike`: the manager key is asked by the same way as these are.
    """

    known: Collection[KeyVersion]
    living: Collection[KeyVersion]
    alike: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """What a look at the lists says, as `rotation.retire` judges it, and in words."""

    reason: str
    said: str


def is_bare(there: Collection[str], beside: Beside, is_owed_none: Callable[[KeyVersion], bool]) -> bool:
    """Tell whether a list, by the ids in it, has no key of the account, and there are such that have to live.

    `is_owed_none`: whether a key may be missing all the same: it may be dead, and why another one is made.
    """
    if any(one.venue_key_id in there for one in beside.known):
        return False
    return not all(map(is_owed_none, beside.living))


def look(
    desk: Desk, key_id: str, beside: Beside, standing: Standing | None, heard: Heard, *, told: bool = False
) -> Shown:
    """Look for a key, and, where it is not there, for those beside it.

    Args:
        desk: The manager key's, of the sub-account.
        key_id: The key in question.
        beside: The other keys of the account.
        standing: How the exchange refused the key itself; None where nobody could ask with it.
        heard: Asks the exchange with one of those: one that every host refuses by name may be missing.
        told: Whether the exchange has said that it deleted the key.

    Raises:
        VenueError: The exchange does not answer, or not with a list.
        StoreUnavailable: A secret cannot be read now.
    """
    if desk.admin.find(desk.subaccount, key_id) is not None:
        return Shown(LISTED, "the list has it")
    there = {one.key_id for one in desk.admin.list(desk.subaccount)}
    if key_id in there:
        return Shown(LISTED, "the list has it")
    lacks = "the list does not have it"
    other = next((one for one in beside.known if one.venue_key_id in there), None)
    if other is not None:
        return Shown(ABSENT, f"{lacks}, and has {other.ref}")
    if is_bare(there, beside, lambda one: heard(one) is Standing.NAMED):
        names = ", ".join(str(one.ref) for one in beside.living)
        return Shown(BARE, f"{lacks}, and does not have {names} either, which is in use")
    alone = f"{lacks}; no other key is in use there that it could show"
    if standing is None:
        return Shown(UNASKED, alone)
    if told:
        return Shown(ABSENT, f"{alone}; the exchange has said that it deleted the key")
    if standing is not Standing.NAMED:
        return Shown(UNNAMED, alone)
    return (
        Shown(ABSENT, f"{alone}; it was had by the same way") if beside.alike else Shown(NAMED_ALONE, alone)
    )
