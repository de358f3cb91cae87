"""What came free lately the read of the account may not show yet: that is no yes, and no definite no."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.gate import Mode
from broker.gateway import lately
from broker.gateway.bought import Known
from broker.gateway.lately import LATELY_US, Lately, came_free
from tests.gateway.lagging import ACCOUNT, account_as
from tests.gateway.test_followed import BIG, limit, moved
from tests.gateway.test_followed import shared as two_bots
from tests.gateway.test_paid import WIDE
from tests.gateway.world import Answer, Bot, World

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("very_patient")]


@asynccontextmanager
async def shared(
    tmp_path: Path, there: str = "0", policy: str = BIG
) -> AsyncIterator[tuple[World, Bot, Bot]]:
    """Two bots on one account of an exchange that may lag."""
    async with two_bots(tmp_path, there, policy) as (world, one, two):
        world.gateway.book.recent.lately.lag_us = LATELY_US
        yield world, one, two


async def halt(world: World) -> None:
    await world.cut("account:main", mode=Mode.HALT)


async def account_of(bot: Bot) -> Any:
    answer = await bot.call("GET", ACCOUNT)
    assert answer.status == 200, answer
    return answer.body


async def ends(bot: Bot, order: Answer) -> None:
    assert order.status == 200, order
    got = await bot.call("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=order.body["orderId"])
    assert got.status == 200, got


def unknown(got: Answer) -> bool:
    return (got.status, got.reason) == (503, "holdings_unknown")


@pytest.mark.parametrize("halted", [False, True])
async def test_what_a_cancel_freed_is_no_definite_no_where_the_account_shows_it_late(
    tmp_path: Path, *, halted: bool
) -> None:
    policy = BIG if halted else BIG.replace('"100000"', '"100"')
    async with shared(tmp_path, there="1", policy=policy) as (world, one, _):
        stop = await one.order("SELL", "1", **limit(world, "1.04"))
        if halted:
            await halt(world)
        before = await account_of(one)
        with account_as(before):
            await ends(one, stop)
            got = await one.order("SELL", "0.5")
            assert unknown(got), got
        assert (await one.order("SELL", "0.5")).status == 200, "holdings show it"


async def test_what_another_grant_freed_is_none_either(tmp_path: Path) -> None:
    async with shared(tmp_path, there="1") as (world, one, two):
        rests = await two.order("SELL", "1", **limit(world, "1.04"))
        await halt(world)
        with account_as(await account_of(one)):
            await ends(two, rests)
            assert unknown(await one.order("SELL", "0.5"))
        assert (await one.order("SELL", "0.5")).status == 200


async def test_what_it_bought_and_what_was_there_before_in_one_order(tmp_path: Path) -> None:
    """The account shows only what was there: neither is enough alone."""
    async with shared(tmp_path, there="0.3") as (world, one, _):
        with account_as(await account_of(one)):
            assert (await one.order("BUY", "0.5")).status == 200
            await halt(world)
            assert unknown(await one.order("SELL", "0.79"))
        assert (await one.order("SELL", "0.79")).status == 200


async def test_nor_is_it_where_another_bought_beside_what_was_there_before(tmp_path: Path) -> None:
    """What others have is known at once, and that it came is shown late."""
    async with shared(tmp_path, there="0.5") as (world, one, two):
        with account_as(await account_of(one)):
            assert (await two.order("BUY", "0.5")).status == 200
            await halt(world)
            assert unknown(await one.order("SELL", "0.49"))
        assert (await one.order("SELL", "0.49")).status == 200
        assert (await two.order("SELL", "0.49")).status == 200


async def test_nor_where_settling_told_of_it(tmp_path: Path) -> None:
    async with shared(tmp_path, there="0.5") as (world, one, two):
        rests = await two.order("BUY", "0.5", **limit(world, "0.99"))
        assert rests.status == 200
        with account_as(await account_of(one)):
            moved(world, "0.98")
            await halt(world)
            assert unknown(await one.order("SELL", "0.49")), "orders tell of it, the account does not"
        assert (await one.order("SELL", "0.49")).status == 200


async def test_it_is_never_a_yes(tmp_path: Path) -> None:
    """Where the account shows it by now it counts once."""
    async with shared(tmp_path, there="0.5") as (world, one, two):
        assert (await two.order("BUY", "0.5")).status == 200
        await ends(one, await one.order("SELL", "0.4", **limit(world, "1.04")))
        await halt(world)
        got = await one.order("SELL", "0.6")
        assert unknown(got), got
        assert (await one.order("SELL", "0.49")).status == 200


async def test_after_a_while_what_holdings_show_is_what_there_is(tmp_path: Path) -> None:
    async with shared(tmp_path) as (world, one, two):
        assert (await two.order("BUY", "0.5")).status == 200
        await halt(world)
        assert unknown(await one.order("SELL", "0.4"))
        world.gateway.book.recent.lately.lag_us = 0
        got = await one.order("SELL", "0.4")
        assert (got.status, got.reason) == (401, "halted")


async def sold_beside(tmp_path: Path, there: str, *, sold: str, then: str, lags: bool) -> Answer:
    """Two bots bought .5 each, and the first sells twice in a halt; the account may lag behind the first sale."""
    async with shared(tmp_path, there) as (world, one, two):
        for bot in (one, two):
            assert (await bot.order("BUY", "0.5")).status == 200
        await halt(world)
        before = await account_of(one)
        with account_as(before) if lags else nullcontext():
            assert (await one.order("SELL", sold)).status == 200
            return await one.order("SELL", then)


@pytest.mark.parametrize(("sold", "then"), [("0.3", "0.19"), ("0.4", "0.39"), ("0.79", "0.009")])
async def test_in_step_all_that_is_left_is_sold_in_pieces(tmp_path: Path, sold: str, then: str) -> None:
    got = await sold_beside(tmp_path, "0.3", sold=sold, then=then, lags=False)
    assert got.status == 200, got


async def test_its_own_leaves_in_pieces_also_where_it_lags(tmp_path: Path) -> None:
    got = await sold_beside(tmp_path, "0", sold="0.3", then="0.19", lags=True)
    assert got.status == 200, got


@pytest.mark.parametrize("how", ["a deposit", "a purchase by hand"])
async def test_what_comes_after_a_sale_does_not_make_it_one_that_is_not_shown(
    tmp_path: Path, how: str
) -> None:
    """Old code took the sale off once more for half a minute: what came had hidden it."""
    async with shared(tmp_path, "0.1") as (world, one, two):
        for bot in (one, two):
            assert (await bot.order("BUY", "0.5")).status == 200
        world.gateway.book.recent.lately._of.clear()  # that was long ago
        await halt(world)
        assert (await one.order("SELL", "0.3")).status == 200
        if how == "a deposit":
            values = {"account": "main@paper.test", "asset": "BTC", "amount": "0.4"}
            assert (await world.paper.admin("POST", "deposit", values))[0] == 200
        else:
            key = world.paper.key("main@paper.test")
            by_hand = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.4"}
            assert (await world.paper.call("POST", "/api/v3/order", key, **by_hand))[0] == 200
        got = await one.order("SELL", "0.6")
        assert got.status == 200, got
        assert (await one.order("SELL", "0.2")).status == 401
        assert (await two.order("SELL", "0.49")).status == 200


async def test_nor_does_what_a_purchase_paid_less_than_it_might(tmp_path: Path) -> None:
    """At its limit it would have paid more of what is there."""
    policy = WIDE.replace('"100000"', '"100"')
    async with shared(tmp_path, "1", policy=policy) as (world, one, two):
        assert (await two.order("BUY", "0.001")).status == 200
        world.gateway.book.recent.lately._of.clear()
        assert (await one.order("SELL", "0.002")).status == 200, "holdings are known"
        price = world.paper.exchange.symbols["ETHBTC"].price * Decimal("1.04")
        dear = {"type": "LIMIT", "timeInForce": "IOC", "price": f"{price:.5f}"}
        paid = await one.order("BUY", "0.03", symbol="ETHBTC", **dear)
        assert paid.status == 200, paid
        left = Decimal("0.998") - Decimal(paid.body["cummulativeQuoteQty"])
        got = await one.order("SELL", f"{left:.5f}")
        assert got.status == 200, got


@pytest.mark.parametrize("how", ["cancelled", "expired"])
async def test_an_order_that_sold_nothing_keeps_nobody(tmp_path: Path, how: str) -> None:
    async with shared(tmp_path, "1") as (world, one, _):
        await halt(world)
        terms = limit(world, "1.04")
        if how == "expired":
            assert (await one.order("SELL", "1", **(terms | {"timeInForce": "IOC"}))).status == 200
        else:
            await ends(one, await one.order("SELL", "1", **terms))
        got = await one.order("SELL", "0.9")
        assert got.status == 200, got


def order(side: str, executed: str, left: str, *, placed: bool = True) -> Known:
    return Known("one", "BTC", side, Decimal(executed), Decimal(left), placed)


@pytest.mark.parametrize(
    ("before", "now", "free"),
    [
        (None, order("BUY", "2", "0"), 2),
        (None, order("BUY", "2", "0", placed=False), 0),
        (None, order("SELL", "2", "0"), 0),
        (order("BUY", "1", "1"), order("BUY", "2", "0"), 1),
        (order("BUY", "1", "1"), order("BUY", "1", "0"), 0),
        (order("SELL", "0", "5"), order("SELL", "2", "3"), 0),
        (order("SELL", "0", "5"), order("SELL", "2", "0"), 3),
        (order("SELL", "1", "4"), order("SELL", "1", "2"), 2),
        (order("SELL", "0", "-5"), order("SELL", "0", "0"), 0),
    ],
)
def test_what_came_free_is_what_was_bought_or_is_bound_no_more(
    before: Known | None, now: Known, free: int
) -> None:
    assert came_free(before, now) == free


def test_it_counts_for_holdings_asked_for_soon_after_and_takes_no_more_room_than_that() -> None:
    now = [1_000_000_000]
    kept = Lately(lambda: now[0])
    for _ in range(200):
        kept.add("main", "BTC", Decimal(1))
        now[0] += 500_000
    assert len(kept._of["main", "BTC"]) <= 41
    assert kept.since("main", "BTC", now[0]) in {60, 61, 62}
    assert kept.since("main", "BTC", now[0] + LATELY_US + 1) == 0
    assert kept.since("main", "ETH", now[0]) == kept.since("other", "BTC", now[0]) == 0
    kept.add("main", "BTC", Decimal(-1))
    assert kept.since("main", "BTC", now[0]) in {60, 61, 62}
    for number in range(lately.MOST_KEPT):
        kept.add("main", str(number), Decimal(1))
    assert len(kept._of) == lately.MOST_KEPT
