"""Every route after a cut: enumerated from the table of endpoints, in every way a cut can name the bot.

Requests in flight that had not been forwarded are refused too.
"""

import asyncio
from pathlib import Path

import pytest

from broker.gate import Mode
from clients.venue import Security
from clients.venues.binance.endpoints import ENDPOINTS, Endpoint
from tests.gateway.world import Bot, World, exchange_bytes, running_world
from tests.paper.harness import held

SAMPLES = {
    "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01",
    "price": "50000", "orderId": "1", "orderListId": "1", "cancelReplaceMode": "ALLOW_FAILURE",
    "cancelOrderId": "1", "newQty": "0.005", "interval": "1m", "aboveType": "LIMIT_MAKER",
    "abovePrice": "70000", "belowType": "STOP_LOSS", "belowStopPrice": "40000", "workingType": "LIMIT",
    "workingSide": "BUY", "workingPrice": "50000", "workingQuantity": "0.01", "workingTimeInForce": "GTC",
    "pendingType": "MARKET", "pendingSide": "SELL", "pendingQuantity": "0.01", "stopPrice": "40000",
    "pendingAboveType": "LIMIT_MAKER", "pendingAbovePrice": "70000", "asset": "USDT", "coin": "USDT",
    "listClientOrderId": "x",
}  # fmt: skip


def every_endpoint() -> list[Endpoint]:
    return sorted(dict(ENDPOINTS).values(), key=lambda row: (row.path, row.method))


async def call(world: World, bot: Bot, row: Endpoint) -> tuple[int, int | None, str | None]:
    wanted = {name: SAMPLES[name] for name in row.required if name in SAMPLES}
    if row.security is Security.SIGNED:
        answer = await bot.call(row.method, row.path, **wanted)
    else:
        text = "&".join(f"{name}={value}" for name, value in wanted.items())
        answer = await exchange_bytes(world.port, bot.plain(row.method, row.path, text))
    return answer.status, answer.code, answer.reason


@pytest.mark.parametrize(
    "target", ["consumer:bot", "account:main", "venue:binance", "everything", "gateway:local"]
)
async def test_every_route_is_refused_after_a_cut(tmp_path: Path, target: str) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order()).status == 200
        await world.cut(target)
        before = world.asked()
        passed = []
        rows = every_endpoint()
        assert len(rows) > 150
        for row in rows:
            status, _, reason = await call(world, bot, row)
            if not 400 <= status < 500 or reason is None:
                passed.append((row.method, row.path, status, reason))
        assert passed == []
        assert world.asked() == before
        assert len(world.executed()) == 1


async def test_every_route_that_could_trade_or_move_money_is_refused_without_its_permission(
    tmp_path: Path,
) -> None:
    """What no policy can grant is refused to a bot with the widest one."""
    async with running_world(tmp_path) as world:
        world.account()
        groups = '["market", "account", "trade", "wallet-read", "margin-read", "subaccount-read", "deposit"]'
        bot = world.bot(
            policy=f'allow = {groups}\nsymbols = {{quote = ["USDT", "BTC"]}}\naccount_owner = true'
        )
        assert (await bot.order()).status == 200
        for row in every_endpoint():
            if row.action.value in {"withdraw", "transfer", "key-admin", "stream", "leverage"}:
                status, _, reason = await call(world, bot, row)
                assert status == 403, (row.path, reason)
        assert [entry["action"] for entry in world.executed()] == ["place"]


async def test_a_request_that_waits_for_a_fact_is_judged_anew_after_a_cut(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        with held(world.paper, "GET", "/api/v3/ticker/price") as prices:
            waiting = asyncio.ensure_future(bot.order())
            while not (
                prices.waiting
                and any(row["path"] == "/api/v3/exchangeInfo" for row in world.paper.exchange.requests)
            ):
                await world.paper.admin("GET", "switches")
            await world.cut("consumer:bot")
        answer = await waiting
        assert (answer.status, answer.code, answer.reason) == (401, -2014, "cut")
        assert world.executed() == []


async def test_a_halt_leaves_reads_and_refuses_every_order(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        assert (await bot.order()).status == 200
        await world.cut("consumer:bot", mode=Mode.HALT)
        for row in every_endpoint():
            if row.action.value == "place":
                status, _, reason = await call(world, bot, row)
                assert 400 <= status < 500, (row.path, status, reason)
        assert (await bot.call("GET", "/api/v3/account")).status == 200
        assert len(world.executed()) == 1
