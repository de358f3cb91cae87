"""What the API needs beside the service: who asks venues about keys, and who speaks with gateways."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from broker.model import Account, KeyVersion, Manager
from broker.service import Change
from clients.egress import Egress
from clients.keys import VenueKey
from clients.venue import Credential, KeyFacts


class KeyInspector(Protocol):
    """Asks a venue what a key may do, with the key itself, by the account's own egress."""

    def inspect(self, account: Account, egress: Egress, credential: Credential) -> KeyFacts:
        """Ask. Blocks; may raise a VenueError, by which nothing was stored."""
        ...


class KeyWarden(Protocol):
    """Asks a venue with manager keys. Blocks; may raise a VenueError."""

    def facts(self, manager: Manager, egress: Egress, credential: Credential) -> KeyFacts:
        """Ask what a manager key may do."""
        ...

    def listed(
        self, manager: Manager, egress: Egress, credential: Credential, subaccount: str
    ) -> tuple[VenueKey, ...] | None:
        """Return the keys of a sub-account; None where the venue lists no such sub-account."""
        ...

    def odd(self, keys: Sequence[KeyVersion], listed: Sequence[VenueKey]) -> Mapping[str, str]:
        """Say in words what a venue lists otherwise than the record has it, each with the label of its key."""
        ...


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Who has a change in force: `names`. `missing` are the connected gateways that did not say so in time."""

    asked: int
    missing: tuple[str, ...]
    after_ms: int
    worst_case_s: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Flying:
    """Requests that were on their way to the venue when a change came in force: nothing calls them back.

    `last_answer_ms` is when the last answer came that did, counted from there; `unanswered` have none yet. Of what
    `silent` gateways had sent nothing is known.
    """

    requests: int
    unanswered: int = 0
    last_answer_ms: int | None = None
    silent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Connected:
    """A gateway on the link, and what it last told of itself; None where it did not yet.

    `silent_s`: for how long it has said nothing at all.
    """

    name: str
    pid: int
    leases: int
    requests: int = 0
    refused: int = 0
    in_flight: int = 0
    added_p50_us: int | None = None
    added_p99_us: int | None = None
    spool_lines: int = 0
    resident_bytes: int = 0
    silent_s: int = 0


class Gateways(Protocol):
    """The gateways on the link."""

    async def acknowledged(self, changes: Sequence[Change], within_s: float) -> Acknowledged:
        """Wait until every connected gateway has the changes in force, or time is up."""
        ...

    async def on_their_way(self, cut: str, within_s: float) -> Flying | None:
        """Wait until what was on its way at a cut has its answer, or time is up; None where nobody knows any more."""
        ...

    def connected(self) -> tuple[Connected, ...]:
        """Return who is on the link now."""
        ...
