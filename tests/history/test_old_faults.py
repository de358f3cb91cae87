"""Each way in which an older program broke a promise, brought back on purpose: the checker names every one.

The mechanisms that were mended (the guard, the fence, the look at what stays, leases by a clock that no one sets) are
taken out one by one, and what then happens is played on a real broker, gateway and exchange. With the mechanism in its
place the same play breaks no law.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.db import Connection, accounts, cutovers
from broker.db import tables as t
from broker.errors import Withheld
from broker.link import frames
from broker.model import KeyRef, Stage
from broker.service import Service, keys
from broker.service.host_guard import HostGuard
from broker.service.rotations import Wish
from broker.service.service import open_service
from broker.steady import Watch
from clients.secret import Secret
from clients.venue import Credential, KeyFacts, KeyType, Slot
from rotation import retire
from rotation.fence import Fence
from rotation.journal import Lost
from rotation.plan import draw_up
from rotation.state import Do, Effect, Phase, Retirement, State
from rotation.staying import Staying
from tests.gateway.test_bans import deaf
from tests.gateway.world import WallClock
from tests.history import laws
from tests.history.events import History
from tests.history.record import of_exchange, of_record
from tests.places import database_at, secrets_at
from tests.rotation.deaths import release
from tests.rotation.place import EMAIL, POLLS, QUICK, Place, now, runner_of, running_place, trading
from tests.rotation.test_clocks import Stepping, rotated, when
from tests.rotation.test_gateways import LASTING, another
from tests.rotation.test_held import until
from tests.rotation.test_late import stopped_before
from tests.rotation.test_slips import said
from tests.rotation.test_staying import before, begun, wipe
from tests.rotation.test_superseded import close_by_itself, supersede

pytestmark = pytest.mark.sockets
NOBODYS = "no rotation on record is about it"


def unguarded(patch: pytest.MonkeyPatch) -> None:
    """Let every process do everything, whoever has this home's place."""
    for name in ("ensure", "fence", "allows"):
        patch.setattr(HostGuard, name, lambda *_: None)


def unfenced(patch: pytest.MonkeyPatch) -> None:
    """Let whoever lost its claim write on."""

    @contextmanager
    def writing(fence: Fence) -> Iterator[Connection]:
        with fence.database.write() as connection:
            yield connection

    patch.setattr(Fence, "writing", writing)
    patch.setattr(Fence, "ensure", lambda _: None)


@contextmanager
def copy_of(here: Place) -> Iterator[Service]:
    """Open a copy of a home as it is now: another host that was restored from its backup."""
    there = here.world.directory / "copy"
    there.mkdir()
    for name in ("state.db", "calls.db", "secrets.db"):
        with sqlite3.connect(here.world.directory / name) as old, sqlite3.connect(there / name) as new:
            old.backup(new)
        old.close()
        new.close()
    (there / "kek").write_bytes((here.world.directory / "kek").read_bytes())
    (there / "kek").chmod(0o600)
    database, secrets = database_at(there), secrets_at(there)
    service = open_service(database, secrets, WallClock())
    try:
        yield service
    finally:
        service.close()
        secrets.close()
        database.close()


def as_recorded(service: Service, here: Place) -> History:
    """Tell a history by a home's own record, and what the exchange noted."""
    history = History()
    of_exchange(history, here.world.paper.exchange, 0)
    of_record(history, service.desk.database, service.desk.secrets)
    history.executed = []
    return history


async def rotated_by(service: Service) -> State | None:
    """Rotate as the rotator of a home does; None where it does nothing."""
    planned = replace(draw_up(service, "main", Slot.TRADE, "interval", now()), limits=QUICK)
    with service.desk.database.write() as connection:
        connection.execute(t.LEASE_HOLDS.delete())  # no gateway is here yet
    runner = runner_of(service, "other")
    try:
        await asyncio.to_thread(runner.journal.plan, planned)
    except Withheld:
        return None
    for _ in range(POLLS):
        found = await asyncio.to_thread(runner.once)
        if found is None and runner.effects.denied() is not None:
            return None
        if found is not None and (found.over or found.state is State.STALLED):
            return found.state
        await asyncio.sleep(0.02)
    raise AssertionError("it never ended")


