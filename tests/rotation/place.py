"""A paper master with a sub-account, a broker with a gateway that trades on it, and a rotator, in one process.

Manager, account and operator have different addresses; every wire is real, and the paper exchange checks them all.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from broker.db import Connection
from broker.db import managers as manager_store
from broker.db import rotations as store
from broker.model import KeyRef
from broker.service import Service
from clients.paper.exchange import MASTER
from clients.paper.ledger import PaperKey
from clients.venue import Credential, KeyFacts, KeyType, Slot
from rotation.budget import Budgets
from rotation.effects import Effects
from rotation.fence import Fence
from rotation.journal import Journal
from rotation.plan import draw_up
from rotation.runner import Runner
from rotation.state import Limits, Rotation, State
from rotation.venues import Venues
from rotation.weight import MINUTE_US
from tests.gateway.world import Bot, World, running_world
from tests.history import laws
from tests.history.watching import look

ACCOUNT_ADDRESS = "127.0.0.7"
EMAIL = "main@paper.test"
QUICK = Limits(
    window_for=timedelta(seconds=6), settling_for=timedelta(seconds=1), backoff_for=timedelta(milliseconds=20),
    longest_backoff_for=timedelta(seconds=1), poll_for=timedelta(milliseconds=50), drain_for=timedelta(minutes=10),
    probes=400, watch_for=timedelta(0), signed_for=timedelta(seconds=20),
)  # fmt: skip
"""The venue's own window stays; what is only our patience is short."""


POLLS = 30_000
"""How often a test looks before it gives up: it ends by its own time limit before."""

STRANGER = "lives that no record knows"
"""A key that somebody else made, or that nobody heard of: what a sweep is for."""

REPLACED = "live beside the current one"
"""A key that an import took the place of: a person retires it."""


IN_USE = "was deleted while it was in use"

BY_HAND = "nothing says by what that is known"
"""A key that a test called dead: it wrote the tombstone itself."""


def now() -> datetime:
    return datetime.now(UTC)


def runner_of(service: Service, who: str) -> Runner:
    """Return a rotator of a home that does not wait long."""
    journal = Journal(service.desk.database, service.audit, who)
    # what is waited for here in seconds takes minutes elsewhere: each look is a later minute
    hasty = Budgets(itertools.count(0.0, 5.0).__next__, itertools.count(0, MINUTE_US).__next__)
    return Runner(journal, Effects(service, Venues(service, hasty)), now)


@dataclass
class Place:
    """Everything together. `plays` are the words of laws (`tests.history.laws`) that a test breaks on purpose."""

    world: World
    bot: Bot
    states: list[State] = field(default_factory=list)
    plays: tuple[str, ...] = ()

    @property
    def old_key(self) -> str:
        return next(key.venue_key_id for key in self.world.service.keys.list("main") if key.ref.version == 1)

    def living(self) -> list[PaperKey]:
        return [
            key for key in self.world.paper.exchange.keys.values() if key.account == EMAIL and not key.deleted
        ]

    def runner(self, who: str = "one") -> Runner:
        return runner_of(self.world.service, who)

    def plan(self) -> Rotation:
        drawn = draw_up(self.world.service, "main", Slot.TRADE, "asked", now())
        return replace(drawn, limits=QUICK)

    async def rotate(self, most: int = POLLS) -> Rotation:
        """Plan a rotation and carry it out."""
        planned = self.plan()
        runner = self.runner()
        await asyncio.to_thread(runner.journal.plan, planned)
        return await self.carried_out(planned.id, runner, most)

    async def carried_out(self, rotation: str, runner: Runner, most: int = POLLS) -> Rotation:
        last: Rotation | None = None
        for _ in range(most):
            found = await asyncio.to_thread(runner.once)
            if found is not None and found.id == rotation:
                last = found
                if found.over or found.state is State.STALLED:
                    return found
            await asyncio.sleep(0.02)
        raise AssertionError(f"it never ended: {last}")

    def history(self, rotation: str) -> list[str]:
        with self.world.service.desk.database.read() as connection:
            found = [row.state for row in store.steps(connection, rotation)]
        return [state for state, before in zip(found, ["", *found], strict=False) if state != before]


class Unfenced(Fence):
    """The claim of a rotation that nobody takes over."""

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with self.database.write() as connection:
            yield connection

    def ensure_brings(self, connection: Connection, ref: KeyRef) -> None:
        """There is no rotation; the key that is brought is in use."""


@asynccontextmanager
async def running_place(directory: Path) -> AsyncIterator[Place]:
    async with running_world(directory) as world:
        service, paper = world.service, world.paper
        service.accounts.create_egress("out", addresses=(ACCOUNT_ADDRESS,), source=ACCOUNT_ADDRESS)
        paper.account(EMAIL)
        service.accounts.create("main", venue="binance", egress="out", upstream=paper.base_url)
        real = paper.key(EMAIL, ips=(ACCOUNT_ADDRESS,))
        assert real.secret is not None
        uid = str(paper.exchange.accounts[EMAIL].uid)
        facts = KeyFacts(True, True, False, False, True, uid)
        credential = Credential(real.key_id, real.secret, KeyType.HMAC)
        service.keys.import_key("main", slot=Slot.TRADE, credential=credential, facts=facts)
        master = next(key for key in paper.exchange.keys.values() if key.account == MASTER)
        assert master.secret is not None
        manager = Credential(master.key_id, master.secret, KeyType.HMAC)
        draft = service.managers.draft(
            "master", venue="binance", egress="direct", upstream=paper.base_url, key=manager
        )
        service.managers.take(draft, manager, facts)
        with service.desk.database.write() as connection:
            manager_store.assign(connection, "main", "master", EMAIL)
        place = Place(world, world.bot())
        yield place
        names = ("deletion_delay_api_ms", "deletion_delay_sapi_ms")
        settles_us = max(int(str(paper.exchange.switches.get(name) or 0)) for name in names) * 1000
        found = laws.broken(look(world.history, service, paper.exchange, settles_us))
        assert not (faults := [one for one in found if not any(word in one for word in place.plays)]), faults


@asynccontextmanager
async def trading(bot: Bot) -> AsyncIterator[Callable[[], list[tuple[int, str | None]]]]:
    """Trade all the while; every status that came since it was first served, with our reason or the exchange's code."""
    found: list[tuple[int, str | None]] = []
    over = asyncio.Event()

    async def trade() -> None:
        while not over.is_set():
            answer = await bot.call("GET", "/api/v3/openOrders", symbol="BTCUSDT")
            code = None if answer.code is None else str(answer.code)
            if found or answer.status != 503:  # on a busy machine its lease may take a moment
                found.append((answer.status, answer.reason or code))
            await asyncio.sleep(0.1)

    task = asyncio.create_task(trade())
    try:
        yield lambda: found
    finally:
        over.set()
        await task
