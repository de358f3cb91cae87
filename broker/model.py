"""What the broker knows: accounts, key versions, consumers, grants, scopes. Frozen values, no I/O, no clock.

Rules:
1. Ids are text that we made (`new_id`), except account, consumer and gateway names, which people chose.
2. No value here holds a secret; a `KeyVersion` knows the path under which the secret store holds it.
3. Instants are aware UTC datetimes (`_at`) or, on the hot path, integer microseconds (`_us`).
"""

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from clients.venue import Environment, KeyType, Slot

NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
"""Names people choose: lower case, digits, dot, dash, underscore; at most 64."""

_LONG_ID = 32
_ID_BYTES = 10


def new_id(kind: str) -> str:
    """Return a fresh id such as `grt_8f2k...`: a readable kind and 80 random bits."""
    return f"{kind}_{secrets.token_hex(_ID_BYTES)}"


def in_part(text: str) -> str:
    """Return the ends of an id, by which whoever knows it knows it again, and of which nobody else makes the whole."""
    return f"{text[:8]}...{text[-4:]}" if len(text) >= _LONG_ID else f"{text[: len(text) // 4]}..."


def moment(us: int) -> datetime:
    """Return microseconds since the epoch as aware UTC."""
    return datetime.fromtimestamp(us / 1_000_000, UTC)


class Stage(StrEnum):
    """Where a key version is in its life."""

    PENDING = "pending"
    CURRENT = "current"
    PREVIOUS = "previous"
    TOMBSTONE = "tombstone"


class Death(StrEnum):
    """What says that a key version is dead. Its stage does not: with a tombstone nothing is asked any more."""

    UNSAID = ""
    """It lives, or was never made as far as is known."""

    UNPROVEN = "unproven"
    """It was ended on record, and nothing says that it is dead: it was seen to live after all, or what is known of its
    end proves nothing."""

    PROVEN = "proven"
    STATED = "stated"
    """A person's word, which nothing proves."""

    CONFIRMED = "confirmed"
    """A person's word, and once more: they looked it up again."""


class ScopeKind(StrEnum):
    """What a gate can close, widest first."""

    EVERYTHING = "everything"
    VENUE = "venue"
    ACCOUNT = "account"
    KEY_VERSION = "key-version"
    GATEWAY = "gateway"
    CONSUMER = "consumer"
    GRANT = "grant"


ITSELF = "portcullis"
"""The actor where no operator asked: the program by itself."""

EVERYTHING = "everything"


def scope(kind: ScopeKind, ref: str = "") -> str:
    """Return the stable text of a scope: `consumer:momentum-bot`, or `everything`.

    Raises:
        ValueError: A reference is missing, or given for everything.
    """
    if (kind is ScopeKind.EVERYTHING) != (not ref):
        raise ValueError("every scope but everything names what it is about")
    return EVERYTHING if kind is ScopeKind.EVERYTHING else f"{kind.value}:{ref}"


_VERSION = re.compile(r"[1-9][0-9]{0,8}")
"""One spelling of a number: a gate under another one would hold nothing."""


def is_version(ref: str) -> bool:
    """Tell whether a text is how a key version is written."""
    account, slot, version = (*ref.rsplit("/", 2), "", "")[:3]
    return bool(account and slot and _VERSION.fullmatch(version))


def is_readable(name: str) -> bool:
    """Tell whether a scope can be one of those that somebody stands in, as far as its form tells."""
    kind, _, ref = name.partition(":")
    return name == EVERYTHING or (bool(ref) and (kind != ScopeKind.KEY_VERSION.value or is_version(ref)))


@dataclass(frozen=True, slots=True)
class KeyRef:
    """A key version: account name, slot, number."""

    account: str
    slot: Slot
    version: int

    def __str__(self) -> str:
        return f"{self.account}/{self.slot.value}/{self.version}"

    @property
    def path(self) -> str:
        """Where the secret store holds its secret; the broker's role never reads a responder's."""
        return f"{'responders' if self.slot is Slot.RESPONDER else 'keys'}/{self}"

    @classmethod
    def parse(cls, text: str) -> "KeyRef":
        """Read what `str` wrote.

        Raises:
            ValueError: It is something else.
        """
        account, slot, version = text.rsplit("/", 2)
        return cls(account, Slot(slot), int(version))


def chain(venue: str, key: KeyRef, gateway: str, consumer: str, grant: str) -> tuple[str, ...]:
    """Return every scope that a request of this grant stands in, widest first."""
    return (*whereabouts(venue, key, gateway), f"consumer:{consumer}", f"grant:{grant}")


def whereabouts(venue: str, key: KeyRef, gateway: str) -> tuple[str, ...]:
    """Return every scope that a key stands in at a gateway, whoever uses it there."""
    return (
        EVERYTHING,
        f"venue:{venue}",
        f"account:{key.account}",
        f"key-version:{key}",
        f"gateway:{gateway}",
    )


def lasting(venue: str, account: str, gateway: str, consumer: str, grant: str) -> tuple[str, ...]:
    """Return the scopes that a grant stands in at a gateway for ever: all of its chain but the key version."""
    return (EVERYTHING, f"venue:{venue}", f"account:{account}", f"gateway:{gateway}", f"consumer:{consumer}",
            f"grant:{grant}")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Account:
    """One account at a venue. `upstream` overrides the venue's hosts, in a paper home on loopback only.

    `manager` and `subaccount` go together: whose manager key makes its keys, and how the venue calls it there.
    """

    name: str
    venue: str
    environment: Environment
    egress: str
    created_at: datetime
    venue_uid: str | None = None
    upstream: str | None = None
    manager: str | None = None
    subaccount: str | None = None


@dataclass(frozen=True, slots=True)
class Manager:
    """A manager key: makes and deletes the keys of a master account's sub-accounts. `path` holds its secret."""

    name: str
    venue: str
    environment: Environment
    egress: str
    venue_key_id: str
    key_type: KeyType
    path: str
    created_at: datetime
    upstream: str | None = None


def way_of(one: Account | Manager) -> tuple[object, ...]:
    """Return by what an account's or a manager key's calls go: what one hears there others of that way would, too."""
    return one.venue, one.environment, one.egress, one.upstream


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """One real key of an account and slot. `path` is where the secret store holds it; `death` what says it is dead."""

    ref: KeyRef
    stage: Stage
    venue_key_id: str
    key_type: KeyType
    path: str
    created_at: datetime
    ip_restricted: bool | None = None
    can_withdraw: bool | None = None
    death: Death = Death.UNSAID


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a slot's key is rotated: every `interval_for`, earlier by `jitter_for`, which was drawn once.

    `windows` as `broker.maintenance` reads them, in the time zone `zone`. `next_at` and `why` are what the rotator
    last worked out; None where there is nothing to rotate.
    """

    account: str
    slot: Slot
    interval_for: timedelta
    jitter_for: timedelta
    windows: str = ""
    zone: str = "UTC"
    paused: bool = False
    next_at: datetime | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Consumer:
    """A bot or a third-party tool."""

    name: str
    created_at: datetime
    note: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """Standing permission: consumer x account x policy, held by a bot as the virtual key `key_id`.

    `public_key` is set where the bot registered its own; then no secret of it exists on our side.
    `secret_path` is where the secret store holds the virtual HMAC secret otherwise.
    """

    id: str
    consumer: str
    account: str
    key_id: str
    key_type: KeyType
    policy: str
    policy_version: int
    created_at: datetime
    public_key: str | None = None
    secret_path: str | None = None
    revoked_at: datetime | None = None
