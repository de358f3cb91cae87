"""A cut of a key version covers what replaces it, by whichever way that happens, and its thaw opens both."""

import asyncio
from pathlib import Path

import pytest

from broker.db import accounts as account_store
from broker.db import cutovers as store
from broker.gate import Gate, Mode
from broker.gateway.process import Gateway
from broker.link import frames
from broker.link.channel import memory_pair
from broker.model import KeyRef, Stage
from clients.venues.binance import WIRE
from tests.gateway.test_cut_at_once import close, monkeyed_commit, until
from tests.gateway.test_cutover import NEW, OLD, second, trading_world
from tests.gateway.test_promises import started
from tests.gateway.world import Answer, Bot, World

READ = ("GET", "/api/v3/account")


async def asked_anew(world: World, bot: Bot, tmp_path: Path) -> Answer:
    """Ask through a gateway that has just started: it knows what the broker knows."""
    here, there = memory_pair()
    serving = asyncio.ensure_future(world.authority.serve(here))
    edge = Gateway(there, "edge", tmp_path / "edge", {WIRE.name: WIRE})
    port, stop, running = await started(edge)
    try:
        return await Bot(port, bot.key_id, bot.secret).call(*READ)
    finally:
        stop.set()
        await running
        here.close()
        await asyncio.gather(serving, return_exceptions=True)


def elsewhere(world: World, to: KeyRef, away_from: KeyRef | None) -> None:
    """Make a version current as the rotator does: in another process, which tells the broker nothing."""
    with world.service.desk.database.write() as connection:
        assert store.move_current(connection, to, away_from)


def gate_of(world: World, ref: KeyRef) -> Gate | None:
    return world.authority.changes.gates.get(f"key-version:{ref}")


async def until_cut(world: World, bot: Bot) -> None:
    async with asyncio.timeout(60):
        while (await bot.call(*READ)).reason != "cut":
            await world.authority.beat()


async def test_an_imported_key_is_cut_with_the_one_it_replaces_and_thawed_with_it(tmp_path: Path) -> None:
    async with trading_world(tmp_path) as (world, bot):
        cut_id = await world.cut(f"key-version:{OLD}")
        second(world)
        assert (await bot.call(*READ)).reason == "cut"
        assert (await asked_anew(world, bot, tmp_path)).reason == "cut", "a restart is no way out"
        cut = world.service.cuts.get(cut_id)
        assert set(cut.scopes) == {f"key-version:{OLD}", f"key-version:{NEW}"}, "and the cut says so"
        await world.thaw(cut_id)
        async with asyncio.timeout(60):
            while (await bot.call(*READ)).status != 200:  # noqa: ASYNC110 - a refusal is remembered for a moment
                await asyncio.sleep(0.05)
        assert (await asked_anew(world, bot, tmp_path)).status == 200


async def test_a_rotation_in_another_process_is_no_way_out(tmp_path: Path) -> None:
    """Nobody tells the broker: it finds the new version and its closers in the same reading."""
    async with trading_world(tmp_path) as (world, bot):
        second(world)
        elsewhere(world, OLD, NEW)
        await world.cut(f"key-version:{OLD}")
        elsewhere(world, NEW, OLD)
        assert (await asked_anew(world, bot, tmp_path)).reason == "cut"
        await until_cut(world, bot)
        assert world.gateway.book.gates[f"key-version:{NEW}"].mode is Mode.CLOSED


async def test_gateways_hear_of_a_cut_that_another_process_carried(tmp_path: Path) -> None:
    """Another bot's lease is on the new version already when the way back brings the cut along."""
    async with trading_world(tmp_path) as (world, bot):
        second(world)
        await until_moved(world, bot)
        await world.cut(f"key-version:{NEW}")
        elsewhere(world, OLD, NEW)
        await until_cut(world, bot)
        assert (await asked_anew(world, bot, tmp_path)).reason == "cut", "a way back is no way out"


async def until_moved(world: World, bot: Bot) -> None:
    async with asyncio.timeout(60):
        while {held.key_text for held in world.gateway.book.by_lease.values()} != {str(NEW)}:
            await world.authority.beat()
            assert (await bot.call(*READ)).status == 200


