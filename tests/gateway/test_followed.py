"""What orders did since the venue told of them last is asked before an exit of a shared account is judged by it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.gate import Mode
from broker.gateway import followed, forward
from broker.gateway.followed import MOST, Followed
from broker.gateway.forward import Forwarder
from broker.gateway.job import Job
from broker.gateway.sent import Sent
from broker.gateway.settlement import Reservation, Settlement
from broker.gateway.settler import TOGETHER
from broker.gateway.unseen import Asset, Doubt
from broker.link import frames
from broker.policy_facts import Stake
from clients.paper.faults import Fault
from tests.gateway.test_slow_log import until
from tests.gateway.world import POLICY, Answer, Bot, World, bots, running_world
from tests.paper.harness import Held, held

pytestmark = pytest.mark.sockets

BIG = POLICY.replace('"10000"', '"1000000"').replace('"1000"', '"100000"')
IN_QUOTE = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quoteOrderQty": "20"}
ORDERS = {"/api/v3/openOrders", "/api/v3/allOrders", "/api/v3/order"}


def price_of(world: World) -> Decimal:
    return world.paper.exchange.symbols["BTCUSDT"].price


def moved(world: World, share: str) -> None:
    """Let the market go there: what rests on its way is filled, and nobody says so."""
    exchange = world.paper.exchange
    exchange.engine.set_price(
        exchange.symbols["BTCUSDT"], price_of(world) * Decimal(share), exchange.now_us()
    )


def limit(world: World, share: str) -> dict[str, object]:
    price = (price_of(world) * Decimal(share)).quantize(Decimal("0.01"))
    return {"type": "LIMIT", "timeInForce": "GTC", "price": str(price)}


async def buys_silently(world: World, bot: Bot, how: str, quantity: str = "0.5") -> None:
    """Buy so that no answer tells of it."""
    if how == "ack":
        got = await bot.order("BUY", quantity, newOrderRespType="ACK")
    else:
        got = await bot.order("BUY", quantity, **limit(world, "0.99"))
        moved(world, "0.98")
    assert got.status == 200, got


@asynccontextmanager
async def shared(
    tmp_path: Path, there: str = "0", policy: str = BIG
) -> AsyncIterator[tuple[World, Bot, Bot]]:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC=there)
        world.paper.exchange.limits.orders_10s = world.paper.exchange.limits.orders_day = 100_000
        one, two = await bots(world, "one", "two", policy=policy)
        yield world, one, two


async def halt(world: World) -> None:
    await world.cut("account:main", mode=Mode.HALT)


def asked_since(world: World, before: int) -> list[str]:
    return [row["path"] for row in world.asked()[before:] if row["path"] in ORDERS and row["method"] == "GET"]


@pytest.mark.parametrize("how", ["ack", "resting"])
async def test_what_another_bought_silently_is_not_sold_in_a_halt(tmp_path: Path, how: str) -> None:
    async with shared(tmp_path) as (world, one, two):
        await buys_silently(world, two, how)
        await halt(world)
        got = await one.order("SELL", "0.4")
        assert (got.status, got.reason) == (401, "halted")
        assert (await two.order("SELL", "0.49")).status == 200


async def test_nor_above_the_caps(tmp_path: Path) -> None:
    async with shared(tmp_path) as (world, _, two):
        (small,) = await bots(world, "small")
        await buys_silently(world, two, "ack")
        assert (await small.order("SELL", "0.4")).reason == "order_notional"


@pytest.mark.parametrize("how", ["ack", "resting"])
async def test_who_bought_silently_leaves_although_on_record_all_is_anothers(
    tmp_path: Path, how: str
) -> None:
    async with shared(tmp_path) as (world, one, two):
        key = world.paper.key("main@paper.test")
        assert (await two.order("BUY", "0.5")).status == 200
        by_hand = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.499"}
        assert (await world.paper.call("POST", "/api/v3/order", key, **by_hand))[0] == 200
        await buys_silently(world, one, how)
        await halt(world)
        assert (await one.order("SELL", "0.49")).status == 200


async def test_a_replaced_order_that_was_filled_frees_nothing(tmp_path: Path) -> None:
    async with shared(tmp_path) as (world, one, two):
        assert (await two.order("BUY", "0.5")).status == 200
        assert (await one.order("BUY", "0.5")).status == 200
        rests = await one.order("SELL", "0.499", **limit(world, "1.01"))
        moved(world, "1.02")
        await halt(world)
        got = await replaced(one, rests)
        assert (got.status, got.reason) == (401, "halted")


async def test_one_that_rests_still_frees_what_is_left_of_it(tmp_path: Path) -> None:
    async with shared(tmp_path) as (world, one, two):
        assert (await two.order("BUY", "0.5")).status == 200
        assert (await one.order("BUY", "0.5")).status == 200
        rests = await one.order("SELL", "0.499", **limit(world, "1.04"))
        await halt(world)
        assert (await replaced(one, rests)).status == 200


async def replaced(bot: Bot, order: Answer) -> Answer:
    return await bot.call(
        "POST", "/api/v3/order/cancelReplace", body=True, symbol="BTCUSDT", side="SELL", type="MARKET", quantity="0.49",
        cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId=str(order.body["orderId"]),
    )  # fmt: skip


async def test_what_another_offers_no_more_is_not_bound(tmp_path: Path) -> None:
    """Its order was ended by hand: what it bound is free, and its owner's."""
    async with shared(tmp_path) as (world, one, two):
        key = world.paper.key("main@paper.test")
        assert (await two.order("BUY", "0.5")).status == 200
        rests = await two.order("SELL", "0.499", **limit(world, "1.04"))
        ended = {"symbol": "BTCUSDT", "orderId": rests.body["orderId"]}
        assert (await world.paper.call("DELETE", "/api/v3/order", key, **ended))[0] == 200
        await halt(world)
        got = await one.order("SELL", "0.49")
        assert (got.status, got.reason) == (401, "halted")


