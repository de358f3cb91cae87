"""A gateway that has just started refuses no exit for what it has not asked yet: what a pair trades outlives it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.gate import Mode
from broker.gateway.known_pairs import MOST, KnownPairs
from broker.gateway.process import Gateway, Listen
from broker.link.channel import memory_pair
from clients.paper.faults import Fault
from clients.venue import SymbolInfo
from clients.venues.binance import WIRE
from tests.gateway.world import POLICY, Bot, World, running_world, served

PAIR = SymbolInfo("BTCUSDT", "BTC", "USDT")
RULE = POLICY.replace('["BTCUSDT", "ETHUSDT"]', '{ quote = ["USDT"] }')


_RECORDED_S = 3.0


@asynccontextmanager
async def gateway_at(world: World, directory: Path) -> AsyncIterator[int]:
    """Run a gateway with its own directory; when it is started there again, it is its own successor.

    What the world's gateway did it knows by the record alone: that has it by then, unless a test keeps it from there.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(_RECORDED_S):
            while world.gateway.spool.waiting:  # noqa: ASYNC110 - the spool tells nobody
                await asyncio.sleep(0.01)
    here, there = memory_pair()
    serving = asyncio.ensure_future(world.authority.serve(here))
    gateway = Gateway(there, "edge", directory, {WIRE.name: WIRE})
    gateway.book.recent.lately.lag_us = 0
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    running = asyncio.ensure_future(gateway.serve(Listen(), ready, stop))
    try:
        yield await ready
    finally:
        stop.set()
        await running
        here.close()
        await serving


SALES: dict[str, dict[str, Any]] = {
    "market above the caps": {"type": "MARKET", "quantity": "0.5"},
    "market within the caps": {"type": "MARKET", "quantity": "0.01"},
    "stop": {"type": "STOP_LOSS", "stopPrice": "50000", "quantity": "0.5"},
    "stop limit": {
        "type": "STOP_LOSS_LIMIT", "stopPrice": "50000", "price": "49000", "timeInForce": "GTC", "quantity": "0.5",
    },
}  # fmt: skip
SILENCE: dict[str, dict[str, Any]] = {
    "banned": {"status": 418, "code": -1003, "retry_after": "60"},
    "told to wait": {"status": 429, "code": -1003, "retry_after": "60"},
    "down": {"status": 500, "code": -1000},
    "behind a wall": {"status": 403, "code": -1000},
}


@pytest.mark.parametrize("policy", [POLICY, RULE], ids=["listed", "by rule"])
@pytest.mark.parametrize("silence", SILENCE.values(), ids=SILENCE)
async def test_no_exit_is_refused_because_the_gateway_was_started_anew(
    tmp_path: Path, silence: dict[str, Any], policy: str
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="5")
        bot = world.bot(policy=policy)
        async with gateway_at(world, tmp_path / "edge") as port:
            bot = Bot(port, bot.key_id, bot.secret)
            await bot.ready()
            assert (await bot.order()).status == 200
        async with gateway_at(world, tmp_path / "edge") as port:
            bot = Bot(port, bot.key_id, bot.secret)
            world.paper.server.faults.append(
                Fault("error", method="GET", path="/api/v3/", times=10_000, **silence)
            )
            for name, sale in SALES.items():
                answer = await bot.call("POST", "/api/v3/order", symbol="BTCUSDT", side="SELL", **sale)
                assert answer.status == 200, (name, answer)
            assert (await bot.order()).status != 200, "what opens new risk needs a price"


def test_what_is_kept_is_read_again_and_what_is_not_whole_is_passed_over(tmp_path: Path) -> None:
    known = KnownPairs(tmp_path)
    for pair in (PAIR, PAIR, SymbolInfo("币安人生", "币安", "人生")):
        known.learn("http://one", pair)
    known.learn("http://two", PAIR)
    path = tmp_path / "pairs.jsonl"
    assert len(path.read_bytes().splitlines()) == 3
    assert path.stat().st_mode & 0o777 == 0o600
    rubbish = b'[]\n["http://one"]\n{"a":1}\n\xff\n["http://one","X","",""]\n' + b"[" * 5000 + b"\n"
    path.write_bytes(path.read_bytes() + rubbish + b'["http://one","ETHUSDT","ETH","USDT"]')
    again = KnownPairs(tmp_path)
    assert again.of("http://one") == {"BTCUSDT": PAIR, "币安人生": SymbolInfo("币安人生", "币安", "人生")}
    assert again.of("http://two") == {"BTCUSDT": PAIR}
    assert again.of("http://three") == {}
    again.learn("http://one", SymbolInfo("ETHUSDT", "ETH", "USDT"))  # behind what was not whole
    assert "ETHUSDT" in KnownPairs(tmp_path).of("http://one")


