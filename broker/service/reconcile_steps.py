"""What is left to do before what was closed by itself may be thawed, and how it is thawed then. Pure.

Rules:
1. Every step says what is so and what to do, with the commands; doing it leads out, whatever else is the case.
2. A key that is not in use stands in the way only while it lives and may do more than it should: a previous one
   that is dead is what it should be, and a pending one that was never made is its rotation's business.
3. Where a venue gives no answer that decides, an operator looks the key up and declares it deleted: a word on record.
   An outage is no such case: it is asked again.
4. A slot needs a key where somebody has a grant on its account. One that was given up is over with its key, by a word
   that nothing belies (`reconcile_facts`). Under a manager key that lists it, it is released from that first: a list
   says what there is, and only where a person says it is their word asked for.
"""

from collections.abc import Collection, Iterator

from broker import spelled
from broker.model import Stage
from broker.service import again, lost
from broker.service.reconcile_facts import Facts, Finding, Looked, OpenCut, OpenRotation, Step
from broker.service.reconcile_lists import AGAIN, COMES_BACK, LOST, REFUSED, UNLISTABLE, of_a_list, release
from broker.stores.held import EGRESS_LOST

_COMPARED = '"compared with the exchanges"'


def blocking(facts: Facts) -> tuple[Step, ...]:
    """Return what stands in the way of a thaw, in the order to do it."""
    if facts.superseded:
        return (
            Step(
                "this home was restored elsewhere since, and serves nothing any more",
                f"end it, and use that one ({facts.superseded})",
            ),
        )
    return (
        *_belied(facts),
        *(step for one in facts.looked for step in _of_a_key(one, facts)),
        *(step for name in sorted(facts.listed) for step in _of_its_list(name, facts)),
        *_to_confirm(facts),
        *_of_the_old_host(facts),
        *facts.unread,
    )


def is_compared(facts: Facts) -> bool:
    """Tell whether the exchanges have answered for every key and every list; an outage is no answer."""
    answered = all(
        one.finding is not Finding.UNDECIDED or one.reason in LOST | REFUSED or one.key in facts.deleted
        for one in facts.looked
    )
    listed = all(not one.reason or one.reason in UNLISTABLE for one in facts.listed.values())
    return answered and listed and not facts.superseded and not facts.unread


def waits(closed: Collection[str]) -> str:
    """Say what waits while something stands in the way, by what the record has to be compared for."""
    if any(one.startswith("cut_") for one in closed):
        return "Everything that was closed stays closed."
    if closed:
        return "Nothing is closed by this, bots trade on; what is due begins by itself only once nothing is left to do."
    return "Not all is as it is on record."


def opening(facts: Facts) -> tuple[Step, ...]:
    """Return what opens, once nothing stands in the way; and what waits for a person besides."""
    found = [
        Step(
            f"{one.id} holds everything closed ({one.reason})",
            "thaw it; outside of a paper home that needs a second person, or a code and ten minutes, as every opening "
            "does",
            (f"portcullis {spelled.thaw(one.id, _COMPARED)}",),
        )
        for one in facts.cuts
        if one.own
    ]
    found += [_other(one) for one in facts.cuts if not one.own]
    return (*found, *(_waiting(one) for one in facts.rotations if one.waits_for_a_person and not one.held))


def _other(one: OpenCut) -> Step:
    """Say how a cut ends that holds something beside it all; one that stands in for what was forgotten, by that."""
    first, thaw = again.command_in(one.actor, one.reason), f"portcullis {spelled.thaw(one.id)}"
    if first is not None:
        what = f"{one.id} stands in for what the database forgot ({one.reason})"
        return Step(what, "do that again, and thaw it then", (first, thaw))
    return Step(
        f"{one.actor} cut something as well: {one.id} ({one.reason})",
        "thaw it once its own reason is over; the others do not wait for it",
        (thaw,),
    )


def _waiting(one: OpenRotation) -> Step:
    return Step(
        f"the rotation {one.id} of {one.account}/{one.slot} waits for you",
        "do it when it suits, or give it up; nothing waits for it",
        (f"portcullis rotation show {one.id}",),
    )


