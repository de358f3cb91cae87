"""What is found of orders beside the answers to their requests counts for whose an asset is, and for nothing else."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from broker.gate import Mode
from broker.gateway.owners import Owners
from broker.gateway.sent import Sent
from clients.wire import OrderState
from tests.gateway.test_namesakes import Later, lose
from tests.gateway.world import POLICY, Bot, World, running_world

pytestmark = pytest.mark.usefixtures("very_patient")

LIMIT = {"type": "LIMIT", "timeInForce": "GTC"}
PIECE = "0.0101"


def two_bots(world: World) -> tuple[Bot, Bot]:
    world.account(USDT="100000")
    return world.bot("one"), world.bot("two")


async def halt(world: World) -> None:
    await world.cut("account:main", mode=Mode.HALT)


async def buy(bot: Bot, **more: object) -> None:
    for _ in range(3):
        assert (await bot.order("BUY", PIECE, **more)).status == 200


def end_all(world: World) -> None:
    """The venue ends every open order, and tells nobody: as it does where an account would trade with itself."""
    exchange = world.paper.exchange
    for order in list(exchange.engine.orders.values()):
        if order.open:
            exchange.engine.cancel(order, exchange.now_us())


async def test_a_buy_that_the_venue_ended_is_nothing_to_sell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        later = Later(world, monkeypatch)
        one, two = two_bots(world)
        await buy(two)
        await buy(one, price="58000", **LIMIT)
        end_all(world)
        await later.settle()
        assert later.held == 0
        await halt(world)
        assert (await one.order("SELL", "0.03")).reason == "halted"
        assert (await two.order("SELL", "0.03")).status == 200


@pytest.mark.parametrize("policy", [POLICY, POLICY.partition("[day]")[0]], ids=["limited", "not limited"])
async def test_a_buy_that_was_filled_without_a_word_is_its_buyers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    async with running_world(tmp_path) as world:
        later = Later(world, monkeypatch)
        world.account(USDT="100000")
        one, two = world.bot("one"), world.bot("two", policy=policy)
        await buy(two, price="59000", **LIMIT)
        exchange = world.paper.exchange
        exchange.engine.set_price(exchange.symbols["BTCUSDT"], Decimal(58_900), exchange.now_us())
        await later.settle()
        await halt(world)
        assert (await one.order("SELL", "0.03")).reason == "halted"
        assert (await two.order("SELL", "0.03")).status == 200


@pytest.mark.parametrize("read", [False, True], ids=["settled", "read by its bot"])
async def test_a_buy_whose_answer_was_lost_can_be_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, read: bool
) -> None:
    async with running_world(tmp_path) as world:
        later = Later(world, monkeypatch)
        one, two = two_bots(world)
        await buy(two)
        for number in range(3):
            await lose(world)
            assert (await one.order("BUY", PIECE, newClientOrderId=f"lost-{number}")).status == 504
        for number in range(3 if read else 0):
            name = f"lost-{number}"
            found = await one.call("GET", "/api/v3/order", symbol="BTCUSDT", origClientOrderId=name)
            assert found.status == 200
        if not read:
            await later.settle()
        await halt(world)
        while world.gateway.spool.waiting:  # noqa: ASYNC110 - the log tells nobody
            await asyncio.sleep(0.01)
        world.gateway.book.recent._of.clear()  # as after a restart: the broker knows
        assert (await one.order("SELL", "0.04")).reason == "halted"
        assert (await one.order("SELL", "0.03")).status == 200


@pytest.mark.parametrize("read", [False, True], ids=["settled", "read by its bot"])
async def test_a_pair_that_left_the_policy_is_left_by_who_bought_in_it_though_the_answer_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, read: bool
) -> None:
    async with running_world(tmp_path) as world:
        later = Later(world, monkeypatch)
        world.account(USDT="100000")
        bot = world.bot(policy=POLICY.replace('"ETHUSDT"]', '"ETHUSDT", "SOLUSDT"]'))
        await lose(world)
        lost = await bot.order("BUY", "4.1", symbol="SOLUSDT", newClientOrderId="lost")
        assert lost.status == 504
        if read:
            found = await bot.call("GET", "/api/v3/order", symbol="SOLUSDT", origClientOrderId="lost")
            assert found.status == 200
        else:
            await later.settle()
        while world.gateway.spool.waiting:  # noqa: ASYNC110 - the log tells nobody
            await asyncio.sleep(0.01)
        world.gateway.book.recent._of.clear()  # as after a restart: the broker knows
        world.service.grants.set_policy(world.service.grants.list().items[0].id, POLICY)
        await world.settled()
        assert (await bot.order("SELL", "4", symbol="SOLUSDT")).status == 200


def test_a_request_whose_answer_is_under_way_is_not_taken_for_an_older_namesake() -> None:
    """Two gateways may use a name within a moment: read at one, the order of the other settles nothing here."""
    owners = Owners()
    sent = Sent(1, "g", "main", "BTCUSDT", "X", "BUY", Decimal(1), Decimal(60_000), 1_000_000, 3_000_000)
    owners.waiting.add(sent)
    sent.flying = True
    older = OrderState(
        "BTCUSDT", "7", "X", final=True, executed_base=Decimal(0), side="BUY", quantity=Decimal(1),
        price=Decimal(60_000), created_us=900_000,
    )  # fmt: skip
    assert owners.identify("main", older) is None
    sent.flying = False
    assert owners.identify("main", older) is sent
