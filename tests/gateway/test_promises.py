"""What must hold whatever is sent: the policy saw what the exchange executed; secrets stay; nothing is lost."""

import asyncio
import logging
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from broker.gateway.process import Gateway, Listen
from broker.gateway.spool import Spool
from broker.lease import LEASE_US
from broker.link.channel import memory_pair
from clients.venues.binance import WIRE
from tests.gateway.world import POLICY, Bot, World, exchange_bytes, running_world

FIELDS: dict[str, st.SearchStrategy[str]] = {
    "symbol": st.sampled_from(["BTCUSDT", "ETHUSDT", "SOLUSDT", "btcusdt", "BTCUSDT "]),
    "side": st.sampled_from(["BUY", "SELL", "buy"]),
    "type": st.sampled_from(["LIMIT", "MARKET", "STOP_LOSS_LIMIT", "LIMIT_MAKER", "TAKE_PROFIT"]),
    "timeInForce": st.sampled_from(["GTC", "IOC", "FOK"]),
    "quantity": st.sampled_from(["0.001", "0.01", "0.02", "1e-2", "+0.01", "0.010", "00.01", "0"]),
    "quoteOrderQty": st.sampled_from(["100", "999", "1001"]),
    "price": st.sampled_from(["50000", "60000", "62999", "63001", "6e4", "61000.00"]),
    "stopPrice": st.sampled_from(["65000", "55000"]),
    "newClientOrderId": st.sampled_from(["mine-1", "a b", "x%26quantity%3D9", "mine-2"]),
    "Quantity": st.just("9"),
    "recvWindow": st.sampled_from(["5000", "60000", "5000.5"]),
}
ORDERS = st.fixed_dictionaries(
    {name: FIELDS[name] for name in ("symbol", "side", "type")},
    optional={name: FIELDS[name] for name in FIELDS if name not in {"symbol", "side", "type"}},
)


@given(orders=st.lists(st.tuples(ORDERS, st.booleans(), st.sampled_from(["", "quantity=9&", "&&", "signature=0&"])),
                       min_size=1, max_size=12))  # fmt: skip
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
          phases=[Phase.explicit, Phase.generate])  # fmt: skip
def test_what_the_policy_saw_is_what_the_exchange_executed(
    tmp_path_factory: pytest.TempPathFactory, orders: list[tuple[dict[str, str], bool, str]]
) -> None:
    asyncio.run(_play(tmp_path_factory.mktemp("world"), orders))


async def _play(directory: Path, orders: list[tuple[dict[str, str], bool, str]]) -> None:
    async with running_world(directory) as world:
        world.account(USDT="1000000", BTC="5", ETH="5", SOL="5")
        bot = world.bot(policy=POLICY.replace('"10000"', '"5000"'))
        spent = Decimal(0)
        for values, in_body, trick in orders:
            before = len(world.executed())
            raw = bot.signed("POST", "/api/v3/order", body=in_body, **values)
            if trick:
                raw = raw.replace(b"symbol=", trick.encode() + b"symbol=", 1)
            answer = await exchange_bytes(world.port, raw)
            fresh = world.executed()[before:]
            assert len(fresh) <= 1
            if not fresh:
                continue
            assert answer.status == 200
            spent += check(fresh[0], world)
        assert spent <= 5000


def check(entry: dict[str, Any], world: World) -> Decimal:
    """Compare what the exchange did with what the call log says was judged; return what it cost the budget."""
    order = entry["order"]
    lines = [line for line in world.gateway.spool.batch(0, 10_000) if order["client_order_id"] in line[1]]
    assert lines, "executed, and not written down before"
    line = lines[0][1]
    assert f'"s":"{order["symbol"]}"' in line
    assert f'"sd":"{order["side"]}"' in line
    leaving = '"lv":true' in line
    price = world.paper.exchange.symbols[order["symbol"]].price
    reference = max(price, Decimal(order["price"] or 0), Decimal(order["trigger"] or 0))
    amount = Decimal(order["quote_quantity"] or 0) or Decimal(order["quantity"]) * reference
    if leaving:
        assert order["side"] == "SELL"
        return Decimal(0)
    assert order["symbol"] in {"BTCUSDT", "ETHUSDT"}
    assert amount <= 1000
    return amount


async def test_no_secret_in_logs_answers_files_or_reprs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        answers = [await bot.order(), await bot.order(quantity="5"), await bot.call("GET", "/api/v3/account")]
        await world.cut("consumer:bot")
        answers.append(await bot.order())
        shown = (
            repr(answers) + repr(vars(world.gateway.book)) + repr(world.authority.changes.links) + caplog.text
        )
        secrets = [bot.secret] + [
            key.secret.reveal() for key in world.paper.exchange.keys.values() if key.secret
        ]
        files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        for secret in secrets:
            assert secret not in shown
            assert secret.encode() not in files


