"""A sweep tells what is not as it is on record, ends what a rotation of ours left behind, and touches nothing else."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.db import accounts as account_store
from broker.db import cutovers
from broker.db import destinations as destination_store
from broker.db import findings as finding_store
from broker.db import managers as manager_store
from broker.db import tables as t
from broker.db.destinations import Delivery
from broker.db.findings import BY_WORD, LEFT, Finding
from broker.errors import Conflict
from broker.model import Death, KeyRef, KeyVersion, Stage
from broker.stores.held import Held
from clients.secret import Secret
from clients.venue import Credential, KeyFacts, KeyType, Slot
from rotation import document
from rotation.budget import Budgets
from rotation.journal import Journal, microseconds
from rotation.left import told_of
from rotation.plan import draw_up_retirement
from rotation.state import Retirement, Rotation, State
from rotation.sweeper import RESTS, SETTLES, Sweeper
from rotation.venues import Venues
from tests.rotation.place import (
    ACCOUNT_ADDRESS,
    BY_HAND,
    EMAIL,
    IN_USE,
    POLLS,
    QUICK,
    REPLACED,
    STRANGER,
    Place,
    now,
    running_place,
)

pytestmark = pytest.mark.sockets


def sweeper(here: Place) -> Sweeper:
    service = here.world.service
    return Sweeper(service, Venues(service), Journal(service.desk.database, service.audit, "sweep"))


async def swept(here: Place, after: timedelta = timedelta(0)) -> dict[str, str]:
    """Sweep; return what stands, by key id."""
    assert await asyncio.to_thread(sweeper(here).sweep, now() + after) == ()
    return {one.key_id: one.what for one in here.world.service.rotations.findings()}


def stray(here: Place, label: str) -> str:
    key = here.world.paper.exchange.make_key(
        EMAIL, KeyType.HMAC, {"enableSpotAndMarginTrading": True}, ips=(ACCOUNT_ADDRESS,), label=label
    )
    return key.key_id


def living(here: Place) -> set[str]:
    return {key.key_id for key in here.living()}


async def test_all_is_well_and_nothing_is_said(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        assert await swept(here) == {}
        done = await here.rotate()
        assert done.state is State.DONE
        assert await swept(here) == {}
        assert here.world.service.keys.list("main")[1].stage is Stage.CURRENT


@pytest.mark.parametrize("label", ["my own", "rot_" + "a" * 20])
async def test_a_key_of_somebody_elses_is_reported_and_never_deleted(tmp_path: Path, label: str) -> None:
    async with running_place(tmp_path) as here:
        key = stray(here, label)
        assert await swept(here, timedelta(days=1)) == {key: "unknown"}
        assert key in living(here)
        here.world.paper.exchange.keys[key].deleted = True
        assert await swept(here) == {}, "mended, it is not said any more"


async def test_what_a_rotation_of_ours_gave_up_is_deleted_once_it_is_over_for_a_while(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        planned = here.plan()
        runner = here.runner()
        runner.journal.plan(planned)
        key = stray(here, planned.id)
        assert await swept(here) == {}, "the open rotation looks it up itself"
        assert key in living(here)
        master = next(one for one in here.world.paper.exchange.keys.values() if one.label == "manager")
        master.flags["enableSpotAndMarginTrading"] = False
        done = await here.carried_out(planned.id, runner)
        master.flags["enableSpotAndMarginTrading"] = True
        assert done.state is State.ABANDONED
        assert await swept(here) == {}
        assert key in living(here), "a create that was held up may still be on its way"
        assert await swept(here, RESTS + timedelta(seconds=1)) == {key: "orphan"}
        await retired(here, "orphan")
        assert await swept(here, RESTS + timedelta(seconds=1)) == {}
        assert living(here) == {here.old_key}
        stages = {
            one.ref.version: (one.venue_key_id, one.stage) for one in here.world.service.keys.list("main")
        }
        assert stages[2] == (key, Stage.TOMBSTONE)


async def given_up_with_an_orphan(here: Place) -> str:
    """A rotation that ended long ago, and the key that it made and never heard of; return its id."""
    planned = here.plan()
    here.runner().journal.plan(planned)
    key = stray(here, planned.id)
    with here.world.service.desk.database.write() as connection:
        long_ago = {"ended_us": 1, "open_slot": None, "state": State.ABANDONED.value}
        connection.execute(t.ROTATIONS.update().values(**long_ago))
    return key


async def test_an_orphan_that_is_imported_between_the_look_and_the_delete_lives(tmp_path: Path) -> None:
    """A person found it first, and bots trade with it by now."""
    async with running_place(tmp_path) as here:
        service, key = here.world.service, await given_up_with_an_orphan(here)
        secret = here.world.paper.exchange.keys[key].secret
        assert secret is not None
        work, facts = (
            sweeper(here),
            KeyFacts(True, True, False, False, True, service.accounts.get("main").venue_uid or ""),
        )
        ensure = service.desk.guard.ensure

        def meanwhile(deed: Any) -> None:
            service.desk.guard.ensure = ensure  # type: ignore[method-assign]
            credential = Credential(key, Secret(secret.reveal()), KeyType.HMAC)
            service.keys.import_key("main", slot=Slot.TRADE, credential=credential, facts=facts)
            ensure(deed)

        service.desk.guard.ensure = meanwhile  # type: ignore[method-assign]
        await asyncio.to_thread(work.sweep, now() + LATER)
        for _ in range(20):
            await asyncio.to_thread(here.runner().once)
        assert key in living(here)
        current = [one.venue_key_id for one in service.keys.list("main") if one.stage is Stage.CURRENT]
        assert current == [key]
        assert service.rotations.list(only_open=True).items == ()


async def test_no_orphan_goes_while_the_key_that_stays_is_lost(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        here.plays = (STRANGER,)
        key = await given_up_with_an_orphan(here)
        here.world.service.desk.secrets.destroy(KeyRef("main", Slot.TRADE, 1).path)
        await asyncio.to_thread(sweeper(here).sweep, now() + LATER)
        for _ in range(20):
            await asyncio.to_thread(here.runner().once)
        assert key in living(here)


async def test_an_orphan_of_a_busy_slot_is_not_said_to_be_going(tmp_path: Path) -> None:
    """It was "being deleted", and nothing of the kind was on record: a person left it alone."""
    async with running_place(tmp_path) as here:
        here.plays = (STRANGER,)
        key, service = await given_up_with_an_orphan(here), here.world.service
        here.runner().journal.plan(here.plan())
        await asyncio.to_thread(sweeper(here).sweep, now() + LATER)
        (one,) = [one for one in service.rotations.findings() if one.key_id == key]
        assert "being deleted" not in one.says
        assert (
            "nothing was begun yet (main/trade is being rotated already: portcullis rotation watch"
            in one.says
        )


async def test_a_sweep_that_wakes_late_writes_and_retires_nothing(tmp_path: Path) -> None:
    """It had its list, and stood still; a later one has looked since."""
    async with running_place(tmp_path) as here:
        key, gone = await given_up_with_an_orphan(here), stray(here, "my own")
        late, service = sweeper(here), here.world.service
        odd = late._odd

        def stands(*args: Any) -> Any:
            here.world.paper.exchange.keys[gone].deleted = True
            here.world.paper.exchange.keys[key].deleted = True
            assert sweeper(here).sweep(now() + LATER) == ()
            assert service.rotations.findings() == ()
            return odd(*args)

        late._odd = stands  # type: ignore[method-assign]
        (trouble,) = await asyncio.to_thread(late.sweep, now() + LATER)
        assert "another sweep of it began meanwhile" in trouble
        assert service.rotations.findings() == ()
        assert service.rotations.list(only_open=True).items == ()


async def test_a_dead_key_that_comes_back_is_retired_again(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        old = here.old_key
        assert (await here.rotate()).state is State.DONE
        here.world.paper.exchange.keys[old].deleted = False
        assert await swept(here) == {}, "a list may lag"
        assert await swept(here, SETTLES + timedelta(seconds=1)) == {old: "undead"}
        await retired(here, "undead")
        assert old not in living(here)
        assert await swept(here, SETTLES + timedelta(seconds=1)) == {}


async def retired(here: Place, why: str) -> None:
    """Carry out what the sweep planned."""
    (again,) = [one for one in here.world.service.rotations.list(only_open=True).items if one.why == why]
    for _ in range(POLLS):
        await asyncio.to_thread(here.runner().once)
        if here.world.service.rotations.get(again.id).ended_at is not None:
            break
        hasten(here, again.id)
        await asyncio.sleep(0.02)
    assert here.world.service.rotations.get(again.id).state == "done"


def hasten(here: Place, rotation: str) -> None:
    """Let the tests' patience hold for a rotation that the sweep planned."""
    with here.world.service.desk.database.write() as connection:
        row = connection.execute(t.ROTATIONS.select().where(t.ROTATIONS.c.id == rotation)).one()
        known = document.load(row.document)
        fresh = document.dump(replace(known, limits=QUICK, due_at=now()))
        connection.execute(
            t.ROTATIONS.update().where(t.ROTATIONS.c.id == rotation).values(document=fresh, due_us=0)
        )


