"""Slips of operators cost nothing: a wrong id, a wrong moment, a key imported in between, an answer given twice."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.db.accounts import set_venue_key_id
from broker.db.asks import Ask
from broker.model import KeyRef, Stage
from broker.service.rotations import Wish
from clients.secret import Secret
from clients.venue import Slot
from rotation.making import _fresh_private as fresh_private
from rotation.state import Answer, Do, Effect, Halt, Reply, State
from tests.rotation.place import (
    ACCOUNT_ADDRESS,
    EMAIL,
    QUICK,
    STRANGER,
    Place,
    now,
    running_place,
)
from tests.rotation.test_asks import asks, outcome
from tests.rotation.test_assisted import begun, living, person_makes, running_alone, told

pytestmark = pytest.mark.sockets


async def said(here: Place, rotation: str, wish: Wish, **body: Any) -> str:
    """Ask something of a rotation; return what came of it."""
    ask = here.world.service.rotations.ask(rotation, wish, body)
    work = asks(here)
    while (answer := outcome(here, ask)) is None:
        await asyncio.to_thread(work.once)
        await asyncio.sleep(0.02)
    return answer


def stands(here: Place, **changes: Any) -> str:
    """Put a rotation on record that stands somewhere."""
    planned = replace(here.plan(), limits=QUICK, **changes)
    here.runner().journal.plan(planned)
    return planned.id


async def ended(here: Place, rotation: str) -> str:
    done = await here.carried_out(rotation, here.runner())
    return done.state.value


async def test_the_id_of_a_key_in_use_is_no_answer_to_what_was_made(tmp_path: Path) -> None:
    """It would be verified, refused for its signature, and deleted."""
    async with running_place(tmp_path) as here:
        old = here.old_key
        rotation = stands(here, state=State.STALLED, stalled_from=State.RECONCILING, runbook="RB-07")
        answer = await said(here, rotation, Wish.RESUME, key_id=old)
        assert answer.startswith("key_known: this is the id of main/trade/1")
        assert here.world.service.rotations.get(rotation).state == "stalled"
        assert await said(here, rotation, Wish.RESUME, key_id="") == ""
        assert here.world.service.rotations.get(rotation).state == "abandoned"
        assert living(here) == {old}


@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize("where", ["reconciling", "halting"])
async def test_a_key_that_nothing_shows_to_be_ours_is_left_alone(
    tmp_path: Path, where: str, private: bool
) -> None:
    """The id was believed: a key that a person had made for something else was deleted at the exchange."""
    async with running_place(tmp_path) as here:
        here.plays = (STRANGER,)
        anothers = here.world.paper.key(EMAIL, ips=(ACCOUNT_ADDRESS,))
        changes: dict[str, Any] = {
            "state": State.STALLED,
            "stalled_from": State.RECONCILING,
            "runbook": "RB-07",
        }
        if where == "halting":
            changes = {"state": State.HALTING, "halt": Halt((1,), (1,), looked=False), "reason": "a leak"}
        rotation = stands(here, **changes)
        if private:
            ref = KeyRef("main", Slot.TRADE, 2)
            here.world.service.desk.secrets.write(
                ref.path, {"secret": fresh_private()}, {"rotation": rotation}
            )
        answer = await said(here, rotation, Wish.RESUME, key_id=anothers.key_id)
        assert answer.startswith("not_ours: "), answer
        assert anothers.key_id in living(here)
        assert here.world.service.rotations.get(rotation).state == changes["state"].value


async def test_a_key_with_our_label_is_ours(tmp_path: Path) -> None:
    """Its secret was lost with the answer: it is deleted, and proven dead."""
    async with running_place(tmp_path) as here:
        rotation = stands(here, state=State.STALLED, stalled_from=State.RECONCILING, runbook="RB-07")
        made = here.world.paper.key(EMAIL, ips=(ACCOUNT_ADDRESS,))
        made.label = rotation
        assert await said(here, rotation, Wish.RESUME, key_id=made.key_id) == ""
        assert await ended(here, rotation) == "abandoned"
        assert living(here) == {here.old_key}


async def test_the_key_in_use_is_not_deleted_whatever_a_rotation_calls_it(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        old, runner = here.old_key, here.runner()
        planned = replace(here.plan(), new_key_id=old, stamp_us=here.world.service.desk.clock.now_us())
        runner.journal.plan(planned)
        with here.world.service.desk.database.write() as connection:
            set_venue_key_id(connection, KeyRef("main", Slot.TRADE, 2), old)
        reply = await asyncio.to_thread(runner.effects.perform, planned, Effect(Do.DELETE, 2))
        assert reply == Reply(Answer.REFUSED, "not deleted: it is the key in use")
        assert living(here) == {old}


async def test_the_old_key_is_no_answer_to_an_assisted_rotation(tmp_path: Path) -> None:
    async with running_alone(tmp_path) as here:
        (old,) = here.living()
        assert old.secret is not None
        rotation = await begun(here, hmac=True)
        answer = await told(here, rotation, {"key_id": old.key_id}, Secret(old.secret.reveal()))
        assert answer.startswith("key_known: ")
        assert here.world.service.rotations.get(rotation).state == "creating"
        assert living(here) == {old.key_id}


async def test_an_assisted_rotation_that_waits_can_be_given_up(tmp_path: Path) -> None:
    async with running_alone(tmp_path) as here:
        rotation = await begun(here)
        refused = await said(here, rotation, Wish.PAUSE)
        assert refused.startswith("not_now: it is creating")
        assert f"portcullis rotation rollback {rotation}" in refused
        assert await said(here, rotation, Wish.ROLL_BACK, reason="the wrong account") == ""
        known = here.world.service.rotations.get(rotation)
        assert (known.state, known.reason) == ("abandoned", "the wrong account")
        here.runner().effects.burial.clear_up()
        versions = {key.ref.version: key for key in here.world.service.keys.list("main")
                    if key.ref.slot is Slot.TRADE}  # fmt: skip
        assert versions[2].stage is Stage.TOMBSTONE
        assert here.world.service.desk.secrets.paths("keys/main/trade/2") in {(), (versions[2].path,)}
        again = await begun(here)
        assert again != rotation


async def test_it_is_not_taken_back_to_a_key_that_is_dead(tmp_path: Path) -> None:
    """Somebody deleted the old key by hand meanwhile: the new one is all there is."""
    async with running_place(tmp_path) as here:
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        planned = replace(here.plan(), limits=replace(QUICK, watch_for=QUICK.drain_for))
        runner, old = here.runner(), here.old_key
        await asyncio.to_thread(runner.journal.plan, planned)
        while here.world.service.rotations.get(planned.id).state != "draining":
            await asyncio.to_thread(runner.once)
            await asyncio.sleep(0.02)
        here.world.paper.exchange.keys[old].deleted = True
        assert await said(here, planned.id, Wish.ROLL_BACK, reason="asked") == ""
        assert (await here.carried_out(planned.id, runner)).state is State.STALLED
        known = here.world.service.rotations.get(planned.id)
        assert known.runbook == "RB-08"
        assert "does not serve the old key" in known.reason
        assert await said(here, planned.id, Wish.RESUME, onward=True) == ""
        held = runner.journal.claim_one(planned.id, now())
        assert held is not None
        assert held.rotation.state is State.DRAINING
        current = [key for key in here.world.service.keys.list("main") if key.stage is Stage.CURRENT]
        assert [key.venue_key_id for key in current] == [key.key_id for key in here.living()]


async def test_a_start_that_was_planned_and_not_answered_is_answered(tmp_path: Path) -> None:
    """The rotator died between the two."""
    async with running_place(tmp_path) as here:
        ask: Ask = here.world.service.rotations.start("main", Slot.TRADE)
        asks(here)._start(ask.rotation, {"account": "main", "slot": "trade", "why": "asked"})
        assert asks(here).once()
        assert outcome(here, ask) == ""
        assert len(here.world.service.rotations.list().items) == 1


async def test_a_second_person_makes_the_key_where_the_first_mistyped(tmp_path: Path) -> None:
    async with running_alone(tmp_path) as here:
        rotation = await begun(here)
        key = person_makes(here, dict(here.world.service.rotations.get(rotation).todo))
        refused = await told(here, rotation, {"key_id": "X" * 64})
        assert refused.startswith("venue_")
        assert await told(here, rotation, {"key_id": key}) == ""
