"""Who answered once is not silent: what the broker said of an asset counts, though what is asked beside it hangs."""

import asyncio
from itertools import chain, count, repeat
from pathlib import Path
from typing import Any

import pytest

from broker.gate import Mode
from broker.gateway import forward
from broker.gateway.sales import Stakes
from broker.policy import Stake
from tests.gateway.test_kept_lines import edge
from tests.gateway.test_recall import at
from tests.gateway.world import bots, running_world

pytestmark = pytest.mark.sockets


async def test_what_a_grant_sold_at_another_gateway_is_not_sold_again_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="0")
        bot, other = await bots(world, "bot", "other")
        assert (await bot.order(quantity="0.01")).status == 200
        elsewhere, port, end = await edge(world, tmp_path)
        there = at(port, bot)
        await there.ready()
        assert (await there.order("SELL", "0.0099")).status == 200
        assert (await other.order(quantity="0.01")).status == 200
        for spool in (world.gateway.spool, elsewhere.spool):
            while spool.waiting:  # noqa: ASYNC110 - the log tells nobody
                await asyncio.sleep(0.01)
        bot.last_ms = there.last_ms
        _, change = world.service.cuts.close(
            targets=("account:main",), mode=Mode.HALT, reason="test", actor="test"
        )
        await world.authority.changes.acknowledged(change, 60)

        looks, unseen, look = count(), chain((0, 0), repeat(1)), world.gateway.fetcher.followed.look

        async def hangs(*args: Any) -> int:
            if next(looks):
                await asyncio.sleep(600)
            return await look(*args)

        monkeypatch.setattr(world.gateway.fetcher.followed, "look", hangs)
        monkeypatch.setattr(world.gateway.fetcher.followed, "unseen", lambda *_: next(unseen))
        monkeypatch.setattr(forward, "PREPARE_SECONDS", 2.0)
        sold = await bot.order("SELL", "0.0095")
        assert sold.status != 200, sold
        await end()


def test_an_answer_is_told_as_of_when_it_was_asked_for() -> None:
    stakes = Stakes()
    assert not stakes.is_told("BTCUSDT", 0)
    stakes.learn("BTCUSDT", "BTC", Stake(), 5)
    assert stakes.is_told("BTCUSDT", 5)
    assert not stakes.is_told("BTCUSDT", 6)
    assert not stakes.is_told("BTCUSDT", 5, "another order that is replaced")
