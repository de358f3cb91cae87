"""A replacement on its way sells what its old order binds: it takes no more of the rest than it sells beside that."""

import asyncio
from collections.abc import Awaitable
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest

from broker.gateway.account_view import AccountView
from broker.gateway.sales import Old, Sale, Stakes
from broker.policy import Stake
from clients.paper.faults import Fault
from clients.venues.binance.market import Holding
from tests.gateway.test_followed import BIG, halt, limit
from tests.gateway.test_taken_off_once import answered_late
from tests.gateway.world import POLICY, Answer, Bot, World, bots, running_world

REPLACE = "/api/v3/order/cancelReplace"
HALF = Decimal("0.5")
KEY = ("main", "BTCUSDT", "7")


class Venue:
    """What is known of the old order: that it binds 0.3 and has executed nothing."""

    def __init__(self) -> None:
        self.told: tuple[Decimal, Decimal] | None = (Decimal("0.3"), Decimal(0))

    def old(self, *, sure: bool = True) -> Old:
        return Old(KEY, "one", lambda: self.told, *(self.told or (Decimal(0), Decimal(0))), sure=sure)


@pytest.mark.parametrize(
    ("amount", "executed", "takes"),
    [("0.3", "0", "0"), ("0.4", "0", "0.1"), ("0.2", "0", "0"), ("0.3", "0.1", "0.1")],
)
def test_what_a_sale_takes_is_beside_what_its_old_order_still_frees(
    amount: str, executed: str, takes: str
) -> None:
    venue = Venue()
    sale = Sale("BTC", Decimal(amount), 1, old=venue.old())
    venue.told = (Decimal(0), Decimal(executed))  # it is over by now
    assert sale.takes == Decimal(takes)
    venue.told = None
    assert sale.takes == Decimal(amount), "nobody knows what became of it"


def stakes_with(sale: Sale, asked_us: int, binding: str | None = None) -> Stakes:
    stakes = Stakes()
    stakes.sells(sale)
    told = {} if binding is None else {sale: Decimal(binding)}
    stakes.learn("BTCUSDT", "BTC", Stake(own=HALF), asked_us, binding=told)
    return stakes


def test_own_is_less_by_what_the_question_did_not_count_as_offered() -> None:
    sale = Sale("BTC", Decimal("0.3"), 10, landed_us=30, old=Venue().old())
    for binding, own in ((None, "0.5"), ("0.3", "0.5"), ("0", "0.2"), ("0.1", "0.3")):
        found = stakes_with(sale, 20, binding).of("BTCUSDT")
        assert found is not None
        assert (found.own, found.at_most) == (Decimal(own), 0), binding


def test_what_is_told_beside_the_old_order_is_less_by_all_of_it() -> None:
    """The answer counts that order as one's own already."""
    stakes = Stakes()
    stakes.sells(Sale("BTC", Decimal("0.3"), 10, old=Venue().old()))
    stakes.learn("BTCUSDT", "BTC", Stake(own=HALF), 20, KEY[2])
    found = stakes.of("BTCUSDT", KEY[2])
    assert found is not None
    assert found.own == Decimal("0.2")


def test_where_it_is_not_sure_what_is_freed_the_whole_is_taken_off_and_that_is_in_doubt() -> None:
    sale = Sale("BTC", Decimal("0.3"), 10, old=Venue().old(sure=False))
    found = stakes_with(sale, 20, "0.3").of("BTCUSDT")
    assert found is not None
    assert (found.own, found.at_most) == (Decimal("0.2"), HALF)


async def test_what_is_free_is_less_by_the_same() -> None:
    clock = SimpleNamespace(boot_us=lambda: 200)
    account = AccountView(SimpleNamespace(), clock)  # type: ignore[arg-type]
    account._holdings, account._asked_us = {"BTC": Holding(HALF, Decimal("0.3"))}, 100
    first = account.sells("BTC", Decimal("0.4"), Venue().old())
    assert (account.free("BTC"), account.free("BTC", alone=True)) == (Decimal("0.4"), Decimal("0.4"))
    account.sells("BTC", Decimal("0.1"), Venue().old(sure=False))
    assert (account.free("BTC"), account.perhaps("BTC")) == (Decimal("0.3"), Decimal("0.2"))
    account.landed(first, took_place=False)
    assert account.free("BTC") == Decimal("0.4")


def moves(bot: Bot, order: Answer, quantity: str, kind: dict[str, object], how: str) -> Awaitable[Answer]:
    number = order.body["orderId"] if "orderId" in order.body else order.body["orderReports"][0]["orderId"]
    values = {"symbol": "BTCUSDT", "side": "SELL", "cancelReplaceMode": how, **kind}
    return bot.call("POST", REPLACE, **values, quantity=quantity, cancelOrderId=number)


