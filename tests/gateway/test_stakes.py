"""Whose an asset is: what a grant bought it may sell, and never what another grant of the account bought."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from broker.db.weighing import Fill, Whose, weigh
from broker.gate import Mode
from broker.link import frames
from broker.policy import Stake
from tests.gateway.world import POLICY, Bot, World, running_world

pytestmark = pytest.mark.usefixtures("very_patient")

LIMIT = {"type": "LIMIT", "timeInForce": "GTC"}
BOTH = POLICY.replace('"ETHUSDT"]', '"ETHUSDT", "SOLUSDT"]')


def fill(grant: str, side: str, executed: str, left: str = "0", symbol: str = "BTCUSDT") -> Fill:
    number = f"{grant}{side}{executed}{left}{symbol}"
    return Fill("main", symbol, number, grant, "BTC", side, Decimal(executed), Decimal(left))


STAKES: dict[str, tuple[list[Fill], Stake]] = {
    "nothing": ([], Stake()),
    "bought and partly sold": (
        [fill("me", "BUY", "2"), fill("me", "SELL", "0.5")],
        Stake(bought_here=True, own=Decimal("1.5")),
    ),
    "an open buy brings what it executed": (
        [fill("me", "BUY", "1", "2")],
        Stake(bought_here=True, own=Decimal(1)),
    ),
    "what was sold before there was any is not brought by an open buy": (
        [fill("me", "SELL", "1.5"), fill("me", "BUY", "0", "2")],
        Stake(bought_here=True),
    ),
    "what waits to be sold is offered": (
        [fill("me", "BUY", "3"), fill("me", "SELL", "0", "-1")],
        Stake(bought_here=True, own=Decimal(2)),
    ),
    "what another waits to sell is not bound": (
        [fill("you", "BUY", "2"), fill("you", "SELL", "0", "-1")],
        Stake(others=Decimal(2)),
    ),
    "what waits to be bought brings nothing": (
        [fill("me", "BUY", "0", "-1")],
        Stake(bought_here=True),
    ),
    "an open buy of another takes nothing": ([fill("you", "BUY", "0", "2")], Stake()),
    "what another bought": ([fill("you", "BUY", "2")], Stake(others=Decimal(2))),
    "what another holds in an open sale is bound already": (
        [fill("you", "BUY", "2"), fill("you", "SELL", "0.5", "1")],
        Stake(others=Decimal("0.5")),
    ),
    "what another sold too much is not ours": (
        [fill("you", "SELL", "3"), fill("they", "BUY", "1")],
        Stake(others=Decimal(1)),
    ),
    "what it offers itself it has no more": (
        [fill("me", "BUY", "3"), fill("me", "SELL", "0.5", "1")],
        Stake(bought_here=True, own=Decimal("1.5")),
    ),
    "what a revoked grant bought and its heir sold": (
        [fill("was you", "BUY", "3"), fill("you", "SELL", "2")],
        Stake(others=Decimal(1)),
    ),
    "what a revoked grant bought that nobody follows": ([fill("gone", "BUY", "3")], Stake()),
    "bought elsewhere": (
        [fill("me", "BUY", "1", symbol="BTCEUR")],
        Stake(own=Decimal(1)),
    ),
}


@pytest.mark.parametrize(("fills", "stake"), STAKES.values(), ids=STAKES)
def test_stakes_are_added_up_from_executed_orders(fills: list[Fill], stake: Stake) -> None:
    assert weigh(fills, Whose(frozenset({"me"}), frozenset({"gone"}), {"was you": "you"}), "BTCUSDT") == stake


async def halted(world: World) -> None:
    await world.cut("account:main", mode=Mode.HALT)


def grants_of(world: World) -> dict[str, str]:
    return {one.consumer: one.id for one in world.service.grants.list().items}


async def test_on_a_shared_account_nobody_sells_as_an_exit_what_another_bought(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="0.1")
        one, two = world.bot("one"), world.bot("two")
        for _ in range(3):
            assert (await two.order("BUY", "0.0101")).status == 200
        await halted(world)
        # 0.1 were there before, and two bought 0.0303 (less the fee): those are its own to sell
        assert (await one.order("SELL", "0.12")).reason == "halted"
        assert (await one.order("SELL", "0.09")).status == 200
        assert (await one.order("SELL", "0.02")).reason == "halted"
        assert (await two.order("SELL", "0.03")).status == 200


async def test_what_was_bought_an_instant_ago_counts_before_the_broker_has_heard_of_it(
    tmp_path: Path,
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        world.bot("other")
        bot = world.bot()
        send = world.gateway.link._channel.send

        def without_lines(frame: frames.Frame) -> None:
            if not isinstance(frame, frames.Calls):
                send(frame)

        world.gateway.link._channel.send = without_lines  # type: ignore[method-assign]
        for _ in range(3):
            assert (await bot.order("BUY", "0.0101")).status == 200
        assert (await bot.order("SELL", "0.03")).status == 200
        world.gateway.link._channel.send = send  # type: ignore[method-assign]


async def sold_off(world: World, bot: Bot, grant: str) -> None:
    """The pair leaves the policy; what was bought in it can be sold, and nothing else."""
    world.service.grants.set_policy(grant, POLICY)
    await world.settled()
    assert (await bot.order("BUY", "1", symbol="SOLUSDT")).reason == "symbol"
    assert (await bot.order("SELL", "4", symbol="SOLUSDT")).status == 200
    assert (await bot.order("SELL", "1", symbol="BNBUSDT")).reason == "symbol"


async def test_a_pair_that_left_the_policy_is_still_left_by_who_bought_in_it(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BNB="5", SOL="2")
        bot = world.bot(policy=BOTH)
        assert (await bot.order("BUY", "4.1", symbol="SOLUSDT")).status == 200
        await sold_off(world, bot, grants_of(world)["bot"])


async def test_so_it_is_on_a_shared_account_and_under_a_halt(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BNB="5")
        world.bot("other")
        bot = world.bot(policy=BOTH)
        assert (await bot.order("BUY", "4.1", symbol="SOLUSDT")).status == 200
        await halted(world)
        await sold_off_halted(world, bot)


async def sold_off_halted(world: World, bot: Bot) -> None:
    world.service.grants.set_policy(grants_of(world)["bot"], POLICY)
    await world.settled()
    assert (await bot.order("SELL", "4", symbol="SOLUSDT")).status == 200
    assert (await bot.order("SELL", "1", symbol="BNBUSDT")).reason == "halted"


async def test_a_silent_broker_refuses_no_exit_of_what_was_bought_here(tmp_path: Path) -> None:
    """Of what was there before it is not known what others have by now: what it said then is of then."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        world.bot("other")
        bot = world.bot()
        for _ in range(3):
            assert (await bot.order("BUY", "0.0101")).status == 200
        await halted(world)
        assert (await bot.order("SELL", "0.004")).status == 200  # the broker said whose it is
        send = world.gateway.link._channel.send

        def deaf(frame: frames.Frame) -> None:
            if isinstance(frame, frames.StakeQuery):
                answer = world.gateway.link._asking.answer
                asyncio.get_running_loop().call_soon(answer, frames.AskFailed(frame.ask))
            else:
                send(frame)

        world.gateway.link._channel.send = deaf  # type: ignore[method-assign]
        older = await bot.order("SELL", "0.4")
        assert (older.status, older.reason) == (503, "holdings_unknown")
        assert (await bot.order("SELL", "0.02")).status == 200
        world.gateway.link._channel.send = send  # type: ignore[method-assign]
        assert (await bot.order("SELL", "0.4")).status == 200


