"""A market buy sized in base counts at what the book gives for it: a cap holds whoever owns the asks of a thin pair."""

import asyncio
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest

from broker.gateway import depth as looks
from broker.gateway.depth import Depth, Taking, Takings
from broker.gateway.sales import Sale
from broker.policy_book import Take
from broker.policy_facts import Page
from clients.paper.exchange import Seen
from clients.paper.faults import Fault
from clients.paper.server import ROUTES
from clients.venue import Side
from tests.gateway.test_exits import view_of
from tests.gateway.test_worst_cases import bought
from tests.gateway.world import PATIENCE_S, POLICY, World, bots, running_world
from tests.paper.harness import held

pytestmark = pytest.mark.usefixtures("very_patient")

OBSERVING = 'mode = "observe"\n' + POLICY
DEPTH, PRICE = ("GET", "/api/v3/depth"), ("GET", "/api/v3/ticker/price")
LAST = Decimal(60_000)


@contextmanager
def last_paid(world: World, monkeypatch: pytest.MonkeyPatch, book: Decimal) -> Iterator[None]:
    """Let what was paid last stay where it was, and the book trade somewhere else: nobody has bought there yet."""
    symbol, real = world.paper.exchange.symbols["BTCUSDT"], ROUTES[PRICE]
    with monkeypatch.context() as patch:
        told = dataclasses.replace(real, handler=lambda *_: {"symbol": symbol.name, "price": str(LAST)})
        patch.setitem(ROUTES, PRICE, told)
        symbol.price = book
        yield
    symbol.price = LAST


@pytest.mark.parametrize("times", [2, 10])
async def test_who_owns_the_asks_sells_to_a_bot_at_no_price_of_his_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Its cap was 1,000, and one order of it cost 9,600."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000")
        (bot,) = await bots(world)
        with last_paid(world, monkeypatch, LAST * times):
            refused = await bot.order("BUY", "0.016")
            assert (refused.status, refused.reason) == (400, "collar"), refused
            replaced = await bot.call(
                "POST", "/api/v3/order/cancelReplace", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.016",
                cancelReplaceMode="ALLOW_FAILURE", cancelOrigClientOrderId="none",
            )  # fmt: skip
            assert replaced.status != 200, replaced
            assert bought(world) == 0
            in_quote = await bot.call(
                "POST", "/api/v3/order", symbol="BTCUSDT", side="BUY", type="MARKET", quoteOrderQty="900"
            )
            assert in_quote.status == 200, "it cannot cost more than it says"
            assert bought(world) <= 900


async def test_what_the_book_asks_inside_the_collar_counts_and_not_what_was_paid_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000")
        (bot,) = await bots(world)
        with last_paid(world, monkeypatch, LAST * Decimal("1.04")):
            assert (await bot.order("BUY", "0.0165")).reason == "order_notional", "990 by the last price"
            assert (await bot.order("BUY", "0.016")).status == 200
        assert bought(world) <= 1000


