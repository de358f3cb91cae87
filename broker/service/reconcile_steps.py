"""What is left to do before what was closed by itself may be thawed, and how it is thawed then. Pure.

Rules:
1. Every step says what is so and what to do, with the commands; doing it leads out, whatever else is the case.
2. A key that is not in use stands in the way only while it lives and may do more than it should: a previous one
   that is dead is what it should be, and a pending one that was never made is its rotation's business.
3. Where a venue gives no answer that decides, an operator looks the key up and declares it deleted: a word on record.
   An outage is no such case: it is asked again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from broker.model import Stage


class Finding(StrEnum):
    """What became of a key on record."""

    ALIVE = "alive"
    CHANGED = "changed"
    DEAD = "dead"
    UNDECIDED = "undecided"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Looked:
    """One key, and what was found; `reason` is the short form of why nothing better was."""

    key: str
    stage: Stage
    finding: Finding
    note: str = ""
    reason: str = ""

    @property
    def account(self) -> str:
        """Whose it is."""
        return self.key.rsplit("/", 2)[0]

    @property
    def slot(self) -> str:
        """What it is for."""
        return self.key.rsplit("/", 2)[1]

    @property
    def works(self) -> bool:
        """Whether it may work for whoever has it."""
        return self.finding not in {Finding.DEAD, Finding.PENDING}


@dataclass(frozen=True, slots=True)
class Listing:
    """What a manager key's list of an account had against the record; `reason`: why it could not be had."""

    manager: str
    odd: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class OpenRotation:
    """A rotation that is not over. `held`: why nobody carries it on; `old` and `new` are its key versions."""

    id: str
    account: str
    slot: str
    waits_for_a_person: bool
    held: str = ""
    state: str = ""
    old: str = ""
    new: str = ""


