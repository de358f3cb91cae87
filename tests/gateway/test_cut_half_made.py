"""A cut between its closing and its record: what rotates, ends, hangs or is answered meanwhile changes nothing of it.

And a cut that was answered with 404 is nowhere: not at the gateways, not in the secret store, not after a restart.
"""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from broker.errors import NotFound, StoreUnavailable
from broker.gate import Mode
from broker.gate_document import NotedCut
from broker.gates import Gates
from broker.model import KeyRef
from broker.service import cuts as cuts_service
from broker.service.audit import Audit
from broker.service.mirror import Mirror
from broker.service.service import open_service
from clients.venue import Credential, KeyFacts, KeyType, Slot
from tests.gateway.test_cut_at_once import SMALL, close, held, monkeyed_commit, on_record, until
from tests.gateway.world import Bot, WallClock, World, running_world


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line waits for is shorter here."""
    monkeypatch.setattr(cuts_service, "MIRROR_AFTER_S", 0.05)
    monkeypatch.setattr(cuts_service, "COMMITTED_WITHIN_S", 0.2)


def another_key(world: World) -> None:
    """Take a new key of the account into use, as a rotation does, by another process' hand."""
    email = "main@paper.test"
    real = world.paper.key(email, KeyType.HMAC)
    assert real.secret is not None
    facts = KeyFacts(True, True, False, False, True, str(world.paper.exchange.accounts[email].uid))
    desk = world.service.desk
    other = open_service(desk.database, desk.secrets, WallClock())
    other.keys.import_key(
        "main", slot=Slot.TRADE, credential=Credential(real.key_id, real.secret, KeyType.HMAC), facts=facts
    )
    other.close()


async def refused_over_beats(world: World, bot: Bot) -> None:
    """See that nothing opens for a bot as heartbeats read the gates anew."""
    for _ in range(3):
        assert (await bot.order(**SMALL)).status != 200
        before_us = world.authority.leases.began_us
        async with asyncio.timeout(60):
            while world.authority.leases.began_us == before_us:  # noqa: ASYNC110 - beats tell nobody
                await asyncio.sleep(0.02)
    assert (await bot.order(**SMALL)).status != 200


@pytest.mark.parametrize("mode", [Mode.CLOSED, Mode.HALT])
async def test_a_key_that_replaces_a_cut_one_before_the_cut_is_on_record_is_cut_too(
    tmp_path: Path, mode: Mode
) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        with monkeyed_commit() as go:
            cut = await close(world, "key-version:main/trade/1", mode=mode)
            await asyncio.to_thread(another_key, world)
            assert (await bot.order(**SMALL)).status != 200
            began_us = world.authority.leases.began_us
            await until(lambda: world.authority.leases.began_us > began_us)
            for _ in range(5):
                assert (await bot.order(**SMALL)).status != 200, (
                    "the new key is in use and the cut was answered"
                )
            go.set()
        await until(lambda: world.service.cuts.closing.standing() == ())
        await refused_over_beats(world, bot)
        assert len(world.executed()) == 1
        assert "key-version:main/trade/2" in world.service.cuts.get(cut).scopes
        await world.thaw(cut)
        async with asyncio.timeout(60):
            while (await bot.order(**SMALL)).status != 200:  # noqa: ASYNC110 - leases tell nobody
                await asyncio.sleep(0.05)


async def test_a_thaw_that_hangs_in_the_secret_store_holds_up_no_other_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        with held(world) as let_go:
            cut = await close(world, "consumer:bot")
            hangs, real = threading.Event(), Mirror.note

            def note(self: Mirror, noted: Any, **how: Any) -> None:
                if noted.thawed_us is not None:
                    hangs.wait(240)
                real(self, noted, **how)

            monkeypatch.setattr(Mirror, "note", note)
            thaw = asyncio.ensure_future(
                asyncio.to_thread(world.service.cuts.thaw, cut, reason="safe", actor="me")
            )
            (made,) = world.service.cuts.closing.standing()
            await until(made.lock.locked)
            let_go()
        try:
            other = await asyncio.wait_for(close(world, "venue:binance"), 60)
            began_us = world.authority.leases.began_us
            async with asyncio.timeout(60):
                await until(lambda: world.authority.leases.began_us > began_us)
                await until(lambda: other in on_record(world))
        finally:
            hangs.set()
        await thaw
        await until(lambda: on_record(world).get(cut) is False)


