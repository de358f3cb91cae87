"""What happened, as those saw it who cannot be wrong about it: the exchange of itself, and who watches from outside.

Instants are microseconds since the epoch. What is watched in this process is stamped by a clock that only goes
forward, the exchange's own record by its clock, less what a test set it off by; what is on record by the broker's clock.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Written:
    """A signed request on its way to the exchange: the moment its bytes were handed to the connection.

    `scopes` is where it stands (grant, consumer, gateway, key, account, venue); `risk`: it may leave somebody with
    more than before. `names` are the client order ids that it carries, `key` is the version it is signed with, `virtual`
    the id of the bot's own key.
    """

    at_us: int
    grant: str
    scopes: frozenset[str]
    risk: bool
    names: tuple[str, ...]
    key: str = ""
    virtual: str = ""


@dataclass(frozen=True, slots=True)
class Executed:
    """An order that the exchange took, by the key it was signed with; `signed_us` is the instant in its signature."""

    key_id: str
    name: str
    signed_us: int | None = None


@dataclass(frozen=True, slots=True)
class InForce:
    """Somebody was told that a cut is in force at every gateway.

    Or that a grant was revoked, or has another virtual key: then it is `but` that is not cut.
    """

    at_us: int
    cut: str
    scopes: frozenset[str]
    halt: bool
    but: str = ""


@dataclass(frozen=True, slots=True)
class Reopened:
    """Somebody began to take a cut back."""

    at_us: int
    cut: str


@dataclass(frozen=True, slots=True)
class Noted:
    """A cut on record, whoever made it, and whether anybody was told or not. `thawed_us`: None where it holds."""

    cut: str
    opened_us: int
    thawed_us: int | None
    scopes: frozenset[str]
    halt: bool


@dataclass(frozen=True, slots=True)
class Key:
    """A key at the exchange, at the end. `label`: as whoever made it named it, where that was a signed request."""

    key_id: str
    account: str
    lives: bool
    label: str = ""


@dataclass(frozen=True, slots=True)
class Deleted:
    """A key that the exchange deleted because a signed request asked for it."""

    at_us: int
    key_id: str


@dataclass(frozen=True, slots=True)
class Version:
    """A key version on record, at the end. `stage` as `broker.model.Stage` spells it.

    `kept`: whether its secret is in the secret store; None where that was not asked, or cannot be.
    """

    slot: str
    number: int
    stage: str
    key_id: str
    kept: bool | None = None


@dataclass(frozen=True, slots=True)
class Became:
    """By the audit trail: a key version is in use from now on. `rotation`: by which; empty for an import."""

    at_us: int
    slot: str
    number: int
    rotation: str


@dataclass(frozen=True, slots=True)
class Buried:
    """By the audit trail: a key version is dead, and by what that is known."""

    at_us: int
    slot: str
    number: int
    proof: str


@dataclass(frozen=True, slots=True)
class Rotation:
    """A rotation on record, at the end: its state, what it was to replace and by what.

    `states` are those that it entered, and when; `ended_us` when it was over.
    """

    name: str
    state: str
    slot: str
    old: int | None
    new: int
    over: bool
    states: tuple[tuple[int, str], ...] = ()
    ended_us: int | None = None


@dataclass(slots=True)
class History:
    """All of it.

    `one_clock`: what is on record and what the exchange noted were timed by the same clock. `cuts` are those on record;
    None where somebody may be told of one that comes there later. `whole`: what keys went through is all there, and a test made and killed none itself.
    """

    written: list[Written] = field(default_factory=list)
    executed: list[Executed] = field(default_factory=list)
    in_force: list[InForce] = field(default_factory=list)
    reopened: list[Reopened] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    deleted: list[Deleted] = field(default_factory=list)
    versions: list[Version] = field(default_factory=list)
    became: list[Became] = field(default_factory=list)
    buried: list[Buried] = field(default_factory=list)
    rotations: list[Rotation] = field(default_factory=list)
    noted: list[Noted] = field(default_factory=list)
    cuts: frozenset[str] | None = None
    one_clock: bool = True
    whole: bool = True
