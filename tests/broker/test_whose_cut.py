"""Whose a cut is says the record: a document in the secret store may say anything of it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from broker import gate_document
from broker.deeds import Deed
from broker.errors import Conflict
from broker.gate import Mode
from broker.gate_document import NotedCut
from broker.model import EVERYTHING, ITSELF, new_id
from broker.service import again
from broker.service.cuts import Cut
from tests.broker.test_put_back import Life
from tests.broker.test_written_anew import BOT, OTHER, PANIC, merged, mode, thaw, write
from tests.broker.test_written_anew import home as home  # noqa: PLC0414 - a fixture

GUARDED = (Deed.MAKE, Deed.DELETE, Deed.PLAN, Deed.SWEEP)
THEIRS = again.reason("you are mine", "portcullis grant revoke grt_other --reason WHY")


def close(life: Life, *targets: str, reason: str, actor: str) -> str:
    cut, _ = life.service.cuts.close(targets=targets, mode=Mode.CLOSED, reason=reason, actor=actor)
    merged(life)
    return cut.id


def anew(life: Life, cut: str, **fields: object) -> Cut:
    text = life.secrets.mirror.read(cut)
    assert text is not None
    write(life, json.dumps(json.loads(text) | fields), cut)
    merged(life)
    return life.service.cuts.get(cut)


@pytest.mark.parametrize("actor", ["ann", ITSELF])
def test_a_closing_of_ours_is_guarded_whoever_is_said_to_have_made_it(home: Path, actor: str) -> None:
    with Life(home) as life:
        cut = close(life, EVERYTHING, reason="restored", actor=ITSELF)
        found = anew(life, cut, scopes=[EVERYTHING, BOT], actor=actor, reason=THEIRS)
        assert (found.actor, mode(life, BOT)) == (ITSELF, Mode.CLOSED)
        assert found.reason.startswith("restored; ")
        assert "you are mine" in found.reason
        assert again.command_in(found.actor, found.reason) is None
        found = anew(life, cut, scopes=[EVERYTHING, BOT, OTHER], actor="ben", reason="x" * 9_999)
        assert (found.actor, "ann" in found.reason, len(found.reason) < 400) == (ITSELF, False, True)
    with Life(home) as life:  # which has read nothing yet of what it knows
        guard = life.service.desk.guard
        assert {getattr(guard.allows(deed), "reason", None) for deed in GUARDED} == {"not_compared"}
        with pytest.raises(Conflict, match="not compared"):
            thaw(life, cut)
        assert mode(life, EVERYTHING) is Mode.CLOSED


def test_what_stands_in_for_something_forgotten_keeps_its_command(home: Path) -> None:
    ours = "portcullis grant revoke grt_1 --reason WHY"
    with Life(home) as life:
        cut = close(life, BOT, reason=again.reason("it was revoked", ours), actor=ITSELF)
        found = anew(life, cut, scopes=[BOT, OTHER], actor="ann", reason=THEIRS)
        assert (again.command_in(found.actor, found.reason), mode(life, OTHER)) == (ours, Mode.CLOSED)
        thaw(life, cut)
        merged(life)
        assert (mode(life, BOT), mode(life, OTHER)) == (Mode.OPEN, Mode.OPEN)


def test_a_cut_of_a_person_does_not_become_ours_by_what_is_written_over_it(home: Path) -> None:
    with Life(home) as life:
        cut = close(life, BOT, reason="leak", actor="ann")
        found = anew(life, cut, scopes=[BOT, EVERYTHING], actor=ITSELF, reason=THEIRS)
        assert (found.actor, mode(life, EVERYTHING)) == ("ann", Mode.CLOSED)
        assert life.service.desk.guard.allows(Deed.MAKE) is None
        thaw(life, cut)
        merged(life)
        found = anew(life, cut, thawed_us=None, opened_us=7, actor=ITSELF)
        assert (found.actor, found.thawed_at) == ("ann", None)


def test_a_name_of_a_person_is_none_of_ours(home: Path) -> None:
    with Life(home) as life:
        write(life, replace(PANIC, actor=ITSELF, reason=THEIRS))
        merged(life)
        assert life.closings() == []
        assert life.service.desk.guard.allows(Deed.MAKE) is None
        thaw(life)
        assert mode(life, EVERYTHING) is Mode.OPEN


def test_a_closing_of_ours_that_the_database_forgot_is_ours_again(home: Path) -> None:
    """The document says so, under a name of ours: who doubts that guards less."""
    noted = NotedCut(new_id("cut"), Mode.CLOSED, (EVERYTHING,), "restored", ITSELF, 1)
    with Life(home) as life:
        write(life, gate_document.dump(noted), noted.id)
        merged(life)
        assert [one.id for one in life.closings()] == [noted.id]
        with pytest.raises(Conflict, match="not compared"):
            thaw(life, noted.id)


@pytest.mark.parametrize("command", ["portcullis account release main", "portcullis thaw --reason x cut_1"])
def test_only_what_takes_from_a_grant_is_done_again(command: str) -> None:
    assert again.command_in(ITSELF, again.reason("x", command)) is None