async def test_a_thin_book_refuses_what_it_does_not_give_and_says_how_much_it_does(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000")
        (bot,) = await bots(world)
        await world.paper.admin("POST", "depth", {"symbol": "BTCUSDT", "quote": "600"})
        refused = await bot.order("BUY", "0.016")
        assert (refused.status, refused.reason) == (400, "collar"), refused
        size = refused.body["msg"].partition("gives ")[2].split()[0]
        assert (await bot.order("BUY", size)).status == 200
        observing = world.bot("other", "main", OBSERVING)
        await observing.ready()
        assert (await observing.order("BUY", "0.016")).status == 200


async def test_a_buy_that_waits_for_one_that_is_filled_at_once_is_counted_by_the_book_behind_it(
    tmp_path: Path,
) -> None:
    """The first took the one honest ask, and the second paid ten times its cap."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000")
        (bot,) = await bots(world)
        await world.paper.admin("POST", "depth", {"symbol": "BTCUSDT", "quote": "900"})
        listed = {
            "symbol": "BTCUSDT", "workingType": "LIMIT", "workingTimeInForce": "GTC", "workingSide": "BUY",
            "workingPrice": "60000", "workingQuantity": "0.005", "pendingType": "MARKET", "pendingSide": "BUY",
        }  # fmt: skip
        refused = await bot.call("POST", "/api/v3/orderList/oto", **listed, pendingQuantity="0.0101")
        assert (refused.status, refused.reason) == (400, "collar"), refused
        assert bought(world) == 0
        assert (
            await bot.call("POST", "/api/v3/orderList/oto", **listed, pendingQuantity="0.009")
        ).status == 200


async def test_a_whole_page_of_a_deep_book_is_not_the_end_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred fine ticks gave five, and whoever bought six was told that there is no more."""
    big, deep = POLICY.replace('"10000"', '"100000000"').replace('"1000"', '"10000000"'), list[int]()
    asks = [[f"{LAST + number * Decimal('0.01'):.2f}", "0.05"] for number in range(1000)]

    def book(_exchange: object, seen: Seen) -> object:
        deep.append(seen.params.whole("limit", 100) or 100)
        return {"lastUpdateId": 1, "bids": [["59999.99", "1"]], "asks": asks[: deep[-1]]}

    async with running_world(tmp_path) as world:
        world.account(USDT="10000000")
        (bot,) = await bots(world, policy=big)
        monkeypatch.setitem(ROUTES, DEPTH, dataclasses.replace(ROUTES[DEPTH], handler=book))
        assert (await bot.order("BUY", "4.9")).status == 200
        assert deep == [100]
        assert (await bot.order("BUY", "6")).status == 200
        assert deep[-1] == 1000
        more = await bot.order("BUY", "51")
        assert (more.status, more.reason) == (503, "book_unknown"), "of fifty inside a tenth of a percent"


async def test_a_look_of_before_is_no_definite_no_where_no_other_can_be_had(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000")
        one, two = await bots(world, "one", "two")
        await world.paper.admin("POST", "depth", {"symbol": "BTCUSDT", "quote": "900"})
        assert (await one.order("BUY", "0.012")).status == 200
        world.paper.server.faults.append(Fault("error", path=DEPTH[1], times=1000, status=500))
        got = await two.order("BUY", "0.012")
        assert (got.status, got.reason) == (503, "book_unknown")


async def test_buys_that_share_a_look_do_not_each_take_the_best_of_it(tmp_path: Path) -> None:
    """The first takes it, the others would pay what lies behind."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000")
        (bot,) = await bots(world)
        await world.paper.admin("POST", "depth", {"symbol": "BTCUSDT", "quote": "900"})
        with held(world.paper, "POST", "/api/v3/order") as orders:
            sent = [asyncio.ensure_future(bot.order("BUY", "0.01")) for _ in range(4)]
            async with asyncio.timeout(PATIENCE_S):
                while len(orders.waiting) + sum(one.done() for one in sent) < len(sent):  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.01)
            assert len(orders.waiting) == 1
        reasons = [answer.reason for answer in await asyncio.gather(*sent)]
        assert sorted(map(str, reasons)) == ["None", "collar", "collar", "collar"]


@pytest.mark.parametrize("policy", [POLICY, OBSERVING], ids=["enforced", "observed"])
async def test_a_book_that_cannot_be_had_is_an_outage_for_a_market_buy_alone(
    tmp_path: Path, policy: str
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="2")
        (bot,) = await bots(world, policy=policy)
        world.paper.server.faults.append(Fault("error", path=DEPTH[1], times=1000, status=500))
        answer = await bot.order("BUY", "0.01")
        if policy is OBSERVING:
            assert answer.status == 200, answer
        else:
            assert (answer.status, answer.reason) == (503, "book_unknown"), answer
        limit = {"type": "LIMIT", "timeInForce": "GTC", "price": "60000"}
        assert (await bot.order("BUY", "0.01", **limit)).status == 200
        assert (await bot.order("SELL", "0.01")).status == 200
        assert (await bot.order("SELL", "1.5")).status == 200, "no exit needs it"


async def test_only_market_buys_in_base_look_and_buys_of_one_pair_share_it(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="2")
        (bot,) = await bots(world)
        limit = {"type": "LIMIT", "timeInForce": "GTC"}
        for side, price in (("BUY", "59000"), ("BUY", "60000"), ("SELL", "61000")):
            assert (await bot.order(side, "0.01", **limit, price=price)).status == 200
        assert (await bot.order("SELL", "0.01")).status == 200
        view = view_of(world)
        assert not view.asks._seen
        with held(world.paper, *DEPTH) as books:
            view._prices.clear()
            sent = [asyncio.ensure_future(bot.order("BUY", "0.001")) for _ in range(5)]
            async with asyncio.timeout(PATIENCE_S):
                while not books.waiting or not view._prices:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.01)
            assert len(books.waiting) == 1, "and the price came meanwhile"
        assert [(await one).status for one in sent] == [200] * 5


@pytest.mark.parametrize("is_full", [False, True])
def test_a_look_is_good_for_a_while_less_what_was_sent_since(*, is_full: bool) -> None:
    clock = SimpleNamespace(now=1_000)
    clock.boot_us = lambda: clock.now
    side = Depth(clock, Takings(clock, lambda: looks.ASKS_US))  # type: ignore[arg-type]
    seen = Page(((Decimal(10), Decimal(1)), (Decimal(11), Decimal(2))), is_full)

    def sent(amount: str, limit: Decimal | None = None) -> Sale:
        order = Sale("", Decimal(0), clock.now)
        takes = (Take(Side.BUY, Decimal(amount), limit=limit),)
        side.takes("X", Taking(order, takes, "me", takes))
        return order

    before = sent("1")
    clock.now = 2_000
    side.landed(before, took_place=True)
    clock.now = 3_000
    side.learn("X", seen, 3_000)
    assert side.of("X", clock.now, "me") == seen, "what has landed is shown"
    sent("2", Decimal("9.9"))
    assert side.of("X", clock.now, "me") == seen, "it rests"
    hanging, refused = sent("1.5"), sent("1", Decimal(11))
    assert side.of("X", clock.now, "me") == Page(((Decimal(11), Decimal("0.5")),), is_full)
    assert side.of("X", clock.now, "you") == Page(((Decimal(11), Decimal("0.5")),), is_full, seen.levels)
    side.landed(refused, took_place=False)
    assert side.of("X", clock.now, "me") == Page(((Decimal(11), Decimal("1.5")),), is_full)
    side.learn("X", seen, 4_000)
    assert side.of("X", clock.now, "me") == Page(((Decimal(11), Decimal("1.5")),), is_full), (
        "it may not show what hangs"
    )
    side.landed(hanging, took_place=True)
    side.learn("X", seen, 5_000)
    side.learn("X", Page(()), 4_500)
    assert side.of("X", clock.now, "me") == seen, "what was asked before it came late"
    assert side.of("X", 5_000 + looks.ASKS_US + 1) is None
    side.forget(10**9)
    assert not side._seen
    assert not len(side._sent)