def broken(world: World) -> None:
    for path in sorted(ORDERS):
        world.paper.server.faults.append(Fault("error", method="GET", path=path, times=100_000, status=500))


@pytest.mark.parametrize("how", ["ack", "resting"])
async def test_what_cannot_be_asked_is_anothers_and_nobody_is_told_no(tmp_path: Path, how: str) -> None:
    async with shared(tmp_path) as (world, one, two):
        await buys_silently(world, two, how)
        await halt(world)
        broken(world)
        got = await one.order("SELL", "0.4")
        assert (got.status, got.reason) == (503, "holdings_unknown")


async def test_an_own_purchase_that_cannot_be_asked_about_is_unknown_and_no_refusal(tmp_path: Path) -> None:
    async with shared(tmp_path) as (world, one, two):
        key = world.paper.key("main@paper.test")
        assert (await two.order("BUY", "0.5")).status == 200
        by_hand = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.499"}
        assert (await world.paper.call("POST", "/api/v3/order", key, **by_hand))[0] == 200
        await buys_silently(world, one, "ack")
        await halt(world)
        broken(world)
        assert (await one.order("SELL", "0.49")).status == 503
        assert (await two.order("SELL", "0.4")).status == 200, "what is known as its own, and there, passes"


def told_between(world: World, monkeypatch: pytest.MonkeyPatch, slow: Held) -> list[frames.StakeQuery]:
    """Let the venue tell of orders once the broker is asked already: the question does not carry it."""
    link, found = world.gateway.link, list[frames.StakeQuery]()
    real = link.ask_stake

    async def ask_stake(query: frames.StakeQuery) -> Stake:
        found.append(query)
        slow.let_go()
        await until(
            lambda: all(one.done for held in world.gateway._settlement._held.values() for one in held.orders)
        )
        return await real(query)

    monkeypatch.setattr(link, "ask_stake", ask_stake)
    return found


@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("whose", ["own", "another's"])
async def test_what_the_venue_tells_while_the_broker_is_asked_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    """Its own purchase was a definite no then, and another's was sold."""
    monkeypatch.setattr(followed, "LONGEST_S", 0.2)
    monkeypatch.setattr(followed, "HELD_S", 60.0)
    async with shared(tmp_path) as (world, one, two):
        if whose == "own":
            key = world.paper.key("main@paper.test")
            assert (await two.order("BUY", "0.5")).status == 200
            by_hand = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.499"}
            assert (await world.paper.call("POST", "/api/v3/order", key, **by_hand))[0] == 200
        await buys_silently(world, one if whose == "own" else two, "resting")
        await halt(world)
        with held(world.paper, "GET", "/api/v3/order") as slow:
            asked = told_between(world, monkeypatch, slow)
            got = await one.order("SELL", "0.49" if whose == "own" else "0.4")
        assert (got.status, got.reason) == ((200, None) if whose == "own" else (401, "halted")), got
        assert len(asked) == (2 if whose == "own" else 3), (
            "what it bought came after holdings, so both are asked anew"
        )


