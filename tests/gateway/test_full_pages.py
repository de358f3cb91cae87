"""Answers to our own questions at their true sizes: no page is asked for that is larger than what is read of it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.gateway import account_view
from broker.gateway.account_view import LARGEST_OPEN, MOST_ORDERS
from broker.gateway.depth import DEEP_LEVELS, LEVELS
from broker.gateway.settler import ASK_AGAIN_US, TOGETHER
from broker.gateway.venue_view import LARGEST_FACT, WARM_AT_ONCE
from clients.venues.binance.market import LONGEST_ORDER, MOST_OPEN
from tests.gateway.world import POLICY, Bot, World, bots, running_world

pytestmark = pytest.mark.sockets

LONGEST_NAME = "x-MG43PCSN{:026d}"
POLICY_LARGE = POLICY.replace('"10000"', '"100000"')


class Ahead:
    """The gateway's clock, for its settler: it goes on where it is told to."""

    def __init__(self, world: World) -> None:
        self._clock, self.more_us = world.gateway.clock, 0
        world.gateway.settler._clock = self  # type: ignore[assignment]

    def wall_us(self) -> int:
        return self._clock.wall_us()

    def boot_us(self) -> int:
        return self._clock.boot_us() + self.more_us

    async def settle(self, world: World, rounds: int) -> None:
        for _ in range(rounds):
            self.more_us += ASK_AGAIN_US + 1_000_000
            await world.gateway.settler.settle()


def without_order_limits(world: World) -> None:
    world.paper.exchange.limits.orders_10s = world.paper.exchange.limits.orders_day = 100_000


async def unfilled(bot: Bot, count: int) -> None:
    """Place orders that expire at once, and of which no answer says so."""
    for number in range(count):
        got = await bot.order(
            "BUY", "0.001", type="LIMIT", timeInForce="IOC", price="59000", newOrderRespType="ACK",
            newClientOrderId=LONGEST_NAME.format(number),
        )  # fmt: skip
        assert got.status == 200, got


async def test_budget_comes_back_however_many_orders_one_page_would_show(tmp_path: Path) -> None:
    """Two hundred and more had more room than what is read of an answer: the day's budget was used up for good."""
    async with running_world(tmp_path) as world:
        world.account()
        without_order_limits(world)
        (bot,) = await bots(world, policy=POLICY_LARGE)
        count = MOST_ORDERS + 100
        await unfilled(bot, count)
        everything = await bot.call("GET", "/api/v3/allOrders", symbol="BTCUSDT", limit=count)
        assert len(json.dumps(everything.body, separators=(",", ":"))) > LARGEST_FACT
        ahead, settlement = Ahead(world), world.gateway._settlement
        assert len(settlement) == count
        await ahead.settle(world, 10)
        assert len(settlement) == 0


@asynccontextmanager
async def pages_of_a_thousand(tmp_path: Path) -> AsyncIterator[tuple[World, Ahead]]:
    """A gateway that asks for as many orders at once as the venue gives, and 250 orders to be asked about."""
    async with running_world(tmp_path) as world:
        world.account()
        without_order_limits(world)
        (bot,) = await bots(world, policy=POLICY_LARGE)
        next(iter(world.gateway.mounts._accounts.values()))._page = 1000
        await unfilled(bot, 250)
        yield world, Ahead(world)


async def test_a_page_that_is_too_large_all_the_same_is_halved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A venue may give its orders more fields than anybody knows of."""
    monkeypatch.setattr(account_view, "MOST_ORDERS", 1000)
    async with pages_of_a_thousand(tmp_path) as (world, ahead):
        await ahead.settle(world, 10)
        assert len(world.gateway._settlement) == 0


async def test_where_no_page_can_be_read_orders_are_asked_for_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_view, "_FEWEST", 1000)
    async with pages_of_a_thousand(tmp_path) as (world, ahead):
        await ahead.settle(world, 2)
        left = len(world.gateway._settlement)
        await ahead.settle(world, 3)
        assert TOGETHER < len(world.gateway._settlement) < left < 250


async def test_all_open_orders_of_a_symbol_can_be_read(tmp_path: Path) -> None:
    """The venue has room for two hundred; with the longest names they are larger than other facts may be."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000")
        without_order_limits(world)
        (bot,) = await bots(world, policy=POLICY_LARGE)
        for number in range(MOST_OPEN):
            got = await bot.order(
                "BUY", "0.001", type="LIMIT", timeInForce="GTC", price="49000",
                newClientOrderId=LONGEST_NAME.format(number), strategyId=2**31 - 1, strategyType=2**31 - 1,
            )  # fmt: skip
            assert got.status == 200, got
        everything = await bot.call("GET", "/api/v3/openOrders", symbol="BTCUSDT")
        size = len(json.dumps(everything.body, separators=(",", ":")))
        assert LARGEST_FACT < size <= LARGEST_OPEN
        held = next(iter(world.gateway.book.by_lease.values()))
        account, credential = (
            world.gateway.mounts.account_of(held),
            world.gateway.book.material.get(held.key_text),
        )
        assert credential is not None
        assert len(await account.fetch_open(credential, "BTCUSDT")) == MOST_OPEN


def test_every_page_is_derived_from_what_is_read_of_an_answer() -> None:
    assert MOST_ORDERS * LONGEST_ORDER <= LARGEST_FACT
    assert MOST_OPEN * LONGEST_ORDER <= LARGEST_OPEN
    level = json.dumps(["1765432100.00000000", "1234567890.00000000"], separators=(",", ":"))
    assert 2 * max(DEEP_LEVELS, LEVELS) * (len(level) + 1) + 100 <= LARGEST_FACT
    price = json.dumps({"symbol": "X" * 20, "price": "1234567890.00000000"}, separators=(",", ":"))
    assert WARM_AT_ONCE * (len(price) + 1) + 2 <= LARGEST_FACT


async def test_prices_of_many_pairs_are_kept_warm_in_pieces(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        await bots(world)
        (view,) = world.gateway.mounts.views.values()
        asked: list[tuple[str, ...]] = []

        async def fetch_prices(symbols: tuple[str, ...], *_: object) -> None:
            asked.append(symbols)

        view.fetch_prices = fetch_prices  # type: ignore[method-assign]
        names = tuple(f"S{number}" for number in range(2 * WARM_AT_ONCE + 1))
        await view.warm(names)
        assert [len(one) for one in asked] == [WARM_AT_ONCE, WARM_AT_ONCE, 1]
        assert sum(asked, ()) == names
