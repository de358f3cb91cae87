"""What a cut costs with one grant and with ten thousand: from the call that commits it to the gateway's word.

Two whole worlds in this process: SQLite file, embedded store, service, authority, gateway over a memory link. Every
grant holds a lease at its gateway when the cut comes; all belong to one bot, and the cut names that bot.
"""

import asyncio
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from bench.processes import start_module
from broker.authority import LeaseAuthority
from broker.db.database import Database
from broker.db.grants import add_grant
from broker.gate import Mode
from broker.gateway.process import Gateway, Listen
from broker.link.channel import memory_pair
from broker.model import new_id
from broker.service.service import Service, found_home, open_service
from broker.stores.embedded import key as keys
from broker.stores.embedded.store import EmbeddedStore
from broker.virtual_key import new_key_id
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyFacts, KeyType, Slot
from clients.venues.binance import WIRE

_POLICY = 'allow = ["market", "account", "trade"]\nsymbols = ["BTCUSDT"]\n[order]\nmax_notional = "1000"\n'
_ASKED_AT_ONCE = 50
_SETTLE_SECONDS = 0.3
"""A cut comes to a gateway at rest, not in the wake of ten thousand leases."""


class _Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def boot_us(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


@dataclass(slots=True)
class Cuts:
    """Times of cuts in milliseconds, one per round, by number of grants: until committed, until acknowledged."""

    committed: dict[int, list[float]]
    acknowledged: dict[int, list[float]]


class World:
    """One home with so many grants, and a gateway that holds them all."""

    def __init__(self, directory: Path, grants: int, upstream: str) -> None:
        """Make the home; `start` makes the rest."""
        self._database = Database(directory / "state.db")
        self._database.upgrade()
        found_home(self._database, Environment.PAPER, "solo")
        self._store = EmbeddedStore(directory / "secrets.db", keys.fresh())
        self._service: Service = open_service(self._database, self._store, _Clock())
        self._service.mirror.merge()
        self._authority = LeaseAuthority(self._service, upstream)
        self._directory, self._upstream, self._count = directory, upstream, grants
        self._key_ids: list[str] = []

    def fill(self) -> None:
        """Create account, key, bot and grants."""
        self._service.accounts.create("main", venue="binance", upstream=self._upstream)
        self._service.keys.import_key(
            "main",
            slot=Slot.TRADE,
            credential=Credential("R" * 64, Secret("s" * 64), KeyType.HMAC),
            facts=KeyFacts(True, True, False, False, True, "1"),
        )
        self._service.grants.create_consumer("bot")
        first = self._service.grants.create(consumer="bot", account="main", policy=_POLICY).grant
        # the others are its copies under ids of their own, added in one transaction: a commit each takes minutes
        copies = [replace(first, id=new_id("grt"), key_id=new_key_id()) for _ in range(self._count - 1)]
        with self._database.write() as connection:
            for copy in copies:
                add_grant(connection, copy, time.time_ns() // 1000)
        self._key_ids = [grant.key_id for grant in (first, *copies)]

    async def start(self) -> None:
        """Start authority and gateway."""
        await self._authority.beat()
        self._beating = asyncio.ensure_future(self._authority.run())
        self._here, there = memory_pair()
        self._serving = asyncio.ensure_future(self._authority.serve(self._here))
        self.gateway = Gateway(there, "local", self._directory / "spool", {WIRE.name: WIRE})
        ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._stop = asyncio.Event()
        self._running = asyncio.ensure_future(self.gateway.serve(Listen(), ready, self._stop))
        await ready

    async def lease_all(self) -> None:
        """Let the gateway hold a lease on every grant."""
        room = asyncio.Semaphore(_ASKED_AT_ONCE)

        async def lease(key_id: str) -> None:
            async with room:
                held = await self.gateway.link.open_lease(key_id)
                if isinstance(held, str):
                    raise TypeError(f"no lease: {held}")

        await asyncio.gather(*[lease(key_id) for key_id in self._key_ids])
        if len(self.gateway.book.by_lease) != self._count:
            raise ValueError("some lease is missing")

    async def cut(self) -> tuple[float, float]:
        """Cut the bot and thaw it again; return milliseconds until committed and until acknowledged."""
        began = time.perf_counter_ns()
        cut, change = self._service.cuts.close(
            targets=("consumer:bot",), mode=Mode.CLOSED, reason="measured", actor="bench"
        )
        committed = time.perf_counter_ns()
        told, late = await self._authority.changes.acknowledged(change, 10)
        done = time.perf_counter_ns()
        if told != ("local",) or late:
            raise ValueError(f"not acknowledged: {late}")
        _, change = self._service.cuts.thaw(cut.id, reason="measured", actor="bench")
        await self._authority.changes.acknowledged(change, 10)
        return (committed - began) / 1e6, (done - began) / 1e6

    async def end(self) -> None:
        """Stop everything."""
        self._stop.set()
        await self._running
        self._here.close()
        self._beating.cancel()
        await asyncio.gather(self._serving, self._beating, return_exceptions=True)
        self._authority.close()
        self._store.close()
        self._database.close()


async def measure(sizes: tuple[int, ...], rounds: int) -> Cuts:
    """Cut worlds of these sizes, one after another, and again."""
    found = Cuts({size: [] for size in sizes}, {size: [] for size in sizes})
    upstream = await start_module("bench.upstream")
    port = (await upstream.document())["port"]
    with tempfile.TemporaryDirectory(prefix="portcullis-bench-") as place:
        worlds = {}
        try:
            for size in sizes:
                directory = Path(place) / str(size)
                directory.mkdir()
                world = World(directory, size, f"http://127.0.0.1:{port}")
                world.fill()
                await world.start()
                worlds[size] = world
            for number in range(rounds):
                for size, world in worlds.items():
                    await world.lease_all()
                    await asyncio.sleep(_SETTLE_SECONDS)
                    committed, acknowledged = await world.cut()
                    found.committed[size].append(committed)
                    found.acknowledged[size].append(acknowledged)
                    print(
                        f"round {number + 1}: {size:6,} grants: committed after {committed:.2f} ms, "
                        f"acknowledged after {acknowledged:.2f} ms",
                        flush=True,
                    )
        finally:
            for world in worlds.values():
                await world.end()
            await upstream.end()
    return found
