"""On an account of one bot: an exit beside the replacement of an order from before the gateway was started."""

import asyncio
from pathlib import Path

import pytest

from clients.paper.faults import Fault
from tests.gateway.test_followed import limit
from tests.gateway.test_fresh_gateway import gateway_at
from tests.gateway.world import Bot, bots, running_world, served

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("very_patient")]


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.06])
async def test_what_the_old_order_frees_is_in_doubt_and_no_definite_no(
    tmp_path: Path, after_s: float
) -> None:
    """What it frees nobody here knows: the whole sale was taken off what is free as a fact."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0.5")
        (one,) = await bots(world, "one")
        rests = await one.order("SELL", "0.3", **limit(world, "1.04"))
        assert rests.status == 200
        async with gateway_at(world, tmp_path / "other") as port:
            bot = Bot(port, one.key_id, one.secret)
            await bot.ready()
            assert (await bot.order("SELL", "0.01")).status == 200
            await asyncio.sleep(2.1)  # until holdings are asked for anew
            slow = [("GET", "/api/v3/account", 100), ("POST", "/api/v3/order/cancelReplace", 900)]
            for method, path, ms in slow:
                world.paper.server.faults.append(Fault("delay", method, path, times=1, ms=ms))
            exits = asyncio.ensure_future(bot.order("SELL", "0.15"))
            await asyncio.sleep(after_s)  # the replacement leaves between the question and the verdict
            moved = {
                "symbol": "BTCUSDT", "side": "SELL", "cancelReplaceMode": "STOP_ON_FAILURE", "quantity": "0.3",
                "cancelOrderId": rests.body["orderId"], **limit(world, "1.03"),
            }  # fmt: skip
            moves = asyncio.ensure_future(bot.call("POST", "/api/v3/order/cancelReplace", **moved))
            got, _ = await exits, await moves
            assert got.status in {200, 503}, got.reason
            assert got.status == 200 or (await served(lambda: bot.order("SELL", "0.15"))).status == 200