async def test_a_key_that_was_replaced_by_an_import_is_retired_at_a_persons_word(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        old, service = here.old_key, here.world.service
        fresh = imported(here)
        assert await swept(here) == {old: "replaced"}
        planned = draw_up_retirement(service, KeyRef("main", Slot.TRADE, 1), "retire", now())
        planned = replace(planned, limits=QUICK)
        runner = here.runner()
        runner.journal.begin(planned)
        assert await swept(here) == {}, "it is being retired"
        done = await here.carried_out(planned.id, runner)
        assert done.state is State.DONE
        assert living(here) == {fresh}
        stages = {key.ref.version: key.stage for key in service.keys.list("main")}
        assert stages == {1: Stage.TOMBSTONE, 2: Stage.CURRENT}


def leave(here: Place, rotation: Rotation) -> None:
    """Put on record what `resume --leave` does of the key that a rotation was to end."""
    with here.world.service.desk.database.write() as connection:
        told_of(here.world.service, rotation, lambda _: None)(connection)


async def test_a_key_that_was_left_is_told_by_every_sweep_until_it_is_dead(tmp_path: Path) -> None:
    """The next sweep ended that it was left; while it was being retired nothing told of it."""
    async with running_place(tmp_path) as here:
        old, service = here.old_key, here.world.service
        imported(here)
        planned = draw_up_retirement(service, KeyRef("main", Slot.TRADE, 1), "retire", now())
        planned = replace(planned, limits=QUICK)
        leave(here, planned)
        assert await swept(here) == {old: LEFT}, "once, and not as replaced besides"
        runner = here.runner()
        runner.journal.begin(planned)
        assert await swept(here) == {old: LEFT}, "it is being retired, and not dead yet"
        assert (await here.carried_out(planned.id, runner)).state is State.DONE
        assert await swept(here) == {}


async def test_a_new_key_that_was_left_this_moment_is_told(tmp_path: Path) -> None:
    """No sweep names a key that is not in use before the list is sure to show it: an hour without a word."""
    async with running_place(tmp_path) as here:
        service, key = here.world.service, stray(here, "made by hand")
        here.plays = (STRANGER,)
        with service.desk.database.write() as connection:
            ref = KeyRef("main", Slot.TRADE, 2)
            fresh = KeyVersion(ref, Stage.PENDING, key, KeyType.HMAC, ref.path, now())
            account_store.add_key(connection, fresh, microseconds(now()))
        leave(here, replace(here.plan(), new=2, retirement=Retirement(2, by_hand=True)))
        for after in (timedelta(0), SETTLES / 2, SETTLES * 2, timedelta(days=1)):
            assert await swept(here, after) == {key: LEFT}


@pytest.mark.parametrize("what", [LEFT, BY_WORD])
async def test_what_a_person_says_while_a_sweep_looks_is_not_ended_by_it(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_place(tmp_path) as here:
        service = here.world.service

        odd = Sweeper._odd

        def late(self: Sweeper, *given: Any) -> Any:
            yield from odd(self, *given)
            with service.desk.database.write() as connection:
                finding_store.add(connection, Finding("main", "K9", what, "said", None), microseconds(now()))

        monkeypatch.setattr(Sweeper, "_odd", late)
        assert await swept(here) == {"K9": what}
        monkeypatch.setattr(Sweeper, "_odd", odd)
        assert await swept(here) == {"K9": what}, "a list may lag"
        over = await swept(here, SETTLES + timedelta(seconds=1))
        assert over == {"K9": what}, "a list is no proof of death"


async def test_permissions_and_addresses_that_drift_are_reported(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        here.plays = ("is current, and its key is dead",)
        assert (await here.rotate()).state is State.DONE
        (key,) = here.living()
        key.flags["enableFutures"] = True
        assert await swept(here) == {key.key_id: "permissions"}
        (found,) = here.world.service.rotations.findings()
        assert found.says == "main/trade/2: futures is on and should be off"
        key.flags["enableFutures"] = False
        key.ips = (ACCOUNT_ADDRESS, "127.0.0.9")
        assert await swept(here) == {key.key_id: "addresses"}
        key.ips = (ACCOUNT_ADDRESS,)
        key.deleted = True
        assert await swept(here, SETTLES + timedelta(seconds=1)) == {key.key_id: "missing"}


async def test_a_list_that_cannot_be_had_changes_nothing(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        here.plays = (STRANGER,)
        key = stray(here, "my own")
        assert await swept(here) == {key: "unknown"}
        fault = {
            "do": "error",
            "status": 500,
            "code": -1000,
            "match": {"path": "/sapi/v1/sub-account"},
            "times": 9,
        }
        await here.world.paper.admin("POST", "faults", fault)
        (trouble,) = await asyncio.to_thread(sweeper(here).sweep, now())
        assert trouble.startswith("main could not be swept")
        assert {one.what for one in here.world.service.rotations.findings()} == {"unknown"}


async def test_what_the_venues_minute_does_not_let_through_comes_first_the_next_time(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        here.plays = (STRANGER,)
        service, clock = here.world.service, [1000.0]
        budgets = Budgets(lambda: clock[0])
        for _ in range(48):
            budgets.spend("master", "list", 60, "binance")
        key = stray(here, "my own")
        journal = Journal(service.desk.database, service.audit, "sweep")
        work = Sweeper(service, Venues(service, budgets), journal)
        hour = timedelta(hours=1)
        (trouble,) = await asyncio.to_thread(work.sweep, now(), hour)
        assert trouble.startswith("1 accounts wait")
        assert service.rotations.findings() == ()
        clock[0] += 60
        assert await asyncio.to_thread(work.sweep, now(), hour) == ()
        assert [one.key_id for one in service.rotations.findings()] == [key]
        before = budgets.left("master", "list", 48)
        assert await asyncio.to_thread(work.sweep, now(), hour) == ()
        assert budgets.left("master", "list", 48) == before, "not again within the hour"


LATER = RESTS + timedelta(seconds=1)


async def test_a_key_in_use_under_another_account_is_never_deleted(tmp_path: Path) -> None:
    """Two accounts that are one sub-account by mistake: what one rotated is no orphan of the other's."""
    async with running_place(tmp_path) as here:
        service = here.world.service
        assert (await here.rotate()).state is State.DONE
        (fresh,) = living(here)
        service.accounts.create("twin", venue="binance", egress="out", upstream=here.world.paper.base_url)
        with service.desk.database.write() as connection:
            manager_store.assign(connection, "twin", "master", EMAIL)
        assert (await swept(here, LATER))[fresh] == "unknown"
        (said,) = [one.says for one in service.rotations.findings() if one.account == "twin"]
        assert "main/trade/2" in said
        assert fresh in living(here)


async def test_a_key_that_a_rotation_cut_over_to_is_no_orphan(tmp_path: Path) -> None:
    """Its label names a rotation that is over, and was not given up: whatever the record lacks, a person decides."""
    async with running_place(tmp_path) as here:
        here.plays = (STRANGER,)
        done = await here.rotate()
        key = stray(here, done.id)
        assert (await swept(here, LATER))[key] == "unknown"
        assert key in living(here)


def test_a_sub_account_is_one_account_under_whatever_manager_key(tmp_path: Path) -> None:
    async def assigned() -> None:
        async with running_place(tmp_path) as here:
            service, paper = here.world.service, here.world.paper
            facts = KeyFacts(True, True, False, False, True, "1")
            master = Credential("M2", Secret("planted"), KeyType.HMAC)
            draft = service.managers.draft(
                "second", venue="binance", egress="direct", upstream=paper.base_url, key=master
            )
            service.managers.take(draft, master, facts)
            service.accounts.create("twin", venue="binance", egress="out", upstream=paper.base_url)
            with pytest.raises(Conflict, match=f"main is {EMAIL} already"):
                service.managers.assign("twin", "second", EMAIL, lambda: ())

    asyncio.run(assigned())


async def test_a_key_bound_elsewhere_hides_nothing_else(tmp_path: Path) -> None:
    """The exchange refuses it from our address; what else it lists is reported all the same."""
    async with running_place(tmp_path) as here:
        here.plays = (STRANGER,)
        old = here.old_key
        here.world.paper.exchange.keys[old].ips = ("127.0.0.99",)
        other = stray(here, "my own")
        assert await asyncio.to_thread(sweeper(here).sweep, now()) == ()
        found = {(one.key_id, one.what) for one in here.world.service.rotations.findings()}
        assert found == {(old, "addresses"), (old, "refused"), (other, "unknown")}


@pytest.mark.parametrize("how", ["destroyed", "without its value"])
async def test_a_lost_secret_of_a_key_in_use_hides_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """It ended the sweep of its account: keys that should not be there were not found, and the lost one was not said."""
    async with running_place(tmp_path) as here:
        here.plays = (STRANGER,)
        old = here.old_key
        path, secrets = KeyRef("main", Slot.TRADE, 1).path, here.world.service.desk.secrets
        if how == "destroyed":
            secrets.destroy(path)
        else:
            read = secrets.read
            monkeypatch.setattr(secrets, "read", lambda name: Held(name, {}) if name == path else read(name))
        other = stray(here, "my own")
        assert await swept(here) == {old: "no-secret", other: "unknown"}
        says = {one.key_id: one.says for one in here.world.service.rotations.findings()}
        assert says[old].startswith("main/trade/1 is in use, and its secret is gone")
        here.world.paper.exchange.keys[other].deleted = True
        assert await swept(here) == {old: "no-secret"}


@pytest.mark.parametrize(
    "path", ["/sapi/v1/account/apiRestrictions", "/sapi/v1/sub-account/subAccountApi/ipRestriction"]
)
async def test_a_key_in_use_that_cannot_be_looked_at_hides_nothing_else(tmp_path: Path, path: str) -> None:
    """What was found before stands, and that not all could be looked at is told."""
    async with running_place(tmp_path) as here:
        here.plays = (STRANGER,)
        first = stray(here, "my own")
        here.world.paper.exchange.keys[here.old_key].ips = (ACCOUNT_ADDRESS, "127.0.0.9")
        assert await swept(here) == {first: "unknown", here.old_key: "addresses"}
        fault = {"do": "error", "status": 500, "code": -1000, "match": {"path": path}, "times": 9}
        await here.world.paper.admin("POST", "faults", fault)
        second = stray(here, "my own, too")
        (trouble,) = await asyncio.to_thread(sweeper(here).sweep, now())
        assert trouble.startswith("main could not be swept")
        found = {(one.key_id, one.what) for one in here.world.service.rotations.findings()}
        assert found == {(first, "unknown"), (second, "unknown"), (here.old_key, "addresses")}


async def test_a_permission_that_is_none_of_the_usual_is_seen(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        assert (await here.rotate()).state is State.DONE
        (fresh,) = here.living()
        fresh.flags["enableInternalTransfer"] = True
        assert await swept(here) == {fresh.key_id: "permissions"}


async def test_an_undead_key_of_a_slot_without_another_is_retired(tmp_path: Path) -> None:
    """As after an incident: the slot has no key in use."""
    async with running_place(tmp_path) as here:
        here.plays = (IN_USE,)  # the tombstone is written here, and no audit trail tells of it
        old = here.old_key
        with here.world.service.desk.database.write() as connection:
            connection.execute(t.KEY_VERSIONS.update().values(stage=Stage.TOMBSTONE.value))
        assert await swept(here) == {old: "undead"}
        (again,) = here.world.service.rotations.list().items
        hasten(here, again.id)
        done = await here.carried_out(again.id, here.runner())
        assert done.state is State.DONE
        assert old not in living(here)


async def test_keys_that_change_while_they_are_compared_are_compared_later(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        here.plays = ("has 0 current versions",)
        at_work, service = sweeper(here), here.world.service
        desk = at_work._venues.desk

        def meanwhile(*args: Any, **more: Any) -> Any:
            with service.desk.database.write() as connection:
                connection.execute(t.KEY_VERSIONS.update().values(stage=Stage.PREVIOUS.value))
            return desk(*args, **more)

        at_work._venues.desk = meanwhile  # type: ignore[method-assign]
        (trouble,) = await asyncio.to_thread(at_work.sweep, now())
        assert "being changed" in trouble
        assert service.rotations.findings() == ()


async def test_what_somebody_may_still_use_is_not_retired(tmp_path: Path) -> None:
    """A gateway that holds it, a destination that was not brought the key in use; and what is dead is dead."""
    async with running_place(tmp_path) as here:
        here.plays = (BY_HAND,)
        old = here.old_key
        service, ref = here.world.service, KeyRef("main", Slot.TRADE, 1)
        imported(here)
        with service.desk.database.write() as connection:
            held = cutovers.Hold("ghost", "b", str(ref), service.desk.clock.now_us() + 600_000_000)
            cutovers.hold(connection, held)
        with pytest.raises(Conflict, match="ghost may still use"):
            draw_up_retirement(service, ref, "retire", now())
        with service.desk.database.write() as connection:
            cutovers.let_go(connection, "ghost", "b", str(ref))
        service.destinations.create(
            "env", account="main", slot=Slot.TRADE, kind="dotenv",
            settings={"path": str(tmp_path / "bot.env"), "key_id": "K", "secret": "S"},
        )  # fmt: skip
        with pytest.raises(Conflict, match="env may still hold"):
            draw_up_retirement(service, ref, "retire", now())
        with service.desk.database.write() as connection:
            account_store.set_stage(connection, ref, Stage.TOMBSTONE, death=Death.PROVEN)
        with pytest.raises(Conflict, match="is proven dead: there is nothing"):
            draw_up_retirement(service, ref, "retire", now())
        here.world.paper.exchange.keys[old].deleted = True


async def test_what_was_brought_to_a_destination_since_is_not_retired(tmp_path: Path) -> None:
    """It had confirmed the key in use once, before it got the other: that was deleted under its hands."""
    async with running_place(tmp_path) as here:
        here.plays = (REPLACED,)
        service, ref = here.world.service, KeyRef("main", Slot.TRADE, 1)
        service.destinations.create(
            "env", account="main", slot=Slot.TRADE, kind="dotenv",
            settings={"path": str(tmp_path / "bot.env"), "key_id": "K", "secret": "S"},
        )  # fmt: skip
        imported(here)
        now_us = service.desk.clock.now_us()

        def brought(rotation: str, version: int, at_us: int, *, confirmed: bool) -> None:
            one = Delivery(rotation, "env", version, 1, at_us, None, at_us if confirmed else None)
            with service.desk.database.write() as connection:
                destination_store.save(connection, one)

        brought("rot_first", 2, now_us - 60_000_000, confirmed=True)
        assert draw_up_retirement(service, ref, "retire", now())
        for confirmed in (False, True):  # while that is not known, and once it is
            brought("rot_left", 1, now_us, confirmed=confirmed)
            with pytest.raises(Conflict, match="env may still hold"):
                draw_up_retirement(service, ref, "retire", now())
        brought("rot_left", 2, now_us + 1, confirmed=True)
        assert draw_up_retirement(service, ref, "retire", now())


def imported(here: Place) -> str:
    """Import another key over the one in use; return its id."""
    fresh = here.world.paper.key(EMAIL, ips=(ACCOUNT_ADDRESS,))
    assert fresh.secret is not None
    facts = KeyFacts(True, True, False, False, True, str(here.world.paper.exchange.accounts[EMAIL].uid))
    credential = Credential(fresh.key_id, Secret(fresh.secret.reveal()), KeyType.HMAC)
    here.world.service.keys.import_key("main", slot=Slot.TRADE, credential=credential, facts=facts)
    return fresh.key_id


async def test_a_manager_key_that_is_refused_is_found_and_what_was_found_before_stands(
    tmp_path: Path,
) -> None:
    async with running_place(tmp_path) as here:
        here.plays = (STRANGER,)
        other = stray(here, "my own")
        assert await swept(here) == {other: "unknown"}
        master = next(one for one in here.world.paper.exchange.keys.values() if one.label == "manager")
        addresses, master.ips = master.ips, ("127.0.0.99",)
        (trouble,) = await asyncio.to_thread(sweeper(here).sweep, now())
        assert "main could not be swept" in trouble
        found = {one.what: one.says for one in here.world.service.rotations.findings()}
        assert found.keys() == {"unknown", "manager"}
        assert "refuses the manager key master" in found["manager"]
        master.ips = addresses
        assert await swept(here) == {other: "unknown"}


async def test_what_was_found_about_a_key_ends_with_it(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        old = here.old_key
        here.world.paper.exchange.keys[old].ips = (ACCOUNT_ADDRESS, "127.0.0.9")
        assert await swept(here) == {old: "addresses"}
        assert (await here.rotate()).state is State.DONE
        assert here.world.service.rotations.findings() == ()
