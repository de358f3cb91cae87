"""What is left to do about the lists that manager keys gave of accounts' keys, or could not give. Pure.

Rules:
1. A list that will not be had however often it is asked for (`UNLISTABLE`) waits for a person: another manager key is
   put in the place of the one that is refused or whose secret is lost, or the person looks the keys up and says so.
2. An outage is no such case: it is asked again. So is a lost secret that can be taken back where it lies.
3. A key that a rotation made is its rotation's business: it may be in use. That it did says the key's label, whole.
4. A list that has a key of the account's that lives on record is the account's, whoever else has keys there: two
   accounts may be one sub-account. One that has another account's and none of those is perhaps another sub-account's, a
   dead one of the account's beside them or not: what it lacks says nothing, and what is in it and on no record is told,
   and is nothing to delete. So it is where there is no such sub-account any more. A person puts the account under its
   own; or releases it from its manager key, where that one is another's here, or under no manager key that is to hand;
   or, where no key of its is served, looks it up and says so, with what was seen beside it.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from broker import spelled
from broker.errors import BrokerError
from broker.model import Account, KeyVersion, Manager, Stage, way_of
from broker.service.lost import free_name
from broker.service.reconcile_facts import Facts, Listing, Step, Surveyed, is_missing
from broker.stores import held
from clients.errors import VenueError
from clients.keys import VenueKey

AGAIN = "portcullis reconcile"
LOST = held.LOST | {"no_egress", "bad_secret"}
"""What a key needs on our side is gone: it is never asked with again."""

COMES_BACK = frozenset({"vault_deleted", "tampered"})
"""What somebody can put right in the secret store itself: then it is compared again."""

REFUSED = frozenset({"unknown_key", "key_refused", "bad_signature"})
"""A manager key that the venue turns down: a list will not be had with it, however often it is asked."""

UNLISTABLE = REFUSED | LOST


def untold(account: Account, managers: Mapping[str, Manager]) -> Listing:
    """Return an account's list of which nothing is told yet, with what another manager key is put in its place by."""
    name = account.manager or ""
    manager = managers.get(name)
    egress = account.egress if manager is None else manager.egress
    alike = manager is not None and way_of(manager) == way_of(account)
    return Listing(name, (), "", account.subaccount or "", egress, free_name(name, managers), alike)


def surveyed(
    account: Account,
    every: Sequence[KeyVersion],
    listed: Sequence[VenueKey] | None,
    odd: Callable[[Sequence[KeyVersion], Sequence[VenueKey]], Mapping[str, str]],
) -> Surveyed:
    """Compare what a venue lists for an account with every key on record (rule 4).

    Args:
        account: Whose list it is to be.
        every: The keys of all accounts.
        listed: None: there is no such sub-account.
        odd: Says in words what is listed otherwise than the record has it, each with the label of its key.
    """
    if listed is None:
        return Surveyed(
            foreign=f"the exchange lists no sub-account {account.subaccount} under {account.manager} any more"
        )
    ids = {one.key_id for one in listed}
    known = [key for key in every if key.venue_key_id in ids]
    there = frozenset(str(key.ref) for key in known)
    strange = [key for key in known if key.ref.account != account.name]
    if strange and all(key in strange or key.stage is Stage.TOMBSTONE for key in known):
        on_record = {key.venue_key_id for key in known}
        names = ", ".join(sorted(str(key.ref) for key in strange))
        others = odd((), [one for one in listed if one.key_id not in on_record])
        return Surveyed(
            there,
            {**odd(known, [one for one in listed if one.key_id in on_record]), **others},
            f"the exchange lists {names} here, which is on record as another account's key, and "
            f"none of its own that live: {account.name} is perhaps managed under another sub-account than its own "
            "(portcullis account list)",
        )
    own = [key for key in every if key.ref.account == account.name]
    return Surveyed(there, odd((*own, *strange), listed))


