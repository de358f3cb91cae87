"""Orders that nobody here follows are followed once they are named: what is not seen of them makes no yes, and no no."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.db import fills
from broker.gate import Mode
from broker.gateway import fetch
from broker.gateway.account_view import AccountView
from broker.gateway.limits import MOST_IN_PAUSE, Need, Pause, WeightMeter
from broker.gateway.resting import Resting
from broker.gateway.settlement import Settlement
from broker.paid import paid_in
from clients.paper.faults import Fault
from tests.gateway.test_exits import view_of
from tests.gateway.test_followed import limit, moved, shared
from tests.gateway.test_fresh_gateway import gateway_at
from tests.gateway.test_kept_lines import edge
from tests.gateway.test_recall import at
from tests.gateway.test_slow_log import until
from tests.gateway.world import Bot, World, running_world

S = 1_000_000
NO_SUCH_ORDER = -2013
QUESTIONS = ("/api/v3/order", "/api/v3/allOrders", "/api/v3/openOrders")
MANY = 45


@asynccontextmanager
async def behind(tmp_path: Path, there: str = "0") -> AsyncIterator[tuple[World, Bot, Bot]]:
    """One bot goes through the world's gateway, the other through its own."""
    async with shared(tmp_path, there) as (world, one, two), gateway_at(world, tmp_path / "edge") as port:
        there = at(port, two)
        await there.ready()
        yield world, one, there


async def recorded(world: World) -> None:
    await until(lambda: not world.gateway.spool.waiting)


async def halted(world: World) -> None:
    _, change = world.service.cuts.close(
        targets=("account:main",), mode=Mode.HALT, reason="test", actor="test"
    )
    await world.authority.changes.acknowledged(change, 60)


def breaks(world: World, how: str) -> None:
    for path in QUESTIONS:
        fault = {
            "500": Fault("error", "GET", path, times=1000, status=500, code=-1000),
            "unknown": Fault("error", "GET", path, times=1000, status=400, code=NO_SUCH_ORDER),
            "weight": Fault("error", "GET", path, times=1000, status=429, code=-1003, retry_after="20"),
        }[how]
        world.paper.server.faults.append(fault)


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("filled", ["all", "none"])
async def test_of_more_than_a_few_orders_all_are_looked_at(tmp_path: Path, filled: str) -> None:
    """Twenty were, and the others counted as untouched: the account's stock was sold that they had bought."""
    async with behind(tmp_path, "0.05") as (world, one, two):
        for number in range(MANY):
            share = str(Decimal("0.99") - Decimal(number) / 10_000)
            assert (await one.order("BUY", "0.01", **limit(world, share))).status == 200
        await recorded(world)
        if filled == "all":
            moved(world, "0.97")
        await halted(world)
        got = await two.order("SELL", "0.1")
        assert (got.status, got.reason) == (401, "halted")
        assert (await two.order("SELL", "0.04")).status == 200, "what the account had is anybody's to sell"
        assert filled == "none" or (await one.order("SELL", "0.44")).status == 200


@pytest.mark.sockets
@pytest.mark.parametrize("how", ["500", "unknown", "weight"])
async def test_what_cannot_be_asked_is_nobodys_to_sell_and_nobody_is_told_no(
    tmp_path: Path, how: str
) -> None:
    async with behind(tmp_path) as (world, one, two):
        assert (await two.order("BUY", "0.2")).status == 200
        assert (await one.order("BUY", "0.5", **limit(world, "0.99"))).status == 200
        await recorded(world)
        moved(world, "0.98")
        await halted(world)
        breaks(world, how)
        for _ in range(3):
            got = await two.order("SELL", "0.4")
            reasons = {"holdings_unknown"} if how != "weight" else {"holdings_unknown", "venue_weight"}
            assert got.status in {429, 503}, got
            assert got.reason in reasons
        assert (await two.order("SELL", "0.1")).status == 200, "what it bought is its own"
        world.paper.server.faults.clear()
        if how != "weight":
            assert (await two.order("SELL", "0.4")).reason == "halted", "the next one asks: no pause keeps it"
        assert (await one.order("SELL", "0.49")).status == 200