@dataclass(frozen=True, slots=True)
class OpenCut:
    """A cut in force. `own`: the program closed everything by itself."""

    id: str
    actor: str
    reason: str
    own: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """All that decides. `old_host`: a predecessor may hold keys that work; `superseded`: why this is the old home."""

    looked: tuple[Looked, ...] = ()
    listed: Mapping[str, Listing] = field(default_factory=dict)
    rotations: tuple[OpenRotation, ...] = ()
    cuts: tuple[OpenCut, ...] = ()
    confirmed: frozenset[str] = frozenset()
    deleted: frozenset[str] = frozenset()
    old_host: bool = False
    superseded: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do: what is so, what to do, and the commands for it."""

    what: str
    do: str
    commands: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """The step in one line."""
        commands = f" ({'; '.join(f'`{one}`' for one in self.commands)})" if self.commands else ""
        return f"{self.what}: {self.do}{commands}"


_AGAIN = "portcullis reconcile"
_LOST = frozenset({"no_secret", "destroyed", "no_egress", "bad_secret"})
"""What a key needs on our side is gone: it is never asked with again."""

_REFUSED = frozenset({"unknown_key", "key_refused", "bad_signature"})
"""A manager key that the venue turns down: a list will not be had with it, however often it is asked."""


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
        *(step for one in facts.looked for step in _of_a_key(one, facts)),
        *(step for name, one in sorted(facts.listed.items()) for step in _of_a_list(name, one, facts)),
        *_to_confirm(facts),
        *_of_the_old_host(facts),
    )


def held(facts: Facts) -> tuple[Step, ...]:
    """Return what becomes of each rotation that is held: a person says it, by what the exchange says of its keys."""
    return tuple(_of_a_rotation(one, facts) for one in facts.rotations if one.held and not facts.superseded)


_TAKES_OLD = frozenset({"draining", "retiring-old", "cutting-over", "canary"})
"""States from which going on ends the old key."""

_GIVES_UP = frozenset({"draining", "canary"})
"""Those from which the old one can be taken back."""


def _of_a_rotation(one: OpenRotation, facts: Facts) -> Step:
    said = {row.key: row for row in facts.looked}
    names = [name for name in (one.old, one.new) if name]
    words = [f"{name} is {_standing(said.get(name), facts)}" for name in names]
    listing = facts.listed.get(one.account, Listing(""))
    marks = (*(f"{name} " for name in names), _made_by(one))
    words += [_bare(word) for word in listing.odd if any(mark in word for mark in marks)]
    what = (
        f"the rotation {one.id} stood in {one.state} when everything was closed, and is held. At the exchange "
        f"{', '.join(words)}"
    )
    drop = f'portcullis rotation drop {one.id} --reason "..."'
    resume = f"portcullis rotation resume {one.id}"
    back = (f'portcullis rotation rollback {one.id} --reason "restored"',) if one.state in _GIVES_UP else ()
    standing = [said[name].finding for name in names if name in said and name not in facts.deleted]
    new = said.get(one.new)
    if new is None or new.finding is Finding.DEAD or one.new in facts.deleted:
        if one.state not in _TAKES_OLD:
            return Step(what, "drop it: it has nothing to go on with", (drop, resume))
        return Step(
            what,
            f"do NOT let it go on: it would end {one.old or 'what is left'}, and the new key does not live. "
            f"{'Take the old one back, or drop it' if back else 'Drop it'}; a key that is in use on record and dead "
            "needs a fresh one",
            (*back, drop),
        )
    if Finding.UNDECIDED in standing:
        return Step(
            what,
            "find out first which of its keys lives: one that goes on by a wrong record ends the only one that does",
            (_AGAIN, *back, drop),
        )
    return Step(
        what,
        "let it go on if that is how it should be, or drop it: then nothing is asked of the exchange",
        (resume, *back, drop),
    )


def _standing(row: Looked | None, facts: Facts) -> str:
    if row is None:
        return "dead on record"
    return "deleted, you say" if row.key in facts.deleted else _word(row)


def _word(row: Looked) -> str:
    return row.finding.value if not row.note else f"{row.finding.value} ({row.note})"


def is_compared(facts: Facts) -> bool:
    """Tell whether the exchanges have answered for every key and every list; an outage is no answer."""
    answered = all(
        one.finding is not Finding.UNDECIDED or one.reason in _LOST | _REFUSED or one.key in facts.deleted
        for one in facts.looked
    )
    listed = all(not one.reason or one.reason in _REFUSED for one in facts.listed.values())
    return answered and listed and not facts.superseded


def opening(facts: Facts) -> tuple[Step, ...]:
    """Return what opens, once nothing stands in the way; and what waits for a person besides."""
    found = [
        Step(
            f"{one.id} holds everything closed ({one.reason})",
            "thaw it; that needs a second person, or a code and ten minutes, as every opening does",
            (f'portcullis thaw {one.id} --reason "compared with the exchanges"',),
        )
        for one in facts.cuts
        if one.own
    ]
    found += [
        Step(
            f"{one.actor} cut something as well: {one.id} ({one.reason})",
            "thaw it once its own reason is over; the others do not wait for it",
            (f"portcullis thaw {one.id} --reason WHY",),
        )
        for one in facts.cuts
        if not one.own
    ]
    return (*found, *(_waiting(one) for one in facts.rotations if one.waits_for_a_person and not one.held))


def _waiting(one: OpenRotation) -> Step:
    return Step(
        f"the rotation {one.id} of {one.account}/{one.slot} waits for you",
        "do it when it suits, or give it up; nothing waits for it",
        (f"portcullis rotation show {one.id}",),
    )


def _of_a_key(one: Looked, facts: Facts) -> Iterator[Step]:
    if one.finding in {Finding.ALIVE, Finding.PENDING} or (
        one.key in facts.deleted and one.stage is not Stage.CURRENT
    ):
        return
    if one.finding is Finding.DEAD or one.key in facts.deleted:
        if one.stage is Stage.CURRENT:
            yield Step(
                f"{one.key} is in use on record, and {one.note or 'is deleted'}", *_a_fresh_key(one, facts)
            )
        return
    if one.finding is Finding.CHANGED:
        if one.stage is Stage.CURRENT:
            yield Step(
                f"{one.key} is changed: {one.note}",
                "find out who did that, set it right at the exchange's API Management page and compare again; or "
                "replace the key, and delete this one there",
                (_AGAIN, *_a_fresh_key(one, facts)[1]),
            )
        else:
            yield Step(
                f"{one.key} was replaced, lives, and is changed: {one.note}",
                "delete it at the exchange, then say so",
                (f"{_AGAIN} --deleted {one.key}",),
            )
        return
    yield Step(f"{one.key} is undecided: {one.note}", *_undecided(one, facts))


def _a_fresh_key(one: Looked, facts: Facts) -> tuple[str, tuple[str, ...]]:
    """Say how a slot gets a key again: by the rotation that is open, by one more, or by hand."""
    going_on = next(
        (row for row in facts.rotations if (row.account, row.slot) == (one.account, one.slot)), None
    )
    if going_on is not None:
        return (
            "its rotation is open: go on with it, or give it up and import a key that the exchange knows",
            (
                f"portcullis rotation show {going_on.id}",
                f"portcullis key import --account {one.account} --slot {one.slot}",
            ),
        )
    imported = f"portcullis key import --account {one.account} --slot {one.slot}"
    if one.account in facts.listed:
        start = f"portcullis rotation start --account {one.account} --slot {one.slot} --wait"
        return "let a fresh one be made, or import one that the exchange knows", (start, imported)
    return "make a key at the exchange, and import it", (imported,)


def _undecided(one: Looked, facts: Facts) -> tuple[str, tuple[str, ...]]:
    by_word = f"{_AGAIN} --deleted {one.key}"
    if one.stage is not Stage.CURRENT and _is_unlisted(one, facts):
        return "its manager key's list does not have it either: it is deleted there. Say so", (by_word,)
    if one.reason == "key_refused":
        do = (
            "the exchange refuses it from here: add the addresses of this host's egress to its list there, and compare "
            "again; if it is deleted there, say so"
        )
    elif one.reason in _LOST:
        do = "what it needs is not here any more: delete the key at the exchange, say so"
    else:
        do = (
            "mend what is in the way (network, addresses, a ban runs out) and compare again; if it is deleted there, "
            "say so"
        )
    again = () if one.reason in _LOST else (_AGAIN,)
    if one.stage is Stage.CURRENT:
        return f"{do}; then it needs a fresh one", (*again, by_word, *_a_fresh_key(one, facts)[1])
    return do, (*again, by_word)


def _is_unlisted(one: Looked, facts: Facts) -> bool:
    """Tell whether a key that the venue turns down is missing from its manager key's list as well."""
    listing = facts.listed.get(one.account)
    return (
        one.reason == "key_refused"
        and listing is not None
        and not listing.reason
        and any(_is_missing(one.key, word) for word in listing.odd)
    )


