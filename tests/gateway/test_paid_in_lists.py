"""What lists in a pair move of the asset that it is quoted in is whose it is, and what they offer of its base is not."""

from pathlib import Path

import pytest

from tests.gateway.test_alternatives import listed
from tests.gateway.test_followed import halt
from tests.gateway.test_paid import NAME, WIDE
from tests.gateway.test_slow_log import until
from tests.gateway.world import bots, running_world


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
async def test_what_a_list_offers_of_one_asset_binds_nothing_of_another(tmp_path: Path) -> None:
    """One of the eight was sold: the list has begun, and the record reads what else began of it."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=WIDE)
        assert (await two.order("BUY", "0.5")).status == 200
        assert (await two.order("BUY", "9", symbol="ETHUSDT")).status == 200
        price = world.paper.exchange.symbols[NAME].price
        await world.paper.admin("POST", "depth", {"symbol": NAME, "quote": "0.05"})
        at, lower = (str((price * share / 100).quantize(price)) for share in (99, 97))
        form = {
            "symbol": NAME, "workingType": "LIMIT", "workingSide": "SELL", "workingTimeInForce": "GTC",
            "workingPrice": at, "workingQuantity": "8", "pendingSide": "BUY", "pendingType": "LIMIT",
            "pendingTimeInForce": "GTC", "pendingPrice": lower, "pendingQuantity": "0.1",
        }  # fmt: skip
        await listed(two, "oto", form)
        await until(lambda: not world.gateway.spool.waiting)
        await halt(world)
        mine = await one.order("SELL", "0.49")
        assert (mine.status, mine.reason) == (401, "halted"), "one has bought nothing: it is two's"
        assert (await two.order("SELL", "0.49")).status == 200
