"""A rotation that was open at a restore is shown with what the exchange says, and a person lets it go on or drops it."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.db import meta
from broker.db import rotations as rotation_store
from broker.db import tables as t
from broker.model import Account, KeyRef, KeyVersion, Stage
from broker.service.host_guard import STORE_BACK
from broker.service.reconcile import Reconciled
from broker.service.reconcile_facts import Step, Surveyed
from broker.service.reconcile_lists import surveyed
from broker.service.rotations import Wish
from clients.venue import Credential, KeyFacts, Slot
from portcullis.key_inspector import VenueInspector
from portcullis.key_warden import VenueWarden
from rotation.alerts.conditions import conditions
from rotation.journal import Claimed, Journal
from rotation.state import Rotation, State
from rotation.sweeper import Sweeper
from rotation.venues import Venues
from tests.broker.test_reconcile_named import aged
from tests.rotation.place import EMAIL, POLLS, Place, now
from tests.rotation.test_superseded import CLOSING, Scene, close_by_itself, placed

pytestmark = pytest.mark.sockets


def asks(here: Place) -> Scene:
    return Scene(here, "", "", here.world.directory / "none")


async def told(here: Place, rotation: str, wish: Wish, **body: object) -> str:
    """Ask something of a rotation, and return what the rotator made of it."""
    service = here.world.service
    ask = service.rotations.ask(rotation, wish, body)
    async with asyncio.timeout(60):
        while (outcome := service.rotations.outcome(ask.id).outcome) is None:
            if not await asyncio.to_thread(asks(here).asks().once):
                await asyncio.sleep(0.05)
    return outcome


async def until(here: Place, state: State) -> Rotation:
    """Carry a rotation on until it stands in a state, and leave it there."""
    planned = here.plan()
    runner = here.runner()
    await asyncio.to_thread(runner.journal.plan, planned)
    save = Journal.save

    class Reached(BaseException):
        pass

    def saved(self: Journal, claimed: Claimed, *told: Any, **more: Any) -> Claimed:
        made = save(self, claimed, *told, **more)
        if made.rotation.state is state and made.rotation.asked is None:
            raise Reached
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "save", saved)
        for _ in range(POLLS):
            try:
                await asyncio.to_thread(runner.once)
            except Reached:
                break
            await asyncio.sleep(0.02)
    with here.world.service.desk.database.read() as connection:
        row = rotation_store.get(connection, planned.id)
    assert row is not None
    assert row.state == state.value
    return Journal.read(row.document)


def compare(here: Place) -> Reconciled:
    """Do what `portcullis reconcile` does."""
    service, inspector, warden = here.world.service, VenueInspector(), VenueWarden()

    def ask(name: str, credential: Credential) -> KeyFacts:
        account = service.accounts.get(name)
        return inspector.inspect(account, service.accounts.egress(account.egress), credential)

    def survey(account: Account, keys: tuple[KeyVersion, ...]) -> Surveyed:
        manager = service.managers.get(account.manager or "")
        egress = service.accounts.egress(manager.egress)
        listed = warden.listed(
            manager, egress, service.managers.credential(manager), account.subaccount or ""
        )
        return surveyed(account, keys, listed, warden.odd)

    return service.reconciliation.look(ask, survey, confirmed=(), old_host_off=False)


def key_of(here: Place, version: int) -> KeyVersion:
    return next(key for key in here.world.service.keys.list("main") if key.ref.version == version)


def at_exchange(here: Place, version: int) -> bool:
    return not here.world.paper.exchange.keys[key_of(here, version).venue_key_id].deleted


def commands(step: Step) -> list[str]:
    return [(*one.split(), "")[2] for one in step.commands]


def thawed(here: Place) -> None:
    with here.world.service.desk.database.write() as connection:
        from broker.db import cuts  # noqa: PLC0415 - beside its use

        cuts.thaw(connection, CLOSING, 2, "me", "compared")


NOT_LIVING = {
    -2008: ("main/trade/2 is dead", "do NOT let it go on"),
    -2015: ("main/trade/2 is undecided", "find out first"),
}
"""What the host that trades says of a deleted key, by either reading of the sheet."""


@pytest.mark.parametrize("code", NOT_LIVING)
async def test_one_taken_in_draining_does_not_finish_after_the_original_was_rolled_back(
    tmp_path: Path, code: int
) -> None:
    """It would delete the only key that lives; not after the thaw either, before a person says so."""
    async with placed(tmp_path) as here:
        here.world.paper.exchange.switches["deleted_key_api_code"] = code
        rotation = await until(here, State.DRAINING)
        here.world.paper.exchange.keys[
            key_of(here, 2).venue_key_id
        ].deleted = True  # elsewhere it was taken back
        close_by_itself(here.world.service)
        runner = here.runner("restored")
        assert await asyncio.to_thread(runner.once) is None
        (once,) = (await asyncio.to_thread(compare, here)).held
        assert "main/trade/2 is undecided" in once.what
        assert "find out first" in once.do
        aged(here.world.service)
        found = await asyncio.to_thread(compare, here)
        (step,) = found.held
        assert f"the rotation {rotation.id} stood in draining" in step.what
        assert "main/trade/1 is alive" in step.what
        assert NOT_LIVING[code][0] in step.what
        assert "the exchange does not list it" in step.what
        assert NOT_LIVING[code][1] in step.do
        assert commands(step)[-2:] == ["rollback", "drop"]
        assert not any("rotation resume" in one for one in step.commands)
        thawed(here)
        for _ in range(5):
            assert await asyncio.to_thread(runner.once) is None
        assert at_exchange(here, 1)
        assert await told(here, rotation.id, Wish.ROLL_BACK, reason="restored") == ""
        done = await here.carried_out(rotation.id, runner)
        assert done.state is State.ABANDONED
        assert at_exchange(here, 1)
        assert key_of(here, 1).stage is Stage.CURRENT


async def test_a_new_key_that_is_gone_and_not_in_use_stands_in_nobodys_way(tmp_path: Path) -> None:
    """It was told of as missing for ever: there is nothing to do about a key that is dead and never was used."""
    async with placed(tmp_path) as here:
        await until(here, State.CANARY)
        assert key_of(here, 2).stage is Stage.PENDING
        here.world.paper.exchange.switches["deleted_key_api_code"] = -2008
        here.world.paper.exchange.keys[key_of(here, 2).venue_key_id].deleted = True
        close_by_itself(here.world.service)
        assert any("main/trade/2" in step.what for step in (await asyncio.to_thread(compare, here)).blocking)
        aged(here.world.service)
        found = await asyncio.to_thread(compare, here)
        assert not any("main/trade/2" in step.what for step in found.blocking)
        (step,) = found.held
        assert "main/trade/2 is dead" in step.what


async def test_one_whose_keys_are_as_they_were_goes_on_when_a_person_lets_it(tmp_path: Path) -> None:
    async with placed(tmp_path) as here:
        rotation = await until(here, State.DRAINING)
        close_by_itself(here.world.service)
        found = await asyncio.to_thread(compare, here)
        (step,) = found.held
        assert commands(step) == ["resume", "rollback", "drop"]
        assert here.world.service.rotations.get(rotation.id).held
        assert await told(here, rotation.id, Wish.RESUME) == ""
        assert not here.world.service.rotations.get(rotation.id).held
        done = await here.carried_out(rotation.id, here.runner("restored"))
        assert done.state is State.DONE
        assert await asyncio.to_thread(compare, here)
        assert not at_exchange(here, 1)


async def test_a_create_in_doubt_that_was_dropped_is_no_orphan_of_ours(tmp_path: Path) -> None:
    """Elsewhere its key may be the one in use by now: neither it nor its secret is touched."""
    async with placed(tmp_path) as here:
        rotation = await until(here, State.CREATING)
        made = here.world.paper.exchange.make_key(
            EMAIL, rotation.key_type, {"enableSpotAndMarginTrading": True}, ips=("127.0.0.7",), label=rotation.id,
            public_key=rotation.public_key,
        )  # fmt: skip
        close_by_itself(here.world.service)
        await asyncio.to_thread(compare, here)
        assert await told(here, rotation.id, Wish.DROP, reason="another host finished it") == ""
        dropped = here.world.service.rotations.get(rotation.id)
        assert (dropped.state, dropped.reason) == ("abandoned", "dropped: another host finished it")
        with here.world.service.desk.database.write() as connection:
            meta.put(connection, "reconciled", f'["{CLOSING}"]')
        service = here.world.service
        sweeper = Sweeper(service, Venues(service), Journal(service.desk.database, service.audit, "sweep"))
        assert await asyncio.to_thread(sweeper.sweep, now() + timedelta(days=1)) == ()
        await asyncio.to_thread(here.runner().effects.burial.clear_up)
        assert not here.world.paper.exchange.keys[made.key_id].deleted
        assert service.desk.secrets.read(KeyRef("main", Slot.TRADE, 2).path)
        assert service.rotations.list(only_open=True).items == (), "nobody retires it"
        assert {one.key_id: one.what for one in service.rotations.findings()} == {made.key_id: "unknown"}


async def test_only_what_a_restore_found_open_is_dropped(tmp_path: Path) -> None:
    async with placed(tmp_path) as here:
        planned = here.plan()
        await asyncio.to_thread(here.runner().journal.plan, planned)
        assert (await told(here, planned.id, Wish.DROP, reason="why")).startswith("not_held")
        done = await here.carried_out(planned.id, here.runner("asks"))
        assert done.state is State.DONE


async def test_one_that_was_begun_after_the_comparison_is_not_held_by_the_next(tmp_path: Path) -> None:
    """Each closing holds once; a closing of later holds what is open then."""
    async with placed(tmp_path) as here:
        close_by_itself(here.world.service)
        assert (await asyncio.to_thread(compare, here)).held == ()
        planned = here.plan()
        await asyncio.to_thread(here.runner().journal.plan, planned)
        assert (await asyncio.to_thread(compare, here)).held == ()
        done = await here.carried_out(planned.id, here.runner())
        assert done.state is State.DONE


async def test_what_was_asked_before_everything_was_closed_is_not_carried_out_after(tmp_path: Path) -> None:
    """An ask that lay in a backup is nobody's wish any more: who asked may have done it elsewhere."""
    async with placed(tmp_path) as here:
        service = here.world.service
        ask = service.rotations.start("main", Slot.TRADE)
        close_by_itself(service)
        await asyncio.to_thread(compare, here)
        assert (service.rotations.outcome(ask.id).outcome or "").startswith("closed: ")
        assert not await asyncio.to_thread(asks(here).asks().once)
        assert service.rotations.list(only_open=True).items == ()
        again = service.rotations.start("main", Slot.TRADE)
        while service.rotations.outcome(again.id).outcome != "":
            assert await asyncio.to_thread(asks(here).asks().once)