def _is_missing(key: str, word: str) -> bool:
    """Tell whether a word about a list says that this key is not in it."""
    return word.startswith(f"{key} (")


def _of_a_list(name: str, listing: Listing, facts: Facts) -> Iterator[Step]:
    if listing.reason in _REFUSED:
        if name in facts.confirmed:
            return
        yield Step(
            f"{name}: {listing.odd[0]}",
            f"import another manager key and put the account under it; or look up at the exchange that {name} has no "
            "keys but those listed here, and say so",
            (
                "portcullis manager import --name NEW",
                f"portcullis account manage {name} --manager NEW --subaccount EMAIL",
                f"{_AGAIN} --confirm {name}",
            ),
        )
        return
    if listing.reason:
        yield Step(
            f"{name}: {listing.odd[0]}",
            "see whether the exchange and its egress are well, and compare again",
            (_AGAIN,),
        )
        return
    named = [one.key for one in facts.looked if one.account == name and any(_of_a_key(one, facts))]
    for word in listing.odd:
        going_on = next((row for row in facts.rotations if _made_by(row) in word), None)
        if going_on is not None:
            yield Step(
                f"{name}: {_bare(word)}",
                "do NOT delete it, it may be in use: its rotation is open, and goes on with it once you let it. "
                "Then compare again",
                (f"portcullis rotation resume {going_on.id}", _AGAIN),
            )
        elif not any(_is_missing(key, word) for key in named):  # else the key's own step says what to do
            yield Step(f"{name}: {word}", "see to that, and compare again", (_AGAIN,))


def _made_by(one: OpenRotation) -> str:
    """Return what a word about a list has of a key that a rotation made."""
    return f"({one.id})"


def _bare(word: str) -> str:
    """Return what a list has, without what is said to do about it."""
    return word.partition(". Delete it there")[0]


def _to_confirm(facts: Facts) -> Iterator[Step]:
    by_hand = {one.account for one in facts.looked} - set(facts.listed)
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
            (f"{_AGAIN} --confirm {name}",),
        )


def _of_the_old_host(facts: Facts) -> Iterator[Step]:
    if facts.old_host:
        yield Step(
            "the host this was restored from still holds keys that work",
            "make sure that it is off and say so with --old-host-off, or rotate every key listed here",
            (f"{_AGAIN} --old-host-off",),
        )