@pytest.mark.sockets
@pytest.mark.parametrize("how", ["500", "unknown"])
async def test_its_owner_is_not_told_no_either(tmp_path: Path, how: str) -> None:
    """Its own purchase rested when this gateway was started, and was filled; what is there is another's on record."""
    async with shared(tmp_path) as (world, one, two):
        key = world.paper.key("main@paper.test")
        assert (await two.order("BUY", "0.5")).status == 200
        by_hand = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.499"}
        assert (await world.paper.call("POST", "/api/v3/order", key, **by_hand))[0] == 200
        assert (await one.order("BUY", "0.5", **limit(world, "0.99"))).status == 200
        async with gateway_at(world, tmp_path / "edge") as port:
            again = at(port, one)
            await again.ready()
            moved(world, "0.98")
            await halted(world)
            breaks(world, how)
            got = await again.order("SELL", "0.49")
            assert (got.status, got.reason) == (503, "holdings_unknown")
            world.paper.server.faults.clear()
            assert (await again.order("SELL", "0.49")).status == 200


@pytest.mark.sockets
async def test_what_anothers_sale_bound_may_be_free_and_is_that_others(tmp_path: Path) -> None:
    """It was cancelled by hand, and this gateway cannot ask: what it bound is free, and on record it is nobody's."""
    async with behind(tmp_path) as (world, one, two):
        assert (await one.order("BUY", "0.5")).status == 200
        sale = await one.order("SELL", "0.499", **limit(world, "1.03"))
        assert sale.status == 200
        await recorded(world)
        key = world.paper.key("main@paper.test")
        ended = {"symbol": "BTCUSDT", "orderId": sale.body["orderId"]}
        assert (await world.paper.call("DELETE", "/api/v3/order", key, **ended))[0] == 200
        await halted(world)
        breaks(world, "500")
        got = await two.order("SELL", "0.3")
        assert (got.status, got.reason) == (503, "holdings_unknown")
        world.paper.server.faults.clear()
        assert (await two.order("SELL", "0.3")).reason == "halted"


@pytest.mark.sockets
async def test_what_one_bought_leaves_in_a_pause_of_the_venue_however_much_rests_unseen(
    tmp_path: Path,
) -> None:
    async with shared(tmp_path) as (world, one, two):
        gateway, port, end = await edge(world, tmp_path)
        there = at(port, two)
        await there.ready()
        assert (await one.order("BUY", "0.2")).status == 200
        for number in range(MANY):
            share = str(Decimal("0.9") - Decimal(number) / 10_000)
            assert (await there.order("BUY", "0.01", **limit(world, share))).status == 200
        await until(lambda: not gateway.spool.waiting)
        await halted(world)
        view = view_of(world)
        view.meter.refused(429, 60.0, view.now_us())
        for _ in range(10):
            assert (await one.order("SELL", "0.01")).status == 200
        await end()


def test_an_order_is_followed_once_for_each_asset_that_it_moves() -> None:
    settlement, base, paid = Settlement(), ("g", "ETHBTC", "7", "BUY"), ("g", paid_in("ETHBTC"), "7", "SELL")
    resting = Resting(settlement, lambda: 5)
    assert resting.take("main", "ETH", [base, base])
    sent = settlement.by_id("main", "ETHBTC", "7")
    assert sent is not None
    assert (sent.side, sent.base, sent.quote, sent.seen_us) == ("BUY", "ETH", "", -1)
    sent.seen_us = 9
    assert resting.take("main", "ETH", [base])
    assert sent.seen_us == 9
    assert resting.take("main", "BTC", [paid])
    assert (sent.side, sent.base, sent.quote) == ("BUY", "ETH", "BTC")
    assert sent.seen_us == -1, "of the other asset nobody was told"
    assert len(settlement) == 1