def why_untold(fault: VenueError | BrokerError, manager: str) -> str:
    """Say why a list could not be had."""
    if isinstance(fault, VenueError):
        return f"its keys cannot be listed: the exchange says {fault.reason}"
    if held.is_lost(fault):
        return f"its keys cannot be listed: the secret of the manager key {manager} is lost ({fault.reason})"
    return f"its keys cannot be listed: {fault}"


def of_a_list(name: str, listing: Listing, facts: Facts, named: Collection[str]) -> Iterator[Step]:
    """Say what is left to do about one account's list; `named` are its keys that need no step of it."""
    if listing.reason in UNLISTABLE:
        if name in facts.confirmed:
            return
        yield Step(f"{name}: {listing.odd[0]}", *_without_a_list(name, listing))
        return
    if listing.reason:
        yield Step(
            f"{name}: {listing.odd[0]}",
            "see whether the exchange and its egress are well, and compare again",
            (AGAIN,),
        )
        return
    if listing.foreign and not (name in facts.confirmed and _is_over(name, facts)):
        yield Step(f"{name}: {listing.foreign}", *_of_no_list_of_its_own(name, listing, facts))
    for word in listing.odd:
        going_on = next((row for row in facts.rotations if row.id == listing.labels.get(word)), None)
        if going_on is not None:
            yield Step(
                f"{name}: {bare(word)}",
                "do NOT delete it, it may be in use: its rotation is open, and goes on with it once you let it. "
                "Then compare again",
                (f"portcullis rotation resume {going_on.id}", AGAIN),
            )
        elif listing.foreign:
            do = "see to that, and compare again; or release the account from its manager key: then you look it up"
            yield Step(f"{name}: {word}", do, (AGAIN, release(name)))
        elif not any(is_missing(key, word) for key in named):
            yield Step(f"{name}: {word}", "see to that, and compare again", (AGAIN,))


def release(name: str) -> str:
    """Return the command that takes an account off its manager key."""
    return f"portcullis account release {name}"


def bare(word: str) -> str:
    """Return what a list has, without what is said to do about it."""
    return word.partition(". Delete ")[0]


def _of_no_list_of_its_own(name: str, listing: Listing, facts: Facts) -> tuple[str, tuple[str, ...]]:
    """Say how an account goes on whose list is perhaps not its own (rule 4)."""
    do = (
        "delete nothing there. Put it under its own sub-account; or, where that one is another account's here, or "
        "under no manager key that you have, release it from its manager key, and look its keys up by hand"
    )
    put = f"portcullis account manage {name} --manager {listing.manager} --subaccount EMAIL"
    if not _is_over(name, facts):
        return f"{do}. A key of its is served", (put, release(name))
    seen = ", ".join(f"{one.key} is {one.finding.value}" for one in facts.looked if one.account == name)
    do += (
        "; where it has none any more, or shares one with that account, look up at the exchange that "
        f"{name} has no keys that live but those listed here ({seen or 'none'}), and say so"
    )
    return do, (put, release(name), f"{AGAIN} --confirm {name}")


def _is_over(name: str, facts: Facts) -> bool:
    """Tell whether no key of an account is served: one that is belongs to a sub-account that is there."""
    return not any(one.account == name and one.is_served for one in facts.looked)


def _without_a_list(name: str, listing: Listing) -> tuple[str, tuple[str, ...]]:
    """Say how an account goes on whose manager key lists nothing any more (rule 1)."""
    do = (
        f"import another manager key, one for all accounts under {listing.manager}, and put the account under it; or "
        f"release it, where its sub-account is gone; or look up at the exchange that {name} has no keys but those "
        "listed here, and say so"
    )
    commands = (
        f"portcullis manager import --name {listing.free} --egress {listing.egress}",
        f"portcullis account manage {name} --manager {listing.free} --subaccount {spelled.word(listing.subaccount)}",
        release(name),
        f"{AGAIN} --confirm {name}",
    )
    if listing.reason not in COMES_BACK:
        return do, commands
    return f"put its secret back in the secret store where it can be, and compare again; else {do}", (
        AGAIN,
        *commands,
    )
