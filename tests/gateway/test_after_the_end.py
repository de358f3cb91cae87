"""After the end of a lease, for as long as its grant says: own cancels and what is an exit, and nothing else."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.gate import Mode
from broker.link import frames
from tests.gateway.world import POLICY, Bot, World, bots, running_world

pytestmark = pytest.mark.usefixtures("very_patient")

LATER = POLICY + "[lease]\nexits_after_end_seconds = 600\n"
LIMIT = {"type": "LIMIT", "timeInForce": "GTC"}


def silent(world: World) -> None:
    """The broker is away: whatever it is asked, there is no answer."""
    link = world.gateway.link

    def unheard(frame: frames.Frame) -> None:
        if getattr(frame, "ask", 0):
            asyncio.get_running_loop().call_soon(link._asking.answer, frames.AskFailed(frame.ask))  # type: ignore[union-attr]

    link._channel.send = unheard  # type: ignore[method-assign]


def end_leases(world: World) -> None:
    """Every lease has been over for a second."""
    book = world.gateway.book
    for held in book.by_lease.values():
        held.lease = replace(held.lease, expires_us=world.gateway.clock.boot_us() - 1_000_000)


async def partitioned(world: World) -> None:
    await world.settled()
    silent(world)
    end_leases(world)


async def answered(sales: list[tuple[Bot, str, str]]) -> list[tuple[int, str | None]]:
    found = [await bot.order(side, quantity) for bot, side, quantity in sales]
    return [(one.status, one.reason) for one in found]


OVER, UNKNOWN = (503, "lease_over"), (503, "holdings_unknown")
PASSED = (200, None)


async def test_an_account_of_its_own_is_left_and_nothing_is_bought(tmp_path: Path) -> None:
    """What it holds is the grant's: what was bought, what was there before, above the caps too."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        (bot,) = await bots(world, policy=LATER)
        rests = await bot.order("BUY", price="50000", **LIMIT)
        await partitioned(world)
        assert await answered([(bot, "SELL", "0.01"), (bot, "SELL", "0.5"), (bot, "BUY", "0.01")]) == [
            PASSED, PASSED, OVER,
        ]  # fmt: skip
        which = {"symbol": "BTCUSDT", "orderId": rests.body["orderId"]}
        smaller = await bot.call("PUT", "/api/v3/order/amend/keepPriority", **which, newQty="0.005")
        assert smaller.status == 200, smaller
        assert (await bot.call("DELETE", "/api/v3/order", **which)).status == 200
        read = await bot.call("GET", "/api/v3/account")
        assert (read.status, read.reason) == OVER


@pytest.mark.parametrize("mode", ["enforce", "observe"])
async def test_on_a_shared_account_own_purchases_are_left_and_nobody_elses(tmp_path: Path, mode: str) -> None:
    """Within its caps, too, and nobody is told that a policy said no of what only the broker could tell."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        policy = f'mode = "{mode}"\n{LATER}'
        one, two = await bots(world, "one", "two", policy=policy)
        assert (await one.order("BUY", "0.0101")).status == 200
        for _ in range(3):
            assert (await two.order("BUY", "0.0101")).status == 200
        await partitioned(world)
        assert await answered(
            [(one, "SELL", "0.012"), (one, "SELL", "0.01"), (one, "SELL", "0.01"), (one, "BUY", "0.01"),
             (two, "SELL", "0.03")]
        ) == [UNKNOWN, PASSED, UNKNOWN, OVER, PASSED]  # fmt: skip


@pytest.mark.parametrize("why", ["ended", "halted"])
@pytest.mark.parametrize("sold", [None, "two", "three"])
async def test_what_another_bought_since_the_broker_spoke_is_still_its_own(
    tmp_path: Path, why: str, sold: str | None
) -> None:
    """The broker said that all is nobody else's; then it fell silent, another bought, and perhaps some was sold."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="0.03")
        one, two, three = await bots(world, "one", "two", "three", policy=LATER)
        assert (await two.order("SELL", "0.01")).status == 200
        assert (await one.order("SELL", "0.017")).status == 200, "above its caps: the broker said whose it is"
        resting = await two.order("BUY", "0.005", price="59000", **LIMIT)
        assert resting.status == 200
        assert (await two.order("BUY", "0.0101")).status == 200
        if sold is not None:
            assert (await (two if sold == "two" else three).order("SELL", "0.002")).status == 200
        exchange = world.paper.exchange
        exchange.engine.set_price(exchange.symbols["BTCUSDT"], Decimal(58_900), exchange.now_us())
        if why == "halted":
            await world.cut("account:main", mode=Mode.HALT)
            silent(world)
        else:
            await partitioned(world)
        # what was told of others is of before: nobody but its buyer sells anything
        found = await answered([(one, "SELL", "0.006"), (one, "SELL", "0.001"), (two, "SELL", "0.003")])
        assert found == [UNKNOWN, UNKNOWN, PASSED], found


async def test_with_a_lease_again_it_is_judged_by_its_limits(tmp_path: Path) -> None:
    """The lease had run out, and the broker is there: nobody is told of that."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        one, two = await bots(world, "one", "two", policy=LATER)
        for _ in range(2):
            assert (await two.order("BUY", "0.0101")).status == 200
        for side in ("BUY", "SELL"):
            world.gateway.link._renew = lambda: None  # type: ignore[method-assign]
            end_leases(world)
            assert await answered([(one, side, "0.015")]) == [PASSED]


async def test_what_may_be_sent_by_its_limits_alone_dies_with_the_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sale that was judged as any order an instant before the end has no receive window beyond it."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        one, _ = await bots(world, "one", "two", policy=LATER)
        sender, windows = world.gateway.forwarder._sender, list[int]()
        send = sender.send

        def seen(*asked: Any) -> None:
            windows.append(asked[3])
            send(*asked)

        monkeypatch.setattr(sender, "send", seen)
        held = world.gateway.book.by_key[one.key_id]
        now_us = world.gateway.clock.boot_us()
        monkeypatch.setattr(world.gateway.clock, "boot_us", lambda: now_us)
        held.lease = replace(held.lease, expires_us=now_us + 700_000)
        assert (await one.order("SELL", "0.01")).status == 200
        assert windows == [700_000]
