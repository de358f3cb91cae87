"""Orders that nobody here follows are looked at, and the looks never use up what exits need."""

from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.db import fills
from broker.gate import Mode
from broker.gateway import fetch, looks
from broker.gateway.account_view import AccountView
from broker.gateway.limits import MOST_IN_PAUSE, Need, Pause, WeightMeter
from clients.paper.faults import Fault
from tests.gateway.test_fresh_gateway import gateway_at
from tests.gateway.test_slow_log import until
from tests.gateway.world import Bot, running_world

S = 1_000_000
NO_SUCH_ORDER = -2013


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
            unknown = Fault("error", "GET", "/api/v3/order", times=1000, status=400, code=NO_SUCH_ORDER)
            world.paper.server.faults.append(unknown)
            for _ in range(8):
                assert (await one.order("SELL", "0.001")).status == 200
            assert 5 <= 1000 - unknown.times < 8 * 5


@pytest.mark.parametrize("slow", [False, True], ids=["all pages at one exit", "a page at each exit"])
@pytest.mark.usefixtures("very_patient")
async def test_orders_that_are_followed_here_hide_none_that_nobody_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    """Another gateway died, and a bid that rested there was filled: one sold it, because twenty older orders are named.

    Where the broker is slow an exit has time for one page: the next exits asked for the same one, over and over.
    """
    monkeypatch.setattr(fills, "MOST_RESTING", 2)
    monkeypatch.setattr(looks, "FROM_FIRST_US", 600 * S)
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
        monkeypatch.setattr(fetch, "PAGES_US", 0 if slow else 600 * S)
        for _ in range(3 if slow else 0):
            assert (await one.order("SELL", "0.001")).status == 200
        assert (await one.order("SELL", "0.012")).reason == "halted"
        assert (await one.order("SELL", "0.007")).status == 200


def test_pages_go_on_where_the_last_one_ended_and_begin_again_after_a_while() -> None:
    pages = looks.Pages()
    for now_us, after, more in (
        (0, "", "1:A:1"),
        (1, "1:A:1", "2:A:1"),
        (looks.FROM_FIRST_US - 1, "2:A:1", "3:A:1"),
    ):
        assert pages.after("main", "BTC", now_us) == after
        assert pages.after("main", "ETH", now_us) == ""
        pages.turn("main", "BTC", after, more, now_us)
    assert pages.after("main", "BTC", looks.FROM_FIRST_US) == "", "as it began, not as it went on"
    pages.turn("main", "BTC", "", "1:A:1", looks.FROM_FIRST_US)
    assert pages.after("main", "BTC", looks.FROM_FIRST_US + 1) == "1:A:1"