async def _superseded(directory: Path) -> list[str]:
    """Another host took this home's place; then a key is due here. The record is that host's."""
    async with running_place(directory) as here:
        with copy_of(here) as newer:
            supersede(here.world.service)
            await rotated_by(here.world.service)
            return laws.broken(as_recorded(newer, here))


async def test_a_superseded_hosts_rotator_that_deletes_the_living_key_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unguarded(monkeypatch)
    found = await _superseded(tmp_path)
    assert any(NOBODYS in one for one in found), found
    assert any("was deleted while it was in use" in one for one in found), found
    assert any("main/trade/1 is current, and its key is dead" in one for one in found), found


async def test_with_the_guard_a_superseded_host_breaks_no_law(tmp_path: Path) -> None:
    assert await _superseded(tmp_path) == []


async def _restored(directory: Path) -> State | None:
    """A backup is started beside production, with a key due. The record is production's, looked at in the end."""
    async with running_place(directory) as here:
        with copy_of(here) as backup:
            close_by_itself(backup)
            return await rotated_by(backup)


async def test_a_restored_backup_that_deletes_productions_key_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unguarded(monkeypatch)
    with pytest.raises(AssertionError, match=NOBODYS):
        await _restored(tmp_path)


async def test_with_the_guard_a_restored_backup_breaks_no_law(tmp_path: Path) -> None:
    assert await _restored(tmp_path) is None


async def _taken_in_draining(directory: Path) -> None:
    """A backup of the middle of a rotation goes on with it, when the original has been rolled back."""
    async with running_place(directory) as here:
        rotation = await until(here, State.DRAINING)
        release(here)
        with copy_of(here) as backup:
            close_by_itself(backup)
            assert await said(here, rotation.id, Wish.ROLL_BACK, reason="the operator says so") == ""
            assert (await here.carried_out(rotation.id, here.runner())).state is State.ABANDONED
            with backup.desk.database.write() as connection:
                connection.execute(t.LEASE_HOLDS.delete())  # no gateway is there
            runner, old = runner_of(backup, "other"), here.world.paper.exchange.keys[here.old_key]
            # once it is deleted no list has a key any more, and the rotation waits for a person
            while not (backup.rotations.get(rotation.id).ended_at or old.deleted or runner.effects.denied()):
                await asyncio.to_thread(runner.once)
                await asyncio.sleep(0.02)


async def test_a_restored_rotation_that_deletes_the_only_living_key_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unguarded(monkeypatch)
    monkeypatch.setattr(Staying, "look", lambda *_: None)
    with pytest.raises(AssertionError, match="the key of main/trade/1 was deleted while it was in use"):
        await _taken_in_draining(tmp_path)


async def test_with_the_guard_a_restored_rotation_breaks_no_law(tmp_path: Path) -> None:
    await _taken_in_draining(tmp_path)


async def _wiped(directory: Path, do: Do) -> None:
    async with running_place(directory) as here:
        runner = here.runner()
        planned = await begun(here, runner)
        before(runner, do, lambda: wipe(here, 2), State.RETIRING_OLD if do is Do.READ_CLOCK else None)
        await here.carried_out(planned.id, runner)


@pytest.mark.parametrize("do", [Do.READ_CLOCK, Do.DELETE])
async def test_an_old_key_that_is_deleted_though_the_new_ones_secret_is_gone_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, do: Do
) -> None:
    monkeypatch.setattr(Staying, "look", lambda *_: None)
    with pytest.raises(AssertionError, match="the secret of main/trade/2, which stays, is gone"):
        await _wiped(tmp_path, do)


async def _moved_late(directory: Path) -> None:
    """Stopped before MOVE; another goes on, is taken back, and discards the new key; then the first wakes."""
    async with running_place(directory) as here:
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        late = await stopped_before(here, Do.MOVE)
        release(here)
        second = here.runner("second")
        while here.world.service.rotations.get(late.id).state != "draining":
            await asyncio.to_thread(second.once)
        assert await said(here, late.id, Wish.ROLL_BACK, reason="the operator says so") == ""
        while here.world.service.rotations.get(late.id).state != "discarding-new":
            await asyncio.to_thread(second.once)
        with suppress(Lost):
            await asyncio.to_thread(here.runner("first").effects.perform, late, Effect(Do.MOVE, 2))


async def test_a_late_rotators_move_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unfenced(monkeypatch)
    with pytest.raises(
        AssertionError, match=r"main/trade/2 was moved into use while rot_.* was discarding-new"
    ):
        await _moved_late(tmp_path)


