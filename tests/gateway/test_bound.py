"""An order that was filled is told as resting: holdings show less bound than it binds, and what it brought is its own's."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.gateway.bought import Known
from broker.gateway.bound import MOST_WEIGHED, bound
from broker.gateway.followed import Followed
from broker.gateway.sent import Sent
from broker.gateway.settlement import Reservation
from broker.gateway.unseen import Asset
from clients.venue import SymbolInfo
from tests.gateway.lagging import orders_as
from tests.gateway.test_followed import BIG, halt, limit, moved, price_of, shared
from tests.gateway.test_lately import unknown
from tests.gateway.world import Answer, Bot, World, bots

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("very_patient")]
STOP = {"type": "STOP_LOSS_LIMIT", "timeInForce": "GTC"}


async def rests(bot: Bot, world: World, quantity: str = "0.5", share: str = "0.99", **more: Any) -> Answer:
    got = await bot.order("BUY", quantity, **(limit(world, share) | more))
    assert got.status == 200, got
    return got


@pytest.mark.parametrize("how", ["at its limit", "a stop at its limit", "seen before", "in part"])
async def test_what_another_just_bought_is_not_sold_where_its_order_is_told_as_resting(
    tmp_path: Path, how: str
) -> None:
    async with shared(tmp_path) as (world, one, two):
        if how == "a stop at its limit":
            stop = (price_of(world) * Decimal("1.01")).quantize(Decimal("0.01"))
            order = await rests(two, world, share="1.02", stopPrice=str(stop), **STOP)
        else:
            order = await rests(two, world)
        order = await two.call("GET", "/api/v3/order", symbol="BTCUSDT", orderId=order.body["orderId"])
        if how == "seen before":
            assert (await one.order("SELL", "0.4")).status in {400, 401}
        if how == "in part":
            engine = world.paper.exchange.engine
            resting, pair = engine.orders[order.body["orderId"]], world.paper.exchange.symbols["BTCUSDT"]
            now_us = world.paper.exchange.now_us()
            engine._fill(resting, pair, resting.price, Decimal("0.45"), now_us, maker=True)
        else:
            moved(world, "1.015" if how == "a stop at its limit" else "0.98")
        await halt(world)
        with orders_as(order.body):
            got = await one.order("SELL", "0.4")
            assert unknown(got), got
            assert unknown(await one.order("SELL", "0.4")), "as long as it is told so"
        got = await one.order("SELL", "0.4")
        assert got.status in {401, 503}, "it is known by now"
        assert (await two.order("SELL", "0.44")).status == 200


async def test_what_is_ones_own_leaves_beside_it(tmp_path: Path) -> None:
    async with shared(tmp_path) as (world, one, two):
        assert (await one.order("BUY", "0.3")).status == 200
        order = await rests(two, world)
        moved(world, "0.98")
        await halt(world)
        with orders_as(order.body):
            assert unknown(await one.order("SELL", "0.4"))
            assert (await one.order("SELL", "0.29")).status == 200


async def test_and_what_is_left_where_all_that_rests_was_filled(tmp_path: Path) -> None:
    async with shared(tmp_path, there="0.3") as (world, one, two):
        order = await rests(two, world)
        moved(world, "0.98")
        await halt(world)
        with orders_as(order.body):
            assert unknown(await one.order("SELL", "0.4"))
            assert (await one.order("SELL", "0.29")).status == 200


async def test_who_leaves_beside_one_that_rests_leaves(tmp_path: Path) -> None:
    """All of its quote is bound: nothing was executed."""
    async with shared(tmp_path, there="0.4") as (world, one, two):
        await rests(two, world)
        await rests(two, world, "0.7", "0.95")
        await rests(one, world, "0.123", "0.93333")
        await halt(world)
        before = len(world.asked())
        assert (await one.order("SELL", "0.39")).status == 200
        paths = [row["path"] for row in world.asked()[before:]]
        assert paths.count("/api/v3/openOrders") == 1, paths


@pytest.mark.parametrize("how", ["filled", "ended"])
async def test_one_of_another_pair_that_is_over_is_asked_about_and_keeps_nobody(
    tmp_path: Path, how: str
) -> None:
    """It binds nothing any more, and nobody told."""
    async with shared(tmp_path, there="0.4") as (world, one, two):
        await rests(two, world, share="0.9")
        pair = world.paper.exchange.symbols["ETHUSDT"]
        low = str((pair.price * Decimal("0.99")).quantize(Decimal("0.01")))
        got = await two.order("BUY", "1", symbol="ETHUSDT", type="LIMIT", timeInForce="GTC", price=low)
        assert got.status == 200, got
        if how == "filled":
            world.paper.exchange.engine.set_price(
                pair, pair.price * Decimal("0.98"), world.paper.exchange.now_us()
            )
        else:
            key = world.paper.key("main@paper.test")
            ended = {"symbol": "ETHUSDT", "orderId": got.body["orderId"]}
            assert (await world.paper.call("DELETE", "/api/v3/order", key, **ended))[0] == 200
        await halt(world)
        assert (await one.order("SELL", "0.39")).status == 200


async def test_one_that_was_sent_since_holdings_were_asked_for_says_nothing(tmp_path: Path) -> None:
    async with shared(tmp_path, there="0.4") as (world, one, two):
        assert (await one.order("SELL", "0.01")).status == 200
        (small,) = await bots(world, "small", policy=BIG.replace('"100000"', '"100"'))
        assert (await small.order("SELL", "0.01")).status == 200, "holdings are known"
        await rests(two, world)
        got = await small.order("SELL", "0.3")
        assert got.status == 200, got


PAIRS = {
    "BTCUSDT": SymbolInfo("BTCUSDT", "BTC", "USDT"),
    "ETHUSDT": SymbolInfo("ETHUSDT", "ETH", "USDT"),
    "ETHBTC": SymbolInfo("ETHBTC", "ETH", "BTC"),
}


def sent(number: int, symbol: str, side: str, price: str, **more: Any) -> tuple[Reservation, Sent]:
    one = Sent(
        number, "two", "main", symbol, "n", side, Decimal(9), Decimal(price), 1, 2, order_id=str(number), **more
    )  # fmt: skip
    return Reservation(number, "two", "main", symbol, (), None, (one,), held_us=more.get("landed_us", 0)), one


def told(left: str, listed: str = "") -> Known:
    return Known("two", "BTC", "BUY", Decimal(0), Decimal(left), True, Decimal(0), listed)


@pytest.mark.parametrize(
    ("orders", "asset", "least"),
    [
        ([(sent(1, "BTCUSDT", "BUY", "10"), told("2")), (sent(2, "ETHUSDT", "BUY", "3"), told("1"))], "USDT", "23"),
        ([(sent(1, "BTCUSDT", "BUY", "10"), told("2")), (sent(2, "ETHBTC", "SELL", "3"), told("1"))], "ETH", "1"),
        ([(sent(1, "BTCUSDT", "SELL", "10"), told("2"))], "USDT", "0"),
        ([(sent(1, "BTCUSDT", "BUY", "0"), told("2"))], "USDT", "0"),
        ([(sent(1, "BTCUSDT", "BUY", "10"), told("-2"))], "USDT", "0"),
        ([(sent(1, "BTCUSDT", "BUY", "10", waits=True), told("2"))], "USDT", "0"),
        ([(sent(1, "BTCUSDT", "BUY", "10", flying=True), told("2"))], "USDT", "0"),
        ([(sent(1, "BTCUSDT", "BUY", "10", landed_us=50), told("2"))], "USDT", "0"),
        ([(sent(1, "BTCUSDT", "BUY", "10", landed_us=49), told("2"))], "USDT", "20"),
        ([(sent(1, "BTCUSDT", "BUY", "10"), None)], "USDT", "0"),
        ([(sent(1, "XYZUSDT", "BUY", "10"), told("2"))], "USDT", "0"),
        ([(sent(n, "BTCUSDT", "BUY", p), told("2", "7/0")) for n, p in ((1, "10"), (2, "11"))], "USDT", "20"),
        ([(sent(n, "BTCUSDT", "BUY", p), told("2", "?")) for n, p in ((1, "10"), (2, "11"))], "USDT", "20"),
    ],
)  # fmt: skip
def test_what_orders_bind_at_least(orders: list[Any], asset: str, least: str) -> None:
    known = {one: state for (_, one), state in orders}
    found = bound((order for order, _ in orders), asset, 50, PAIRS, known.get)
    assert found is not None
    assert 0 <= Decimal(least) - found <= Decimal("0.0000001")


# --- many of them ------------------------------------------------------------------------------


class Walked:
    """Orders of a pair without end; counts those that are looked at."""

    def __init__(self, *orders: tuple[Reservation, Sent]) -> None:
        self.count, self._orders = 0, orders

    def __iter__(self) -> Iterator[tuple[Reservation, Sent]]:
        for order in self._orders or repeat(sent(1, "BTCUSDT", "BUY", "10")):
            self.count += 1
            yield order


@pytest.mark.parametrize(("many", "binds"), [(MOST_WEIGHED, True), (MOST_WEIGHED + 1, False)])
def test_of_too_many_nobody_says_what_they_bind(many: int, *, binds: bool) -> None:
    orders = [sent(number, "BTCUSDT", "BUY", "10") for number in range(1, many + 1)]
    found = bound(orders, "USDT", 50, PAIRS, lambda _: told("2"))
    assert (found is not None) is binds
    assert found is None or 0 <= 20 * many - found <= Decimal("0.0001")


def test_no_more_are_looked_at() -> None:
    walked = Walked()
    assert bound(walked, "USDT", 50, PAIRS, lambda _: told("2")) is None
    assert walked.count == MOST_WEIGHED + 1


@pytest.mark.parametrize("many", ["of the asset", "that pay with the same"])
def test_nor_where_it_is_looked_which_are_others(many: str) -> None:
    """Where they are too many it is as if something were hidden."""
    endless, theirs = Walked(), sent(1, "BTCUSDT", "BUY", "10")
    settlement: Any = SimpleNamespace(
        of_asset=lambda *_: iter(endless) if many == "of the asset" else iter([theirs]),
        of_pairs=lambda *_: iter(endless),
        pairs_of=lambda _: tuple(PAIRS),
    )
    recent: Any = SimpleNamespace(known=lambda _: told("2"))
    account: Any = SimpleNamespace(locked=lambda _: Decimal(10**9), asked_us=50)
    asks = Followed(settlement, None, recent, lambda: 0)  # type: ignore[arg-type]
    assert asks.hides(Asset("main", "BTC", "one", "key", "BTCUSDT"), account, PAIRS)
    assert endless.count == MOST_WEIGHED + 1


async def test_beside_too_many_the_rest_leaves_and_what_may_be_anothers_is_asked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 1.3 that were there no more than what rests of another's may be its own by now."""
    monkeypatch.setattr("broker.gateway.bound.MOST_WEIGHED", 2)
    async with shared(tmp_path, there="1.3") as (world, one, two):
        order = await rests(two, world)
        for share in ("0.93", "0.92"):
            await rests(two, world, "0.001", share)
        assert (await one.order("BUY", "0.2003")).status == 200
        await halt(world)
        assert (await one.order("SELL", "0.9")).status == 200, "also if another bought all that rests"
        got = await one.order("SELL", "0.55")
        assert unknown(got), got
        moved(world, "0.98")
        with orders_as(
            (await two.call("GET", "/api/v3/order", symbol="BTCUSDT", orderId=order.body["orderId"])).body
        ):
            got = await one.order("SELL", "0.7")
            assert got.status in {401, 503}, got
        assert (await two.order("SELL", "0.49")).status == 200
