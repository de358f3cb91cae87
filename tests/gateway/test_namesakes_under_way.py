"""Two bots sent one order by one name, and neither answer is there: whose the one is that rests is told to nobody."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from clients.paper import server as paper_server
from clients.paper.faults import Fault
from tests.gateway.test_followed import BIG, halt, limit
from tests.gateway.world import Answer, Bot, bots, running_world

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("very_patient")]
PATIENCE_S = 60.0


async def leaves(bot: Bot, how: str, order_id: str) -> Answer:
    named = {"orderId": order_id} if how == "by id" else {"origClientOrderId": "mine"}
    return await bot.call("DELETE", "/api/v3/order", symbol="BTCUSDT", **named)


@pytest.mark.parametrize("how", ["by id", "by name"])
async def test_an_order_that_may_be_ones_own_is_not_said_to_be_gone(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both were told -2011 for certain, the one whose order rested among them."""
    let_go = asyncio.Event()
    answering = next(
        one for one in vars(paper_server).values() if isinstance(one, type) and hasattr(one, "_misbehave")
    )

    def held(self: Any, fault: Fault, call: Any) -> None:
        del fault
        answer = self._server.exchange.answer(call, paper_server.ROUTES)
        self._held = True

        async def later() -> None:
            await let_go.wait()
            self._held = False
            self._write(answer)
            self._next()

        kept.append(asyncio.ensure_future(later()))

    kept = list["asyncio.Task[None]"]()
    monkeypatch.setattr(answering, "_misbehave", held)
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=BIG)
        for bot in (one, two):
            assert (await bot.order("BUY", "0.31")).status == 200
        world.paper.server.faults.append(Fault("delay", "POST", "/api/v3/order", times=2, ms=1))
        at = limit(world, "1.04")
        sent = []
        for bot in (one, two):
            sent.append(asyncio.ensure_future(bot.order("SELL", "0.3", newClientOrderId="mine", **at)))
            async with asyncio.timeout(PATIENCE_S):
                while len(kept) < len(sent):  # noqa: ASYNC110 - the paper exchange sets no event
                    await asyncio.sleep(0.01)
        (resting,) = [row for row in world.paper.exchange.engine.orders.values() if row.side == "SELL"]
        for bot in (one, two):
            got = await leaves(bot, how, str(resting.order_id))
            assert got.status == 503, (got.status, got.reason)
        let_go.set()
        await asyncio.gather(*sent)
        await halt(world)
        async with asyncio.timeout(PATIENCE_S):
            while (await leaves(one, how, str(resting.order_id))).status != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