async def test_the_broker_has_every_line_and_knows_whose_orders_they_are(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        placed = await bot.order(newClientOrderId="mine", type="LIMIT", timeInForce="GTC", price="59000")
        await bot.order(quantity="5")
        await all_kept(world)
        calls = world.service.calls.list().items
        assert [(call.decision, call.outcome, call.reason) for call in calls] == [
            ("deny", None, "order_notional"), ("allow", "done", None),
        ]  # fmt: skip
        grant = calls[0].grant
        for name in ("mine", f"#{placed.body['orderId']}"):
            assert world.service.calls.whose("main", "BTCUSDT", name).grant == grant


async def all_kept(world: World) -> None:
    async with asyncio.timeout(60):
        while world.gateway.spool.waiting:
            await asyncio.to_thread(lambda: None)  # let the log's thread and the link go on


async def test_a_gateway_that_died_is_followed_by_one_that_sends_its_lines_and_returns_its_budget(
    tmp_path: Path,
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        issued = world.issue(policy=POLICY.replace('"10000"', '"1200"'))
        assert issued.secret is not None
        # a gateway that never reports: its spool is all that is left of it
        here, there = memory_pair()
        serving = asyncio.ensure_future(world.authority.serve(here))
        first = Gateway(there, "edge", tmp_path / "edge", {WIRE.name: WIRE})
        first.link.written = lambda: None  # type: ignore[method-assign]
        first.ledger._written = lambda: None
        port, stop, running = await started(first)
        bot = Bot(port, issued.grant.key_id, issued.secret.reveal())
        assert (await bot.order()).status == 200
        assert world.service.calls.used(issued.grant.id) >= 1000
        running.cancel()
        there.close()
        await asyncio.gather(serving, running, return_exceptions=True)
        assert sum(len(path.read_text().splitlines()) for path in (tmp_path / "edge").glob("calls-*")) == 2
        # its successor
        here, there = memory_pair()
        serving = asyncio.ensure_future(world.authority.serve(here))
        second = Gateway(there, "edge", tmp_path / "edge", {WIRE.name: WIRE})
        port, stop, running = await started(second)
        async with asyncio.timeout(60):
            while world.service.calls.used(issued.grant.id) > 600:
                await asyncio.to_thread(lambda: None)
            assert [call.outcome for call in world.service.calls.list().items] == ["done"]
            while [path for path in (tmp_path / "edge").iterdir() if first.spool.boot in path.name]:
                await asyncio.to_thread(lambda: None)
        stop.set()
        await running
        here.close()
        await serving


async def started(gateway: Gateway) -> tuple[int, asyncio.Event, "asyncio.Task[None]"]:
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    running = asyncio.ensure_future(gateway.serve(Listen(), ready, stop))
    return await ready, stop, running


async def test_a_gateway_cut_off_from_its_broker_stops_with_its_leases(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(quantity="0.001")).status == 200
        (held,) = world.gateway.book.by_lease.values()
        real = world.gateway.clock.boot_us
        world.gateway.clock.boot_us = lambda: real() + LEASE_US  # type: ignore[method-assign]
        world.authority.changes.links["local"].channel.send = lambda _: None  # type: ignore[method-assign]
        answer = await bot.order(quantity="0.001")
        assert (answer.status, answer.body, answer.reason) == (503, None, "lease_over")
        assert len(world.executed()) == 1
        assert held.lease.expires_us < world.gateway.clock.boot_us()


async def test_an_order_that_cannot_be_written_down_is_not_sent_and_an_exit_is(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(BTC="1", USDT="10000")
        bot = world.bot(policy=POLICY.replace('"1000"', '"700"'))
        assert (await bot.order()).status == 200

        def full(_: str) -> None:
            raise OSError("no space left")

        world.gateway.spool.write = full  # type: ignore[method-assign]
        answer = await bot.order()
        assert (answer.status, answer.reason) == (503, "spool")
        assert (await bot.order("SELL", quantity="0.5")).status == 200
        assert [entry["order"]["side"] for entry in world.executed()] == ["BUY", "SELL"]


async def test_a_gateway_that_cannot_begin_its_spool_lets_bots_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk without room for one more file, as the gateway is started anew: it never came up."""
    async with running_world(tmp_path) as world:
        world.account(BTC="1", USDT="10000")
        bot = world.bot(policy=POLICY.replace('"1000"', '"700"'))
        with monkeypatch.context() as full:
            full.setattr(Path, "mkdir", _no_room)
            here, there = memory_pair()
            serving = asyncio.ensure_future(world.authority.serve(here))
            gateway = Gateway(there, "edge", tmp_path / "edge", {WIRE.name: WIRE})
            port, stop, running = await started(gateway)
            bot = Bot(port, bot.key_id, bot.secret)
            await bot.ready()
            assert (await bot.order("SELL", quantity="0.5")).status == 200
            refused = await bot.order()
            assert (refused.status, refused.reason) == (503, "spool")
        assert (await bot.order()).status == 200, "once there is room it is begun"
        await until_logged(gateway)
        stop.set()
        await running
        here.close()
        await serving


def _no_room(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


async def until_logged(gateway: Gateway) -> None:
    async with asyncio.timeout(60):
        while gateway.spool.waiting:  # noqa: ASYNC110 - the log tells nobody
            await asyncio.sleep(0.02)


def test_a_spool_keeps_its_parts_until_they_are_kept_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.gateway.spool.PART_LINES", 3)
    monkeypatch.setattr("broker.gateway.spool.MOST_HELD", 4)
    spool = Spool(tmp_path)
    for number in range(1, 9):
        spool.write(f"line {number}")
    assert spool.batch(0, 3) == [(1, "line 1"), (2, "line 2"), (3, "line 3")]
    assert spool.batch(6, 5) == [(7, "line 7"), (8, "line 8")]
    assert len(list(tmp_path.iterdir())) == 3
    spool.kept(7)
    assert len(list(tmp_path.iterdir())) == 1
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())
    assert Spool(tmp_path).earlier() == ([], True), "while it is written, nobody else sends or deletes it"
    spool.close()
    assert [one.boot for one in Spool(tmp_path).earlier()[0]] == [spool.boot]
