"""A sale that the venue certainly did not make keeps nobody's share small: not at another gateway, nor after a restart."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from broker.gate import Mode
from tests.gateway.test_kept_lines import edge
from tests.gateway.test_namesakes import Later
from tests.gateway.test_recall import at
from tests.gateway.world import POLICY, World, bots, running_world

pytestmark = pytest.mark.sockets

REST = {"type": "LIMIT", "timeInForce": "GTC", "price": "65000"}
REPLACE = {"symbol": "BTCUSDT", "side": "SELL", "cancelReplaceMode": "STOP_ON_FAILURE"}
REFUSED: dict[str, dict[str, str]] = {
    "by a filter": REST | {"price": "65000.001", "quantity": "0.004"},
    "sized in quote": {"type": "MARKET", "quoteOrderQty": "1"},
}
UNLIMITED = POLICY.partition("[day]")[0]


async def kept(world: World) -> None:
    """Wait until the broker has every line."""
    while world.gateway.spool.waiting:  # noqa: ASYNC110 - the log tells nobody
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("new", REFUSED.values(), ids=REFUSED.keys())
async def test_what_was_to_replace_a_sale_and_was_refused_is_left_to_its_bot_everywhere(
    tmp_path: Path, new: dict[str, str]
) -> None:
    """The other bot's fee is not told, so the rest of the account is a little less than all that both bought."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="0")
        bot, other = await bots(world, "bot", "other")
        assert (await other.order(quantity="0.01", newOrderRespType="ACK")).status == 200
        assert (await bot.order(quantity="0.01")).status == 200
        rests = await bot.order("SELL", "0.004", **REST)
        half = await bot.call(
            "POST", "/api/v3/order/cancelReplace", cancelOrderId=rests.body["orderId"], **REPLACE | new
        )
        assert (half.status, half.code) == (409, -2021), half
        await kept(world)
        _, port, end = await edge(world, tmp_path)
        bot = at(port, bot)
        await bot.ready()
        _, change = world.service.cuts.close(
            targets=("account:main",), mode=Mode.HALT, reason="test", actor="test"
        )
        await world.authority.changes.acknowledged(change, 60)
        sold = await bot.order("SELL", "0.00999")
        assert (sold.status, sold.reason) == (200, None), sold
        await end()


@pytest.mark.parametrize(
    "how", [{"do": "error", "status": 500}, {"do": "accept-not-apply"}], ids=["error", "empty"]
)
async def test_a_sale_in_doubt_is_found_out_where_its_grant_was_the_only_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, object]
) -> None:
    async with running_world(tmp_path) as world:
        later = Later(world, monkeypatch)
        world.account(USDT="100000", BTC="0")
        (bot,) = await bots(world, policy=UNLIMITED)
        assert (await bot.order(quantity="0.01")).status == 200
        await world.paper.admin(
            "POST", "faults", how | {"match": {"path": "/api/v3/order", "method": "POST"}}
        )
        assert "orderId" not in ((await bot.order("SELL", "0.004")).body or {})
        for _ in range(2):
            await later.settle()
        assert later.held == 0
        await kept(world)
        grant = world.service.grants.list(consumer="bot").items[0].id
        for boot in (world.gateway.spool.boot, "another"):
            stake = world.service.calls.stake("main", grant, "BTCUSDT", "BTC", boot=boot)
            assert stake.own == Decimal("0.00999")


async def test_what_was_to_replace_a_sale_and_was_refused_is_free_at_once(tmp_path: Path) -> None:
    """Though holdings that were asked for before cannot be asked for again."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="0.01")
        (bot,) = await bots(world)
        rests = await bot.order("SELL", "0.001", **REST)
        await world.cut("account:main", mode=Mode.HALT)
        half = await bot.call(
            "POST", "/api/v3/order/cancelReplace", cancelOrderId=rests.body["orderId"],
            **REPLACE | REFUSED["by a filter"],
        )  # fmt: skip
        assert (half.status, half.code) == (409, -2021), half
        ((account),) = world.gateway.mounts._accounts.values()
        assert account.free("BTC") == Decimal("0.009"), "as it was told, of which nothing was sold"
