"""A whole world in one process: paper exchange, broker, gateway over a memory link, and a bot that signs.

Nothing is stubbed: the gateway listens on a real socket, the paper exchange checks every signature itself.
"""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from broker.authority import LeaseAuthority
from broker.gate import Mode
from broker.gateway.process import Gateway, Listen
from broker.link.channel import memory_pair
from broker.service import Service
from broker.service.grants import Issued
from broker.service.service import found_home, open_service
from broker.stores.embedded import key as keys
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyFacts, KeyType, Slot
from clients.venues.binance import WIRE
from tests.gateway.patience import patient
from tests.history import laws
from tests.history.events import History
from tests.history.watching import all_heard, look, of_orders, watching
from tests.paper.harness import Paper, running_paper
from tests.places import database_at, secrets_at

PATIENCE_S = 60.0
"""How long a test waits for what must come: on a busy machine everything takes its time, and nothing is lost by it."""

UPKEEP = {"/api/v3/time", "/api/v3/ticker/price"}
POLICY = """
allow = ["market", "account", "trade", "wallet-read", "margin-read"]
symbols = ["BTCUSDT", "ETHUSDT"]
[order]
max_notional = "1000"
collar_percent = "5"
[day]
max_notional = "10000"
"""


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def boot_us(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


@dataclass(slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: Any

    @property
    def reason(self) -> str | None:
        return self.headers.get("x-portcullis-reason")

    @property
    def code(self) -> int | None:
        return self.body.get("code") if isinstance(self.body, dict) else None


async def exchange_bytes(port: int, data: bytes) -> Answer:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.split("\r\n")
        headers = {line.partition(": ")[0].lower(): line.partition(": ")[2] for line in lines[1:] if line}
        body = await reader.readexactly(int(headers["content-length"]))
        return Answer(int(lines[0].split()[1]), headers, json.loads(body) if body else None)
    finally:
        writer.close()


@dataclass(slots=True)
class Bot:
    """A bot with a virtual key; signs as Binance's clients do."""

    port: int
    key_id: str
    secret: str
    last_ms: int = 0

    def _instant(self) -> int:
        """Return now in milliseconds, never the same twice: the same order twice in one would be a replay."""
        self.last_ms = max(self.last_ms + 1, time.time_ns() // 1_000_000)
        return self.last_ms

    def signed(self, method: str, path: str, *, body: bool = False, **params: object) -> bytes:
        pairs = {name: str(value) for name, value in params.items()}
        pairs.setdefault("timestamp", str(self._instant()))
        text = urlencode(pairs)
        text += "&signature=" + hmac.new(self.secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        return self.plain(method, path, text, body=body)

    def plain(self, method: str, path: str, text: str = "", *, body: bool = False) -> bytes:
        target = f"/binance{path}" + (f"?{text}" if text and not body else "")
        data = text if body else ""
        head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-MBX-APIKEY: {self.key_id}\r\n"
        return f"{head}Content-Length: {len(data)}\r\n\r\n{data}".encode()

    async def ready(self) -> None:
        """Wait until the gateway has a lease for this key and a line to the exchange: a busy machine takes its time."""
        async with asyncio.timeout(PATIENCE_S):
            while (answer := await self.call("GET", "/api/v3/account")).status == 503:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.05)
        assert answer.status == 200, answer

    async def call(self, method: str, path: str, *, body: bool = False, **params: object) -> Answer:
        return await exchange_bytes(self.port, self.signed(method, path, body=body, **params))

    async def public(self, path: str, text: str = "") -> Answer:
        return await exchange_bytes(self.port, self.plain("GET", path, text))

    async def order(self, side: str = "BUY", quantity: str = "0.01", **more: object) -> Answer:
        values: dict[str, object] = {
            "symbol": "BTCUSDT",
            "side": side,
            "type": "MARKET",
            "quantity": quantity,
        }
        return await self.call("POST", "/api/v3/order", body=True, **(values | more))


async def served(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask until the answer is no 503: by one nothing was sent, and a busy machine may give some before it serves."""
    async with asyncio.timeout(PATIENCE_S):
        while (answer := await ask()).status == 503:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.05)
    return answer


@dataclass(slots=True)
class World:
    paper: Paper
    service: Service
    authority: LeaseAuthority
    gateway: Gateway
    port: int
    directory: Path
    running: list["asyncio.Task[None]"] = field(default_factory=list)
    history: History = field(default_factory=History)

    def account(self, name: str = "main", key_type: KeyType = KeyType.HMAC, **balances: str) -> str:
        """Make an account at the exchange with a key of its own, and import it."""
        email = self.paper.account(f"{name}@paper.test", **balances)
        self.service.accounts.create(name, venue="binance", upstream=self.paper.base_url)
        pem, public = None, None
        if key_type is not KeyType.HMAC:
            pem, public = key_pair(key_type)
        real = self.paper.key(email, key_type, public_key=public)
        secret = real.secret if real.secret is not None else Secret(pem or "")
        facts = KeyFacts(True, True, False, False, True, str(self.paper.exchange.accounts[email].uid))
        self.service.keys.import_key(
            name, slot=Slot.TRADE, credential=Credential(real.key_id, secret, key_type), facts=facts
        )
        return name

    def issue(
        self, consumer: str = "bot", account: str = "main", policy: str = POLICY, **more: Any
    ) -> Issued:
        if not self.service.grants.consumers(after="").items or consumer not in {
            one.name for one in self.service.grants.consumers().items
        }:
            self.service.grants.create_consumer(consumer)
        return self.service.grants.create(consumer=consumer, account=account, policy=policy, **more)

    def bot(self, consumer: str = "bot", account: str = "main", policy: str = POLICY) -> Bot:
        issued = self.issue(consumer, account, policy)
        assert issued.secret is not None
        return Bot(self.port, issued.grant.key_id, issued.secret.reveal())

    async def cut(self, *targets: str, mode: Mode = Mode.CLOSED) -> str:
        """Cut, and wait until the gateway has it in force."""
        cut, change = self.service.cuts.close(targets=targets, mode=mode, reason="test", actor="test")
        told, late = await self.authority.changes.acknowledged(change, PATIENCE_S)
        assert told == ("local",)
        assert late == ()
        return cut.id

    async def thaw(self, cut_id: str) -> None:
        """Thaw, and wait until the gateway has it in force."""
        _, change = self.service.cuts.thaw(cut_id, reason="test", actor="test")
        assert (await self.authority.changes.acknowledged(change, PATIENCE_S))[1] == ()

    async def settled(self) -> None:
        """Wait until the gateway has every change in force that was committed so far."""
        await asyncio.sleep(0)  # a push is queued by whoever commits
        followed = self.authority.changes.followed
        async with asyncio.timeout(PATIENCE_S):
            while waiting := [
                one for one in followed.values() if not one.done.is_set()
            ]:  # more come meanwhile
                await waiting[0].done.wait()
        all_heard(self.history, self.authority)

    def asked(self) -> list[dict[str, Any]]:
        """Return what the exchange was asked, without the clock and prices a gateway keeps warm by itself."""
        return [
            row
            for row in self.paper.exchange.requests
            if row["key_id"] is not None or row["path"] not in UPKEEP
        ]

    def executed(self) -> list[dict[str, Any]]:
        return list(self.paper.exchange.executed)


async def bots(world: World, *consumers: str, account: str = "main", policy: str = POLICY) -> list[Bot]:
    """Make bots whose leases are open: on a busy machine a first request may find none yet."""
    found = [world.bot(consumer, account, policy) for consumer in consumers or ("bot",)]
    async with asyncio.timeout(PATIENCE_S):
        for bot in found:
            while (await bot.call("GET", "/api/v3/account")).status != 200:  # noqa: ASYNC110 - leases tell nobody
                await asyncio.sleep(0.01)
    return found


def key_pair(key_type: KeyType) -> tuple[str, str]:
    """Return a private key (PKCS#8 PEM) and its public half (SPKI PEM)."""
    private: Any = (
        ed25519.Ed25519PrivateKey.generate()
        if key_type is KeyType.ED25519
        else rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem, public.decode()


@asynccontextmanager
async def running_world(directory: Path, paper_clock: Any = None) -> AsyncIterator[World]:
    with patient():
        async with _running_world(directory, paper_clock) as world:
            yield world


@asynccontextmanager
async def _running_world(directory: Path, paper_clock: Any) -> AsyncIterator[World]:
    more = {} if paper_clock is None else {"clock": paper_clock}
    async with running_paper(**more) as paper:
        database = database_at(directory)
        database.upgrade()
        found_home(database, Environment.PAPER, "solo")
        keys.to_file(directory / "kek", keys.fresh())
        store = secrets_at(directory)
        service = open_service(database, store, WallClock())
        service.mirror.merge()
        authority = LeaseAuthority(service, paper.base_url)
        await authority.beat()
        beating = asyncio.ensure_future(authority.run())
        here, there = memory_pair()
        serving = asyncio.ensure_future(authority.serve(here))
        gateway = Gateway(there, "local", directory / "spool", {WIRE.name: WIRE})
        gateway.book.recent.lately.lag_us = 0  # this exchange answers all questions from one database
        ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        stop = asyncio.Event()
        running = asyncio.ensure_future(gateway.serve(Listen(unix=directory / "gateway.sock"), ready, stop))
        await asyncio.wait({ready, running}, return_when=asyncio.FIRST_COMPLETED)
        try:
            with watching(service, authority) as history:
                yield World(
                    paper, service, authority, gateway, await ready, directory, [beating, serving, running],
                    history,
                )  # fmt: skip
            seen = of_orders(look(history, service, paper.exchange, asks_store=False))
            assert not (faults := laws.broken(seen)), faults
        finally:
            stop.set()
            await running
            here.close()
            beating.cancel()
            await asyncio.gather(serving, beating, return_exceptions=True)
            authority.close()
            service.close()
            store.close()
            database.close()