@pytest.mark.usefixtures("very_patient")
async def test_an_answer_that_comes_after_an_exits_first_second_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has another one; it began anew, and asked all of it again."""
    monkeypatch.setattr(followed, "LONGEST_S", 60.0)
    monkeypatch.setattr(followed, "HELD_S", 60.0)
    async with shared(tmp_path) as (world, one, _):
        await buys_silently(world, one, "resting")
        await halt(world)
        monkeypatch.setattr(forward, "PREPARE_SECONDS", 0.5)
        gather, last = Forwarder._gather, Forwarder._last
        with held(world.paper, "GET", "/api/v3/order") as slow:

            async def gathered(self: Forwarder, job: Job, missing: tuple[str, ...]) -> None:
                await gather(self, job, missing)
                assert len(slow.waiting) == 1
                monkeypatch.setattr(forward, "PREPARE_SECONDS", 60.0)
                asyncio.get_running_loop().call_later(0.1, slow.let_go)
                await last(self, job)

            async def over(_self: Forwarder, _job: Job) -> None:
                """It was so already."""

            monkeypatch.setattr(Forwarder, "_gather", gathered)
            monkeypatch.setattr(Forwarder, "_last", over)
            before = len(world.asked())
            assert (await one.order("SELL", "0.4")).status == 200
        assert len(asked_since(world, before)) == 1


@pytest.mark.parametrize("do", ["hang", "error"])
async def test_a_venue_that_tells_nothing_of_orders_keeps_nobody_from_selling_his_own(
    tmp_path: Path, do: Any
) -> None:
    async with shared(tmp_path) as (world, one, two):
        assert (await one.order("BUY", "0.5")).status == 200
        for bot in (one, two):
            assert (await bot.order("BUY", "0.1", **limit(world, "0.97"))).status == 200
        await halt(world)
        for path in sorted(ORDERS):
            world.paper.server.faults.append(Fault(do, method="GET", path=path, times=100_000, status=500))
        assert (await one.order("SELL", "0.4")).status == 200


async def test_nothing_is_asked_where_nothing_of_the_asset_is_open(tmp_path: Path) -> None:
    async with shared(tmp_path) as (world, one, two):
        for bot in (one, two):
            assert (await bot.order("BUY", "0.5")).status == 200
            got = await bot.order(
                "BUY", "0.5", symbol="ETHUSDT", type="LIMIT", timeInForce="GTC", price="2000"
            )
            assert got.status in {200, 400}, got
        await halt(world)
        before = len(world.asked())
        assert (await one.order("SELL", "0.3")).status == 200
        assert asked_since(world, before) == []


async def test_nothing_is_asked_on_an_account_of_one_grant(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="1")
        (bot,) = await bots(world, policy=BIG)
        for _ in range(3):
            assert (await bot.order("BUY", "0.1", **limit(world, "0.97"))).status == 200
        await halt(world)
        before = len(world.asked())
        assert (await bot.order("SELL", "0.9")).status == 200
        assert asked_since(world, before) == []


async def test_many_that_ended_are_asked_about_on_one_page_and_once(tmp_path: Path) -> None:
    async with shared(tmp_path) as (world, one, two):
        for _ in range(3 * MOST):
            await buys_silently(world, two, "ack", "0.01")
        await halt(world)
        before = len(world.asked())
        got = await one.order("SELL", "0.5")
        assert (got.status, got.reason) == (401, "halted")
        assert asked_since(world, before) == ["/api/v3/openOrders", "/api/v3/allOrders"]
        before = len(world.asked())
        assert (await one.order("SELL", "0.5")).reason == "halted"
        assert asked_since(world, before) == []


async def test_open_orders_are_asked_about_in_one_question(tmp_path: Path) -> None:
    async with shared(tmp_path) as (world, one, two):
        assert (await one.order("BUY", "0.5")).status == 200
        for bot in (one, two):
            for _ in range(2 * TOGETHER):
                assert (await bot.order("BUY", "0.01", **limit(world, "0.97"))).status == 200
        await halt(world)
        before = len(world.asked())
        assert (await one.order("SELL", "0.4")).status == 200
        assert asked_since(world, before) == ["/api/v3/openOrders"]


async def test_a_purchase_in_quote_that_was_lost_keeps_nobody_from_leaving_beside_it(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="5")
        (two,) = await bots(world, "two", policy=BIG)
        (small,) = await bots(world, "small")
        world.paper.server.faults.append(Fault("close", method="POST", path="/api/v3/order", times=1))
        lost = await two.call("POST", "/api/v3/order", body=True, **IN_QUOTE)
        assert lost.status == 504
        assert (await small.order("SELL", "0.3")).status == 200


@pytest.mark.parametrize(
    ("doubt", "stake"),
    [
        (Doubt(), Stake(own=Decimal(3), freed=Decimal(1), others=Decimal(2))),
        (
            Doubt(True, Decimal(5)),
            Stake(own=Decimal(3), freed=Decimal(1), others=Decimal(7), doubted=Decimal(5)),
        ),
        (Doubt(True, Decimal(0), replaced=True), Stake(own=Decimal(2), others=Decimal(2))),
    ],
)
def test_what_is_in_doubt_counts_against_who_asks(doubt: Doubt, stake: Stake) -> None:
    assert doubt.of(Stake(own=Decimal(3), freed=Decimal(1), others=Decimal(2))) == stake


@pytest.mark.parametrize("in_quote", [False, True])
async def test_an_answer_that_is_under_way_counts_at_its_worst(tmp_path: Path, in_quote: bool) -> None:
    """What another one's order buys the holdings may show before its answer is here."""
    async with shared(tmp_path) as (world, _, two):
        followed: Followed = world.gateway.fetcher.followed
        leases = {held.consumer: held for held in world.gateway.book.by_lease.values()}
        asset = Asset("main", "BTC", leases["one"].lease.grant, leases["one"].key_id)
        seen: list[Doubt] = []
        take = world.gateway.aftermath._come

        def come(job: Any, result: Any) -> None:
            seen.append(followed.doubt(asset, world.gateway.clock.boot_us()))
            take(job, result)

        world.gateway.aftermath._come = come  # type: ignore[method-assign]
        if in_quote:
            assert (await two.call("POST", "/api/v3/order", body=True, **IN_QUOTE)).status == 200
            assert [one.any for one in seen] == [True]
            assert 0 < seen[0].others < Decimal("0.1")
        else:
            assert (await two.order("BUY", "0.5")).status == 200
            assert seen == [Doubt(True, Decimal("0.5"))]
        assert followed.doubt(asset, 0) == Doubt()