def _belied(facts: Facts) -> Iterator[Step]:
    """Say which words were not taken: a slip of a number takes no question away."""
    for key in sorted(facts.belied):
        yield Step(
            f"{key} is said to be deleted, and the exchange has it",
            "that word is not taken. See which key you meant; one that was deleted a moment ago is served for some "
            "seconds yet. Then compare again",
            (AGAIN,),
        )


def _of_a_key(one: Looked, facts: Facts) -> Iterator[Step]:
    if one.finding in {Finding.ALIVE, Finding.PENDING} or (
        one.key in facts.deleted and one.stage is not Stage.CURRENT
    ):
        return
    if one.finding is Finding.DEAD or one.key in facts.deleted:
        if one.stage is Stage.CURRENT and not (one.account in facts.over and one.key in facts.deleted):
            yield Step(
                f"{one.key} is in use on record, and {one.note or 'is deleted'}", *_over_or_fresh(one, facts)
            )
        return
    if one.finding is Finding.CHANGED:
        if one.stage is Stage.CURRENT:
            yield Step(
                f"{one.key} is changed: {one.note}",
                "find out who did that, set it right at the exchange's API Management page and compare again; or "
                "replace the key, and delete this one there",
                (AGAIN, *_a_fresh_key(one, facts)[1]),
            )
        else:
            yield Step(
                f"{one.key} was replaced, lives, and is changed: {one.note}",
                "delete it at the exchange, then say so",
                (f"{AGAIN} --deleted {one.key}",),
            )
        return
    yield Step(f"{one.key} is undecided: {one.note}", *_undecided(one, facts))


def _over_or_fresh(one: Looked, facts: Facts) -> tuple[str, tuple[str, ...]]:
    """Say how a slot whose key is dead gets one again, or, where nobody has a grant on its account, is given up."""
    do, commands = _a_fresh_key(one, facts)
    if one.account not in facts.over:
        return _or_released(one, facts, do, commands)
    do += f"; or, since nobody has a grant on {one.account}, say that the key is deleted: the account is given up then"
    return do, (*commands, f"{AGAIN} --deleted {one.key}")


def _or_released(
    one: Looked, facts: Facts, do: str, commands: tuple[str, ...]
) -> tuple[str, tuple[str, ...]]:
    """Add how an account is given up that somebody uses on record, or that is under a manager key."""
    if one.account not in facts.unused:
        first = f"where nobody is to use {one.account} any more, end its grants, destinations and checkouts"
        return f"{do}; {first}, and compare again: then it can be given up", commands
    if one.account not in facts.to_release:
        return do, commands
    do += f"; or, since nobody has a grant on {one.account}, release it from its manager key, and compare again: then "
    return f"{do}it can be given up", (*commands, release(one.account))


def _a_fresh_key(one: Looked, facts: Facts) -> tuple[str, tuple[str, ...]]:
    """Say how a slot gets a key again: by the rotation that is open, by one more, or by hand."""
    going_on = next(
        (row for row in facts.rotations if (row.account, row.slot) == (one.account, one.slot)), None
    )
    if going_on is not None and not going_on.held:
        return (
            "its rotation is open: go on with it, or give it up and import a key that the exchange knows",
            (
                f"portcullis rotation show {going_on.id}",
                f"portcullis key import --account {one.account} --slot {one.slot}",
            ),
        )
    imported = f"portcullis key import --account {one.account} --slot {one.slot}"
    do, commands = "make a key at the exchange, and import it", [imported]
    listing = facts.listed.get(one.account)
    if listing is not None and listing.reason not in UNLISTABLE and not listing.foreign:
        start = f"portcullis rotation start --account {one.account} --slot {one.slot} --wait"
        do, commands = "let a fresh one be made, or import one that the exchange knows", [start, imported]
    if going_on is None:
        return do, tuple(commands)
    return f"drop its rotation, which is held; then {do}", (drop_of(going_on), *commands)


def drop_of(one: OpenRotation) -> str:
    """Return the command that ends a held rotation on record alone."""
    return f'portcullis rotation drop {one.id} --reason "..."'


