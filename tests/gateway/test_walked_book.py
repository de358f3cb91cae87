"""What orders take of the book is what it shows now, by walking it: never money by the price that was paid last."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from broker.gate import Mode
from clients.paper.faults import Fault
from clients.paper.server import ROUTES
from tests.gateway.test_exits import view_of
from tests.gateway.test_followed import BIG, halt, moved, shared
from tests.gateway.test_market_buys import DEPTH, LAST, last_paid
from tests.gateway.test_worst_cases import bought
from tests.gateway.world import POLICY, Answer, Bot, World, bots, running_world

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("very_patient")]

Side = list[list[str]]
OTO = {
    "symbol": "BTCUSDT", "workingType": "LIMIT", "workingTimeInForce": "GTC", "workingSide": "BUY",
    "workingPrice": "60000", "workingQuantity": "0.0166", "pendingType": "MARKET", "pendingSide": "BUY",
}  # fmt: skip


@contextmanager
def book(
    monkeypatch: pytest.MonkeyPatch, *, bids: Side | None = None, asks: Side | None = None
) -> Iterator[None]:
    """Let the exchange show this book."""
    shown = {"bids": bids or [["59999.99", "100"]], "asks": asks or [["60000.00", "100"]]}
    told = dataclasses.replace(ROUTES[DEPTH], handler=lambda *_: {"lastUpdateId": 1, **shown})
    with monkeypatch.context() as patch:
        patch.setitem(ROUTES, DEPTH, told)
        yield


async def sells_for(bot: Bot, amount: str) -> Answer:
    values = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET"}
    return await bot.call("POST", "/api/v3/order", **values, quoteOrderQty=amount)


def sold(world: World) -> Decimal:
    orders = world.paper.exchange.engine.orders.values()
    return sum((order.executed for order in orders if order.side == "SELL"), Decimal(0))


async def test_a_buy_that_waits_counts_at_the_asks_behind_those_that_it_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both counted at the one cheap ask; the second cost 1,178 under a cap of 1,000."""
    policy = POLICY.replace('collar_percent = "5"', 'collar_percent = "20"')
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000")
        (bot,) = await bots(world, policy=policy)
        with book(monkeypatch, asks=[["60000.00", "0.0166"], ["71000.00", "5"]]):
            refused = await bot.call("POST", "/api/v3/orderList/oto", **OTO, pendingQuantity="0.0166")
            assert (refused.status, refused.reason) == (400, "order_notional"), refused
            assert bought(world) == 0
            smaller = await bot.call("POST", "/api/v3/orderList/oto", **OTO, pendingQuantity="0.014")
            assert smaller.status == 200, "994 at 71,000"


@pytest.mark.parametrize(("kind", "then"), [("limit", "0.016"), ("in quote", "0.003")])
async def test_whatever_its_price_a_buy_takes_from_the_best_ask_of_a_shared_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, then: str
) -> None:
    """The asks stand below what was paid last: a limit between both took the one honest ask, and no count of it.

    One in quote takes more of it than by that price.
    """
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000")
        (bot,) = await bots(world)
        with last_paid(world, monkeypatch, Decimal(50_000)):
            with book(monkeypatch, asks=[["50000.00", "0.0195"], ["600000.00", "5"]]):
                assert (await bot.order("BUY", "0.0001")).status == 200  # somebody looked
                if kind == "limit":
                    taken = await bot.order("BUY", "0.016", type="LIMIT", timeInForce="IOC", price="50500")
                else:
                    taken = await bot.call(
                        "POST",
                        "/api/v3/order",
                        symbol="BTCUSDT",
                        side="BUY",
                        type="MARKET",
                        quoteOrderQty="960",
                    )
                assert taken.body["status"] == "FILLED", taken
            world.paper.exchange.symbols["BTCUSDT"].price = Decimal(600_000)  # what it has left
            with book(monkeypatch, asks=[["600000.00", "5"]]):
                refused = await bot.order("BUY", then)
                assert (refused.status, refused.reason) == (400, "collar"), refused


async def test_a_limit_below_the_asks_takes_nothing_from_a_shared_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000")
        (bot,) = await bots(world)
        with last_paid(world, monkeypatch, LAST * Decimal("1.02")):
            with book(monkeypatch, asks=[["61200.00", "0.0161"]]):
                assert (await bot.order("BUY", "0.0001")).status == 200
                rests = await bot.order("BUY", "0.016", type="LIMIT", timeInForce="GTC", price="61000")
                assert rests.body["status"] == "NEW", rests
            world.paper.server.faults.append(Fault("error", path=DEPTH[1], times=1000, status=500))
            assert (await bot.order("BUY", "0.0159")).status == 200


async def test_a_limit_above_the_price_takes_from_the_bids_that_a_sale_in_quote_is_counted_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One honest bid, above what was paid last; who shares the look would give ten times as much for the same."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000", BTC="50")
        (bot,) = await bots(world)
        with last_paid(world, monkeypatch, LAST * Decimal("1.02")):
            with book(monkeypatch, bids=[["61199.99", "0.016"], ["600.00", "5000"]]):
                assert (await sells_for(bot, "20")).status == 200
                taken = await bot.order("SELL", "0.0156", type="LIMIT", timeInForce="IOC", price="61000")
                assert taken.body["status"] == "FILLED", taken
                before = sold(world)
            world.paper.exchange.symbols["BTCUSDT"].price = Decimal(600)
            with book(monkeypatch, bids=[["600.00", "5000"]]):
                refused = await sells_for(bot, "900")
                assert refused.reason == "exit_size", refused
        assert sold(world) == before


