"""No lease without a hold on record; no key to a gateway that is cut off; a key taken back into use is not wiped."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from broker.authority.link import Kept, Link
from broker.db import cutovers as store
from broker.db import tables as t
from broker.link import frames
from broker.model import KeyRef, KeyVersion
from tests.gateway.test_cutover import NEW, OLD, holders, second, settled, trading_world
from tests.gateway.world import PATIENCE_S, World

pytestmark = pytest.mark.sockets


async def test_a_lease_after_a_long_silence_has_a_hold_of_its_own(tmp_path: Path) -> None:
    """A bot that trades seldom gives its lease back; the hold on record runs out meanwhile."""
    async with trading_world(tmp_path) as (world, bot):
        (link,) = world.authority.changes.links.values()
        names = tuple(world.gateway.book.by_lease)
        for name in names:
            world.gateway.book.drop(name)
        link.leases.clear()
        (kept,) = link.holds.values()
        link.holds[str(OLD)] = Kept(kept.length_us, 1)
        with world.service.desk.database.write() as connection:
            connection.execute(t.LEASE_HOLDS.update().values(until_us=1))
        assert holders(world, OLD) == 0
        assert (await bot.call("GET", "/api/v3/account")).status == 200
        assert holders(world, OLD) == 1


async def test_a_key_that_is_wiped_while_a_gateway_is_moved_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had the new key as a canary; a cut of something else takes it away between two steps of the move."""
    async with trading_world(tmp_path) as (world, bot):
        (link,) = world.authority.changes.links.values()
        fresh = second(world)
        link.keys.add(str(NEW))
        real, wiped = world.authority.cutovers._held, []

        def held(moving: Link, old: str, key: KeyVersion) -> bool:
            done = real(moving, old, key)
            if not wiped:
                wiped.append(old)
                link.keys.discard(str(NEW))
            return done

        monkeypatch.setattr(world.authority.cutovers, "_held", held)
        await settled(world, OLD)
        assert wiped
        assert (await bot.call("GET", "/api/v3/account")).status == 200
        assert world.asked()[-1]["key_id"] == fresh


async def test_a_cutover_whose_key_never_came_ends_the_leases_and_bots_open_others(tmp_path: Path) -> None:
    """The gateway says that it left the old key; it would sign with it for ever otherwise."""
    async with trading_world(tmp_path) as (world, bot):
        (link,) = world.authority.changes.links.values()
        (lease,) = world.gateway.book.by_lease
        gone = asyncio.Event()
        take = world.authority._take

        async def seen(of: Link, frame: frames.Frame) -> None:
            await take(of, frame)
            if isinstance(frame, frames.EndLease) and lease in frame.leases:
                gone.set()

        world.authority._take = seen  # type: ignore[method-assign]
        link.channel.send(frames.Cutover(10_000, str(OLD), str(NEW), (), world.gateway.book.history))
        await asyncio.wait_for(gone.wait(), PATIENCE_S)
        assert lease not in world.gateway.book.by_lease
        assert (await bot.call("GET", "/api/v3/account")).status == 200


def materials(link: Link) -> list[str]:
    """Return the key versions that are sent to a gateway from now on."""
    sent: list[str] = []
    real = link.channel.send

    def send(frame: frames.Frame) -> None:
        if isinstance(frame, frames.Material):
            sent.append(frame.key)
        real(frame)

    link.channel.send = send  # type: ignore[method-assign]
    return sent


@pytest.mark.parametrize("scope", ["gateway:local", "account:main", "everything", f"key-version:{OLD}"])
async def test_no_key_goes_to_a_gateway_that_is_cut_off(tmp_path: Path, scope: str) -> None:
    """Neither to try it, nor to be moved to it: whoever runs there now may be the thief."""
    async with trading_world(tmp_path) as (world, _bot):
        (link,) = world.authority.changes.links.values()
        sent = materials(link)
        await world.cut(scope)
        second(world)
        await asked_as_canary(world)
        for _ in range(20):
            await world.authority.beat()
            await asyncio.sleep(0.02)
        assert sent == []
        assert str(NEW) not in world.gateway.book.material


async def asked_as_canary(world: World) -> None:
    now_us = world.service.desk.clock.now_us()
    with world.service.desk.database.write() as connection:
        store.ask_canary(connection, store.Canary("rot_1", "local", str(NEW), now_us))


async def test_a_late_word_of_a_move_that_was_taken_back_wipes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moved there and back; the acknowledgement of the first move comes after the second was sent."""
    async with trading_world(tmp_path) as (world, bot):
        (link,) = world.authority.changes.links.values()
        second(world)
        late: list[frames.Ack] = []
        real = world.authority.changes.acknowledge

        def hold_back(gateway: str, change: int) -> None:
            if not late:
                late.append(frames.Ack(change))
                return
            real(gateway, change)

        monkeypatch.setattr(world.authority.changes, "acknowledge", hold_back)
        await until(world, lambda: bool(late))
        back_to(world, OLD, NEW)
        await until(world, lambda: str(OLD) in link.holds)
        real("local", late[0].change)
        await settled(world, NEW)
        assert str(OLD) in link.keys
        assert (await bot.call("GET", "/api/v3/account")).status == 200
        assert holders(world, OLD) == 1


async def until(world: World, done: Any) -> None:
    async with asyncio.timeout(60):
        while not done():
            await world.authority.beat()
            await asyncio.sleep(0.02)


def back_to(world: World, to: KeyRef, away_from: KeyRef) -> None:
    with world.service.desk.database.write() as connection:
        assert store.move_current(connection, to, away_from)
