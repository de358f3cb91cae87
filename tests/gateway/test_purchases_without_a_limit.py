"""What a purchase without a limit may pay is not its bot's to sell, and binds nothing of another's for certain."""

from pathlib import Path

import pytest

from tests.gateway.test_alternatives import by_hand
from tests.gateway.test_followed import halt
from tests.gateway.test_paid import NAME, WIDE
from tests.gateway.test_slow_log import until
from tests.gateway.world import World, bots, running_world

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("very_patient")]


def form(world: World, kind: str) -> dict[str, str]:
    price = world.paper.exchange.symbols[NAME].price
    up = str((price * 102 / 100).quantize(price))
    return {
        "stop": {"type": "STOP_LOSS", "stopPrice": up},
        "trail": {"type": "STOP_LOSS", "trailingDelta": "200"},
        "stop limit": {"type": "STOP_LOSS_LIMIT", "timeInForce": "GTC", "price": up, "stopPrice": up},
    }[kind]


@pytest.mark.parametrize("kind", ["stop", "trail", "stop limit"])
async def test_anothers_free_stock_is_not_sold_beside_it(tmp_path: Path, kind: str) -> None:
    """Two has .5, and some .204 of that are held at the exchange."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=WIDE)
        for bot in (one, two):
            assert (await bot.order("BUY", "0.5006")).status == 200
        assert (await two.order("BUY", "4", symbol=NAME, **form(world, kind))).status == 200
        await until(lambda: not world.gateway.spool.waiting)
        await halt(world)
        assert (await one.order("SELL", "0.65")).status != 200, "0.15 of it are two's"
        assert (await two.call("GET", "/api/v3/openOrders", symbol=NAME)).status == 200
        assert (await two.order("SELL", "0.4")).status != 200, "so much is not free of its own"
        assert (await two.order("SELL", "0.25")).status == 200


async def test_ones_own_beside_it_leaves(tmp_path: Path) -> None:
    """Some was sold by hand, so that only one's own may go: some .296 of .5."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=WIDE)
        assert (await two.order("BUY", "0.5")).status == 200
        await by_hand(world, "0.4")
        assert (await one.order("BUY", "0.5006")).status == 200
        assert (await one.order("BUY", "4", symbol=NAME, **form(world, "stop"))).status == 200
        await halt(world)
        assert (await one.order("SELL", "0.29")).status == 200


@pytest.mark.parametrize("kind", ["stop", "trail"])
async def test_nobodys_stock_leaves_beside_it_as_far_as_it_may_bind_nothing(
    tmp_path: Path, kind: str
) -> None:
    """Of 1.3 that are free .5 are two's if it binds nothing, and some .3 if it binds what the exchange holds for it."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="1")
        one, two = await bots(world, "one", "two", policy=WIDE)
        assert (await two.order("BUY", "0.5006")).status == 200
        assert (await two.order("BUY", "4", symbol=NAME, **form(world, kind))).status == 200
        await until(lambda: not world.gateway.spool.waiting)
        await halt(world)
        got = await one.order("SELL", "0.95")
        assert (got.status, got.reason) == (503, "holdings_unknown"), got
        assert (await one.order("SELL", "0.79")).status == 200
