"""A refusal by name is evidence and no proof: a ban of an address is told to living keys just so (ccxt 10620, 11045)."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from broker.db import managers
from broker.db import tables as t
from broker.db.findings import BY_WORD
from broker.model import Death, KeyRef, Stage
from broker.service.reconcile_facts import Surveyed
from clients.errors import VenueUnavailable
from clients.paper.faults import Fault
from clients.venue import Credential, KeyFacts, KeyType, Slot
from rotation import document
from rotation.alerts.conditions import conditions
from rotation.burial import Burial
from rotation.decide import decide
from rotation.effects import Effects
from rotation.retire import BLIND, LISTED, NAMED, NAMED_ALONE, NO_LIST, TWICE_ABSENT, TWICE_NAMED, UNASKED
from rotation.state import Answer, Do, Effect, Reply, Resume, Rotation, State
from rotation.sweeper import Sweeper
from rotation.unlisted import APART
from rotation.venues import Venues
from tests.losing import lose
from tests.rotation.place import ACCOUNT_ADDRESS, EMAIL, Place, now, running_place
from tests.rotation.test_assisted import begun, hurry, living, person_makes, reached, running_alone, told

pytestmark = pytest.mark.sockets


def shut(here: Place, address: str | None = ACCOUNT_ADDRESS) -> None:
    """The exchange refuses every key from an address by name, on every host."""
    here.world.paper.server.faults.append(
        Fault("refuse-keys", address=address, status=400, code=-2008, text="Invalid Api-Key ID.", times=10**6)
    )


def reopened(here: Place) -> None:
    here.world.paper.server.faults.clear()


async def waits_for_a_person(here: Place) -> tuple[str, str, str]:
    """Carry a rotation on until a person is to delete the old key; return the rotation, the old and the fresh key."""
    old = here.old_key
    rotation = await begun(here)
    fresh = person_makes(here, dict(here.world.service.rotations.get(rotation).todo))
    assert await told(here, rotation, {"key_id": fresh}) == ""
    await reached(here, rotation, State.RETIRING_OLD)
    return rotation, old, fresh


def on_record(here: Place, rotation: str) -> Rotation:
    with here.world.service.desk.database.read() as connection:
        row = connection.execute(t.ROTATIONS.select().where(t.ROTATIONS.c.id == rotation)).one()
    return replace(document.load(row.document), row_version=row.row_version)


async def probed(here: Place, known: Rotation, version: int = 1) -> Reply:
    service = here.world.service
    effects = Effects(service, Venues(service))
    return await asyncio.to_thread(effects.perform, known, Effect(Do.PROBE, version))


async def looked_at(here: Place, rotation: str, times: int) -> None:
    """Have a key that is waited for probed so often."""
    runner, seen = here.runner(), 0
    while seen < times:
        before = on_record(here, rotation).retirement
        hurry(here, rotation)
        await asyncio.to_thread(runner.once)
        known = on_record(here, rotation)
        assert known.state is State.RETIRING_OLD, known.reason
        seen += (
            before is not None and known.retirement is not None and known.retirement.probes > before.probes
        )


def proof(here: Place) -> str:
    rows = here.world.service.audit.list(limit=1000).items
    return next(str(json.loads(one.entry.details)["proof"]) for one in rows if one.entry.action == "key.dead")


async def test_every_key_is_refused_by_name_and_none_is_called_dead(tmp_path: Path) -> None:
    """Nobody deletes anything: the address is in a ban, and the key in use is refused just so."""
    async with running_alone(tmp_path) as here:
        service = here.world.service
        rotation, old, fresh = await waits_for_a_person(here)
        shut(here)
        reply = await probed(here, on_record(here, rotation))
        assert (reply.answer, reply.reason) == (Answer.UNKNOWN, BLIND)
        assert "main/trade/2, which is in use, is not served from here either" in reply.proof
        here.world.paper.exchange.offset_us += 60_000_000  # a settling time, by the exchange's clock
        await looked_at(here, rotation, 3)
        assert await told(here, rotation, {"deleted": True}) == "", "and a person's word changes nothing"
        here.world.paper.exchange.offset_us += 60_000_000
        await looked_at(here, rotation, 3)
        assert living(here) == {old, fresh}
        key = next(one for one in service.keys.list("main") if one.venue_key_id == old)
        assert key.stage is not Stage.TOMBSTONE
        assert service.desk.secrets.read(key.path), "what could still sign an exit is kept"
        reopened(here)
        here.world.paper.exchange.switches["deleted_key_api_code"] = -2008
        here.world.paper.exchange.keys[old].deleted = True
        await reached(here, rotation, State.DONE)
        assert proof(here).startswith(TWICE_NAMED)
        assert "/sapi -2008, /api -2008 at 20" in proof(here)
        assert "main/trade/2 was served by the same way right after" in proof(here)


async def test_one_look_is_no_proof_although_another_key_is_served(tmp_path: Path) -> None:
    async with running_alone(tmp_path) as here:
        rotation, old, _ = await waits_for_a_person(here)
        here.world.paper.exchange.switches["deleted_key_api_code"] = -2008
        here.world.paper.exchange.keys[old].deleted = True
        reply = await probed(here, on_record(here, rotation))
        assert (reply.answer, reply.reason) == (Answer.UNKNOWN, NAMED)
        assert reply.seen_us is not None, "by the exchange's clock"


async def test_a_delete_that_was_lost_is_found_by_the_list_however_the_key_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delete is answered 200 and not applied; then every key is refused by name from the account's address."""
    async with running_place(tmp_path) as here:
        old, faults = here.old_key, here.world.paper.server.faults
        await here.bot.ready()
        faults.append(Fault("accept-not-apply", "DELETE", "/sapi/v1/sub-account/subAccountApi"))
        delete = Burial.delete

        def lost(burial: Burial, rotation: Rotation, version: int) -> Reply:
            try:
                return delete(burial, rotation, version)
            finally:
                shut(here)

        monkeypatch.setattr(Burial, "delete", lost)
        stuck = await here.rotate()
        assert stuck.state is State.STALLED
        assert "not deleted: the exchange does not serve main/trade/2, the key that stays" in stuck.reason
        assert old in living(here)
        assert [key.stage for key in here.world.service.keys.list("main")] == [Stage.PREVIOUS, Stage.CURRENT]
        monkeypatch.undo()
        reopened(here)
        resumed = decide(on_record(here, stuck.id), Resume(), now()).rotation
        reply = await probed(here, resumed)
        assert (reply.answer, reply.reason) == (Answer.REFUSED, "alive")


