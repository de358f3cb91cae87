"""Whoever has a key fills what is remembered of reads as far as is fair, holds up nobody by it, and loses no exit."""

import gc
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.gateway import authenticate, replay
from broker.gateway.replay import BUCKET_S, PAGE, Entry, ReplayGuard
from tests.gateway.test_set_clocks import set_wall
from tests.gateway.test_signed_for_a_read import ALL, GRID, as_delete, open_orders
from tests.gateway.test_worst_inputs import MOST_MS
from tests.gateway.world import Bot, bots, exchange_bytes, running_world
from tests.pace import slowness

S = 1_000_000
NOW = 1_700_000_000 * S
LONG = 119 * S
"""For how long a read is fresh that is timed as far ahead as is remembered, in the largest window."""


def entries(guard: ReplayGuard, grants: int, each: int) -> Iterator[Entry]:
    """Yield what so many keys sign in turn, all with timestamps of the same second."""
    for number in range(each):
        for grant in range(grants):
            yield guard.entry(f"grant{grant}", f"symbol=A&timestamp={number}", NOW)


# --- cost -------------------------------------------------------------------------------------


def worst_ms(kind: str, grants: int, each: int) -> tuple[float, float]:
    """Return the longest step while a crowd fills its pages, and after all that is past; as on an idle core."""
    guard = ReplayGuard(0)
    take = guard.read if kind == "read" else guard.remember
    filling = after = 0.0
    pace = slowness()
    for entry in entries(guard, grants, each):
        began = time.thread_time_ns()
        take(entry, LONG, NOW)
        filling = max(filling, (time.thread_time_ns() - began) / 1e6 / pace)
    for number in range(grants * each // 1_000 + 50):
        entry = guard.entry("later", f"{number}", NOW + 200 * S + number * 100_000)
        began = time.thread_time_ns()
        take(entry, 0, entry.stamp_us)
        after = max(after, (time.thread_time_ns() - began) / 1e6 / max(pace, slowness()))
    return filling, after


@pytest.mark.parametrize(
    ("kind", "grants", "each"),
    [("read", 120, PAGE), ("read", 3000, 100), ("remember", 120, PAGE), ("remember", 1, 120 * PAGE)],
    ids=["reads of full pages", "reads of very many", "writes of many", "writes of one"],
)
def test_no_step_is_long_whoever_filled_what(kind: str, grants: int, each: int) -> None:
    """300,000 of them in one bucket: they come in short steps, and go in short steps."""
    gc.disable()
    try:
        tries = []
        while len(tries) < 4 and (not tries or max(min(one) for one in zip(*tries, strict=True)) > MOST_MS):
            tries.append(worst_ms(kind, grants, each))
    finally:
        gc.enable()
    assert max(min(one) for one in zip(*tries, strict=True)) < MOST_MS, tries


# --- room -------------------------------------------------------------------------------------


def test_a_key_fills_its_own_page_and_nobody_else_s() -> None:
    guard = ReplayGuard(0)
    first, *more = entries(guard, 1, 4 * PAGE)
    assert [guard.read(entry, LONG, NOW) for entry in (first, *more)] == [True] * PAGE + [False] * 3 * PAGE
    assert len(guard._reads) == PAGE
    assert guard.read(first, LONG, NOW), "the same once more takes no room"
    assert guard.was_read(first)
    assert not guard.was_read(more[-1])
    assert guard.read(guard.entry("another", "a", NOW), LONG, NOW)
    assert guard.read(guard.entry("grant0", "later", NOW + BUCKET_S * S), LONG, NOW)


def test_an_hour_at_full_speed_is_no_more_than_what_is_fresh_and_a_bounded_past(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replay, "MOST", 4 * PAGE)
    guard = ReplayGuard(0)
    for second in range(0, 300, BUCKET_S):
        for number in range(PAGE + 10):
            guard.read(guard.entry("grant", f"{number}", NOW + second * S), 60 * S, NOW + second * S)
        assert len(guard._reads) <= (60 // BUCKET_S + 6) * PAGE


def test_writes_are_remembered_without_end_and_found_when_they_are_past() -> None:
    guard = ReplayGuard(0)
    written = list(entries(guard, 2, 3 * PAGE))
    for entry in written:
        guard.remember(entry, LONG, NOW)
    assert all(map(guard.passed, written))
    for number in range(20):
        later = guard.entry("later", f"{number}", NOW + 200 * S)
        guard.remember(later, LONG, later.stamp_us)
    assert not guard._writes._buckets[NOW // (BUCKET_S * S)].loose
    assert all(map(guard.passed, written))
    assert not guard.passed(guard.entry("grant0", "never", NOW))
    assert len(guard) == len(written) + 20


# --- bots -------------------------------------------------------------------------------------


def read_at(bot: Bot, at_s: int, number: int) -> bytes:
    return bot.signed(
        "GET", ALL, symbol="BTCUSDT", recvWindow=60_000 - number, timestamp=at_s * 1000 + number
    )


async def test_who_reads_too_much_is_told_so_and_loses_no_exit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        world.account("second")
        (bot,), (other,) = await bots(world), await bots(world, "other", account="second")
        monkeypatch.setattr(replay, "PAGE", 3)
        monkeypatch.setattr(world.gateway.forwarder._authenticator._replays, "_started_us", 0)
        for name in ("a", "b"):
            assert (await bot.order("BUY", "0.001", **{**GRID, "newClientOrderId": name})).status == 200
        then = int(time.time()) // BUCKET_S * BUCKET_S - 2 * BUCKET_S
        for number in range(3):
            raw = read_at(bot, then, number)
            assert (await exchange_bytes(bot.port, raw)).status == 200
        raw = read_at(bot, then, 3)
        for _ in range(2):
            got = await exchange_bytes(bot.port, raw)
            assert (got.status, got.code, got.reason) == (429, -1003, "too_many_reads")
            assert got.headers["retry-after"] == str(BUCKET_S)
        same = await exchange_bytes(bot.port, read_at(bot, then, 2))
        assert same.status == 200, "what is remembered comes as often as it likes"
        assert (await exchange_bytes(other.port, read_at(other, then, 4))).status == 200
        assert (await exchange_bytes(bot.port, read_at(bot, then - BUCKET_S, 5))).status == 200
        stamped = {"symbol": "BTCUSDT", "recvWindow": 60_000, "timestamp": then * 1000 + 9}
        order = {"side": "BUY", "type": "MARKET", "quantity": "0.001"}
        assert (await bot.call("POST", "/api/v3/order", **order, **stamped)).status == 200
        gone = await bot.call("DELETE", "/api/v3/order", origClientOrderId="a", **stamped)
        assert gone.status == 200
        theft = as_delete(read_at(bot, then, 1), ALL, ALL)
        assert (await exchange_bytes(bot.port, theft)).reason == "signed_for_a_read"
        assert (await bot.call("DELETE", ALL, **stamped)).status == 200


async def test_a_read_timed_ahead_is_refused_and_still_no_cancel_when_its_time_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        (bot,) = await bots(world)
        assert (await bot.order("BUY", "0.001", **GRID)).status == 200
        raw = read_at(bot, int(time.time()) + authenticate._SENT_AGAIN_US // S // 2, 0)
        assert (await exchange_bytes(bot.port, raw)).reason == "stale"
        set_wall(world, monkeypatch, authenticate._SENT_AGAIN_US // 2)
        got = await exchange_bytes(bot.port, as_delete(raw, ALL, ALL))
        assert (got.status, got.reason) == (400, "signed_for_a_read")
        assert await open_orders(bot) == 1
