"""What the authority remembers of one connected gateway."""

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass, field, replace

from broker import policy_document
from broker.background import described
from broker.budget import Rules, Slice
from broker.db import Connection, history
from broker.db import grants as grant_store
from broker.gate import Gate
from broker.gate_document import NotedCut
from broker.link import frames
from broker.link.channel import Channel
from broker.link.frames import Frame
from broker.model import Grant, KeyRef
from broker.service.desk import Change
from broker.service.limits import rules_of

_LOG = logging.getLogger("portcullis.authority")
_SAME_END_US = 10_000_000
"""Ends of a pause that are no further apart are one: two clocks tell them."""


@dataclass(slots=True)
class Open:
    """One lease as the broker has it. `named_us`: when its gateway asked for it, or asked for it to go on, last."""

    id: str
    grant: str
    key: KeyRef
    chain: tuple[str, ...]
    epochs: tuple[int, ...]
    length_us: int
    consumer: str = ""
    exits_us: int = 0
    named_us: int = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """A hold on record as we wrote it last: for a lease of which length, and until when on our boot clock."""

    length_us: int
    until_us: int


@dataclass(slots=True)
class Incoming:
    """Call-log lines that wait to be taken in; the torn boots.

    By boot: `expected` is the number of the line that is to be kept next, `seen` that of the last line that ever came.
    `lately`: when lines of the gateway's own boot were kept, and from which number on. `earlier`: whether some of an
    earlier boot were. `again`: from which line on those of its own boot are wanted once more, up to `lost`.
    """

    queue: deque[frames.Calls | frames.SpoolDone] = field(default_factory=deque)
    lines: int = 0
    expected: dict[str, int] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    torn: set[str] = field(default_factory=set)
    lately: deque[tuple[float, int]] = field(default_factory=deque)
    earlier: bool = False
    working: bool = False
    again: int | None = None
    lost: int = 0


