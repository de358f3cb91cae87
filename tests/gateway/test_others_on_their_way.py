"""What other bots have sent may take nothing of the book: it keeps nobody from leaving, and makes no definite no."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from broker.gateway.depth import Taking
from broker.gateway.sales import Sale
from broker.policy_book import Take
from broker.policy_facts import Page
from clients.venue import Side
from tests.gateway.test_exits import LIMIT
from tests.gateway.test_followed import halt, shared
from tests.gateway.test_walked_book import book, sells_for
from tests.gateway.world import PATIENCE_S, POLICY, Answer, Bot, World, bots, running_world
from tests.paper.harness import held

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("very_patient")]

UNCAPPED = 'allow = ["market", "account", "trade"]\nsymbols = ["BTCUSDT"]\n'
SENT: dict[str, dict[str, object]] = {
    "more than is there": {"side": "SELL", "quantity": "9000", "type": "LIMIT", "timeInForce": "GTC", "price": "59000"},
    "all or nothing": {"side": "SELL", "quantity": "9", "type": "LIMIT", "timeInForce": "FOK", "price": "59000"},
    "a stop far away": {"side": "SELL", "quantity": "2.9", "type": "STOP_LOSS", "stopPrice": "30000"},
    "a limit above the bids": {"side": "SELL", "quantity": "3", "price": "60000", **LIMIT},
}  # fmt: skip


@asynccontextmanager
async def on_its_way(world: World, bot: Bot, order: dict[str, object]) -> AsyncIterator[None]:
    with held(world.paper, "POST", "/api/v3/order", times=1) as wire:
        sent = asyncio.ensure_future(bot.call("POST", "/api/v3/order", symbol="BTCUSDT", **order))
        async with asyncio.timeout(PATIENCE_S):
            while not wire.waiting:
                await asyncio.sleep(0.005)
                assert not sent.done(), sent.result()
        yield
        wire.let_go()
    await sent


@asynccontextmanager
async def two_accounts(tmp_path: Path, policy: str = POLICY) -> AsyncIterator[tuple[World, Bot, Bot]]:
    async with running_world(tmp_path) as world:
        world.account("main", USDT="100000", BTC="2")
        world.account("other", USDT="100000000", BTC="3")
        (one,) = await bots(world, "one", policy=policy)
        (other,) = await bots(world, "other", account="other", policy=UNCAPPED)
        await world.paper.admin("POST", "depth", {"symbol": "BTCUSDT", "quote": "120000"})
        yield world, one, other


@pytest.mark.parametrize("order", SENT.values(), ids=SENT)
async def test_nobody_is_kept_from_leaving_by_what_another_sends(
    tmp_path: Path, order: dict[str, object]
) -> None:
    """It was told that the book takes nothing, as long as somebody had a sale on its way."""
    async with two_accounts(tmp_path) as (world, one, other), on_its_way(world, other, order):
        left = await one.order("SELL", "0.5")
        assert left.status == 200, left


async def test_a_bots_own_sales_do_not_each_take_the_best_of_the_book(tmp_path: Path) -> None:
    async with two_accounts(tmp_path) as (world, one, _):
        with held(world.paper, "POST", "/api/v3/order") as wire:
            sales = [asyncio.ensure_future(one.order("SELL", "0.9")) for _ in range(3)]
            async with asyncio.timeout(PATIENCE_S):
                while len(wire.waiting) + sum(one.done() for one in sales) < 3:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.01)
            assert len(wire.waiting) == 2, "1.999 is what it takes"
        reasons = [answer.reason for answer in await asyncio.gather(*sales)]
        assert len([reason for reason in reasons if reason is None]) == 2


async def test_a_far_stop_on_its_way_takes_nothing_from_its_own_bot_either(tmp_path: Path) -> None:
    async with two_accounts(tmp_path) as (world, one, _):
        stop: dict[str, object] = {
            "side": "SELL",
            "quantity": "1.4",
            "type": "STOP_LOSS",
            "stopPrice": "30000",
        }
        async with on_its_way(world, one, stop):
            assert (await one.order("SELL", "0.6")).status == 200


@pytest.mark.parametrize("price", ["60000", "70000"], ids=["collar", "cap"])
async def test_what_another_buys_is_no_definite_no_for_a_purchase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, price: str
) -> None:
    policy = POLICY.replace(
        'collar_percent = "5"', 'collar_percent = "20"' if price == "70000" else 'collar_percent = "5"'
    )
    buys: dict[str, object] = {
        "side": "BUY",
        "quantity": "0.02",
        "type": "LIMIT",
        "timeInForce": "FOK",
        "price": "60000",
    }
    asks = [["60000.00", "0.021"], [price if price != "60000" else "90000", "9"]]
    async with two_accounts(tmp_path, policy) as (world, one, other):
        with book(monkeypatch, asks=asks):
            async with on_its_way(world, other, buys):
                unknown = await one.order("BUY", "0.016")
                assert (unknown.status, unknown.reason) == (503, "book_unknown"), unknown
            assert (await one.order("BUY", "0.016")).status == 200


async def test_a_sale_in_quote_beside_others_is_not_known_by_what_they_have_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If that takes the best bids, it would sell another's stock; if not, a definite no would be untrue."""
    async with shared(tmp_path) as (world, one, two):
        assert (await two.order("BUY", "0.5")).status == 200
        assert (await one.order("BUY", "0.1")).status == 200
        await halt(world)
        with book(monkeypatch, bids=[["59999.99", "0.1"], ["30000.00", "5"]]):
            perhaps = {"quantity": "0.1", "type": "LIMIT", "timeInForce": "FOK", "price": "59000"}
            async with on_its_way(world, two, {"side": "SELL", **perhaps}):
                unknown: Answer = await sells_for(one, "5000")
                assert (unknown.status, unknown.reason) == (503, "book_unknown"), unknown
                assert (await one.order("SELL", "0.05")).status == 200, "sized in base it leaves"
            assert (await sells_for(one, "2000")).status == 200


async def test_whatever_way_out_it_takes_what_is_sent_takes_from_one_book(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        await bots(world)
        mounts, lease = world.gateway.mounts, next(iter(world.gateway.book.by_lease.values()))
        here = mounts.view_of(lease.venue, lease.upstream, lease.egress)
        there = mounts.view_of(lease.venue, lease.upstream, dataclasses.replace(lease.egress, name="other"))
        assert here is not there
        page = Page(((Decimal(10), Decimal(2)),))
        for number, view in enumerate((here, there)):
            view.asks.learn("X", page, number)
        takes = (Take(Side.BUY, Decimal(1)),)
        here.asks.takes("X", Taking(Sale("", Decimal(0), 5), takes, "me", takes))
        for view in (here, there):
            assert view.asks.of("X", 5, "me") == Page(((Decimal(10), Decimal(1)),))
            assert view.bids.of("X", 5, "me") is None