async def test_a_cut_that_was_taken_back_is_in_force_nowhere_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow the secret store was, and whatever it answered."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        slow, mirror = threading.Event(), world.service.desk.secrets.mirror
        real = type(mirror).change
        fails = [False]

        def change(self: Any, name: str, judge: Any) -> None:
            slow.wait(240)
            real(self, name, judge)
            if fails[0]:
                raise StoreUnavailable("timeout", "no answer")

        monkeypatch.setattr(type(mirror), "change", change)
        for fails[0] in (False, True):
            slow.clear()
            with held(world) as let_go:
                made = world.service.cuts.closing.begin(
                    targets=("consumer:bot", "consumer:nobody"), mode=Mode.CLOSED, reason="x", actor="me"
                )
                world.service.cuts.closing.note(made)
                let_go()
            with pytest.raises(NotFound):
                await asyncio.wrap_future(made.settled)
            slow.set()
            await until(lambda name=made.noted.id: mirror.read(name) is not None)
        slow.set()
        fails[0] = False
        with held(world) as let_go:
            made = world.service.cuts.closing.begin(
                targets=("consumer:bot", "consumer:nobody"), mode=Mode.CLOSED, reason="x", actor="me"
            )
            await asyncio.wrap_future(world.service.cuts.closing.note(made))
            with monkeypatch.context() as patched:

                def refuses(*_: object) -> None:
                    raise StoreUnavailable("away", "away on purpose")

                patched.setattr(type(mirror), "change", refuses)
                let_go()
                with pytest.raises(NotFound):
                    await asyncio.wrap_future(made.settled)
                world.service.mirror._writer.submit(bool).result(60)  # the thaw there was tried
        world.service.mirror.merge()
        desk = world.service.desk
        after = open_service(desk.database, desk.secrets, WallClock())
        after.mirror.merge()
        assert after.cuts.list(open_only=True).items == ()
        after.close()