async def offers(world: World, bot: Bot, kind: str) -> Answer:
    """Let a bot offer 0.3, alone or by a list."""
    if kind == "order":
        return await bot.order("SELL", "0.3", **limit(world, "1.04"))
    price = limit(world, "1.04")["price"]
    below = limit(world, "0.97")["price"]
    return await bot.call(
        "POST", "/api/v3/orderList/oco", symbol="BTCUSDT", side="SELL", quantity="0.3", aboveType="LIMIT_MAKER",
        abovePrice=price, belowType="STOP_LOSS", belowStopPrice=below,
    )  # fmt: skip


async def under_way(world: World, *, made: bool) -> None:
    """Wait until a replacement is at the exchange, or on its way there."""
    before = len(world.paper.exchange.engine.orders)
    async with asyncio.timeout(10):
        while not world.gateway.book.flights or (  # noqa: ASYNC110 - nothing tells
            made and len(world.paper.exchange.engine.orders) == before
        ):
            await asyncio.sleep(0.005)


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("old", ["order", "list"])
@pytest.mark.parametrize("how", ["STOP_ON_FAILURE", "ALLOW_FAILURE"])
@pytest.mark.parametrize("made", [False, True])
async def test_the_rest_of_ones_own_leaves_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, how: str, made: bool
) -> None:
    """0.2 of 0.5 rest nowhere: they were refused for good, as if the other 0.3 were sold twice."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=BIG)
        assert (await two.order("BUY", "0.4")).status == 200
        assert (await one.order("BUY", "0.5006")).status == 200
        rests = await offers(world, one, old)
        assert rests.status == 200, rests
        if how == "STOP_ON_FAILURE":
            await halt(world)
        world.paper.server.faults.append(Fault("delay", "POST", REPLACE, times=1, ms=1500))
        with answered_late(monkeypatch) if made else monkeypatch.context():
            first = asyncio.ensure_future(moves(one, rests, "0.3", limit(world, "1.03"), how))
            await under_way(world, made=made)
            if how == "ALLOW_FAILURE":
                await halt(world)
            got = await one.order("SELL", "0.2")
            assert got.status in ({200} if how == "STOP_ON_FAILURE" else {200, 503}), got
            assert (await first).status == 200
        if got.status != 200:
            assert (await one.order("SELL", "0.2")).status == 200
        assert (await two.order("SELL", "0.3995")).status == 200


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("capped", [False, True])
async def test_two_of_ones_own_are_moved_at_the_same_moment(tmp_path: Path, capped: bool) -> None:
    """In a halt, or above the caps."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        one, _ = await bots(world, "one", "two", policy=POLICY if capped else BIG)
        for _ in range(4):
            assert (await one.order("BUY", "0.0166")).status == 200
        rests = [await one.order("SELL", "0.033", **limit(world, "1.04")) for _ in range(2)]
        assert [order.status for order in rests] == [200, 200], rests
        if not capped:
            await halt(world)
        world.paper.server.faults.append(Fault("delay", "POST", REPLACE, times=2, ms=100))
        got = await asyncio.gather(
            *(moves(one, order, "0.033", limit(world, "1.03"), "STOP_ON_FAILURE") for order in rests)
        )
        assert [answer.status for answer in got] == [200, 200], got


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("made", [False, True])
async def test_another_bots_keeps_nobody_from_selling_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: bool
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0.3")
        one, two = await bots(world, "one", "two", policy=BIG)
        assert (await two.order("BUY", "0.3005")).status == 200
        rests = await offers(world, two, "order")
        await halt(world)
        world.paper.server.faults.append(Fault("delay", "POST", REPLACE, times=1, ms=1500))
        with answered_late(monkeypatch) if made else monkeypatch.context():
            first = asyncio.ensure_future(moves(two, rests, "0.3", limit(world, "1.03"), "STOP_ON_FAILURE"))
            await under_way(world, made=made)
            got = await one.order("SELL", "0.29")
            assert got.status in {200, 503}, got
            assert (await first).status == 200
        if got.status != 200:
            assert (await one.order("SELL", "0.29")).status == 200


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
async def test_nothing_of_anothers_is_sold_beside_a_larger_one(tmp_path: Path) -> None:
    """It sells 0.2 more than its old order bound: so much less is one's own."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=BIG)
        for bot in (one, two):
            assert (await bot.order("BUY", "0.5006")).status == 200
        rests = await offers(world, one, "order")
        await halt(world)
        world.paper.server.faults.append(Fault("delay", "POST", REPLACE, times=1, ms=1500))
        first = asyncio.ensure_future(moves(one, rests, "0.5", limit(world, "1.03"), "STOP_ON_FAILURE"))
        await under_way(world, made=False)
        assert (await one.order("SELL", "0.1")).status in {401, 503}
        assert (await first).status == 200
        assert (await two.order("SELL", "0.5")).status == 200