async def started(here: Place) -> str:
    """Ask for a rotation as `rotation start` does, and return what the rotator made of it."""
    service = here.world.service
    ask = service.rotations.start("main", Slot.TRADE)
    while (outcome := service.rotations.outcome(ask.id).outcome) is None:
        await asyncio.to_thread(asks(here).asks().once)
    return outcome


async def test_rb_15_a_held_rotation_asks_for_nothing_and_the_list_begins_with_a_new_key(
    tmp_path: Path,
) -> None:
    """Everything told a person to delete the only key that has a secret, before another one was made."""
    async with placed(tmp_path) as here:
        service = here.world.service
        here.plays = ("versions [1] live beside",)  # whoever dropped the rotation retires it later
        rotation = await until(here, State.RETIRING_OLD)
        service.desk.secrets.destroy(key_of(here, 2).path)  # the snapshot knew the old one alone
        with service.desk.database.write() as connection:
            connection.execute(t.ROTATIONS.update().values(todo='{"title": "delete the key of main/trade"}'))
            meta.put(connection, STORE_BACK, "store_1")
        for _ in range(2):  # before the comparison, and after it
            shown = service.rotations.get(rotation.id)
            assert "the secret store was put back (store_1)" in shown.held
            assert not shown.todo
            told_of = [one for one in conditions(service, now()) if one.subject.startswith(rotation.id)]
            assert [one.kind for one in told_of] == ["stalled"]
            assert "is held" in told_of[0].says
            assert "delete the key" not in told_of[0].says
            assert any("is held" in red.what for one in service.ready.look() for red in one.red)
            found = await asyncio.to_thread(compare, here)
        assert not found.well
        assert "closed stays closed" not in found.waits
        first = found.blocking[0]
        assert first.what.startswith("main/trade/2 is undecided")
        drop, start = first.commands[:2]
        assert drop.startswith(f"portcullis rotation drop {rotation.id}")
        assert start.startswith("portcullis rotation start --account main --slot trade")
        assert not any("--deleted" in one for one in first.commands)
        (step,) = found.held
        assert step.commands == (drop,)
        for no in (await told(here, rotation.id, Wish.ROLL_BACK, reason="back"), await started(here)):
            assert "rotation resume" in no
            assert "rotation drop" in no
            assert "--deleted" not in no
        assert at_exchange(here, 1)
        assert await told(here, rotation.id, Wish.DROP, reason="its key is lost") == ""
        assert await started(here) == ""
        (fresh,) = service.rotations.list(only_open=True).items
        done = await here.carried_out(fresh.id, here.runner("anew"))
        assert done.state is State.DONE
        assert key_of(here, 3).stage is Stage.CURRENT
        assert (at_exchange(here, 1), at_exchange(here, 2)) == (True, False)
