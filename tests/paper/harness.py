"""A paper exchange within the test process, and a client that signs for it by its own means."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from urllib.parse import urlencode

from clients.paper import PaperExchange, PaperServer
from clients.paper.exchange import system_clock_us
from clients.paper.faults import Fault
from clients.paper.ledger import PaperKey
from clients.paper.reading import Call
from clients.paper.server import Connection
from clients.secret import Secret
from clients.venue import KeyType

ADMIN_TOKEN = "paper-admin-token-for-tests"


@dataclass(slots=True)
class Paper:
    """A running paper exchange."""

    server: PaperServer
    exchange: PaperExchange

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def account(self, email: str = "bot@paper.test", **balances: str) -> str:
        held = balances or {"USDT": "100000", "BTC": "2", "ETH": "10"}
        self.exchange.open_account(email, {asset: Decimal(amount) for asset, amount in held.items()})
        return email

    def key(
        self,
        account: str,
        key_type: KeyType = KeyType.HMAC,
        *,
        public_key: str | None = None,
        ips: tuple[str, ...] = ("127.0.0.1",),
        **flags: bool,
    ) -> PaperKey:
        wanted = flags or {"enableSpotAndMarginTrading": True}
        return self.exchange.make_key(account, key_type, wanted, ips=ips, public_key=public_key)

    async def call(
        self,
        method: str,
        path: str,
        key: PaperKey | None = None,
        *,
        source: str = "127.0.0.1",
        **params: object,
    ) -> tuple[int, object]:
        """Make one call, signed where a key is given; return status and JSON."""
        pairs = {name: str(value) for name, value in params.items()}
        headers = ""
        if key is not None and key.secret is not None:
            pairs.setdefault("timestamp", str(time.time_ns() // 1_000_000 + self.exchange.offset_us // 1000))
            query = urlencode(pairs)
            digest = hmac.new(key.secret.reveal().encode(), query.encode(), hashlib.sha256).hexdigest()
            query += f"&signature={digest}"
            headers = f"X-MBX-APIKEY: {key.key_id}\r\n"
        else:
            query = urlencode(pairs)
        target = f"{path}?{query}" if query else path
        return await self.raw(
            f"{method} {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode(), source=source
        )

    async def admin(self, method: str, path: str, body: object = None) -> tuple[int, object]:
        data = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} /paper/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n"
            f"Content-Length: {len(data)}\r\n\r\n"
        )
        return await self.raw(head.encode() + data)

    async def raw(self, data: bytes, *, source: str = "127.0.0.1") -> tuple[int, object]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port, local_addr=(source, 0))
        try:
            writer.write(data)
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            length = next(
                int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length")
            )
            return int(lines[0].split()[1]), json.loads(await reader.readexactly(length))
        finally:
            writer.close()


@dataclass(slots=True)
class Held:
    """Calls that came to an exchange and are answered when a test lets it, however fast or slow the machine is."""

    fault: Fault
    waiting: list[tuple[Connection, Call]] = field(default_factory=list)

    def let_go(self) -> None:
        """Answer those that wait, in the order in which they came, and hold no more."""
        self.fault.times = 0
        waiting, self.waiting = self.waiting, []
        for connection, call in waiting:
            connection._late(call)


@contextmanager
def held(paper: Paper, method: str, path: str, times: int = 1_000) -> Iterator[Held]:
    """Hold calls of one kind; those that are still held in the end are let go."""
    here = Held(Fault("delay", method, path, times=times))
    real = Connection._misbehave

    def misbehave(connection: Connection, fault: Fault, call: Call) -> None:
        if fault is not here.fault:
            real(connection, fault, call)
            return
        connection._held = True
        here.waiting.append((connection, call))

    paper.server.faults.append(here.fault)
    Connection._misbehave = misbehave  # type: ignore[method-assign]
    try:
        yield here
    finally:
        here.let_go()
        Connection._misbehave = real  # type: ignore[method-assign]


@asynccontextmanager
async def running_paper(seed: int = 1, clock: Callable[[], int] = system_clock_us) -> AsyncIterator[Paper]:
    exchange = PaperExchange(seed, clock)
    server = PaperServer(exchange, Secret(ADMIN_TOKEN))
    await server.start()
    try:
        yield Paper(server, exchange)
    finally:
        await server.close()
