"""A budget slice that was lent and not spent comes back, whatever ended it, and nothing of it is lent or spent twice."""

import asyncio
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.authority.link import Link
from broker.db import slices
from broker.errors import StoreUnavailable
from broker.gate import Mode
from broker.gateway import upload
from broker.gateway.process import Gateway
from broker.gateway.returns import Returns
from broker.link import frames
from broker.link.channel import memory_pair
from broker.model import KeyRef
from broker.service.grants import Issued
from clients.venue import Slot
from clients.venues.binance import WIRE
from tests.gateway.mortal import Mortal
from tests.gateway.test_cutover import second, settled
from tests.gateway.test_promises import started
from tests.gateway.world import POLICY, Bot, World, running_world

pytestmark = pytest.mark.usefixtures("very_patient")

SPENT = Decimal(600)
"""0.01 at 60,000."""


async def until(fits: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not fits():  # noqa: ASYNC110 - a ledger tells nobody
            await asyncio.sleep(0.02)


def bot_of(issued: Issued, port: int) -> Bot:
    assert issued.secret is not None
    return Bot(port, issued.grant.key_id, issued.secret.reveal())


async def traded(world: World, issued: Issued) -> Bot:
    bot = bot_of(issued, world.port)
    assert (await bot.order()).status == 200
    return bot


def used(world: World, issued: Issued) -> Decimal:
    return world.service.calls.used(issued.grant.id)


def leased(world: World, issued: Issued) -> bool:
    held = world.gateway.book.by_key.get(issued.grant.key_id)
    return held is not None and world.gateway.book.judge(held) is Mode.OPEN


@pytest.mark.parametrize("scope", ["consumer:bot", "account:main", "grant", "everything"])
async def test_a_cut_gives_back_what_was_lent_and_not_spent(tmp_path: Path, scope: str) -> None:
    """While it is cut nothing counts but what was traded; after the thaw no more than before."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        issued = world.issue()
        await traded(world, issued)
        target = f"grant:{issued.grant.id}" if scope == "grant" else scope
        for _ in range(3):
            cut = await world.cut(target)
            await until(lambda: used(world, issued) == SPENT)
            await world.thaw(cut)
            await until(lambda: leased(world, issued))
            assert used(world, issued) <= SPENT + 2000, "one slice is in use, and the next may be there ahead"


async def test_cuts_and_thaws_in_a_row_take_no_second_slice(tmp_path: Path) -> None:
    """Nobody waits between them: what the old lease left is used on, and what the new one brought goes back."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        issued = world.issue()
        await traded(world, issued)
        for _ in range(8):
            await world.thaw(await world.cut("consumer:bot"))
            await until(lambda: leased(world, issued))
        purse = world.gateway.book.standing[issued.grant.id].purse
        await until(lambda: used(world, issued) <= SPENT + 2000)
        await until(lambda: used(world, issued) == SPENT + purse.left)
        bot = bot_of(issued, world.port)
        for _ in range(14):
            assert (await bot.order()).status == 200, "the rest of the day can be traded"


async def test_a_changed_policy_gives_back_what_was_lent_under_the_old_one(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        issued = world.issue()
        await traded(world, issued)
        for day in ("9000", "10000") * 4:
            world.service.grants.set_policy(issued.grant.id, POLICY.replace('"10000"', f'"{day}"'))
            await world.settled()
            await until(lambda: leased(world, issued))
        await until(lambda: used(world, issued) <= SPENT + 2000)


async def test_a_revoked_grants_unspent_budget_is_its_heirs(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        issued = world.issue()
        await traded(world, issued)
        world.service.grants.revoke(issued.grant.id, "test")
        await until(lambda: used(world, issued) == SPENT)


async def test_a_rotation_takes_no_further_slice(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        issued = world.issue()
        await traded(world, issued)
        for version in range(1, 4):
            second(world)
            await settled(world, KeyRef("main", Slot.TRADE, version))
            await until(lambda: leased(world, issued))
        await until(lambda: used(world, issued) <= SPENT + 2000)


async def edge(world: World) -> tuple[Gateway, int, Callable[[], "asyncio.Future[None]"]]:
    """Run another gateway; return it, its port, and what stops it in order."""
    here, there = memory_pair()
    serving = asyncio.ensure_future(world.authority.serve(here))
    gateway = Gateway(there, "edge", world.directory / "edge", {WIRE.name: WIRE})
    port, stop, running = await started(gateway)

    async def stopped() -> None:
        stop.set()
        await running
        await asyncio.gather(serving, return_exceptions=True)

    return gateway, port, lambda: asyncio.ensure_future(stopped())


async def elsewhere(world: World) -> tuple[Issued, Bot, Callable[[], "asyncio.Future[None]"]]:
    """Let a bot trade at another gateway only; return it, and what stops that gateway."""
    world.account(USDT="100000")
    issued = world.issue()
    _, port, stopped = await edge(world)
    bot = bot_of(issued, port)
    assert (await bot.order()).status == 200
    return issued, bot, stopped


def lent_to_edge(world: World, issued: Issued) -> Decimal:
    """Return what counts as used but for what our own gateway holds."""
    ours = world.gateway.book.standing.get(issued.grant.id)
    return used(world, issued) - (0 if ours is None else ours.purse.left)


async def test_a_gateway_that_stops_in_order_gives_its_slices_back(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        issued, _, stopped = await elsewhere(world)
        await until(lambda: lent_to_edge(world, issued) > SPENT)
        await stopped()
        await until(lambda: lent_to_edge(world, issued) == SPENT)


async def test_what_nobody_heard_a_stopping_gateway_give_back_comes_back_at_its_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every line of it was kept before, so its spool has none: the next boot speaks for it all the same."""
    async with running_world(tmp_path) as world:
        issued, _, stopped = await elsewhere(world)
        with monkeypatch.context() as patched:
            patched.setattr(Returns, "everything", lambda _: None)
            await stopped()
        assert lent_to_edge(world, issued) > SPENT, "a silent gateway's slice stays lent"
        _, _, stopped = await edge(world)
        await stopped()
        await until(lambda: lent_to_edge(world, issued) == SPENT)


async def test_a_slice_that_comes_after_its_grant_was_cut_goes_back(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        issued = world.issue()
        await traded(world, issued)
        cut = await world.cut("consumer:bot")
        await until(lambda: used(world, issued) == SPENT)
        standing = world.gateway.book.standing[issued.grant.id]
        loan = world.service.calls.lend(issued.grant.id, "local", world.gateway.spool.boot)
        assert loan is not None
        part = frames.SlicePart(loan.id, loan.amount, loan.rules)
        world.gateway.book.take_slice(standing, part, world.gateway.clock.boot_us())
        await until(lambda: used(world, issued) == SPENT)
        await world.thaw(cut)


async def test_a_halted_grant_keeps_its_slice(tmp_path: Path) -> None:
    """A halt ends no lease: nothing is lent anew when it is over."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        issued = world.issue()
        await traded(world, issued)
        purse = world.gateway.book.standing[issued.grant.id].purse
        await until(lambda: purse.left >= 1000)  # the next slice is there ahead
        before = purse.left
        for _ in range(3):
            cut = await world.cut("consumer:bot", mode=Mode.HALT)
            await world.gateway.link._returns.idle()
            assert purse.left == before
            await world.thaw(cut)
            await world.gateway.link._returns.idle()
            assert purse.left == before


async def test_a_boot_is_closed_behind_what_its_gateway_gave_back_before(tmp_path: Path) -> None:
    """What is freed stands in its lines too: closed first, the boot got it back, and then again by its own word."""
    async with running_world(tmp_path) as world:
        calls, order, go = world.service.calls, list[str](), threading.Event()
        for name in ("close_slices", "release", "close_boot"):
            setattr(calls, name, lambda *_, name=name, **__: order.append(name))
        lending, intake = world.authority.lending, world.authority.intake
        here, _ = memory_pair()
        link = Link(here, "edge", "f" * 16)
        busy = asyncio.ensure_future(lending.run(lambda: go.wait(60)))
        back = [
            asyncio.ensure_future(lending.close_slices(link, frames.CloseSlices((("s", Decimal(1)),)))),
            asyncio.ensure_future(lending.release(link, frames.Release((("s", Decimal(1)),)))),
        ]
        await asyncio.sleep(0)
        intake.take(link, frames.SpoolDone("e" * 16, 0))
        await world.authority._in_log(lambda: None)  # what the log's thread would have done by now is done
        go.set()
        await asyncio.gather(busy, *back)
        async with asyncio.timeout(60):
            while len(order) < 3:  # noqa: ASYNC110 - a store tells nobody
                await asyncio.sleep(0.01)
        assert order == ["close_slices", "release", "close_boot"]


async def test_what_was_spent_of_a_slice_that_a_failover_lost_counts(tmp_path: Path) -> None:
    """Its gateway goes on spending it, and the record knew of no loan: the day's limit could be passed by as much."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        await bot.ready()
        (grant,) = world.service.grants.list().items

        async def kept() -> None:
            async with asyncio.timeout(60):
                while world.gateway.spool.waiting:  # noqa: ASYNC110 - the log tells nobody
                    await asyncio.sleep(0.02)

        assert (await bot.order(quantity="0.005")).status == 200
        await kept()
        with world.service.desk.database.log.write() as connection:
            connection.exec_driver_sql("DELETE FROM slices")
        assert (await bot.order(quantity="0.004")).status == 200

        def lost() -> list[Decimal]:
            with world.service.desk.database.log.read() as connection:
                loans = slices.slices(connection, grant.id, 0)
            return sorted(loan.amount for loan in loans if loan.id.startswith("lost_"))

        for _ in range(2):  # each ask counts once, however often it is told
            world.authority.intake.recount(world.authority.changes.links["local"])
            async with asyncio.timeout(60):
                while lost() != [240, 300]:  # noqa: ASYNC110 - the ledger tells nobody
                    await asyncio.sleep(0.02)
            await kept()
        assert world.service.calls.used(grant.id) >= 540


async def test_nothing_is_said_to_be_left_while_what_an_earlier_start_had_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway was killed with the whole day lent to it: its next start refused its bots as if they had spent it."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        issued = world.issue(policy=POLICY.replace('"10000"', '"2000"'))
        mortal = Mortal(world, tmp_path / "edge")
        await mortal.start()
        bot = bot_of(issued, mortal.port)
        await bot.ready()
        assert (await bot.order(quantity="0.001")).status == 200
        closes, real = threading.Event(), world.service.calls.close_boot

        def close_boot(*args: Any, **named: Any) -> None:
            if not closes.is_set():
                raise StoreUnavailable("database", "locked on purpose")
            real(*args, **named)

        monkeypatch.setattr(world.service.calls, "close_boot", close_boot)
        monkeypatch.setattr(upload, "_DONE_AGAIN_SECONDS", 0.1)
        boot, lend = mortal.gateway.spool.boot, world.service.calls.lend
        while lend(issued.grant.id, "edge", boot, Decimal(400)) is not None:
            pass
        await mortal.kill()
        await mortal.start()
        bot.port = mortal.port
        await bot.ready()
        refused = await bot.order()
        assert (refused.status, refused.reason) != (400, "day_notional")
        assert refused.status == 503
        closes.set()
        await until(lambda: mortal.gateway.link.upload.sent_once)
        assert (await bot.order()).status == 200
        said = [await bot.order() for _ in range(4)]
        assert said[-1].reason == "day_notional"
        await mortal.end()
