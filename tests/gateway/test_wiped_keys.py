"""After a cut the real key leaves the gateway's memory, once nobody may use it there; not before the cut is in force."""

import asyncio
from pathlib import Path

from tests.gateway.world import PATIENCE_S, World, running_world


def wiped(world: World) -> "asyncio.Future[str]":
    """Return a future of the next key that the gateway forgets."""
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    forget = world.gateway.link.on_wipe

    def wipe(key_id: str) -> None:
        forget(key_id)
        future.set_result(key_id)

    world.gateway.link.on_wipe = wipe
    return future


async def test_a_key_that_nobody_may_use_leaves_the_gateways_memory(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order()).status == 200
        (credential,) = world.gateway.book.material.values()
        gone = wiped(world)
        cut_id = await world.cut("account:main")
        assert not gone.done(), "the cut is in force before leases are walked"
        assert await asyncio.wait_for(gone, PATIENCE_S) == credential.key_id
        assert world.gateway.book.material == {}
        assert world.gateway.book.by_lease == {}
        assert (await bot.order()).reason == "cut"
        await world.thaw(cut_id)
        assert (await bot.order()).status == 200


async def test_a_key_that_another_bot_uses_stays(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        world.account("second")
        bot, other, third = world.bot(), world.bot("other"), world.bot("third", "second")
        for one in (bot, other, third):
            assert (await one.order()).status == 200
        gone = wiped(world)
        await world.cut("consumer:bot", "consumer:third")
        await asyncio.wait_for(gone, PATIENCE_S)
        assert [str(key) for key in world.gateway.book.material] == ["main/trade/1"]
        assert {held.consumer for held in world.gateway.book.by_lease.values()} == {"bot", "other"}
        assert (await other.order()).status == 200
        assert (await bot.order()).reason == "cut"