def test_a_file_that_cannot_be_used_costs_only_the_asking(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").mkdir()
    known = KnownPairs(tmp_path)
    known.learn("http://one", PAIR)
    assert known.of("http://one") == {"BTCUSDT": PAIR}


def test_it_does_not_grow_without_end(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_bytes(b"[]\n" * MOST)
    KnownPairs(tmp_path).learn("http://one", PAIR)
    assert (tmp_path / "pairs.jsonl").stat().st_size == 3 * MOST


@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("sized", ["base", "quote"])
async def test_a_sale_whose_answer_a_gateway_did_not_live_to_hear_is_not_made_with_anothers(
    tmp_path: Path, sized: str, *, arrives: bool
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        one, two = world.bot("one"), world.bot("two")
        async with gateway_at(world, tmp_path / "edge") as port:
            one, two = Bot(port, one.key_id, one.secret), Bot(port, two.key_id, two.secret)
            await one.ready()
            await two.ready()
            assert (await one.order("BUY", "0.0101")).status == 200
            for _ in range(5):
                assert (await two.order("BUY", "0.0101")).status == 200
            _, change = world.service.cuts.close(
                targets=("account:main",), mode=Mode.HALT, reason="test", actor="test"
            )
            await world.authority.changes.acknowledged(change, 5)
            fault = {"do": "lose-reply" if arrives else "close", "match": {"path": "/api/v3/order"}}
            await world.paper.admin("POST", "faults", fault)
            sale = {"quantity": "0.01"} if sized == "base" else {"quoteOrderQty": "600"}
            market: dict[str, Any] = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET"}
            assert (await one.call("POST", "/api/v3/order", **market, **sale)).status == 504
        async with gateway_at(world, tmp_path / "edge") as port:
            one, two = Bot(port, one.key_id, one.secret), Bot(port, two.key_id, two.secret)
            await one.ready()
            again = await served(lambda: one.order("SELL", "0.01"))  # a 503 until what it found is on record
            assert (again.status, again.reason) == ((401, "halted") if arrives else (200, None))
            await two.ready()
            assert (await two.order("SELL", "0.05")).status == 200


@pytest.mark.parametrize("side", ["BUY", "SELL"])
async def test_what_became_of_orders_while_no_gateway_ran_is_asked_before_anothers_could_be_sold(
    tmp_path: Path, side: str
) -> None:
    """A bid that was filled, and an offer that ended by hand: both are the other's, and nobody has told of either."""
    limit: dict[str, Any] = {"type": "LIMIT", "timeInForce": "GTC"}
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        one, two = world.bot("one"), world.bot("two")
        async with gateway_at(world, tmp_path / "edge") as port:
            one, two = Bot(port, one.key_id, one.secret), Bot(port, two.key_id, two.secret)
            await one.ready()
            await two.ready()
            assert (await one.order("BUY", "0.0101")).status == 200
            if side == "SELL":
                assert (await two.order("BUY", "0.0101")).status == 200
            price = "59000" if side == "BUY" else "70000"
            resting = await two.order(side, "0.01", price=price, **limit)
            assert resting.status == 200, resting
            _, change = world.service.cuts.close(
                targets=("account:main",), mode=Mode.HALT, reason="test", actor="test"
            )
            await world.authority.changes.acknowledged(change, 5)
        exchange = world.paper.exchange
        if side == "BUY":
            exchange.engine.set_price(exchange.symbols["BTCUSDT"], Decimal(58_900), exchange.now_us())
        else:
            order = exchange.engine.orders[resting.body["orderId"]]
            exchange.engine.cancel(order, exchange.now_us())
        async with gateway_at(world, tmp_path / "edge") as port:
            one, two = Bot(port, one.key_id, one.secret), Bot(port, two.key_id, two.secret)
            await one.ready()
            assert (await one.order("SELL", "0.015")).reason == "halted"
            assert (await one.order("SELL", "0.01")).status == 200
            await two.ready()
            assert (await two.order("SELL", "0.0099")).status == 200


async def test_what_cannot_be_asked_of_them_refuses_no_exit(tmp_path: Path) -> None:
    limit: dict[str, Any] = {"type": "LIMIT", "timeInForce": "GTC"}
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        one, two = world.bot("one"), world.bot("two")
        async with gateway_at(world, tmp_path / "edge") as port:
            one, two = Bot(port, one.key_id, one.secret), Bot(port, two.key_id, two.secret)
            await one.ready()
            await two.ready()
            for _ in range(3):
                assert (await one.order("BUY", "0.0101")).status == 200
            assert (await two.order("BUY", "0.01", price="59000", **limit)).status == 200
        async with gateway_at(world, tmp_path / "edge") as port:
            one = Bot(port, one.key_id, one.secret)
            await one.ready()
            world.paper.server.faults.append(Fault("error", "GET", "/api/v3/order", times=1000, status=500))
            assert (await one.order("SELL", "0.03")).status == 200
