"""Orders that wait protect: while they are on their way nobody is told that they take the book away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.gate import Mode
from tests.gateway.test_others_on_their_way import UNCAPPED
from tests.gateway.test_walked_book import book
from tests.gateway.world import PATIENCE_S, POLICY, Answer, Bot, World, bots, running_world
from tests.paper.harness import held

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("very_patient")]

OCO = {"aboveType": "LIMIT_MAKER", "abovePrice": "62000", "belowType": "STOP_LOSS", "belowStopPrice": "58500"}
WAIT: dict[str, dict[str, object]] = {
    "oco": {**OCO, "path": "orderList/oco"},
    "stop": {"type": "STOP_LOSS", "stopPrice": "58500"},
    "take profit": {"type": "TAKE_PROFIT", "stopPrice": "61500"},
    "trailing": {"type": "STOP_LOSS", "trailingDelta": "500"},
}
MARKET: dict[str, object] = {"type": "MARKET"}
BIDS = [["59999.99", "2"], ["30000.00", "5"]]


@asynccontextmanager
async def on_its_way(
    world: World, bot: Bot, order: dict[str, object], status: int = 200
) -> AsyncIterator[None]:
    fields = {"symbol": "BTCUSDT", "side": "SELL", "quantity": "1.8", **order}
    if "workingSide" in order:
        del fields["side"], fields["quantity"]
    path = f"/api/v3/{fields.pop('path', 'order')}"
    with held(world.paper, "POST", path, times=1) as wire:
        sent = asyncio.ensure_future(bot.call("POST", path, **fields))
        async with asyncio.timeout(PATIENCE_S):
            while not wire.waiting:
                await asyncio.sleep(0.005)
                assert not sent.done(), sent.result()
        yield
        wire.let_go()
    got: Answer = await sent
    assert got.status == status, got


@asynccontextmanager
async def halted(tmp_path: Path) -> AsyncIterator[tuple[World, Bot, Bot]]:
    """Two bots, each on an account of its own, in a halt: what they send are exits."""
    async with running_world(tmp_path) as world:
        world.account("main", BTC="4")
        world.account("other", BTC="4")
        (one,) = await bots(world, "one", policy=POLICY)
        (other,) = await bots(world, "other", account="other", policy=UNCAPPED)
        await world.cut("account:main", "account:other", mode=Mode.HALT)
        yield world, one, other


@pytest.mark.parametrize("whose", ["another's", "its own"])
@pytest.mark.parametrize("order", WAIT.values(), ids=WAIT)
async def test_nobody_is_refused_for_what_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: dict[str, object], whose: str
) -> None:
    async with halted(tmp_path) as (world, one, other):
        with book(monkeypatch, bids=BIDS):
            async with on_its_way(world, one if whose == "its own" else other, order):
                got = await one.order("SELL", "0.7")
                assert got.status == 200, got


async def test_what_trades_at_once_takes_the_book_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with halted(tmp_path) as (world, one, other):
        with book(monkeypatch, bids=BIDS):
            async with on_its_way(world, other, MARKET):
                got = await one.order("SELL", "0.7")
                assert (got.status, got.reason) == (400, "exit_size"), got
                assert (await one.order("SELL", "0.1")).status == 200


async def test_what_is_known_to_be_held_takes_whatever_let_it_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No limit is above it, so it is no exit; and it trades all the same."""
    async with running_world(tmp_path) as world:
        world.account("main", BTC="4")
        world.account("other", BTC="4")
        (one,) = await bots(world, "one", policy=POLICY)
        (other,) = await bots(world, "other", account="other", policy=UNCAPPED)
        with book(monkeypatch, bids=BIDS):
            account = world.gateway.mounts._accounts["other"]
            lease = next(one for one in world.gateway.book.by_lease.values() if one.account == "other")
            await account.fetch(world.gateway.book.material[lease.key_text])
            async with on_its_way(world, other, MARKET):
                got = await one.order("SELL", "0.7")
                assert (got.status, got.reason) == (400, "exit_size"), got


@pytest.mark.parametrize("side", ["SELL", "BUY"])
async def test_what_waits_for_an_order_of_ones_own_takes_nothing_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    after = {
        "path": "orderList/oto", "workingType": "LIMIT", "workingTimeInForce": "GTC", "workingSide": "BUY",
        "workingPrice": "30000", "workingQuantity": "1.8" if side == "SELL" else "0.01", "pendingType": "MARKET", "pendingSide": side,
        "pendingQuantity": "1.8",
    }  # fmt: skip
    async with running_world(tmp_path) as world:
        world.account("main", BTC="4", USDT="1000000")
        world.account("other", USDT="1000000")
        (one,) = await bots(world, "one", policy=POLICY)
        (same,) = await bots(world, "one", account="other", policy=UNCAPPED)
        asks = [["60000.00", "1.815"], ["90000.00", "5"]]
        with book(monkeypatch, bids=BIDS, asks=asks):
            async with on_its_way(world, same, after):
                got = await one.order(side, "0.7" if side == "SELL" else "0.0166")
                assert got.status == (200 if side == "SELL" else 503), got


async def test_a_sale_of_what_the_exchange_does_not_show_takes_nothing_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It passes, for the exchange may show it late; and the exchange may refuse it."""
    async with running_world(tmp_path) as world:
        world.account("main", BTC="4")
        world.account("other", USDT="1000000")
        (one,) = await bots(world, "one", policy=POLICY)
        other, _ = await bots(world, "other", "beside", account="other", policy=UNCAPPED)
        assert (await other.order("BUY", "2")).status == 200
        balance = world.paper.exchange.accounts["other@paper.test"].balances["BTC"]
        balance.free -= balance.free
        await world.cut("account:main", "account:other", mode=Mode.HALT)
        with book(monkeypatch, bids=BIDS):
            async with on_its_way(world, other, MARKET, status=400):
                got = await one.order("SELL", "0.7")
                assert got.status == 200, got
