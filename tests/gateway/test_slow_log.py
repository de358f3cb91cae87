"""A call log that is slow or locked slows new risk down, and nothing that is safe: no cut, heartbeat, lease or exit."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from broker.db import calls as call_store
from broker.db.database import LOG_FILE
from broker.gateway import spool
from tests.gateway.world import POLICY, Bot, World, running_world

pytestmark = pytest.mark.sockets

SMALL = {"quantity": "0.001"}
RESTING = {"type": "LIMIT", "timeInForce": "GTC", "quantity": "0.001", "price": "49000"}
MEANWHILE_S = 12.0


async def until(fits: Callable[[], bool]) -> None:
    """Look again and again, for as long as a busy machine may need."""
    async with asyncio.timeout(60):
        while not fits():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's write lock, as another process would."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


def beats(world: World) -> int:
    return world.authority.leases.began_us


def logged(world: World) -> int:
    with world.service.desk.database.log.read() as connection:
        return len(call_store.page(connection, (2**62, "~", 2**62), 10_000, {}))


async def test_a_log_that_is_locked_for_long_holds_nothing_up_that_is_safe(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="5")
        first, other = world.bot("first"), world.bot("other")
        third = world.issue("third")
        assert (await first.order(**SMALL)).status == 200
        assert (await other.order(quantity="0.01")).status == 200
        resting = await other.order(**RESTING)
        assert resting.status == 200
        await until(lambda: not world.gateway.spool.waiting)
        before, began = logged(world), beats(world)
        with locked(tmp_path / LOG_FILE):
            end = asyncio.get_running_loop().time() + MEANWHILE_S
            cuts = 0
            while asyncio.get_running_loop().time() < end or cuts < 5:
                cut = await world.cut("consumer:first")
                executed = len(world.executed())
                refused = await first.order(**SMALL)
                assert (refused.status, refused.reason) == (401, "cut")
                assert len(world.executed()) == executed
                await world.thaw(cut)
                cuts += 1
                sold = await other.order("SELL", "0.001")
                assert (sold.status, sold.reason) == (200, None), "another bot's exit"
                await asyncio.sleep(0.2)
            gone = await other.call(
                "DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=resting.body["orderId"]
            )
            assert (gone.status, gone.reason) == (200, None), "a cancel of an own order"
            assert third.secret is not None
            fresh = Bot(world.port, third.grant.key_id, third.secret.reveal())
            read = await fresh.call("GET", "/api/v3/account")
            assert (read.status, read.reason) == (200, None), "a lease that was opened meanwhile"
            assert beats(world) > began, "the heart beats"
            assert logged(world) == before
        await until(lambda: not world.gateway.spool.waiting)
        assert logged(world) > before, "nothing is lost"


async def test_a_log_that_is_far_behind_stops_new_risk_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot(policy=POLICY)
        assert (await bot.order(quantity="0.01")).status == 200
        resting = await bot.order(**RESTING)
        assert resting.status == 200
        await until(lambda: not world.gateway.spool.waiting)
        monkeypatch.setattr(spool, "MOST_BEHIND", 6)
        with locked(tmp_path / LOG_FILE):
            answers = [await bot.order(**SMALL) for _ in range(6)]
            assert [one.reason for one in answers[:3]] == [None] * 3
            assert (answers[-1].status, answers[-1].reason) == (503, "log_behind")
            assert (await bot.order(**RESTING)).reason == "log_behind"
            executed = len(world.executed())
            assert (await bot.call("GET", "/api/v3/openOrders", symbol="BTCUSDT")).status == 200
            assert (await bot.call("GET", "/api/v3/account")).status == 200
            gone = await bot.call(
                "DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=resting.body["orderId"]
            )
            assert (gone.status, gone.reason) == (200, None)
            sold = await bot.order("SELL", "0.005")
            assert (sold.status, sold.reason) == (200, None)
            assert len(world.executed()) > executed
        await until(lambda: not world.gateway.spool.waiting)
        again = await bot.order(**SMALL)
        assert (again.status, again.reason) == (200, None)


async def test_what_nobody_waits_for_any_more_is_not_lent_later(tmp_path: Path) -> None:
    """A slice that was asked for while the log was locked counts as spent only if a gateway has it."""
    policy = POLICY.replace('max_notional = "10000"', 'max_notional = "2000"')
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        issued = world.issue(policy=policy)
        assert issued.secret is not None
        bot = Bot(world.port, issued.grant.key_id, issued.secret.reveal())
        with locked(tmp_path / LOG_FILE):
            for _ in range(3):
                refused = await bot.order(**SMALL)
                assert refused.status == 503, refused
        await until(lambda: not world.authority.lending.owed)
        await until(lambda: not world.gateway.spool.waiting)
        held = world.gateway.book.by_key[issued.grant.key_id].standing.purse.left
        assert world.service.calls.used(issued.grant.id) == held
        assert (await bot.order(**SMALL)).status == 200
        assert world.service.calls.used(issued.grant.id) <= Decimal(2000)
