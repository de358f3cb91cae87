"""What every use case works with: database, secret store, clock, the home's facts; and pages of answers."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

from broker.db.checkouts import Checkout
from broker.db.database import Database
from broker.errors import Malformed, NotFound, Problem
from broker.files.ours import Ours
from broker.gate import Gate
from broker.gate_document import NotedCut
from broker.model import NAME, Grant, KeyVersion
from broker.pasted import looks_secret
from broker.ports import Clock, SecretStore
from broker.service.host_guard import HostGuard
from broker.service.unrecorded import Unrecorded
from broker.steady import Watch
from clients.outbound import LOOPBACK, PUBLIC, Reach
from clients.venue import Environment

T = TypeVar("T")
LARGEST_PAGE = 500
VENUES = ("binance",)
_LONGEST_NUMBER = 18
_MOST_TAKEN = 1_000


@dataclass(frozen=True, slots=True)
class Home:
    """What is fixed for a home for ever, and its generation, which only a restore raises."""

    instance: str
    environment: Environment
    mode: str
    generation: int


@dataclass(frozen=True, slots=True)
class Change:
    """What gateways have to hear of: gates as they are now, and policies.

    `void` leases have no successors: what they were issued on (a virtual key, standing for the whole account) is
    no longer so, and they must be opened anew. `cut` is the cut or halt that was made, if it is one. `account` and
    `consumer` are of the grant whose policy changed: their limits bind the grants beside it. `closing` is in force at
    once, before it is on record; `over` are closings that end with this change, as the gates have them or taken back.
    `known` is a grant from which something was taken, as it is on record now.
    """

    number: int
    gates: tuple[Gate, ...] = ()
    grant: str | None = None
    void: bool = False
    cut: str = ""
    account: str | None = None
    consumer: str | None = None
    closing: NotedCut | None = None
    over: tuple[str, ...] = ()
    known: Grant | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some answers, and where the next ones begin; None at the end."""

    items: tuple[T, ...]
    next: str | None = None


class _Clocks:
    """The clocks of a desk, whichever it has by now."""

    def __init__(self, desk: "Desk") -> None:
        self._desk = desk

    def now_us(self) -> int:
        return self._desk.clock.now_us()

    def boot_us(self) -> int:
        return self._desk.clock.boot_us()


class Right(Enum):
    """What may be taken away, and by what it is named and told apart."""

    OPERATOR = "an operator: the token's digest, and the name"
    SESSION = "a login: the token's digest, and the name"
    DESTINATION = "a place that gets keys: the name, and when it was made"
    ACT = "what was announced: its id"


