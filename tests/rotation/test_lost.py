"""A key whose secret is lost is one that nobody can ask with, in whatever way it is lost: no probe waits for it."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from broker.db import tables as t
from broker.model import KeyRef, Stage
from clients.venue import Slot
from rotation.decide import decide
from rotation.effects import Effects
from rotation.retire import STATED_UNASKED, UNASKED
from rotation.state import MANAGER_LOST, Answer, Do, Effect, State
from rotation.sweeper import Sweeper
from rotation.venues import Venues
from tests.losing import WAYS, lose
from tests.rotation.place import EMAIL, now, running_place
from tests.rotation.test_assisted import reached, running_alone, told
from tests.rotation.test_by_name import known_path, on_record, planned, probed, proof, waits_for_a_person

pytestmark = pytest.mark.sockets


@pytest.mark.parametrize("how", WAYS)
async def test_a_managers_list_proves_the_death_of_what_cannot_be_asked_with(
    tmp_path: Path, how: str
) -> None:
    async with running_place(tmp_path) as here:
        lose(here.world.service.desk.secrets, KeyRef("main", Slot.TRADE, 1).path, how)
        ended = await here.rotate(most=1500)
        assert ended.state is State.DONE, ended.reason
        assert "absent from two lists" in proof(here)


async def test_what_signs_nothing_cannot_be_asked_with(tmp_path: Path) -> None:
    """There is a value, and no key can be made of it."""
    async with running_alone(tmp_path) as here:
        rotation, _, _ = await waits_for_a_person(here)
        known = on_record(here, rotation)
        lose(here.world.service.desk.secrets, known_path(here, 1), "garbled")
        with here.world.service.desk.database.write() as connection:
            here_is = (t.KEY_VERSIONS.c.slot == "trade", t.KEY_VERSIONS.c.version == 1)
            connection.execute(t.KEY_VERSIONS.update().where(*here_is).values(key_type="ed25519"))
        reply = await probed(here, known)
        assert (reply.answer, reply.reason) == (Answer.UNKNOWN, UNASKED)


@pytest.mark.parametrize("how", ["incomplete", "vault_deleted"])
async def test_a_persons_word_ends_what_cannot_be_asked_with(tmp_path: Path, how: str) -> None:
    async with running_alone(tmp_path) as here:
        rotation, old, _ = await waits_for_a_person(here)
        lose(here.world.service.desk.secrets, known_path(here, 1), how)
        here.world.paper.exchange.keys[old].deleted = True
        assert await told(here, rotation, {"deleted": True}) == ""
        await reached(here, rotation, State.DONE, most=1500)
        assert proof(here).startswith(STATED_UNASKED)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("do", [Do.MOVE, Do.VERIFY])
async def test_no_key_comes_into_use_whose_secret_is_lost(tmp_path: Path, how: str, do: Do) -> None:
    """Waiting brings it back as little as one that is nowhere."""
    async with running_place(tmp_path) as here:
        service = here.world.service
        known = replace(await planned(here), old=None, new=1, new_key_id=here.old_key)
        lose(service.desk.secrets, KeyRef("main", Slot.TRADE, 1).path, how)
        effects = Effects(service, Venues(service))
        reply = await asyncio.to_thread(effects.perform, known, Effect(do, 1))
        assert reply.answer is Answer.REFUSED
        assert reply.reason.startswith(how)


@pytest.mark.parametrize("how", WAYS)
async def test_a_sweep_says_what_brings_it_back(tmp_path: Path, how: str) -> None:
    async with running_place(tmp_path) as here:
        service = here.world.service
        lose(service.desk.secrets, KeyRef("main", Slot.TRADE, 1).path, how)
        sweeper = Sweeper(service, Venues(service), here.runner().journal)
        assert await asyncio.to_thread(sweeper.sweep, now()) == ()
        (one,) = service.rotations.findings()
        assert one.what == "no-secret"
        assert "rotate it" in one.says
        assert "import it again" not in one.says
        assert [key.stage for key in service.keys.list("main")] == [Stage.CURRENT]


@pytest.mark.parametrize("how", WAYS)
async def test_that_the_managers_secret_is_lost_is_no_word_on_the_keys_of_an_account(
    tmp_path: Path, how: str
) -> None:
    """The new key was discarded as not as ordered, and the exchange was said to refuse a delete."""
    async with running_place(tmp_path) as here:
        service = here.world.service
        known = replace(await planned(here), new=1, new_key_id=here.old_key, stamp_us=1)
        (manager,) = service.managers.list()
        lose(service.desk.secrets, manager.path, how)
        effects = Effects(service, Venues(service))
        for do in (Do.READ_CLOCK, Do.FIND, Do.VERIFY):
            reply = await asyncio.to_thread(effects.perform, known, Effect(do, 1))
            assert (reply.answer, reply.code) == (Answer.RETRY, MANAGER_LOST), do
            assert reply.reason == f"{MANAGER_LOST}: {reply.says}"
            assert reply.says.startswith("the secret of the manager key master, which main is under, is lost")
        asked = replace(known, state=State.VERIFYING, asked=Effect(Do.VERIFY, 1), tries=known.limits.tries)
        step = decide(asked, reply, now())
        assert (step.rotation.state, step.rotation.tries) == (State.VERIFYING, asked.tries)
        assert step.note == reply.says
        assert reply.says.partition(": ")[2].split(", then ") == [
            "portcullis manager import --name master-2 --egress direct",
            f"portcullis account manage main --manager master-2 --subaccount {EMAIL}",
        ]
        sweeper = Sweeper(service, Venues(service), here.runner().journal)
        (trouble,) = await asyncio.to_thread(sweeper.sweep, now())
        assert "portcullis manager import" in trouble
        assert next(key.stage for key in service.keys.list("main")) is Stage.CURRENT
