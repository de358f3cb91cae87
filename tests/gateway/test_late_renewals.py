"""A broker that answers late prolongs leases all the same: an answer counts from when it was asked for."""

import asyncio
from pathlib import Path

import pytest

from broker.link import frames
from broker.link.frames import Frame
from tests.gateway.world import World, bots, running_world

pytestmark = pytest.mark.sockets


class Late:
    """What the broker says waits until it is let through."""

    def __init__(self, world: World) -> None:
        self._link, self._take = world.gateway.link, world.gateway.link._take
        self.frames: list[Frame] = []
        self._link._take = self.frames.append  # type: ignore[method-assign]

    async def renewed(self, count: int) -> list[frames.Renewed]:
        """Ask for so many renewals, one after the other, and wait for all of their answers."""
        for _ in range(count):
            self._link._renew()
        while len(found := [one for one in self.frames if isinstance(one, frames.Renewed)]) < count:  # noqa: ASYNC110 - frames tell nobody
            await asyncio.sleep(0.01)
        return found

    def let_through(self, *these: Frame) -> None:
        for frame in these:
            self._take(frame)


@pytest.mark.parametrize("side", ["BUY", "SELL"])
async def test_an_answer_that_comes_after_the_next_ask_ends_no_lease(tmp_path: Path, side: str) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        (bot,) = await bots(world)
        assert (await bot.order()).status == 200
        late = Late(world)
        first = (await late.renewed(3))[0]
        late.let_through(first)
        done = await bot.order(side, "0.001")
        assert (done.status, done.reason) == (200, None), done


async def test_a_late_answer_prolongs_a_lease_from_when_it_was_asked_for(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        await bots(world)
        late = Late(world)
        (held,) = world.gateway.book.by_lease.values()
        before_us = world.gateway.clock.boot_us()
        first = (await late.renewed(3))[0]
        late.let_through(first)
        (_, ttl_us) = first.ttls[0]
        assert before_us <= held.lease.expires_us - ttl_us <= world.gateway.clock.boot_us()


async def test_an_answer_to_what_was_never_asked_prolongs_nothing_and_ends_what_it_names(
    tmp_path: Path,
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        await bots(world)
        (held,) = world.gateway.book.by_lease.values()
        link, ends_us = world.gateway.link, held.lease.expires_us
        link._apply(frames.Renewed(1 << 40, ((held.lease.id, 10**12),), ()))
        assert held.lease.expires_us == ends_us
        link._apply(frames.Renewed(1 << 40, (), ((held.lease.id, "unknown_lease"),)))
        assert held.lease.id not in world.gateway.book.by_lease
