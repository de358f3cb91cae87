"""What the API needs beside the service: who asks venues about keys, and who speaks with gateways."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from broker.model import Account
from broker.service import Change
from clients.egress import Egress
from clients.venue import Credential, KeyFacts


class KeyInspector(Protocol):
    """Asks a venue what a key may do, with the key itself, by the account's own egress."""

    def inspect(self, account: Account, egress: Egress, credential: Credential) -> KeyFacts:
        """Ask. Blocks; may raise a VenueError, by which nothing was stored."""
        ...


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Who has a change in force. `missing` are the connected gateways that did not say so in time."""

    asked: int
    missing: tuple[str, ...]
    after_ms: int
    worst_case_s: int


@dataclass(frozen=True, slots=True)
class Connected:
    """A gateway on the link, and what it last told of itself; None where it did not yet."""

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


class Gateways(Protocol):
    """The gateways on the link."""

    async def acknowledged(self, changes: Sequence[Change], within_s: float) -> Acknowledged:
        """Wait until every connected gateway has the changes in force, or time is up."""
        ...

    def connected(self) -> tuple[Connected, ...]:
        """Return who is on the link now."""
        ...