def test_it_is_told_where_there_is_no_room_to_follow_an_order() -> None:
    resting = Resting(Settlement(most=1), lambda: 5)
    assert resting.take("main", "BTC", [("one", "BTCUSDT", "1", "BUY")])
    assert not resting.take("main", "BTC", [("one", "BTCUSDT", "2", "BUY")])


def test_room_is_counted_by_the_clock_that_the_venues_weight_is_counted_by() -> None:
    """Asked by a wall clock that was set ahead, the meter let no fact of an exit pass in a pause any more."""
    meter, now_us = WeightMeter(), [10**9]
    meter.refused(429, 600.0, now_us[0])
    ahead: Any = SimpleNamespace(wall_us=lambda: now_us[0] + 3600 * S, boot_us=lambda: now_us[0])
    venue: Any = SimpleNamespace(meter=meter, now_us=lambda: now_us[0])
    assert AccountView(venue, ahead).leaves_room("")
    for _ in range(MOST_IN_PAUSE):
        assert not isinstance(meter.admit(Need.EXIT, "ip", 20, now_us[0]), Pause)
    assert not AccountView(venue, ahead).leaves_room("")
    now_us[0] += 5 * S
    assert not isinstance(meter.admit(Need.EXIT, "ip", 20, now_us[0]), Pause)


@pytest.mark.sockets
async def test_exits_go_on_where_the_venue_shows_none_of_what_is_named(tmp_path: Path) -> None:
    limit: dict[str, Any] = {"type": "LIMIT", "timeInForce": "GTC"}
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        one, two = world.bot("one"), world.bot("two")
        async with gateway_at(world, tmp_path / "edge") as port:
            one, two = Bot(port, one.key_id, one.secret), Bot(port, two.key_id, two.secret)
            await one.ready()
            await two.ready()
            assert (await one.order("BUY", "0.011")).status == 200
            for _ in range(5):
                assert (await two.order("BUY", "0.01", price="59000", **limit)).status == 200
        async with gateway_at(world, tmp_path / "edge") as port:
            one = Bot(port, one.key_id, one.secret)
            await one.ready()
            breaks(world, "unknown")
            for _ in range(8):
                assert (await one.order("SELL", "0.001")).status == 200


@pytest.mark.sockets
@pytest.mark.parametrize("slow", [False, True], ids=["all pages", "one page"])
@pytest.mark.usefixtures("very_patient")
async def test_orders_that_are_followed_here_hide_none_that_nobody_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    """Another gateway died, and a bid that rested there was filled: one sold it, because twenty older orders are named.

    Where the broker is slow an exit has time for one page: what stands on the next ones is in doubt.
    """
    monkeypatch.setattr(fills, "MOST_RESTING", 2)
    limit: dict[str, Any] = {"type": "LIMIT", "timeInForce": "GTC"}
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        one, two = world.bot("one"), world.bot("two")
        await one.ready()
        assert (await one.order("BUY", "0.0101")).status == 200
        for _ in range(5):
            assert (await one.order("BUY", "0.001", price="49000", **limit)).status == 200
        await until(lambda: not world.gateway.spool.waiting)
        async with gateway_at(world, tmp_path / "edge") as port:
            two = Bot(port, two.key_id, two.secret)
            await two.ready()
            assert (await two.order("BUY", "0.01", price="59000", **limit)).status == 200
        await world.cut("account:main", mode=Mode.HALT)
        exchange = world.paper.exchange
        exchange.engine.set_price(exchange.symbols["BTCUSDT"], Decimal(58_900), exchange.now_us())
        monkeypatch.setattr(fetch, "PAGES_US", -1 if slow else 600 * S)
        for _ in range(3 if slow else 0):
            assert (await one.order("SELL", "0.001")).status == 200
        got = await one.order("SELL", "0.012")
        assert (got.status, got.reason) == ((503, "holdings_unknown") if slow else (401, "halted"))
        assert (await one.order("SELL", "0.007")).status == 200