async def test_with_the_fence_a_late_rotator_breaks_no_law(tmp_path: Path) -> None:
    await _moved_late(tmp_path)


async def _stepped(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour forward while one gateway is cut off: it signs with the old key for as long as its lease lasts.

    That is longer than a rotation takes that does not wait for it, on a busy machine too. The broker hears of no
    renewal: one that came between the step and the look at the holds would be counted from after the step.
    """
    step = Stepping(monkeypatch)
    async with running_place(directory) as here, another(here, "away", LASTING) as (gateway, lost):
        deaf(gateway, frames.Renew)
        await here.bot.ready()

        def cut_off_and_step() -> None:
            here.world.authority.changes.links["away"].channel.send = lambda _: None  # type: ignore[method-assign]
            step.by(1, 0)

        when(monkeypatch, State.DRAINING, cut_off_and_step)
        async with trading(lost):
            await rotated(here)
        await lost.call("GET", "/api/v3/account")


async def test_a_key_that_is_killed_by_a_step_of_the_wall_clock_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_the_wall_clock(connection: Connection, key: str, watch: Watch) -> tuple[cutovers.Hold, ...]:
        query = t.LEASE_HOLDS.select().where(t.LEASE_HOLDS.c.key == key)
        held = [cutovers._hold(row) for row in connection.execute(query)]
        return tuple(one for one in held if one.until_us > watch.now().wall_us)

    monkeypatch.setattr(cutovers, "holders", by_the_wall_clock)
    with pytest.raises(AssertionError, match=r"main/trade/1 was signed with .* ms after its key was deleted"):
        await _stepped(tmp_path, monkeypatch)


async def _not_applied(directory: Path) -> None:
    async with running_place(directory) as here:
        match = {"method": "DELETE", "path": "/sapi/v1/sub-account"}
        await here.world.paper.admin("POST", "faults", {"do": "accept-not-apply", "match": match})
        await here.rotate()


@pytest.mark.parametrize("proof", ["", "the exchange refused it by name"])
async def test_a_key_that_is_called_dead_though_its_delete_was_not_applied_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proof: str
) -> None:
    def believes(retirement: Retirement, *_: object) -> retire.Onward:
        buried = replace(retirement, phase=Phase.ENTOMBING, proof=proof)
        return retire.Onward(buried, Effect(Do.ENTOMB, retirement.version))

    monkeypatch.setattr(retire, "_probed", believes)
    with pytest.raises(AssertionError, match="main/trade/1 is called dead, and its key lives") as told:
        await _not_applied(tmp_path)
    assert ("nothing says by what that is known" in str(told.value)) == (proof == "")


async def _imported(directory: Path) -> None:
    """The old key is taken back into use between the last look and its delete."""
    async with running_place(directory) as here:
        runner, old = here.runner(), here.old_key
        secret = here.world.paper.exchange.keys[old].secret
        assert secret is not None
        credential = Credential(old, Secret(secret.reveal()), KeyType.HMAC)
        uid = str(here.world.paper.exchange.accounts[EMAIL].uid)
        facts = KeyFacts(True, True, False, False, True, uid)
        planned = await begun(here, runner)
        take = here.world.service.keys.import_key
        before(runner, Do.DELETE, lambda: take("main", slot=Slot.TRADE, credential=credential, facts=facts))
        while not here.world.paper.exchange.keys[old].deleted:
            await asyncio.to_thread(runner.once)
        assert planned.id


async def test_a_key_that_was_imported_while_it_was_about_to_be_deleted_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing kept imports and rotations of a slot apart, and a tombstone was written over the key in use."""
    monkeypatch.setattr(keys, "_alone", lambda *_: None)
    monkeypatch.setattr(Staying, "look", lambda *_: None)
    monkeypatch.setattr(accounts, "set_stage", _any_stage(accounts.set_stage))
    with pytest.raises(AssertionError, match="the key of main/trade/1 was deleted while it was in use"):
        await _imported(tmp_path)


def _any_stage(really: Any) -> Callable[..., bool]:
    def set_stage(connection: Connection, ref: KeyRef, stage: Stage, **more: Any) -> bool:
        return bool(really(connection, ref, stage, **(more | {"unless": ()})))

    return set_stage
