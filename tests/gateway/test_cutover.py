"""Another key version becomes current while a bot trades: no request fails, and the old one is let go of last."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.authority.leases import Opening, Secrets
from broker.authority.link import Link
from broker.db import cutovers as store
from broker.errors import StoreUnavailable
from broker.gate import Mode
from broker.link.frames import OpenLease
from broker.model import KeyRef
from clients.secret import Secret
from clients.venue import Credential, KeyFacts, KeyType, Slot
from tests.gateway.world import PATIENCE_S, Bot, World, running_world
from tests.paper.harness import held

pytestmark = pytest.mark.sockets
SAFE = KeyFacts(True, True, False, False, True, "1")
OLD, NEW = KeyRef("main", Slot.TRADE, 1), KeyRef("main", Slot.TRADE, 2)


@asynccontextmanager
async def trading_world(directory: Path) -> AsyncIterator[tuple[World, Bot]]:
    """A world whose bot has a lease on the first version."""
    async with running_world(directory) as world:
        world.account()
        bot = world.bot()
        assert (await bot.call("GET", "/api/v3/account")).status == 200
        yield world, bot


def second(world: World) -> str:
    """Put a second version on record, current at once; return its key id."""
    key = world.paper.key("main@paper.test")
    assert key.secret is not None
    credential = Credential(key.key_id, key.secret, KeyType.HMAC)
    facts = KeyFacts(True, True, False, False, True, world.service.accounts.get("main").venue_uid or "1")
    world.service.keys.import_key("main", slot=Slot.TRADE, credential=credential, facts=facts)
    return key.key_id


def holders(world: World, ref: KeyRef) -> int:
    with world.service.desk.database.read() as connection:
        return len(store.holders(connection, str(ref), world.service.desk.spans))


async def settled(world: World, ref: KeyRef) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while holders(world, ref):
            await world.authority.beat()
            await asyncio.sleep(0.02)


async def tried(world: World, rotation: str) -> store.Canary:
    """Let the broker's heart beat until a gateway has tried the key of a rotation."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            await world.authority.beat()
            await asyncio.sleep(0.02)
            with world.service.desk.database.read() as connection:
                (found,) = store.canaries(connection, rotation)
            if found.well is not None:
                return found


async def test_a_bot_trades_on_and_the_old_key_is_let_go_of(tmp_path: Path) -> None:
    async with trading_world(tmp_path) as (world, bot):
        assert holders(world, OLD) == 1
        fresh = second(world)
        over = asyncio.Event()

        async def trade() -> list[int]:
            found = []
            while not over.is_set():
                found.append((await bot.call("GET", "/api/v3/account")).status)
            return found

        trading = asyncio.create_task(trade())
        await settled(world, OLD)
        last = world.paper.exchange.request_seq
        for _ in range(5):
            assert (await bot.call("GET", "/api/v3/account")).status == 200
        over.set()
        assert set(await trading) == {200}
        used = {row["key_id"] for row in world.paper.exchange.requests if int(str(row["seq"])) > last}
        assert used - {None} == {fresh}, "nobody signs with the old key after it was let go of"
        assert holders(world, NEW) == 1


async def test_a_request_in_flight_keeps_the_old_key_until_it_is_answered(tmp_path: Path) -> None:
    async with trading_world(tmp_path) as (world, bot):
        with held(world.paper, "GET", "/api/v3/account"):
            slow = asyncio.create_task(bot.call("GET", "/api/v3/account"))
            async with asyncio.timeout(PATIENCE_S):
                while not world.gateway.book.flights:  # noqa: ASYNC110 - a request that leaves sets no event
                    await asyncio.sleep(0.01)
            second(world)
            for _ in range(10):
                await world.authority.beat()
                await asyncio.sleep(0.02)
            assert not slow.done()
            assert holders(world, OLD) == 1, "it is still in use"
        assert (await slow).status in {200, 400}, "answered: in its receive window or after it"
        await settled(world, OLD)


