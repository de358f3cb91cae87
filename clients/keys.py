"""Keys as a venue keeps them: what one may do, how one is ordered, and who can make and delete them. Values, no I/O.

Rules:
1. Withdrawal cannot be written down here: nothing of ours ever asks for it.
2. A venue's word on a key is a `Standing`, and none of them is proof of its death: living keys were refused by name,
   too, each of them from one address (ccxt issues 10620 and 11045). What proves it is said in `rotation.retire`.
3. What a venue can do is data (`Capabilities`), never a code path of the callers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from clients.secret import Secret
from clients.venue import Credential


class Standing(StrEnum):
    """What a venue says of a key that asked with itself. NAMED: every host says that it does not know it."""

    ALIVE = "alive"
    NAMED = "refused-by-name"
    REFUSED = "refused"
    UNDECIDED = "undecided"


class Heard(NamedTuple):
    """How a key stands, the venue's reason, and what each host that was asked said: `/sapi -2008, /api -2015`."""

    standing: Standing
    said: str
    seen: str = ""


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a key may do beside reading. There is no field for withdrawals."""

    trade: bool = False
    margin: bool = False
    futures: bool = False
    transfer: bool = False
    options: bool = False

    def words(self) -> tuple[str, ...]:
        """Name what is on, for people and records."""
        return tuple(name for name in PERMISSIONS if getattr(self, name))


PERMISSIONS = ("trade", "margin", "futures", "transfer", "options")


@dataclass(frozen=True, slots=True)
class VenueKey:
    """A key as a venue lists it. `permissions` is None where the list does not tell."""

    key_id: str
    label: str
    permissions: Permissions | None = None
    created_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class KeyOrder:
    """A key to be made. `addresses` are those it may be used from; empty would mean anywhere and is refused.

    `public_key` is SPKI PEM where we keep the private half; None lets the venue make an HMAC secret.
    """

    subaccount: str
    label: str
    permissions: Permissions
    addresses: tuple[str, ...]
    public_key: str | None = None

    def __post_init__(self) -> None:
        if not self.addresses:
            raise ValueError("a key is bound to at least one address")


@dataclass(frozen=True, slots=True)
class MadeKey:
    """What a venue answers to an order. `secret` is there only where the venue made it."""

    key_id: str
    secret: Secret | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a venue's sub-account keys can be asked for. Times in seconds.

    `window_s` is how long after its timestamp a signed request may still take effect; `settling_s` how long after that
    lists may still not show it. `calls_per_minute` is the budget of each kind of call under one manager key.
    `most_keys` counts the keys that may exist beside one another. `unbound_lasts_days`: after this the venue takes
    rights from a key that is bound to no address; None where it does not.
    """

    create: bool
    delete: bool
    list: bool
    label: bool
    public_key: bool
    addresses: bool
    window_s: float
    settling_s: float
    calls_per_minute: int
    most_keys: int
    label_longest: int
    unbound_lasts_days: int | None = None


BY_HAND = Capabilities(
    create=False, delete=False, list=False, label=True, public_key=True, addresses=True, window_s=0.0,
    settling_s=10.0, calls_per_minute=0, most_keys=0, label_longest=64, unbound_lasts_days=30,
)  # fmt: skip
"""A main account: a person makes and deletes its keys at the exchange's own pages, and nothing can be listed."""


@dataclass(frozen=True, slots=True)
class Pages:
    """The venue's pages in its own words, for who makes keys by hand. `permissions` by the names of `PERMISSIONS`."""

    where: str
    own_key: str
    their_key: str
    reading: str
    permissions: Mapping[str, str]
    withdrawal: str
    addresses: str


@dataclass(frozen=True, slots=True)
class Restrictions:
    """What a venue says a key may do, asked with the key itself.

    `more` names what else is on, in the venue's own words; `withdraw` counts unless it is plainly off.
    """

    permissions: Permissions
    withdraw: bool
    ip_restricted: bool
    account_uid: str
    more: tuple[str, ...] = ()


class KeyAdmin(Protocol):
    """Makes, lists and deletes the keys of sub-accounts with a manager key. Blocks; every method may raise VenueError.

    `stamp` tells the venue time to sign with. It is asked as the last thing before the request is sent, so that nothing
    that waits uses up the receive window; what it raises stops the request. One that is held up dies by that window.
    """

    capabilities: Capabilities

    def create(self, order: KeyOrder, *, stamp: Callable[[], int]) -> MadeKey:
        """Make a key. VenueAmbiguous: it may exist."""
        ...

    def list(self, subaccount: str) -> tuple[VenueKey, ...]:
        """Return every key of a sub-account."""
        ...

    def find(self, subaccount: str, key_id: str) -> VenueKey | None:
        """Return one key of a sub-account, or None where the list does not have it."""
        ...

    def addresses(self, subaccount: str, key_id: str) -> tuple[str, ...] | None:
        """Return the addresses a key is bound to; None: it is bound to none."""
        ...

    def delete(self, subaccount: str, key_id: str, *, stamp: Callable[[], int]) -> None:
        """Delete a key. Not there: VenueRefused with the reason `unknown_key`."""
        ...

    def subaccounts(self) -> tuple[str, ...]:
        """Return the names of the sub-accounts."""
        ...


class KeyProbe(Protocol):
    """Asks a venue with a key itself."""

    def restrictions(self, credential: Credential) -> Restrictions:
        """Read back what a key may do. Raises VenueError."""
        ...

    def now_us(self) -> int:
        """Return the venue's time, by its clock as it was read for the last `standing`; before, by ours."""
        ...

    def standing(self, credential: Credential) -> Heard:
        """Tell how a key stands, and what was seen where. Raises only VENUE_PAUSE."""
        ...

    def served(self, credential: Credential) -> Heard:
        """Tell whether every host that `standing` asks serves a key: ALIVE. Raises only VENUE_PAUSE."""
        ...


def differences(wanted: Permissions, found: Permissions) -> tuple[str, ...]:
    """Name where permissions are not exactly as wanted."""
    return tuple(
        f"{name} is {'on' if getattr(found, name) else 'off'} and should be {'on' if getattr(wanted, name) else 'off'}"
        for name in PERMISSIONS
        if getattr(found, name) is not getattr(wanted, name)
    )