async def test_a_sale_in_quote_counts_at_what_it_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For 900 under a cap of 1,000 it gave what is worth 540,000 to whoever owns the bids of a thin pair."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000", BTC="50")
        (bot,) = await bots(world)
        with book(monkeypatch, bids=[["100.00", "5000"]]), last_paid(world, monkeypatch, Decimal(100)):
            refused = await sells_for(bot, "900")
            assert (refused.status, refused.reason) == (400, "exit_size"), refused
            assert sold(world) == 0
        with book(monkeypatch, bids=[["59999.00", "1"]]):
            assert (await sells_for(bot, "900")).status == 200


async def test_a_sale_in_quote_above_the_caps_is_sized_by_what_it_walks_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000", BTC="50")
        (bot,) = await bots(world)
        with book(monkeypatch, bids=[["57500.00", "1"], ["100.00", "5000"]]):
            assert (await bot.order("SELL", "1.1")).reason == "exit_size"
            refused = await sells_for(bot, "60000")
            assert refused.reason == "exit_size", "one at 57,500 and twenty-five at 100"
            size = refused.body["msg"].partition("takes ")[2].split()[0]
            assert Decimal(size) == 57_500
            assert (await sells_for(bot, size)).status == 200
        with book(monkeypatch, bids=[["57500.00", "1"]]):
            assert (await sells_for(bot, "60000")).reason == "exit_size", "nor is what finds no bid left"


async def test_in_a_halt_a_sale_in_quote_sells_nothing_of_anothers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was counted at twice the price that the book paid, and half of what it sold was another's."""
    policy = BIG.replace('collar_percent = "5"', 'collar_percent = "60"')
    async with shared(tmp_path, policy=policy) as (world, one, two):
        assert (await two.order("BUY", "0.5")).status == 200
        assert (await one.order("BUY", "0.1")).status == 200
        with last_paid(world, monkeypatch, LAST / 2):
            await halt(world)
            assert (await sells_for(one, "5990")).reason == "halted"
            assert (await sells_for(one, "2900")).status == 200, "its own leaves"
        assert sold(world) < Decimal("0.0999")


async def test_bids_that_do_not_come_to_an_amount_bound_nothing_beside_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes into the book after the look would be sold into, too."""
    async with shared(tmp_path) as (world, one, two):
        assert (await two.order("BUY", "0.5")).status == 200
        assert (await one.order("BUY", "0.1")).status == 200
        await halt(world)
        with book(monkeypatch, bids=[["59999.99", "0.05"]]):
            refused = await sells_for(one, "5000")
            assert (refused.reason, "takes 2999.9995 USDT" in refused.body["msg"]) == ("exit_size", True), (
                refused
            )
            assert (await sells_for(one, "2990")).status == 200


async def test_without_the_book_a_sale_in_quote_leaves_where_nobody_else_has_a_part(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000", BTC="1")
        (bot,) = await bots(world)
        world.paper.server.faults.append(Fault("error", path=DEPTH[1], times=1000, status=500))
        assert (await sells_for(bot, "900")).status == 200
        await halt(world)
        assert (await sells_for(bot, "900")).status == 200
        assert (await sells_for(bot, "40000")).status == 200, "above the caps"
        more = await sells_for(bot, "80000")
        assert (more.code, more.reason) == (-2010, None), "how much that is knows the exchange"


async def test_without_the_book_a_sale_in_quote_is_not_judged_beside_others(tmp_path: Path) -> None:
    async with shared(tmp_path) as (world, one, two):
        assert (await two.order("BUY", "0.5")).status == 200
        assert (await one.order("BUY", "0.1")).status == 200
        await halt(world)
        world.paper.server.faults.append(Fault("error", path=DEPTH[1], times=1000, status=500))
        unknown = await sells_for(one, "600")
        assert (unknown.status, unknown.reason) == (503, "book_unknown"), unknown
        assert (await one.order("SELL", "0.01")).status == 200, "sized in base it leaves"


async def test_no_price_of_before_refuses_a_sale_in_quote(tmp_path: Path) -> None:
    """One bitcoin came to 61,800 by then, and was refused 60,500 for a price of 60,000."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000", BTC="1")
        (bot,) = await bots(world)
        assert (await bot.order("SELL", "0.01")).status == 200
        await world.cut("account:main", mode=Mode.HALT)
        await view_of(world).fetch_prices(("BTCUSDT",))
        moved(world, "1.03")
        assert (await sells_for(bot, "60500")).status == 200


@pytest.mark.parametrize("sized", ["base", "quote"])
async def test_no_price_of_before_says_how_much_the_book_takes(tmp_path: Path, sized: str) -> None:
    """The market fell by a tenth, and all of its bids were outside of the collar of then."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000", BTC="2")
        (bot,) = await bots(world)
        assert (await bot.order("SELL", "0.01")).status == 200
        await view_of(world).fetch_prices(("BTCUSDT",))
        moved(world, "0.9")
        world.paper.server.faults.append(Fault("error", path="/api/v3/ticker/price", times=1000, status=500))
        got = await (bot.order("SELL", "1") if sized == "base" else sells_for(bot, "50000"))
        assert (got.status, got.reason) == (503, "no_reference_price"), got


async def test_no_look_of_before_has_a_buy_above_the_cap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = POLICY.replace('collar_percent = "5"', 'collar_percent = "20"')
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000")
        (bot,) = await bots(world, policy=policy)
        with book(monkeypatch, asks=[["71000.00", "5"]]):
            assert (await bot.order("BUY", "0.001")).status == 200
            assert (await bot.order("BUY", "0.0166")).reason == "order_notional"
        assert (await bot.order("BUY", "0.001")).status == 200
        with book(monkeypatch, asks=[["71000.00", "5"]]):
            view_of(world).asks._seen.clear()
            assert (await bot.order("BUY", "0.001")).status == 200
        assert (await bot.order("BUY", "0.0165")).status == 200, "it is looked at anew"