async def test_a_cut_is_not_outrun_by_a_cutover(tmp_path: Path) -> None:
    async with trading_world(tmp_path) as (world, bot):
        second(world)
        _, change = world.service.cuts.close(
            targets=("account:main",), mode=Mode.CLOSED, reason="leak", actor="ann"
        )
        await world.authority.beat()
        assert (await world.authority.changes.acknowledged(change, PATIENCE_S))[1] == ()
        await world.settled()
        assert (await bot.call("GET", "/api/v3/account")).reason == "cut"


async def test_a_hold_that_ran_out_is_never_prolonged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever retires a key took it for unused: a broker that comes back late may not let leases on it go on."""

    def away(*_: object, **__: object) -> Any:
        raise StoreUnavailable("database", "away on purpose")

    async with trading_world(tmp_path) as (world, _bot):
        monkeypatch.setattr(world.authority.leases, "judge", away)  # no other is opened ahead of its use
        (link,) = world.authority.changes.links.values()
        assert link.leases
        with world.service.desk.database.write() as connection:
            store.hold(connection, store.Hold(link.gateway, link.boot, str(OLD), 1))
        await world.authority.beat()
        assert not link.leases
        assert holders(world, OLD) == 0


async def test_a_gateway_tries_a_key_before_anybody_is_moved(tmp_path: Path) -> None:
    async with trading_world(tmp_path) as (world, _bot):
        (link,) = world.authority.changes.links.values()
        for number, key in enumerate((str(OLD), str(KeyRef("main", Slot.TRADE, 9)))):
            one = store.Canary(f"rot_{number}", link.gateway, key, world.service.desk.clock.now_us())
            with world.service.desk.database.write() as connection:
                store.ask_canary(connection, one)
        assert (await tried(world, "rot_0")).well is True
        with world.service.desk.database.read() as connection:
            (absent,) = store.canaries(connection, "rot_1")
        assert absent.well is None


async def test_a_key_the_venue_does_not_serve_is_told_of(tmp_path: Path) -> None:
    async with trading_world(tmp_path) as (world, _bot):
        (link,) = world.authority.changes.links.values()
        dead = Credential("X" * 64, Secret("planted"), KeyType.HMAC)
        uid = world.service.accounts.get("main").venue_uid or "1"
        facts = KeyFacts(True, True, False, False, True, uid)
        world.service.accounts.create("spare", venue="binance", upstream=world.paper.base_url)
        world.service.keys.import_key("spare", slot=Slot.TRADE, credential=dead, facts=facts)
        one = store.Canary("rot_2", link.gateway, "spare/trade/1", world.service.desk.clock.now_us())
        with world.service.desk.database.write() as connection:
            store.ask_canary(connection, one)
        found = await tried(world, "rot_2")
        assert (found.well, found.reason) == (False, "refused")


async def test_a_lease_granted_in_the_instant_of_the_move_is_not_left_on_the_old_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was judged on the old version; then its gateway's hold went over to the new one."""
    async with trading_world(tmp_path) as (world, _bot):
        authority = world.authority
        (link,) = authority.changes.links.values()
        late, granted = world.bot("late"), authority.leases.grant
        fresh = []

        def just_moved(link_: Link, frame: OpenLease, opening: Opening, secrets: Secrets, loan: Any) -> Any:
            if not fresh:
                assert opening.key.ref == OLD
                fresh.append(second(world))
                current = next(key for key in world.service.keys.list("main") if key.ref == NEW)
                assert authority.cutovers._held(link, str(OLD), current)
            return granted(link_, frame, opening, secrets, loan)

        monkeypatch.setattr(authority.leases, "grant", just_moved)
        assert (await late.call("GET", "/api/v3/account")).status == 200
        leases = {held.key for held in link.leases.values() if held.consumer == "late"}
        assert leases == {NEW}, (
            "one that was opened ahead, and one that it asked for, may be there for a moment"
        )
        assert world.asked()[-1]["key_id"] == fresh[0]