async def test_a_halt_is_carried_as_a_halt(tmp_path: Path) -> None:
    async with trading_world(tmp_path) as (world, bot):
        await world.cut(f"key-version:{OLD}", mode=Mode.HALT)
        second(world)
        answer = await asked_anew(world, bot, tmp_path)
        assert answer.status == 200, "reads pass"
        found = gate_of(world, NEW)
        assert found is not None
        assert found.mode is Mode.HALT


async def test_where_none_was_in_use_what_held_the_last_one_holds_the_next(tmp_path: Path) -> None:
    async with trading_world(tmp_path) as (world, bot):
        await world.cut(f"key-version:{OLD}")
        with world.service.desk.database.write() as connection:
            account_store.set_stage(connection, OLD, Stage.TOMBSTONE)
        for key in world.paper.exchange.keys.values():
            key.deleted = True
        second(world)
        assert (await asked_anew(world, bot, tmp_path)).reason == "cut"


async def test_two_cuts_are_carried_and_need_a_thaw_each(tmp_path: Path) -> None:
    async with trading_world(tmp_path) as (world, bot):
        first = await world.cut(f"key-version:{OLD}")
        last = await world.cut(f"key-version:{OLD}", f"key-version:{OLD}")
        second(world)
        await world.thaw(first)
        assert (await asked_anew(world, bot, tmp_path)).reason == "cut"
        await world.thaw(last)
        assert (await asked_anew(world, bot, tmp_path)).status == 200


async def test_what_is_not_cut_is_carried_nowhere(tmp_path: Path) -> None:
    async with trading_world(tmp_path) as (world, bot):
        cut_id = await world.cut(f"key-version:{OLD}")
        await world.thaw(cut_id)
        second(world)
        assert (await asked_anew(world, bot, tmp_path)).status == 200
        assert gate_of(world, NEW) is None


async def test_a_gateway_moves_no_lease_that_is_cut(tmp_path: Path) -> None:
    """Should a cutover come all the same, the lease is dropped: it does not go on under another version."""
    async with trading_world(tmp_path) as (world, _):
        book = world.gateway.book
        (name,) = book.by_lease
        held = book.by_lease[name]
        book.learn(frames.Material(str(NEW), "K" * 64, "hmac", book.material[str(OLD)].secret))
        book.set_gates((frames.GateState(f"key-version:{OLD}", 9, (("cut_1", "closed"),)),), (), book.history)
        chain = tuple(part.replace(str(OLD), str(NEW)) for part in held.lease.chain)
        moved = frames.Moved(name, chain, tuple(0 for _ in chain))
        assert book.cut_over(frames.Cutover(1, str(OLD), str(NEW), (moved,))) == (name,)
        assert name not in book.by_lease


@pytest.mark.parametrize("version", [OLD, NEW])
async def test_a_cut_of_a_version_that_was_replaced_before_says_who_trades_on(
    tmp_path: Path, version: KeyRef
) -> None:
    async with trading_world(tmp_path) as (world, _):
        second(world)
        cut_id = await world.cut(f"key-version:{version}")
        cut = world.service.cuts.get(cut_id)
        assert world.service.cuts.replaced(cut) == (((str(OLD), str(NEW)),) if version == OLD else ())


async def test_a_version_that_takes_the_place_of_one_whose_cut_is_not_on_record_is_covered_too(
    tmp_path: Path,
) -> None:
    """Only this broker cannot reach the database: the rotator can, and moves on meanwhile."""
    async with trading_world(tmp_path) as (world, bot):
        second(world)
        elsewhere(world, OLD, NEW)
        await until_served(world, bot)
        with monkeyed_commit() as go:
            cut_id = await close(world, f"key-version:{OLD}")
            elsewhere(world, NEW, OLD)
            with world.service.desk.database.write() as connection:
                world.service.audit.record(connection, "key.current", f"key-version:{NEW}")
            await world.authority.beat()
            assert (await asked_anew(world, bot, tmp_path)).reason in {"cut", "no_lease"}
            assert (await bot.call(*READ)).reason in {"cut", "no_lease"}
            go.set()
            await until(lambda: world.service.cuts.closing.standing() == ())
        assert set(world.service.cuts.get(cut_id).scopes) == {f"key-version:{OLD}", f"key-version:{NEW}"}
        assert (await asked_anew(world, bot, tmp_path)).reason == "cut"


async def until_served(world: World, bot: Bot) -> None:
    async with asyncio.timeout(60):
        while (await bot.call(*READ)).status != 200:
            await world.authority.beat()