def test_orders_of_an_earlier_start_are_found_by_their_pair_and_let_go_of() -> None:
    """What they trade is not known until the venue is asked: then it is, and nothing of them stays behind."""
    settlement = Settlement()
    sent = Sent(1, "grt", "main", "BTCUSDT", "n", "BUY", Decimal(1), Decimal(0), 0, 1, order_id="7")
    held = Reservation(1, "grt", "main", "BTCUSDT", (), None, (sent,))
    settlement.hold(held)
    assert list(settlement.of_asset("main", "BTC")) == []
    assert list(settlement.of_asset("main", "BTC", "BTCUSDT")) == [(held, sent)]
    sent.base = "BTC"
    assert list(settlement.of_asset("main", "BTC")) == [(held, sent)]
    settlement.refused(1)
    assert list(settlement.of_asset("main", "BTC", "BTCUSDT")) == []
    assert settlement._pairs == {}


def test_what_trades_something_else_is_not_walked_over() -> None:
    settlement, walked = Settlement(), list[str]()

    class Orders(tuple[Sent, ...]):
        __slots__ = ()

        def __iter__(self) -> Iterator[Sent]:
            walked.extend(sent.symbol for sent in super().__iter__())
            return super().__iter__()

    for number, base in enumerate(("BTC", "ETH", "ETH", "ETH"), 1):
        sent = Sent(
            number, "grt", "main", f"{base}USDT", "n", "BUY", Decimal(1), Decimal(0), 0, 1, order_id=str(number), base=base
        )  # fmt: skip
        held = Reservation(number, "grt", "main", f"{base}USDT", (), None, (sent,))
        settlement.hold(held)
        held.orders = Orders((sent,))
    for _ in range(3):
        walked.clear()
        assert len(list(settlement.of_asset("main", "BTC", "BTCUSDT"))) == 1
    assert walked == ["BTCUSDT"]
