"""Who sets the gateway's clock moves no pause, no order and no replay: an exit passes, and nothing passes twice."""

import time
from pathlib import Path

import pytest

from broker.gateway.clock import AHEAD_US
from broker.gateway.replay import BACK_US, MOST, Entry, ReplayGuard
from clients.paper.faults import Fault
from clients.pauses import Pauses
from clients.venues.binance.pauses import pause_s
from tests.gateway.test_bans import LIMIT, traded, view_of
from tests.gateway.world import World, bots, exchange_bytes, running_world

S, HOUR = 1_000_000, 3_600_000_000
STEPS = pytest.mark.parametrize("step", [HOUR, -HOUR, 90 * S, -90 * S])


def set_wall(world: World, monkeypatch: pytest.MonkeyPatch, us: int) -> None:
    """Set the gateway's wall clock, so far from what it is."""
    monkeypatch.setattr(world.gateway.clock, "wall_us", lambda: time.time_ns() // 1000 + us)


@STEPS
async def test_a_ban_lasts_as_long_as_it_does_whoever_sets_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Set forward, the address that is banned was asked again; set back, two minutes were an hour."""
    async with running_world(tmp_path) as world:
        bot = await traded(world)
        fault = Fault("error", path=None, times=100, status=418, code=-1003, retry_after="120")
        world.paper.server.faults.append(fault)
        assert (await bot.order()).status == 418
        set_wall(world, monkeypatch, step)
        told = [await bot.call("GET", "/api/v3/account"), await bot.order()]
        assert [(one.status, one.reason) for one in told] == [(418, "venue_banned")] * 2
        assert all(60 < int(one.headers["retry-after"]) <= 121 for one in told)
        assert fault.times == 99, "who is banned is not asked"
        left_us = [one.left_us for one in world.gateway._troubles() if one.kind == "venue-banned"]
        assert 60 * S < max(left_us, default=0) <= 120 * S, "nor is it told otherwise to the broker"


@STEPS
async def test_orders_carry_the_exchanges_time_whoever_sets_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """It was our wall clock and an offset that was measured before: the exchange refused them all, exits too."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="3")
        (bot,) = await bots(world)
        assert (await bot.order()).status == 200
        set_wall(world, monkeypatch, step)
        exact = {"timestamp": time.time_ns() // 1_000_000}  # of a bot that asks the exchange for its time
        assert (await bot.order("SELL", **exact)).status == 200
        own = {"timestamp": time.time_ns() // 1_000_000 + step // 1000}  # of one on the same host
        assert (await bot.order("SELL", "0.005", **own)).status == 200
        placed = await bot.order(price="59000", **LIMIT)
        gone = await bot.call("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=placed.body["orderId"])
        assert (placed.status, gone.status) == (200, 200)


async def test_a_host_that_stood_still_measures_before_it_signs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that is resumed has lost minutes by its boot clock, and its wall clock is put right a moment later."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="3")
        (bot,) = await bots(world)
        assert (await bot.order()).status == 200
        monkeypatch.setattr(view_of(world)._steady, "_ahead_us", view_of(world)._steady._ahead_us - 300 * S)
        assert (await bot.order("SELL")).status == 200
        assert len(world.executed()) == 2


async def test_nothing_passes_a_second_time_where_the_clock_goes_through_the_same_minute_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What had passed was forgotten once it was too old; a clock that was set back made it fresh again."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="3")
        (bot,) = await bots(world)
        buy = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01", "recvWindow": 60_000}
        raw = bot.signed("POST", "/api/v3/order", **buy)
        assert (await exchange_bytes(world.port, raw)).status == 200
        set_wall(world, monkeypatch, HOUR)
        later = {"timestamp": time.time_ns() // 1_000_000 + HOUR // 1000}
        assert (await bot.call("POST", "/api/v3/order", **(buy | later))).status == 200
        view = view_of(world)
        view.clock.distrust()
        await view.fetch_time()
        again = await exchange_bytes(world.port, raw)
        assert (again.status, again.reason) == (504, "replay"), "by the exchange's clock it is fresh"
        set_wall(world, monkeypatch, 0)
        again = await exchange_bytes(world.port, raw)
        assert (again.status, again.reason) == (504, "replay")
        assert len(world.executed()) == 2


def test_a_request_is_remembered_until_no_clock_can_make_it_fresh_again() -> None:
    guard, entry = ReplayGuard(0), Entry(1_700_000_000_000_000, 7)
    guard.remember(entry, 60 * S, 5 * S)

    def at(boot_us: int) -> bool:
        guard.remember(Entry(entry.stamp_us + boot_us, 8), 60 * S, boot_us)
        return guard.passed(entry)

    assert at(5 * S + 60 * S + AHEAD_US + 1), "too old by now, and a step back makes it fresh"
    assert at(5 * S + 60 * S + AHEAD_US + BACK_US)
    assert not at(2 * (65 * S + AHEAD_US + BACK_US))


def test_what_can_still_be_fresh_is_kept_however_much_there_is() -> None:
    guard = ReplayGuard(0)
    for number in range(4):
        for hashed in range(MOST // 2):
            guard.remember(Entry(number * 5 * S, hashed), 10 * S, number * 20 * S)
    guard.remember(Entry(30 * S, 1), 10 * S, 80 * S)
    assert guard.passed(Entry(15 * S, 5)), "the last of what is too old"
    assert not guard.passed(Entry(0, 5)), "the first of it was given up"
    assert len(guard) <= MOST + 1


def test_pauses_of_our_own_calls_are_counted_by_a_clock_that_nobody_sets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses, wall = Pauses(), time.time_ns
    pauses.heed("binance", "way", "/api/v3/x", 418, {b"retry-after": b"120"}, b"{}")
    for step_s in (3600, -3600, 0):
        monkeypatch.setattr(time, "time_ns", lambda step_s=step_s: wall() + step_s * 1_000_000_000)
        assert 60 < pauses.left_s("way", "/api/v3/x") <= 120


@pytest.mark.parametrize("ours_us", [1_700_000_000_000_000, 1_700_003_600_000_000, 1_699_996_400_000_000])
def test_the_end_of_a_ban_is_counted_from_the_moment_the_exchange_said_it(ours_us: int) -> None:
    """Two minutes were an hour and two where our clock was behind, and one second where it was ahead."""
    body = b'{"code":-1003,"msg":"IP banned until 1700000120000."}'
    date = {b"date": b"Tue, 14 Nov 2023 22:13:20 GMT"}
    assert pause_s(418, date, body, ours_us) == 120.0
