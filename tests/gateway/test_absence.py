"""Absence is the venue's own code for exactly what was asked; every other no, and every oddity, proves nothing."""

from pathlib import Path

import pytest

from broker.gateway import failures
from broker.gateway.job import Failure
from broker.gateway.venue_view import NotKnown
from tests.gateway.world import POLICY, bots, running_world

ANY_QUOTE = POLICY.replace('symbols = ["BTCUSDT", "ETHUSDT"]', 'symbols = { quote = ["USDT"] }')
LIMIT = {"type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "100"}


@pytest.mark.parametrize("code", [-1100, -1102, -1003, -1021, -2013, -2015])
async def test_a_no_of_another_kind_does_not_make_a_pair_unknown(tmp_path: Path, code: int) -> None:
    """What is remembered for a minute would refuse the bot's next orders, exits too."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        (bot,) = await bots(world, policy=ANY_QUOTE)
        fault = {"do": "error", "status": 400, "code": code, "match": {"path": "/api/v3/exchangeInfo"}}
        await world.paper.admin("POST", "faults", fault)
        assert (await bot.order(symbol="SOLUSDT", **LIMIT)).status != 200
        (view,) = world.gateway.mounts.views.values()
        assert "SOLUSDT" not in view.pairs, "it is not known, and not known not to exist"
        again = await bot.order(symbol="SOLUSDT", **LIMIT)
        assert again.reason != "symbol", again


async def test_a_pair_is_absent_by_the_venues_own_code_for_it(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        (bot,) = await bots(world, policy=ANY_QUOTE)
        refused = await bot.order(symbol="NOSUCHUSDT", **LIMIT)
        assert (refused.status, refused.code, refused.reason) == (400, -1121, "symbol")
        (view,) = world.gateway.mounts.views.values()
        assert view.pairs["NOSUCHUSDT"] is None


def test_no_such_order_is_an_answer_only_to_whose_an_order_is() -> None:
    """Said of anything else it is odd: what was asked for did not come, and is not told as known."""
    for name in ("pair:SOLUSDT", "holdings", "book:SOLUSDT", "price:SOLUSDT", "stake:SOLUSDT"):
        assert failures.failure_of(NotKnown("refused", -2013), name) == Failure("refused", None), name
    assert failures.failure_of(NotKnown("refused", -2013), "owner") is None
