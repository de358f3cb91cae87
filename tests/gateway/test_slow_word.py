"""A broker that says later than a bot waits whose something is keeps nobody from leaving: its word serves the next try."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from broker.gate import Mode
from broker.gateway import asking, forward
from broker.link import frames
from tests.gateway.test_bans import deaf
from tests.gateway.test_hanging_reads import forget_owners, heard
from tests.gateway.test_namesakes import LIMIT, cancel, lose, order_named
from tests.gateway.world import Answer, World, bots, running_world

pytestmark = pytest.mark.sockets

REST = {"type": "LIMIT", "timeInForce": "GTC", "price": "59000"}
PREPARE_S, LATER_S = 0.5, 1.0


def slow(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the broker take twice as long as a request waits to say whose something is, now and for good."""

    def later(work: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def answered(*asked: Any) -> None:
            await asyncio.sleep(LATER_S)
            await work(*asked)

        return answered

    owners = world.authority._owners
    monkeypatch.setattr(owners, "owner", later(owners.owner))
    monkeypatch.setattr(owners, "stake", later(owners.stake))
    monkeypatch.setattr(forward, "PREPARE_SECONDS", PREPARE_S)
    monkeypatch.setattr(asking, "ASK_SECONDS", PREPARE_S)


async def until_it_passes(call: Callable[[], Awaitable[Answer]]) -> None:
    """Try again and again, as a bot does that wants to leave."""
    async with asyncio.timeout(60):
        while (answer := await call()).status != 200:
            assert answer.status == 503, answer


async def test_an_own_order_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot, other = await bots(world, "bot", "other")
        rests = [await one.order(**REST) for one in (bot, other)]
        await heard(world)
        forget_owners(world)
        slow(world, monkeypatch)
        await until_it_passes(lambda: cancel(bot, orderId=rests[0].body["orderId"]))
        await asyncio.sleep(LATER_S)
        theirs = await cancel(bot, orderId=rests[1].body["orderId"])
        assert theirs.status != 200, theirs


async def test_what_was_bought_is_sold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="0")
        bot, other = await bots(world, "bot", "other")
        for one in (bot, other):
            assert (await one.order()).status == 200
        await heard(world)
        await world.cut("account:main", mode=Mode.HALT)
        recent = world.gateway.book.recent
        for known in (recent._of, recent._bought):
            known.clear()  # as after a restart: the broker knows
        slow(world, monkeypatch)
        await until_it_passes(lambda: bot.order("SELL", "0.0099"))
        assert (await bot.order("SELL", "0.0099")).status != 200, "it was another's"


@pytest.mark.parametrize("how", ["name", "id"])
async def test_whose_answer_was_lost_cancels_beside_a_broker_that_hangs(tmp_path: Path, how: str) -> None:
    """The sender is known here: the broker counts as silent once a bot would have waited for it."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot, _ = await bots(world, "bot", "other")
        assert (await bot.order(price="59000", newClientOrderId="X", **LIMIT)).status == 200
        await lose(world)
        assert (await bot.order(price="58000", newClientOrderId="Y", **LIMIT)).status == 504
        await heard(world)
        deaf(world.gateway, frames.OwnerQuery)
        names = {"origClientOrderId": "Y"} if how == "name" else {"orderId": order_named(world, "Y")}
        assert (await cancel(bot, **names)).status == 200