@dataclass(slots=True, eq=False)
class Link:
    """One gateway that is connected.

    The control thread adds leases while the loop reads them: whoever walks `leases` walks a copy.
    `holds` are the key versions with a hold on record; each heartbeat prolongs those that a lease needs.
    `latest` are the leases that virtual keys were given last, and the ones before them (`leased`).
    `heard_s`: when it said something last. `said`: what it found wrong last; None where it did not say yet, and
    what its last life found may still stand. `over`: it has ended, or said that it does: it reads nothing more.
    `parted`: it said that it serves nothing more. `marked`: what it was told last of how far the record has come.
    `accounts` are those on which it ever had a lease; `users` whose orders left there, by account and consumer: up to
    which line such are, and when it said so. `wrote` is up to which line it has written its log, `named_to` up to which
    it has named who sent them, `owes` how many of them it cannot write, and `said_all` whether it said that this is
    all; `moved_s` when that was taken in last; `ended_s` when the link ended
    (`behind`).
    """

    channel: Channel
    gateway: str
    boot: str
    leases: dict[str, Open] = field(default_factory=dict)
    latest: dict[str, tuple[str, ...]] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    holds: dict[str, Kept] = field(default_factory=dict)
    health: frames.Health | None = None
    incoming: Incoming = field(default_factory=Incoming)
    heard_s: float = field(default_factory=time.monotonic)
    over: bool = False
    parted: bool = False
    marked: str = ""
    marked_us: int = -(2**62)
    accounts: set[str] = field(default_factory=set)
    users: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)
    wrote: int = 0
    named_to: int = 0
    owes: int = 0
    said_all: bool = False
    moved_s: float = field(default_factory=time.monotonic)
    ended_s: float | None = None
    said: tuple[tuple[frames.KeyWord, ...], tuple[frames.Trouble, ...]] | None = None

    def says(self, frame: frames.Health) -> bool:
        """Take in how the gateway fares; tell whether it finds anything else wrong than before.

        A pause that goes on is none: what is left of it is less with every word, and each would be a write.
        """
        self.health = frame
        wrong = tuple(
            replace(one, until_us=(one.until_us + _SAME_END_US // 2) // _SAME_END_US, left_us=0)
            for one in frame.troubles
        )
        before, self.said = self.said, (frame.keys, wrong)
        return before != self.said

    def tell(self, frame: Frame) -> bool:
        """Send one frame; a gateway that cannot be told is hung up on, and others are told all the same.

        It knows less than it should then: its leases end by themselves, and it comes back to a fresh welcome.
        """
        try:
            self.channel.send(frame)
        except Exception as fault:  # noqa: BLE001 - one gateway's trouble must not keep a cut from the next
            name = type(frame).__name__
            _LOG.error("gateway %s could not be told %s: %s", self.gateway, name, described(fault))
            self.channel.close()
            return False
        return True

    def leased(self, key_id: str, held: Open) -> None:
        """Take a lease in; the one that it takes the place of ends when the gateway says so.

        Until it has the new one it asks on the old one, and where the new one never goes out it has no other. Of those
        before it, none is left.
        """
        self.accounts.add(held.key.account)
        before = [one for one in self.latest.get(key_id, ()) if one in self.leases]
        for gone in before[:-1]:
            self.leases.pop(gone, None)
        self.leases[held.id] = held
        self.latest[key_id] = (*before[-1:], held.id)

    def knows_not(self, lease: str, ask: int) -> None:
        """Answer an ask on a lease that is over: its gateway opens another one at once, not after its next renewal."""
        self.channel.send(frames.Renewed(ask, (), ((lease, "unknown_lease"),)))
        self.channel.send(frames.AskFailed(ask))


@dataclass(slots=True)
class Waiting:
    """Who still has to acknowledge a change, and what was on its way to the venue when it came in force there.

    By gateway: `flying` are these requests, `out` those without answer yet, `landed` the microseconds after which the
    last answer came. `gone` are gateways whose links had just ended. `took_s`: after how long all had acknowledged.
    `refused` said that it is not in force there, and why; what they say last counts.
    """

    told: tuple[str, ...]
    left: set[str]
    gone: tuple[str, ...] = ()
    done: asyncio.Event = field(default_factory=asyncio.Event)
    flying: dict[str, int] = field(default_factory=dict)
    out: dict[str, int] = field(default_factory=dict)
    landed: dict[str, int] = field(default_factory=dict)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    began_s: float = field(default_factory=time.monotonic)
    took_s: float | None = None
    refused: dict[str, str] = field(default_factory=dict)

    def acknowledge(self, gateway: str) -> None:
        """A gateway has it in force."""
        self.left.discard(gateway)
        self._look()

    def refuse(self, gateway: str, reason: str) -> None:
        """A gateway has it not in force: nobody need wait for it, and it counts as missing."""
        if gateway in self.left:
            self.refused[gateway] = reason
            self._look()

    def fly(self, gateway: str, requests: int) -> None:
        """So many were in flight at a gateway that is about to acknowledge."""
        if gateway in self.left:
            self.flying[gateway] = self.out[gateway] = requests

    def land(self, gateway: str, after_us: int, left: int) -> None:
        """So many of those have no answer yet."""
        if gateway in self.out:
            self.landed[gateway], self.out[gateway] = after_us, left
            self._look()

    def why_not(self) -> dict[str, str]:
        """Return who said that it is not in force there, and why."""
        return {name: why for name, why in self.refused.items() if name in self.left}

    def took_ms(self) -> int:
        """Return after how long all had acknowledged; as of now where one has not."""
        return round(1000 * (time.monotonic() - self.began_s if self.took_s is None else self.took_s))

    def on_their_way(self) -> "OnTheirWay":
        """Return what was on its way, and what of it is still unanswered."""
        return OnTheirWay(
            sum(self.flying.values()),
            sum(self.out.values()),
            max(self.landed.values(), default=None),
            tuple(sorted({*self.left, *self.gone})),
        )

    def _look(self) -> None:
        if self.left <= self.refused.keys():
            if self.took_s is None:
                self.took_s = time.monotonic() - self.began_s
            self.done.set()
            if not any(self.out.values()):
                self.over.set()


@dataclass(frozen=True, slots=True)
class OnTheirWay:
    """Requests that had left for the venue, unanswered, when a change came in force: nothing calls them back.

    `unanswered` are those without answer yet; `last_us` is when the last answer of the others came, after the change
    was in force at their gateway. Of `silent` gateways nothing is known: they have not answered, or their link had
    ended so shortly before that what they had sent may still have been on its way.
    """

    requests: int
    unanswered: int
    last_us: int | None
    silent: tuple[str, ...]

    @property
    def is_news(self) -> bool:
        """Whether there is something to tell: something was on its way, or nobody knows whether."""
        return bool(self.requests or self.silent)


def state_of(one: Gate) -> frames.GateState:
    """Write a gate as a frame has it."""
    return frames.GateState(
        one.scope, one.epoch, tuple((name, mode.value) for name, mode in one.closers.items())
    )


def closing_of(cut: NotedCut) -> frames.ClosingPart:
    """Write a closing as a frame has it."""
    return frames.ClosingPart(cut.id, cut.mode.value, cut.scopes)


def has_grant(link: Link, grant: str | None) -> bool:
    """Tell whether a gateway holds a lease on a grant."""
    return grant is not None and any(held.grant == grant for held in list(link.leases.values()))


def speaks_for_account(connection: Connection, grant: Grant) -> tuple[bool, bool]:
    """Tell whether a grant is the account's owner, by its policy or as its only one; and whether it is its only one."""
    sole = grant_store.living_on(connection, grant.account, 2) == [grant.id]
    return sole or policy_document.load(grant.policy).account_owner, sole


def has_beside(link: Link, change: Change) -> bool:
    """Tell whether a gateway holds a lease on a grant of the same account or consumer."""
    return any(
        held.key.account == change.account or held.consumer == change.consumer
        for held in list(link.leases.values())
    )


@dataclass(frozen=True, slots=True)
class Terms:
    """What a gateway judges a grant by, as it is on record now."""

    grant: Grant
    owner: bool
    sole: bool
    rules: Rules
    history: str

    def frame(
        self,
        change: int,
        gates: tuple[frames.GateState, ...] = (),
        successors: tuple[frames.Successor, ...] = (),
    ) -> frames.PolicyChanged:
        """Write it as the frame of a change; 0 is one that nobody waits for."""
        grant = self.grant
        return frames.PolicyChanged(
            change, grant.id, grant.policy, grant.policy_version, self.owner, self.rules.usual, gates, successors,
            self.sole, self.rules.number, self.history,
        )  # fmt: skip


def terms_of(connection: Connection, grant: Grant) -> Terms:
    """Read the terms of a grant."""
    of = str(history.here(connection))
    return Terms(grant, *speaks_for_account(connection, grant), rules_of(connection, grant), of)


def slice_part(loan: Slice) -> frames.SlicePart:
    """Write a slice as a frame has it."""
    return frames.SlicePart(loan.id, loan.amount, loan.rules)
