"""An API over a real service on a temporary home, with gateways and a venue that do as they are told."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from broker.api.app import create_app
from broker.api.context import Context, Hazard
from broker.api.ports import Acknowledged, Connected, Flying
from broker.model import Account, KeyVersion, Manager
from broker.service import Change, Service
from broker.service.operators import Role
from clients.egress import Egress
from clients.keys import VenueKey
from clients.venue import Credential, Environment, KeyFacts
from portcullis.foundation import found, opened
from portcullis.key_warden import VenueWarden
from portcullis.settings import Mode
from tests.places import database_document

REAL_SECRET = "planted-real-secret-of-an-exchange"
POLICY = 'allow = ["market", "trade"]\nsymbols = ["BTCUSDT"]\n[order]\nmax_notional = "1000"\n'
SAFE = KeyFacts(True, True, False, False, True, "42")
UPSTREAM = "http://127.0.0.1:9"


@dataclass(slots=True)
class FakeGateways:
    """Gateways that acknowledge at once, but those that are silent."""

    silent: tuple[str, ...] = ()
    flying: Flying | None = None
    heard: list[Change] = field(default_factory=list)

    async def acknowledged(self, changes: Sequence[Change], within_s: float) -> Acknowledged:
        del within_s
        self.heard.extend(changes)
        return Acknowledged(1 + len(self.silent) if changes else 0, self.silent if changes else (), 3, 15)

    async def on_their_way(self, cut: str, within_s: float) -> Flying | None:
        del cut, within_s
        return self.flying

    def connected(self) -> tuple[Connected, ...]:
        return (Connected("local", 4711, 1, 10, 2, 0, 135, 200, 0, 1024),)


@dataclass(slots=True)
class FakeVenue:
    """A venue that answers for keys."""

    facts: KeyFacts = SAFE
    asked: list[str] = field(default_factory=list)
    fault: Exception | None = None
    dead: dict[str, Exception] = field(default_factory=dict)

    def inspect(self, account: Account, egress: Egress, credential: Credential) -> KeyFacts:
        del account, egress
        self.asked.append(credential.key_id)
        if credential.key_id in self.dead:
            raise self.dead[credential.key_id]
        if self.fault is not None:
            raise self.fault
        return self.facts


@dataclass(slots=True)
class FakeWarden:
    """A master account: its sub-accounts and their keys."""

    facts_said: KeyFacts = SAFE
    keys: dict[str, tuple[VenueKey, ...]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    fault: Exception | None = None

    def facts(self, manager: Manager, egress: Egress, credential: Credential) -> KeyFacts:
        del egress
        self.asked.append(f"{manager.name} {credential.key_id}")
        if self.fault is not None:
            raise self.fault
        return self.facts_said

    def listed(
        self, manager: Manager, egress: Egress, credential: Credential, subaccount: str
    ) -> tuple[VenueKey, ...] | None:
        self.facts(manager, egress, credential)
        return self.keys.get(subaccount)

    def odd(self, keys: Sequence[KeyVersion], listed: Sequence[VenueKey]) -> dict[str, str]:
        return VenueWarden().odd(keys, listed)


@dataclass(slots=True)
class Desk:
    """An API, what stands behind it, and a token for each role."""

    app: FastAPI
    service: Service
    gateways: FakeGateways
    venue: FakeVenue
    warden: FakeWarden
    root: Path
    tokens: dict[Role, str] = field(repr=False)
    hazards: list[Hazard] = field(default_factory=list)

    @asynccontextmanager
    async def client(
        self, role: Role | None = Role.ADMIN, *, peer: str = "127.0.0.1"
    ) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=(peer, 5000))
        headers = {} if role is None else {"Authorization": f"Bearer {self.tokens[role]}"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1", headers=headers
        ) as client:
            yield client

    def trading(self, consumer: str = "bot", account: str = "main") -> dict[str, Any]:
        """Make an account, a consumer and a grant; return what a grant is made of."""
        self.service.accounts.create(account, venue="binance", upstream=UPSTREAM)
        self.service.grants.create_consumer(consumer)
        return {"consumer": consumer, "account": account, "policy": POLICY}


@contextmanager
def opened_desk(
    directory: Path, environment: Environment = Environment.PAPER, mode: Mode = "solo"
) -> Iterator[Desk]:
    root = directory / "home"
    home = found(
        root, environment, mode, operators=["owner", "second"], database=database_document(directory)
    ).home
    with opened(home) as service:
        service.mirror.merge()  # as a broker does before its API listens
        tokens = {
            role: service.operators.create(f"the-{role.value}", frozenset({role})).reveal() for role in Role
        }
        gateways, venue, hazards = FakeGateways(), FakeVenue(), list[Hazard]()
        warden = FakeWarden()
        app = create_app(Context(service, gateways, venue, warden, lambda: tuple(hazards)))
        yield Desk(app, service, gateways, venue, warden, root, tokens, hazards)
