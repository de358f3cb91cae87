"""An exchange that takes orders but answers no reads, or late: nobody is kept from leaving."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.gate import Mode
from broker.gateway import asking, forward
from clients.paper.faults import Fault
from tests.gateway.test_namesakes import cancel
from tests.gateway.world import Bot, World, bots, running_world

LIMIT = {"type": "LIMIT", "timeInForce": "GTC"}


async def heard(world: World) -> None:
    """Wait until the broker has every line of the call log."""
    async with asyncio.timeout(60):
        while world.gateway.spool.waiting:  # noqa: ASYNC110 - that the broker has heard tells nobody
            await asyncio.sleep(0.01)


def forget_owners(world: World) -> None:
    """Know as little of orders as a gateway that has just started."""
    owners = world.gateway.forwarder._owners
    owners._of.clear()
    owners._bearers.clear()


async def three_ways(bot: Bot, placed: list[dict[str, Any]]) -> list[tuple[int, str | None]]:
    """Cancel three orders at the same time: by id, by name, by both."""
    ids, names = [one["orderId"] for one in placed], [one["clientOrderId"] for one in placed]
    answers = await asyncio.gather(
        cancel(bot, orderId=ids[0]),
        cancel(bot, origClientOrderId=names[1]),
        cancel(bot, orderId=ids[2], origClientOrderId=names[2]),
    )
    return [(answer.status, answer.reason) for answer in answers]


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
@pytest.mark.parametrize("do", ["hang", "close", "garbage", "truncate"])
async def test_reads_that_do_not_come_back_keep_nobody_from_leaving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, do: str, *, shared: bool
) -> None:
    """Sales above the caps and within them, and cancels by every name, each of them many at once."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="5")
        if shared:
            await bots(world, "other")
        (bot,) = await bots(world, "bot")
        for _ in range(5):
            assert (await bot.order("BUY", "0.0165")).status == 200
        placed = [await bot.order("BUY", "0.001", price="59000", **LIMIT) for _ in range(6)]
        await heard(world)
        monkeypatch.setattr(forward, "PREPARE_SECONDS", 2.0)
        monkeypatch.setattr(asking, "ASK_SECONDS", 2.0)
        world.paper.server.faults.append(Fault(do, method="GET", times=100_000))
        orders = [one.body for one in placed]
        assert await three_ways(bot, orders[:3]) == [(200, None)] * 3
        forget_owners(world)
        assert await three_ways(bot, orders[3:]) == [(200, None)] * 3
        sales = await asyncio.gather(*(bot.order("SELL", size) for size in ("0.02", "0.02", "0.01", "0.02")))
        assert [(one.status, one.reason) for one in sales] == [(200, None)] * 4


async def test_a_sale_sized_in_quote_by_an_old_price_sells_nothing_of_anothers(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        one, two = await bots(world, "one", "two")
        assert (await one.order("BUY", "0.0101")).status == 200
        for _ in range(5):
            assert (await two.order("BUY", "0.0101")).status == 200
        await world.cut("account:main", mode=Mode.HALT)
        exchange, (view,) = world.paper.exchange, world.gateway.mounts.views.values()
        world.paper.server.faults.append(Fault("error", path="/api/v3/ticker", times=1000, status=500))
        exchange.engine.set_price(exchange.symbols["BTCUSDT"], Decimal(30_000), exchange.now_us())
        view._prices["BTCUSDT"] = (Decimal(60_000), view._system.boot_us() - 3_600_000_000)
        sale = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quoteOrderQty": "600"}
        answer = await one.call("POST", "/api/v3/order", **sale)  # type: ignore[arg-type]
        assert (answer.status, answer.reason) == (401, "halted"), "the bids of now tell how much that is"
        world.paper.server.faults.append(Fault("error", path="/api/v3/depth", times=1000, status=500))
        answer = await one.call("POST", "/api/v3/order", **sale)  # type: ignore[arg-type]
        assert (answer.status, answer.reason) == (503, "book_unknown"), answer
        assert (await one.order("SELL", "0.01")).status == 200, "sized in base it leaves"