@pytest.mark.parametrize("cut_is_old", [False, True])
async def test_a_cut_found_in_the_secret_store_covers_what_replaced_its_key_since(
    tmp_path: Path, *, cut_is_old: bool
) -> None:
    """Its broker was killed before the commit, the rotator went on; and a cut of a version long replaced stops nobody."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        desk = world.service.desk
        at_us = desk.clock.now_us()
        await asyncio.to_thread(another_key, world)
        (link,) = world.authority.changes.links.values()
        await until(lambda: {one.key.version for one in link.leases.values()} == {2})
        at_us += 120_000_000 if cut_is_old else 0
        noted = NotedCut("cut_1", Mode.CLOSED, ("key-version:main/trade/1",), "leak", "me", at_us)
        world.service.mirror.note(noted)
        after = open_service(desk.database, desk.secrets, WallClock())
        after.mirror.merge()
        (cut,) = after.cuts.list(open_only=True).items
        after.close()
        assert ("key-version:main/trade/2" in cut.scopes) is not cut_is_old
        began_us = world.authority.leases.began_us
        await until(lambda: world.authority.leases.began_us > began_us)
        if cut_is_old:
            await bot.ready()
        else:
            assert (await bot.order(**SMALL)).status != 200


async def test_a_cut_of_a_version_that_is_not_in_use_stops_nobody_before_it_is_on_record_nor_after(
    tmp_path: Path,
) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        await asyncio.to_thread(another_key, world)
        (link,) = world.authority.changes.links.values()
        await until(lambda: {one.key.version for one in link.leases.values()} == {2})
        await bot.ready()
        with monkeyed_commit() as go:
            cut = await close(world, "key-version:main/trade/1")
            await until(lambda: world.service.cuts.closing.standing()[0].tries > 1)
            other = world.bot("other")
            await other.ready()
            assert (await bot.order(**SMALL)).status == 200
            go.set()
        await until(lambda: on_record(world) == {cut: True})
        assert (await bot.order(**SMALL)).status == 200
        assert world.service.cuts.get(cut).scopes == ("key-version:main/trade/1",)


async def test_a_move_that_was_stopped_before_its_commit_when_the_cut_was_made_is_covered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What holds the database may be the rotator itself: its record says a time before the cut, its commit is after."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        go, stopped, record = threading.Event(), threading.Event(), Audit.record

        def early(self: Audit, connection: Any, action: str, *more: Any) -> Any:
            if action != "key.current":
                return record(self, connection, action, *more)
            done = record(self, connection, action, *more)
            stopped.set()
            go.wait(60)
            return done

        monkeypatch.setattr(Audit, "record", early)
        moving = asyncio.ensure_future(asyncio.to_thread(another_key, world))
        await asyncio.to_thread(stopped.wait, 60)
        cut = await close(world, "key-version:main/trade/1")
        go.set()
        await moving
        await until(lambda: on_record(world) == {cut: True})
        assert "key-version:main/trade/2" in world.service.cuts.get(cut).scopes
        await refused_over_beats(world, bot)


async def test_a_key_that_replaces_a_cut_one_before_anybody_has_looked_what_is_in_use_is_cut_too(
    tmp_path: Path,
) -> None:
    """The database may be as slow with a read: what it says of now is not what was in use as the cut was made."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        closing, may = world.service.cuts.closing, threading.Event()
        closing._looks.submit(may.wait, 60)
        with monkeyed_commit() as go:
            cut = await close(world, "key-version:main/trade/1")
            await asyncio.to_thread(another_key, world)
            may.set()
            await until(lambda: cut in world.service.desk.in_use)
            await refused_over_beats(world, bot)
            go.set()
        await until(lambda: on_record(world) == {cut: True})
        assert "key-version:main/trade/2" in world.service.cuts.get(cut).scopes
        await refused_over_beats(world, bot)


async def test_a_cut_that_is_over_is_not_told_once_more_for_a_key_that_came_in_scope(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was thawed between the two lines that widen it and tell of it: nothing would ever end it at the gateway."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        thawed, real = list[str](), Gates.widen

        def widen(self: Gates, name: str, scope: str) -> NotedCut | None:
            found = real(self, name, scope)
            if self is world.authority.changes._gates and found is not None:
                world.service.cuts.thaw(name, reason="safe", actor="me")
                thawed.append(name)
            return found

        monkeypatch.setattr(Gates, "widen", widen)
        with monkeyed_commit():
            cut = await close(world, "key-version:main/trade/1")
            await until(lambda: cut in world.service.desk.in_use)
            await asyncio.to_thread(world.authority.changes.carry, KeyRef("main", Slot.TRADE, 2))
            assert thawed == [cut]
        await until(lambda: on_record(world) == {cut: False})
        async with asyncio.timeout(60):
            while (await bot.order(**SMALL)).status != 200:  # noqa: ASYNC110 - leases tell nobody
                await asyncio.sleep(0.05)
        assert world.gateway.book._gates.closing() == ()


async def test_who_is_answered_while_a_slip_is_being_taken_back_is_told(tmp_path: Path) -> None:
    """The commit had found the slip, and its rollback was slow: the person read "in force", and then it was taken back."""
    async with running_world(tmp_path) as world:
        world.account()
        world.bot()
        closing, taking, go = world.service.cuts.closing, threading.Event(), threading.Event()
        real = closing._making._take_back

        def slowly(made: Any, fault: Any) -> None:
            taking.set()
            go.wait(60)
            real(made, fault)

        closing._making._take_back = slowly
        made = closing.begin(
            targets=("consumer:bot", "consumer:bott"), mode=Mode.CLOSED, reason="leak", actor="me"
        )
        assert await asyncio.to_thread(taking.wait, 60)
        with pytest.raises(NotFound):
            closing.answered(made)
        go.set()
        await until(lambda: closing.standing() == ())
        assert closing.strays() == ()
