"""A lease that another one takes the place of: until its gateway has the new one, what it asks on the old one counts."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from broker.authority.link import Link
from broker.gateway.book import Held
from broker.link import frames
from broker.link.frames_up import StakeQuery
from tests.gateway.world import POLICY, Bot, World, running_world

pytestmark = pytest.mark.usefixtures("very_patient")


def link_of(world: World) -> Link:
    (link,) = world.authority.changes.links.values()
    return link


async def opened(world: World) -> tuple[Bot, Held]:
    """Return a bot that has traded, and its lease."""
    world.account(USDT="100000")
    issued = world.issue(policy=POLICY)
    assert issued.secret is not None
    bot = Bot(world.port, issued.grant.key_id, issued.secret.reveal())
    assert (await bot.order()).status == 200
    return bot, world.gateway.book.by_key[issued.grant.key_id]


async def works(world: World, bot: Bot, held: Held) -> None:
    """Whatever is asked on a lease is answered, and its bot trades."""
    stake = world.gateway.link.ask_stake(StakeQuery(0, held.lease.id, "BTCUSDT", "BTC"))
    came, _ = await asyncio.gather(world.gateway.link.need_budget(held, Decimal(5000)), stake)
    assert came
    assert (await bot.order()).status == 200


async def test_where_the_new_one_never_goes_out_the_old_one_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        bot, held = await opened(world)
        with monkeypatch.context() as here:
            here.setattr(world.authority.policies, "changed_since", lambda *_: True)
            assert await world.gateway.link.open_lease(held.key_id) == "unavailable"
        assert world.gateway.book.by_key[held.key_id] is held
        await works(world, bot, held)


async def test_where_the_gateway_gives_the_new_one_back_the_old_one_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        bot, held = await opened(world)
        with monkeypatch.context() as here:
            here.setattr(world.gateway.book, "is_of", lambda _: False)
            assert await world.gateway.link.open_lease(held.key_id) == "unavailable"
        await works(world, bot, held)


async def test_what_was_asked_before_the_new_one_came_is_answered(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        bot, held = await opened(world)
        new = asyncio.ensure_future(world.gateway.link.open_lease(held.key_id))
        while len(link_of(world).leases) < 2:
            assert not new.done()
            await asyncio.sleep(0)
        assert world.gateway.book.by_key[held.key_id] is held
        await works(world, bot, held)
        assert isinstance(await new, Held)


async def test_a_question_and_the_end_of_its_lease_in_one_breath(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        bot, held = await opened(world)
        stake = asyncio.ensure_future(
            world.gateway.link.ask_stake(StakeQuery(0, held.lease.id, "BTCUSDT", "BTC"))
        )
        budget = asyncio.ensure_future(world.gateway.link.need_budget(held, Decimal(1)))
        for _ in range(1_000):  # what goes back first takes a turn or two
            await asyncio.sleep(0)
            if budget.done() or len(world.gateway.link._asking._asks) > 1:
                break
        world.gateway.link._send(frames.EndLease((held.lease.id,)))
        await stake
        assert await budget
        assert (await bot.order()).status == 200


async def test_of_many_that_are_opened_the_broker_keeps_one(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        _, held = await opened(world)
        for _ in range(5):
            assert isinstance(await world.gateway.link.open_lease(held.key_id), Held)
            assert len(link_of(world).leases) <= 2
        async with asyncio.timeout(60):
            while len(link_of(world).leases) > 1:  # noqa: ASYNC110 - nothing tells that a lease was given back
                await asyncio.sleep(0.01)
        assert list(link_of(world).leases) == [world.gateway.book.by_key[held.key_id].lease.id]