async def test_a_broker_that_never_said_whose_it_is_refuses_no_exit_of_what_was_bought_here(
    tmp_path: Path,
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        world.bot("other")
        bot = world.bot()
        for _ in range(3):
            assert (await bot.order("BUY", "0.0101")).status == 200
        await halted(world)
        send = world.gateway.link._channel.send

        def deaf(frame: frames.Frame) -> None:
            if isinstance(frame, frames.StakeQuery):
                answer = frames.AskFailed(frame.ask)
                asyncio.get_running_loop().call_soon(world.gateway.link._asking.answer, answer)
            else:
                send(frame)

        world.gateway.link._channel.send = deaf  # type: ignore[method-assign]
        answers = [await bot.order("SELL", quantity) for quantity in ("0.04", "0.02", "0.02", "0.01")]
        world.gateway.link._channel.send = send  # type: ignore[method-assign]
        assert [answer.status for answer in answers] == [503, 200, 503, 200], answers
        assert answers[0].reason == "holdings_unknown"


async def test_what_a_revoked_grant_bought_is_left_by_its_consumers_next_one(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        first, other = world.bot("one"), world.bot("two")
        for bot in (first, other):
            for _ in range(3):
                assert (await bot.order("BUY", "0.0101")).status == 200
        world.service.grants.revoke(grants_of(world)["one"], "test")
        await world.settled()
        second = world.bot("one")
        await halted(world)
        assert (await second.order("SELL", "0.04")).reason == "halted"  # a part of it is what two bought
        assert (await second.order("SELL", "0.03")).status == 200


async def test_what_a_revoked_grant_bought_whose_consumer_has_no_other_is_nobodys(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        gone, other = world.bot("one"), world.bot("two")
        world.bot("three")
        for bot in (gone, other):
            for _ in range(3):
                assert (await bot.order("BUY", "0.0101")).status == 200
        world.service.grants.revoke(grants_of(world)["one"], "test")
        await world.settled()
        await halted(world)
        assert (await other.order("SELL", "0.06")).status == 200