@dataclass(slots=True)
class Desk:
    """What use cases share. `tell` hands changes to whoever pushes them to gateways.

    `reach` is what webhooks and alerts may be sent to; no key is written into `ours`. `closings` are cuts that are in
    force in this process and not on record yet, `in_use` by their ids which key
    versions were in use as they were made. `guard` is asked before whatever touches an exchange, a key or a secret.
    `spans` tells which spans of time on record are over. `handed` are keys that this process handed out or asked back,
    `taken` are rights that were taken away, by kind: a database that goes back forgets that (`took`).
    `unrecorded` is where cuts are left that no store has taken. `gone` are paths that are needed and the secret
    store has not, by whose they are: `("grant", id)`, `("key", ref)`, `("egress", name)` or `("codes", operator)`.
    """

    database: Database
    secrets: SecretStore
    clock: Clock
    home: Home
    ours: Ours = field(default_factory=Ours)
    listeners: list[Callable[[Change], None]] = field(default_factory=list)
    reach: Reach = PUBLIC
    closings: dict[str, NotedCut] = field(default_factory=dict)
    in_use: dict[str, Mapping[tuple[str, str], int | None]] = field(default_factory=dict)
    handed: dict[str, tuple[Checkout, KeyVersion | None]] = field(default_factory=dict)
    taken: dict[Right, dict[str, str]] = field(default_factory=dict)
    unrecorded: Unrecorded = field(default_factory=Unrecorded)
    gone: dict[tuple[str, str], str] = field(default_factory=dict)
    guard: HostGuard = field(init=False)
    spans: Watch = field(init=False)
    _last_change: int = 0
    _told: int = 0
    _counting: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.guard = HostGuard(self.database, self.secrets, self.home.instance, self.home.generation)
        self.spans = Watch(_Clocks(self))
        if self.reach == PUBLIC and self.home.environment is Environment.PAPER:
            self.reach = LOOPBACK

    def took(self, right: Right, name: str, mark: str = "") -> None:
        """Keep in mind that a right was taken away, once that is committed. `mark` tells it from another so named."""
        kept = self.taken.setdefault(right, {})
        kept.pop(name, None)
        kept[name] = mark
        if len(kept) > _MOST_TAKEN:
            del kept[next(iter(kept))]

    @property
    def changes(self) -> int:
        """How many changes were told in this process: a cut is among them before it is answered."""
        return self._told

    def number(self) -> Change:
        """Return a change of its own number that nobody is told of."""
        with self._counting:
            self._last_change += 1
            return Change(self._last_change)

    def tell(
        self, gates: Sequence[Gate] = (), grant: str | None = None, *, void: bool = False, cut: str = "",
        account: str | None = None, consumer: str | None = None, known: Grant | None = None,
    ) -> Change:  # fmt: skip
        """Say that something changed, after it was committed."""
        return self._heard(
            Change(self.number().number, tuple(gates), grant, void, cut, account, consumer, known=known)
        )

    def close_now(self, closing: NotedCut) -> Change:
        """Say that something is closed before it is committed."""
        self.closings[closing.id] = closing
        return self._heard(Change(self.number().number, closing=closing))

    def committed(self, closed: Change, closing: str, gates: Sequence[Gate]) -> None:
        """Say that a closing is on record: the gates as they are now. It stays the same change."""
        self._heard(Change(closed.number, tuple(gates), cut=closing, over=(closing,)))
        self._over(closing)

    def take_back(self, closing: str) -> Change:
        """Say that a closing is over and was never on record."""
        self._over(closing)
        return self._heard(Change(self.number().number, over=(closing,)))

    def _over(self, closing: str) -> None:
        self.closings.pop(closing, None)
        self.in_use.pop(closing, None)

    def _heard(self, change: Change) -> Change:
        with self._counting:
            self._told += 1
        for listener in self.listeners:
            listener(change)
        return change


def check_name(field_name: str, name: str) -> None:
    """Refuse a name that cannot be one.

    Raises:
        Malformed: With what a name is.
    """
    if looks_secret(name):
        raise Malformed(
            "held_secret", (Problem(field_name, "looks like a key: choose a name that says who it is"),)
        )
    if not NAME.fullmatch(name):
        message = "is 1 to 64 of a-z, 0-9, dot, dash, underscore, and begins and ends with a letter or digit"
        raise Malformed("bad_name", (Problem(field_name, message),))


def missing(kind: str, name: str) -> NotFound:
    """Return the error for a name that is not known."""
    listed = {
        "grant": "grant list",
        "account": "account list",
        "consumer": "consumer list",
        "egress": "egress list",
        "rotation": "rotation list",
        "schedule": "schedule show",
        "manager": "manager list",
        "destination": "destination list",
        "checkout": "checkout list",
        "channel": "alerts list",
    }
    shown = name if len(name) <= 80 else name[:77] + "..."  # noqa: PLR2004 - what a screen line holds
    return NotFound(
        f"no_{kind}", f"there is no {kind} {shown!r}; `portcullis {listed.get(kind, 'status')}` shows them"
    )


def cursor_number(text: str) -> int:
    """Read a number out of a cursor: plain digits that every database can hold.

    Raises:
        Malformed: It is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER):
        raise Malformed("bad_cursor", (Problem("cursor", "is none of ours; start without it"),))
    return int(text)


def page(rows: Sequence[T], limit: int, cursor: Callable[[T], str]) -> Page[T]:
    """Cut a page out of rows that were asked for with one more than the limit."""
    if len(rows) <= limit:
        return Page(tuple(rows))
    return Page(tuple(rows[:limit]), cursor(rows[limit - 1]))
