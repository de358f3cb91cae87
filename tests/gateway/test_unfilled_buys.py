"""A purchase that rests brought nothing: while nobody can tell what an account holds, it is no reason to sell as much."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from clients.paper.faults import Fault
from tests.gateway.test_exits import view_of
from tests.gateway.test_followed import halt, limit, moved, price_of, shared

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("very_patient")]
LAPSED_S = 2.5
"""For longer than holdings are known."""


def silent_about_holdings() -> Fault:
    return Fault("error", method="GET", path="/api/v3/account", times=100_000, status=500)


async def test_a_resting_purchase_does_not_make_anothers_stock_ones_own(tmp_path: Path) -> None:
    async with shared(tmp_path) as (world, one, two):
        assert (await two.order("BUY", "1")).status == 200
        assert (await one.order("BUY", "0.5", **limit(world, "0.96"))).status == 200
        await halt(world)
        assert (await one.order("SELL", "0.4")).reason == "halted"
        world.paper.server.faults.append(silent_about_holdings())
        await asyncio.sleep(LAPSED_S)
        got = await one.order("SELL", "0.4")
        assert (got.status, got.reason) == (503, "holdings_unknown"), "what nobody knows is told as that"


async def test_a_resting_purchase_of_two_alternatives_does_not_either(tmp_path: Path) -> None:
    async with shared(tmp_path) as (world, one, two):
        assert (await two.order("BUY", "1")).status == 200
        above, below = (
            str((price_of(world) * Decimal(share)).quantize(Decimal("0.01"))) for share in ("1.03", "0.96")
        )
        listed = await one.call(
            "POST", "/api/v3/orderList/oco", symbol="BTCUSDT", side="BUY", quantity="0.4",
            aboveType="STOP_LOSS_LIMIT", aboveStopPrice=above, abovePrice=above, aboveTimeInForce="GTC",
            belowType="LIMIT_MAKER", belowPrice=below,
        )  # fmt: skip
        assert listed.status == 200, listed
        await halt(world)
        world.paper.server.faults.append(silent_about_holdings())
        await asyncio.sleep(LAPSED_S)
        for amount in ("0.8", "0.4", "0.1"):
            got = await one.order("SELL", amount)
            assert (got.status, got.reason) == (503, "holdings_unknown"), amount


async def test_nobody_comes_to_it_by_using_up_what_may_be_asked_in_a_pause(tmp_path: Path) -> None:
    async with shared(tmp_path) as (world, one, two):
        assert (await two.order("BUY", "1")).status == 200
        assert (await one.order("BUY", "0.5", **limit(world, "0.96"))).status == 200
        await halt(world)
        view = view_of(world)
        view.meter.refused(429, 60.0, view.now_us())
        for _ in range(25):
            assert (await one.order("SELL", "0.4")).status != 200
            await asyncio.sleep(0.2)
        left = await two.order("SELL", "0.9")
        assert left.status == 200, "whoever bought it leaves meanwhile"


async def test_what_was_bought_leaves_although_holdings_are_not_told(tmp_path: Path) -> None:
    async with shared(tmp_path) as (world, one, two):
        assert (await two.order("BUY", "1")).status == 200
        assert (await one.order("BUY", "0.5")).status == 200
        assert (await one.order("BUY", "0.5", **limit(world, "0.96"))).status == 200
        await halt(world)
        world.paper.server.faults.append(silent_about_holdings())
        await asyncio.sleep(LAPSED_S)
        assert (await one.order("SELL", "0.6")).reason == "holdings_unknown"
        assert (await one.order("SELL", "0.49")).status == 200


async def test_a_purchase_that_was_filled_unheard_leaves_although_holdings_are_not_told(
    tmp_path: Path,
) -> None:
    async with shared(tmp_path) as (world, one, two):
        assert (await two.order("BUY", "1")).status == 200
        assert (await one.order("BUY", "0.5", **limit(world, "0.96"))).status == 200
        moved(world, "0.95")
        await halt(world)
        world.paper.server.faults.append(silent_about_holdings())
        await asyncio.sleep(LAPSED_S)
        assert (await one.order("SELL", "0.49")).status == 200, "the venue tells of the order itself"
