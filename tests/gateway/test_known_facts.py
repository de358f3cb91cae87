"""What a gateway knows of pairs and holdings: a pair for good, and of two answers the one that was asked for later."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.gateway.account_view import AccountView
from broker.gateway.limits import Need
from clients.secret import Secret
from clients.venue import Credential, KeyType
from tests.gateway.test_exits import HOUR_US, view_of
from tests.gateway.world import POLICY, running_world

KEY = Credential("k", Secret("s"), KeyType.HMAC)
WIDE = POLICY.replace('["BTCUSDT", "ETHUSDT"]', '["BTCUSDT", "ETHUSDT", "NOSUCH"]')


async def test_a_pair_that_is_known_stays_so_and_one_that_is_not_is_asked_for_again(tmp_path: Path) -> None:
    """Its assets never change: an exit after a quiet day needs no answer of a venue that gives none."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        bot = world.bot(policy=WIDE)
        for symbol in ("BTCUSDT", "ETHUSDT", "NOSUCH"):
            await bot.order(symbol=symbol, quantity="0.001")
        view = view_of(world)
        assert view.pairs["NOSUCH"] is None
        view._forget(world.gateway.clock.boot_us() + 24 * HOUR_US)
        known = {name for name, pair in view.pairs.items() if pair is not None}
        assert {"BTCUSDT", "ETHUSDT"} <= known
        assert "NOSUCH" not in view.pairs


def holdings(free: str) -> bytes:
    balances = [{"asset": "BTC", "free": free, "locked": "0"}]
    return json.dumps({"canTrade": free != "0", "balances": balances}).encode()


class Venue:
    """Answers when it is told to, each question by its number; questions of one name are shared."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[bytes]] = []

    async def signed(self, *_: object) -> bytes:
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]

    async def once(self, name: str, work: Any) -> None:
        del name
        await work


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["in order", "the older one last"])
@pytest.mark.parametrize(("older", "newer"), [("5", "0"), ("0", "5")], ids=["sold", "bought"])
async def test_of_two_answers_the_one_that_was_asked_for_later_counts(
    order: tuple[int, int], older: str, newer: str
) -> None:
    """An exit and a read ask by themselves; whichever answer comes last, what was asked for later is newer."""
    venue, clock = Venue(), SimpleNamespace(now=0)
    clock.boot_us = lambda: clock.now
    account = AccountView(venue, clock)  # type: ignore[arg-type]
    asking = []
    for need in (Need.READ, Need.EXIT):
        clock.now += 10
        asking.append(asyncio.ensure_future(account.fetch(KEY, need)))
        while len(venue.asked) < len(asking):  # noqa: ASYNC110 - the task has no event of its own
            await asyncio.sleep(0)
    for number in order:
        venue.asked[number].set_result(holdings((older, newer)[number]))
        await asking[number]
    assert str(account.free("BTC")) == newer
    assert account.may_trade is (newer != "0")
