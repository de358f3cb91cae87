"""What `reconcile` has found, and what operators have said, as its steps are decided by it. Pure.

Rules:
1. A word that a key is deleted counts where nothing belies it: an exchange does that serves the key, or lists it, in
   the very same comparison. Such a word is told, and forgotten: it was untrue as it was said, and no later answer is
   read by it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from broker.model import Death, Stage


class Finding(StrEnum):
    """What became of a key on record."""

    ALIVE = "alive"
    CHANGED = "changed"
    DEAD = "dead"
    UNDECIDED = "undecided"
    PENDING = "pending"


def is_missing(key: str, word: str) -> bool:
    """Tell whether a word about a list says that this key is not in it."""
    return word.startswith(f"{key} (")


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

    @property
    def is_served(self) -> bool:
        """Whether the exchange has just taken it."""
        return self.finding in {Finding.ALIVE, Finding.CHANGED}


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What a manager key's list of an account has against the record.

    `there`: the keys on record that it has, whichever account's. `odd`: what is not as it is on record, in words, each
    with the label of the key that it is about. `foreign`: why it is perhaps not the account's; what it lacks says
    nothing then, what it has lives all the same.
    """

    there: frozenset[str] = frozenset()
    odd: Mapping[str, str] = field(default_factory=dict)
    foreign: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a manager key's list of an account had against the record; `reason`: why it could not be had.

    `there`, `foreign`: see `Surveyed`; `labels`: by word, the label of the key that it is about.
    `subaccount` and `egress` are what another manager key would be put in its place with, `free` a name for that.
    `alike`: it was asked for by the same way as the account's own keys are.
    """

    manager: str
    odd: tuple[str, ...] = ()
    reason: str = ""
    subaccount: str = "EMAIL"
    egress: str = "direct"
    free: str = "NEW"
    alike: bool = False
    there: frozenset[str] = frozenset()
    foreign: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def lacks(self, key: str) -> bool:
        """Tell whether it does not have a key that is living on record, and was compared with it."""
        return any(is_missing(key, word) for word in self.odd)


def is_listed(key: str, listed: Mapping[str, Listing]) -> bool:
    """Tell whether one of the lists has a key on record, living or dead there, whichever account's list it is."""
    return any(key in one.there for one in listed.values())


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


@dataclass(frozen=True, slots=True)
class Facts:
    """All that decides. `old_host`: a predecessor may hold keys that work; `superseded`: why this is the old home."""

    looked: tuple[Looked, ...] = ()
    listed: Mapping[str, Listing] = field(default_factory=dict)
    rotations: tuple[OpenRotation, ...] = ()
    cuts: tuple[OpenCut, ...] = ()
    confirmed: frozenset[str] = frozenset()
    said_deleted: frozenset[str] = frozenset()
    deaths: Mapping[str, Death] = field(default_factory=dict)  # of tombstones, what says that they are dead
    unused: frozenset[str] = frozenset()  # accounts on which nobody has a grant
    by_hand: frozenset[str] = frozenset()  # accounts under no manager key, with a key on record or none
    old_host: bool = False
    superseded: str = ""
    unread: tuple[Step, ...] = ()  # what of the record could not be read or written

    @property
    def belied(self) -> frozenset[str]:
        """The keys that an operator says are deleted, and that the exchange has."""
        found = {one.key: one for one in self.looked}
        return frozenset(key for key in self.said_deleted if self._has(key, found.get(key)))

    def _has(self, key: str, found: Looked | None) -> bool:
        return is_listed(key, self.listed) or (found is not None and found.is_served)

    @property
    def over(self) -> frozenset[str]:
        """The unused accounts that are given up with their key: no list of their own says what else there is."""
        return frozenset(name for name in self.unused if not self._is_listed_for(name))

    @property
    def to_release(self) -> frozenset[str]:
        """The unused accounts that are given up once they are under no manager key."""
        return self.unused - self.over

    def _is_listed_for(self, name: str) -> bool:
        return name in self.listed and not self.listed[name].foreign

    @property
    def deleted(self) -> frozenset[str]:
        """The keys that are deleted by a word that counts."""
        return self.said_deleted - self.belied


def given_up(facts: Facts) -> frozenset[str]:
    """Return the accounts on which nobody has a grant and whose key in use is declared deleted."""
    over = (one for one in facts.looked if one.stage is Stage.CURRENT and one.key in facts.deleted)
    return frozenset(one.account for one in over if one.account in facts.over)
