"""A key whose death is on record was not left: nobody is told that it may live on."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from broker.db import findings
from broker.db.findings import LEFT, Finding
from broker.errors import StoreUnavailable
from broker.model import Death, KeyRef, Stage
from broker.service.rotations import Wish
from clients.venue import Slot
from rotation.alerts.conditions import all_that_is_wrong
from rotation.decide import decide
from rotation.ending import leave
from rotation.making import Making
from rotation.possible import commands
from rotation.retire import STATED, TWICE_ABSENT
from rotation.state import Answer, Phase, Reply, Resume, Rotation, State
from tests.rotation.place import QUICK, Place, now, running_place
from tests.rotation.test_left import asked, waiting
from tests.rotation.world import BEGAN

OLD, NEW = KeyRef("main", Slot.TRADE, 1), KeyRef("main", Slot.TRADE, 2)


def told(here: Place) -> list[str]:
    """Return what is said of keys that were left, wherever it is."""
    service = here.world.service
    wrong = [one.subject for one in all_that_is_wrong(service, now()) if one.subject.endswith(f"/{LEFT}")]
    return wrong + [one.says for one in service.rotations.findings() if one.what == LEFT]


async def buried_but_for_its_secret(here: Place, ref: KeyRef) -> Rotation:
    """Rotate with a Vault that lets nobody destroy one secret."""
    secrets = here.world.service.desk.secrets
    destroy: Callable[[str], None] = secrets.destroy

    def forbidden(path: str) -> None:
        if path == ref.path:
            raise StoreUnavailable("vault_forbidden", f"Vault does not let our role destroy {path}")
        destroy(path)

    secrets.destroy = forbidden  # type: ignore[method-assign]
    planned = replace(here.plan(), limits=replace(QUICK, probes=6))
    runner = here.runner()
    await asyncio.to_thread(runner.journal.plan, planned)
    done = await here.carried_out(planned.id, runner)
    assert (done.state, done.runbook) == (State.STALLED, "RB-10")
    key = next(one for one in here.world.service.keys.list("main") if one.ref == ref)
    assert (key.stage, key.death) == (Stage.TOMBSTONE, Death.PROVEN)
    return done


@pytest.mark.sockets
@pytest.mark.parametrize("ref", [OLD, NEW])
async def test_a_rotation_that_waits_for_a_secret_alone_is_ended_and_leaves_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ref: KeyRef
) -> None:
    """It was told for ever that it may live on, and there was nothing to retire."""
    async with running_place(tmp_path) as here:
        if ref == NEW:
            refused = Reply(Answer.REFUSED, "withdraw is on and should be off")
            monkeypatch.setattr(Making, "verify", lambda *_: refused)
        done = await buried_but_for_its_secret(here, ref)
        assert "its secret not destroyed: vault_forbidden" in done.reason
        (way,) = (one for one in commands(done) if "--leave" in one)
        assert "is dead, and its secret may stay in the store" in way
        assert await asked(here, done.id, Wish.RESUME, leave=True) == ""
        ended = here.world.service.rotations.get(done.id)
        assert "is dead, and its tombstone is not written, or its secret not destroyed" in ended.reason
        assert told(here) == []


@pytest.mark.sockets
async def test_what_was_written_of_a_dead_key_before_is_told_no_more(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        old, database = here.old_key, here.world.service.desk.database
        assert (await here.rotate()).state is State.DONE
        with database.write() as connection:
            findings.add(connection, Finding("main", old, LEFT, "it may live on", str(OLD)), 1)
        assert told(here) == []


@pytest.mark.parametrize("state", [State.RETIRING_OLD, State.DISCARDING_NEW])
def test_what_is_not_dead_is_still_left_as_it_is(state: State) -> None:
    stalled = replace(waiting(state), state=State.STALLED, stalled_from=state)
    assert any("--leave (ends it; the key that was to go lives on)" in one for one in commands(stalled))
    ended = decide(stalled, Resume(leave=True), BEGAN).rotation
    assert (ended.state, ended.reason.rpartition(" version ")[2][2:]) == (State.ABANDONED, "may live on")


def test_what_a_persons_word_ended_is_not_called_dead() -> None:
    known = waiting(State.RETIRING_OLD, Phase.ENTOMBING)
    assert known.retirement is not None
    for proof, says in ((TWICE_ABSENT, "is dead"), (STATED, "counts as deleted")):
        stated = replace(known, retirement=replace(known.retirement, proof=proof))
        assert says in leave(stated, BEGAN).rotation.reason
