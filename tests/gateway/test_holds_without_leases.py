"""A hold that no lease needs any more is let go of once its gateway says so: a leaked key is not kept alive by a cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.authority import cutover
from broker.authority.link import Link
from broker.db import cutovers as store
from broker.link import frames
from tests.gateway.test_cutover import NEW, OLD, holders, second, settled
from tests.gateway.world import PATIENCE_S, POLICY, Bot, World, bots, running_world
from tests.paper.harness import held

pytestmark = pytest.mark.sockets
LONG = f"{POLICY}\n[lease]\nseconds = 60\nexits_after_end_seconds = 900\n"
"""Its holds outlast every test: what is over was let go of."""


@asynccontextmanager
async def long_world(directory: Path) -> AsyncIterator[tuple[World, Bot, Link]]:
    async with running_world(directory) as world:
        world.account()
        (bot,) = await bots(world, policy=LONG)
        (link,) = world.authority.changes.links.values()
        assert holders(world, OLD) == 1
        yield world, bot, link


async def beaten(world: World) -> None:
    for _ in range(20):
        await world.authority.beat()
        await asyncio.sleep(0.02)


async def without_leases(link: Link) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while link.leases or link.keys:  # noqa: ASYNC110 - a wipe tells nobody
            await asyncio.sleep(0.02)


async def test_after_a_cut_the_key_that_is_replaced_is_let_go_of(tmp_path: Path) -> None:
    async with long_world(tmp_path) as (world, bot, link):
        cut = await world.cut("account:main")
        await without_leases(link)
        assert holders(world, OLD) == 1
        fresh = second(world)
        await settled(world, OLD)
        assert holders(world, NEW) == 0, "nobody is to use it before the cut is thawed"
        await world.thaw(cut)
        assert (await bot.call("GET", "/api/v3/account")).status == 200
        assert world.asked()[-1]["key_id"] == fresh


async def test_after_the_only_grant_was_revoked_the_key_that_is_replaced_is_let_go_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute later its lease is none any more: its gateway names it no longer."""
    async with long_world(tmp_path) as (world, _, link):
        (grant,) = {one.grant for one in link.leases.values()}
        world.service.grants.revoke(grant, reason="leak")
        await world.settled()
        monkeypatch.setattr(cutover, "UNNAMED_US", -1)
        async with asyncio.timeout(PATIENCE_S):
            while link.leases:
                await world.authority.beat()
        second(world)
        await settled(world, OLD)


async def test_a_hold_of_a_broken_link_is_let_go_of_by_the_same_start(tmp_path: Path) -> None:
    """The broker knows none of its leases any more; the gateway says of itself that it leaves the key."""
    async with long_world(tmp_path) as (world, bot, link):
        link.leases.clear()
        link.holds.clear()
        fresh = second(world)
        await settled(world, OLD)
        assert (await bot.call("GET", "/api/v3/account")).status == 200
        assert world.asked()[-1]["key_id"] == fresh


async def test_a_request_in_flight_keeps_the_hold_after_a_cut(tmp_path: Path) -> None:
    async with long_world(tmp_path) as (world, bot, link):
        with held(world.paper, "GET", "/api/v3/account"):
            slow = asyncio.create_task(bot.call("GET", "/api/v3/account"))
            async with asyncio.timeout(PATIENCE_S):
                while not world.gateway.book.flights:  # noqa: ASYNC110 - a request that leaves sets no event
                    await asyncio.sleep(0.01)
            await world.cut("account:main")
            await without_leases(link)
            second(world)
            await beaten(world)
            assert not slow.done()
            assert holders(world, OLD) == 1, "it is still in use"
        await slow
        await settled(world, OLD)


async def test_who_does_not_say_so_is_waited_for(tmp_path: Path) -> None:
    """Another gateway that is away, and an earlier start of this one."""
    async with long_world(tmp_path) as (world, _, link):
        span = world.service.desk.spans.begin(900_000_000)
        with world.service.desk.database.write() as connection:
            store.hold(connection, store.begun("away", "boot", str(OLD), span))
            store.hold(connection, store.begun(link.gateway, "an earlier start", str(OLD), span))
        await world.cut("account:main")
        await without_leases(link)
        second(world)
        async with asyncio.timeout(PATIENCE_S):
            while holders(world, OLD) != 2:
                await world.authority.beat()
        await beaten(world)
        assert holders(world, OLD) == 2


@pytest.mark.parametrize("answers", [False, True])
async def test_a_gateway_that_does_not_acknowledge_is_waited_for(tmp_path: Path, answers: bool) -> None:
    """It stands still, or says that it could not do what it was told."""
    async with long_world(tmp_path) as (world, _, link):
        await world.cut("account:main")
        await without_leases(link)
        real, told = link.channel.send, []

        def send(frame: Any) -> None:
            if not isinstance(frame, frames.Cutover):
                real(frame)
                return
            told.append(frame)
            if answers:
                world.authority.changes.refused(link.gateway, frame.change, "not_applied")

        link.channel.send = send  # type: ignore[method-assign]
        second(world)
        await beaten(world)
        assert told
        assert holders(world, OLD) == 1


async def test_a_key_that_is_in_use_again_is_not_left(tmp_path: Path) -> None:
    """A heartbeat read that it was replaced; it was taken back into use before that was acted upon."""
    async with long_world(tmp_path) as (world, bot, link):
        cutovers = world.authority.cutovers
        current = next(key for key in world.service.keys.list("main") if key.ref == OLD)
        await cutovers._leave(link, str(OLD), current)
        assert str(OLD) in link.holds
        assert holders(world, OLD) == 1
        assert (await bot.call("GET", "/api/v3/account")).status == 200