async def planned(here: Place) -> Rotation:
    drawn = here.plan()
    await asyncio.to_thread(here.runner().journal.plan, drawn)
    return on_record(here, drawn.id)


async def test_the_list_decides_where_a_manager_key_has_one(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        here.world.paper.exchange.switches["deleted_key_api_code"] = -2008
        old = here.old_key
        done = await here.rotate()
        assert done.state is State.DONE
        assert proof(here).startswith(TWICE_ABSENT)
        assert "/sapi -2008, /api -2008 at 20" in proof(here)
        assert old not in living(here)


async def test_a_key_that_is_refused_by_name_and_listed_lives(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        known = await planned(here)
        shut(here)
        reply = await probed(here, known)
        assert (reply.answer, reply.reason) == (Answer.UNKNOWN, LISTED)
        assert "/sapi -2008, /api -2008 at 20" in reply.proof
        assert "the list has it" in reply.proof


def known_path(here: Place, version: int) -> str:
    return next(
        key.path
        for key in here.world.service.keys.list("main")
        if key.ref == KeyRef("main", Slot.TRADE, version)
    )


async def test_a_manager_key_that_is_refused_by_name_too_lists_nothing(tmp_path: Path) -> None:
    """Its address is in the ban, too: that is no list without the key, and no word that the key lives."""
    async with running_place(tmp_path) as here:
        known = await planned(here)
        shut(here, None)
        reply = await probed(here, known)
        assert (reply.answer, reply.reason) == (Answer.UNKNOWN, NO_LIST)
        assert "the exchange refuses the manager key its list (unknown_key)" in reply.proof


async def test_where_there_is_neither_a_list_nor_another_key_a_person_says_so(tmp_path: Path) -> None:
    """The account's only key was deleted: the exchange names it, and nothing here can be compared with it."""
    async with running_alone(tmp_path) as here:
        rotation, old, fresh = await waits_for_a_person(here)
        exchange, service = here.world.paper.exchange, here.world.service
        known = on_record(here, rotation)
        with service.desk.database.write() as connection:
            row = t.KEY_VERSIONS.c
            connection.execute(
                t.KEY_VERSIONS.update().where(row.venue_key_id == fresh).values(stage="previous")
            )
        exchange.switches["deleted_key_api_code"] = -2008
        exchange.keys[old].deleted = True
        reply = await probed(here, known)
        assert (reply.answer, reply.reason) == (Answer.UNKNOWN, NAMED_ALONE)
        assert "no other key is in use here to compare it with" in reply.proof
        service.desk.secrets.destroy(known_path(here, 1))
        assert known.retirement is not None
        said = replace(known, retirement=replace(known.retirement, stated=True))
        assert (await probed(here, said)).reason == UNASKED
        with service.desk.database.write() as connection:
            connection.execute(
                t.KEY_VERSIONS.update().where(row.venue_key_id == fresh).values(stage="current")
            )


async def test_another_account_behind_the_same_egress_is_compared_with(tmp_path: Path) -> None:
    """And only beside a refusal by name: a list of addresses is each key's own."""
    async with running_alone(tmp_path) as here:
        rotation, old, fresh = await waits_for_a_person(here)
        exchange, service, paper = here.world.paper.exchange, here.world.service, here.world.paper
        paper.account("other@paper.test")
        service.accounts.create("other", venue="binance", egress="out", upstream=paper.base_url)
        real = paper.key("other@paper.test", ips=(ACCOUNT_ADDRESS,))
        assert real.secret is not None
        facts = KeyFacts(True, True, False, False, True, str(exchange.accounts["other@paper.test"].uid))
        credential = Credential(real.key_id, real.secret, KeyType.HMAC)
        service.keys.import_key("other", slot=Slot.TRADE, credential=credential, facts=facts)
        known = on_record(here, rotation)
        with service.desk.database.write() as connection:
            row = t.KEY_VERSIONS.c
            connection.execute(
                t.KEY_VERSIONS.update().where(row.venue_key_id == fresh).values(stage="previous")
            )
        exchange.switches["deleted_key_api_code"] = -2008
        exchange.keys[old].deleted = True
        reply = await probed(here, known)
        assert reply.reason == NAMED
        assert "other/trade/1 was served by the same way right after" in reply.proof
        secrets, other = service.desk.secrets, service.keys.list("other")[0].path
        read = secrets.read
        for how in ("incomplete", "tampered", "vault_deleted"):
            lose(secrets, other, how)
            reply = await probed(here, known)
            assert (reply.answer, reply.reason) == (Answer.UNKNOWN, NAMED_ALONE), (
                "it could not have been asked with"
            )
            assert "no other key is in use here" in reply.proof
            secrets.read = read  # type: ignore[method-assign]
        exchange.keys[real.key_id].deleted = True
        reply = await probed(here, known)
        assert reply.reason == BLIND, "it may have been given up long ago, or we are in a ban"
        assert "other/trade/1, which is in use, is not served from here either" in reply.proof
        exchange.keys[real.key_id].deleted = False
        exchange.switches["deleted_key_api_code"] = -2015
        assert known.retirement is not None
        said = replace(known, retirement=replace(known.retirement, stated=True))
        reply = await probed(here, said)
        assert "other/trade/1" not in reply.proof
        with service.desk.database.write() as connection:
            connection.execute(
                t.KEY_VERSIONS.update().where(row.venue_key_id == fresh).values(stage="current")
            )


async def ends_by_word(here: Place) -> tuple[str, str]:
    """The old key's secret is lost, nobody deletes it, and a person says that they did; return what came of it."""
    service = here.world.service
    rotation, old, _ = await waits_for_a_person(here)
    service.desk.secrets.destroy(known_path(here, 1))
    reply = await probed(here, on_record(here, rotation))
    assert (reply.answer, reply.reason) == (Answer.UNKNOWN, UNASKED), (
        "nothing was asked, so nothing was refused"
    )
    await looked_at(here, rotation, 2)
    asked = str(service.rotations.get(rotation).todo)
    assert "nobody can ask the exchange" in asked
    assert "What the exchange said of it" not in asked
    assert await told(here, rotation, {"deleted": True}) == ""
    await reached(here, rotation, State.DONE, most=1500)
    return rotation, old


async def test_what_nobody_could_ask_ends_by_a_word_alone_and_is_told_of_until_it_is_confirmed(
    tmp_path: Path,
) -> None:
    async with running_alone(tmp_path) as here:
        service = here.world.service
        rotation, old = await ends_by_word(here)
        assert old in living(here)
        said = service.rotations.get(rotation).reason
        assert "the exchange refuses" not in said
        assert "is dead" not in said
        assert "by a person's word alone" in said
        for wrong in (service.conditions.look(), conditions(service, now())):
            (one,) = (one for one in wrong if one.kind == "key")
            assert one.step == "portcullis reconcile --deleted main/trade/1"
            assert "nobody could ask the exchange" in one.says
        declared(here, "main/trade/2")
        assert [one.kind for one in service.conditions.look()].count("key") == 1, "that is another key"
        here.world.paper.exchange.keys[old].deleted = True  # looked up once more, as it says: it was listed
        declared(here, "main/trade/1")
        assert "key" not in {one.kind for one in service.conditions.look()}
        actions = [one.entry.action for one in service.audit.list(limit=1000).items]
        assert actions.count("key.confirm-deleted") == 1


def declared(here: Place, key: str) -> None:
    """Say once more that a key is deleted, as `portcullis reconcile --deleted` does."""

    def ask(*_: object) -> KeyFacts:
        raise VenueUnavailable("binance", "x", "timed_out")

    here.world.service.reconciliation.look(
        ask, lambda *_: Surveyed(), confirmed=(), old_host_off=False, deleted=(key,)
    )


@pytest.mark.parametrize("deleted", [True, False])
async def test_a_list_that_can_be_had_later_says_what_became_of_it(tmp_path: Path, *, deleted: bool) -> None:
    """The account goes under a manager key afterwards: the sweep sees the key, or that it is not there."""
    async with running_alone(tmp_path) as here:
        service = here.world.service
        _, old = await ends_by_word(here)
        here.world.paper.exchange.keys[old].deleted = deleted
        with service.desk.database.write() as connection:
            managers.assign(connection, "main", "master", EMAIL)
        sweeper = Sweeper(service, Venues(service), here.runner().journal)
        assert await asyncio.to_thread(sweeper.sweep, now()) == ()
        assert BY_WORD in {one.what for one in service.rotations.findings()}, "a list may lag"
        assert await asyncio.to_thread(sweeper.sweep, now() + timedelta(days=1)) == ()
        if deleted:
            assert BY_WORD in {one.what for one in service.rotations.findings()}, "that is one list"
            later_us = APART // timedelta(microseconds=1)
            here.world.paper.exchange.offset_us += later_us
            assert await asyncio.to_thread(sweeper.sweep, now() + timedelta(days=1)) == ()
            here.world.paper.exchange.offset_us -= later_us
        death = next(key.death for key in service.keys.list("main") if key.venue_key_id == old)
        assert death is (Death.PROVEN if deleted else Death.UNPROVEN)
        found = {one.what for one in service.rotations.findings() if one.key_id == old}
        assert found == (set() if deleted else {"undead", BY_WORD})
        here.world.paper.exchange.keys[old].deleted = True  # as a person does who is told so
