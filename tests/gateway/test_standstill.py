"""A gateway that stood still (stopped, on a host that sleeps) serves nothing before it has read what was said meanwhile.

The requests and the broker's word wait side by side in its sockets then, and the requests may be taken up first.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.gate import Mode
from broker.gateway.pulse import STALL_US
from broker.link.frames import Frame
from tests.gateway.world import Answer, Bot, World, bots, running_world

pytestmark = pytest.mark.sockets


class Unread:
    """What the broker says is not taken up before `flow`, as in a process that does not run."""

    def __init__(self, world: World) -> None:
        self._link, self._take = world.gateway.link, world.gateway.link._take
        self._frames: list[Frame] = []
        self._link._take = self._frames.append  # type: ignore[method-assign]

    def flow(self) -> None:
        self._link._take = self._take  # type: ignore[method-assign]
        for frame in self._frames:
            self._take(frame)


def stand_still(world: World) -> None:
    """Let the gateway find that it did not run for a while."""
    world.gateway.link.pulse._beat_us -= 2 * STALL_US


@asynccontextmanager
async def trading(directory: Path) -> AsyncIterator[tuple[World, Bot]]:
    async with running_world(directory) as world:
        world.account()
        (bot,) = await bots(world)
        assert (await bot.order()).status == 200
        yield world, bot


async def answered(asking: "asyncio.Future[Answer]") -> Answer | None:
    """Return an answer; None where the connection ended without one."""
    try:
        return await asyncio.wait_for(asking, 60)
    except (ConnectionError, asyncio.IncompleteReadError):
        return None


@pytest.mark.parametrize("side", ["BUY", "SELL"])
@pytest.mark.parametrize("target", ["everything", "account:main", "consumer:bot", "key-version:main/trade/1"])
async def test_a_cut_that_came_meanwhile_holds_requests_that_are_taken_up_before_it(
    tmp_path: Path, side: str, target: str
) -> None:
    async with trading(tmp_path) as (world, bot):
        before = len(world.executed())
        unread = Unread(world)
        stand_still(world)
        world.service.cuts.close(targets=(target,), mode=Mode.CLOSED, reason="test", actor="test")
        asking = [asyncio.ensure_future(bot.order(side)) for _ in range(3)]
        async with asyncio.timeout(60):
            while not world.gateway.link.pulse._behind:  # noqa: ASYNC110 - a request that waits tells nobody
                await asyncio.sleep(0)
        unread.flow()
        found = [await answered(one) for one in asking]
        assert [one and one.reason for one in found] == ["cut"] * 3
        assert len(world.executed()) == before


async def test_a_halt_that_came_meanwhile_lets_exits_pass_and_nothing_else(tmp_path: Path) -> None:
    async with trading(tmp_path) as (world, bot):
        unread = Unread(world)
        stand_still(world)
        world.service.cuts.close(targets=("account:main",), mode=Mode.HALT, reason="test", actor="test")
        asking = [asyncio.ensure_future(bot.order(side)) for side in ("BUY", "SELL")]
        async with asyncio.timeout(60):
            while not world.gateway.link.pulse._behind:  # noqa: ASYNC110 - a request that waits tells nobody
                await asyncio.sleep(0)
        unread.flow()
        bought, sold = [await answered(one) for one in asking]
        assert bought is not None
        assert bought.reason == "halted"
        assert sold is not None
        assert sold.status == 200


async def test_where_the_link_ended_meanwhile_nothing_is_served(tmp_path: Path) -> None:
    """Nobody can be asked, and a broker that was started anew may have cut."""
    async with trading(tmp_path) as (world, bot):
        before = len(world.executed())
        Unread(world)
        stand_still(world)
        asking = asyncio.ensure_future(bot.order())
        async with asyncio.timeout(60):
            while not world.gateway.link.pulse._behind:  # noqa: ASYNC110 - a request that waits tells nobody
                await asyncio.sleep(0)
        world.authority.changes.links["local"].channel.close()
        answer = await answered(asking)
        if answer is not None:  # one that came once the gateway ended is told no reason
            assert (answer.status, answer.reason) in {(503, "link_behind"), (503, None)}
        assert len(world.executed()) == before


async def test_a_broker_that_is_silent_keeps_nobody_from_leaving_while_the_lease_lasts(
    tmp_path: Path,
) -> None:
    async with trading(tmp_path) as (world, bot):
        Unread(world)
        stand_still(world)
        assert (await bot.order("SELL")).status == 200


async def test_who_stands_still_again_as_it_has_caught_up_lets_out_who_waits_all_the_same(
    tmp_path: Path,
) -> None:
    """On a busy machine: the exit was refused."""
    async with trading(tmp_path) as (world, bot):
        pulse, again = world.gateway.link.pulse, [True]
        catch_up = pulse._catch_up

        async def caught() -> bool:
            stands = await catch_up()
            if again.pop() if again else False:
                asyncio.get_running_loop().call_soon(stand_still, world)
            return stands

        pulse._catch_up = caught
        stand_still(world)
        assert (await bot.order("SELL")).status == 200
        assert not again


async def test_who_ran_all_the_while_asks_nobody(tmp_path: Path) -> None:
    async with trading(tmp_path) as (world, bot):
        Unread(world)
        assert (await bot.order("SELL")).status == 200
        assert not world.gateway.link.pulse._behind