def _undecided(one: Looked, facts: Facts) -> tuple[str, tuple[str, ...]]:
    by_word = f"{AGAIN} --deleted {one.key}"
    if (
        one.stage is Stage.CURRENT and one.reason in LOST
    ):  # what serves it is in memory alone: nothing ends it first
        do, commands = _a_fresh_key(one, facts)
        if one.account in facts.over:
            over = f"delete it there, and say so: nobody has a grant on {one.account}, and the account is given up then"
            return f"{lost.brought_back(one.reason, over)}; or {do}", (
                *((AGAIN,) if one.reason in COMES_BACK else ()), by_word, *commands,
            )  # fmt: skip
        first = (
            "it is in use, and gateways that hold it trade on: do not delete it, and do not restart them, before a new "
            f"key is in use. {lost.brought_back(one.reason, do)}. Then delete the lost one there"
        )
        commands = (*((AGAIN,) if one.reason in COMES_BACK else ()), *commands)
        return _or_released(one, facts, first, commands)
    if one.reason == EGRESS_LOST:  # nothing was asked, and its secret is where it was
        do = "bring that password back, and compare again; if the key is deleted there, say so"
        return do, (AGAIN, by_word)
    if one.stage is not Stage.CURRENT and _is_unlisted(one, facts):
        return "its manager key's list does not have it either: look it up there, and say so", (by_word,)
    if one.reason == "key_refused":
        do = "the exchange refuses it from here: add the addresses of this host's egress to its list there, and "
        do += "compare again; if it is deleted there, say so"
    elif one.reason == "unknown_key":
        do = "look it up there: so are living keys refused in a ban. Compare again in ten seconds, or say it is deleted"
    elif one.reason in LOST:
        do = "what it needs is not here any more: delete the key at the exchange, say so"
    else:
        do = (
            "mend what is in the way (network, addresses, a ban runs out) and compare again; if it is deleted there, "
            "say so"
        )
    again = () if one.reason in LOST else (AGAIN,)
    if one.stage is Stage.CURRENT and one.account in facts.over:
        do += f". It needs a fresh one only where {one.account} is to be used again: nobody has a grant on it"
        return do, (*again, by_word, *_a_fresh_key(one, facts)[1])
    if one.stage is Stage.CURRENT:
        commands = (*again, by_word, *_a_fresh_key(one, facts)[1])
        return _or_released(one, facts, f"{do}; then it needs a fresh one", commands)
    return do, (*again, by_word)


def _is_unlisted(one: Looked, facts: Facts) -> bool:
    """Tell whether a key that the venue turns down is missing from its manager key's list as well."""
    listing = facts.listed.get(one.account)
    return (
        one.reason == "key_refused" and listing is not None and not listing.reason and listing.lacks(one.key)
    )


def _of_its_list(name: str, facts: Facts) -> Iterator[Step]:
    named = [  # else the key's own step says what to do; and one that is deleted by a word is missing as it should be
        one.key
        for one in facts.looked
        if one.account == name and (one.key in facts.deleted or any(_of_a_key(one, facts)))
    ]
    return of_a_list(name, facts.listed[name], facts, named)


def _to_confirm(facts: Facts) -> Iterator[Step]:
    by_hand = {one.account for one in facts.looked} - set(facts.listed) | facts.by_hand
    for name in sorted(by_hand - facts.confirmed):
        made = next((row for row in facts.rotations if row.account == name and row.waits_for_a_person), None)
        but = (
            ""
            if made is None
            else f"; a key labelled {made.id} belongs to its rotation: answer that, or delete the key"
        )
        yield Step(
            f"{name}: no manager key lists its keys",
            f"look up at the exchange that there are no keys but those listed here{but}; then --confirm {name}",
            (f"{AGAIN} --confirm {name}",),
        )


def _of_the_old_host(facts: Facts) -> Iterator[Step]:
    if facts.old_host:
        yield Step(
            "the host this was restored from still holds keys that work",
            "make sure that it is off and say so with --old-host-off, or rotate every key listed here",
            (f"{AGAIN} --old-host-off",),
        )
