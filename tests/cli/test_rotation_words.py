"""What is said of a rotation: who is waited for, what was proven, and the command to go on with."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from portcullis.cli import rotation_screen, streams
from portcullis.cli.answers import plain, read
from portcullis.cli.app import app
from portcullis.cli.face import Face
from portcullis.cli.pages import PAGES
from portcullis.cli.rotation_answers import Delivery, RotationWhole, Transition
from portcullis.cli.rotation_screen import follow, whole
from portcullis.cli.rotation_words import (
    KEPT,
    awaited,
    line_words,
    note,
    stands_in,
    versions,
    ways_for,
    ways_on,
    words,
)
from rotation.ending import LEFT
from rotation.retire import STATED
from rotation.state import Do, State
from rotation.steps import RUNBOOKS

ROOT = Path(__file__).parents[2]
ID = "rot_ddc5618f804e4cfc6b49"
PASTES = "a person pastes main/trade/2 into the tax tool, Settings > Exchanges"
NOBODY: frozenset[str] = frozenset()


def line(was: str, state: str, note: str = "", *, effect: str = "", event: str = "Tick") -> Transition:
    at = "2026-11-28T10:00:00.000000+00:00"
    found = {"at": at, "event": event, "was": was, "state": state, "effect": effect, "note": note}
    return read(Transition, found)


def delivery(name: str, **changes: Any) -> Delivery:
    return read(
        Delivery,
        {
            "destination": name, "version": 2, "delivered_at": None, "confirmed_at": None, "waived_by": None,
            "tries": 1, "says": PASTES,
        } | changes,
    )  # fmt: skip


def rotation(state: str, *history: Transition, **changes: Any) -> RotationWhole:
    at = "2026-11-28T10:00:00+00:00"
    given = {
        "id": ID, "account": "main", "slot": "trade", "state": state, "why": "asked", "old_version": 1,
        "new_version": 2, "reason": "", "runbook": "", "paused": False, "created_at": at, "entered_at": at,
        "due_at": at, "ended_at": None, "todo": None, "held": "", "beside": [], "history": list(history), "deliveries": [],
        "asks": [],
    } | changes  # fmt: skip
    return read(RotationWhole, json.loads(json.dumps(given, default=plain)))


def stalled(state: State, **changes: Any) -> RotationWhole:
    return rotation("stalled", line(state.value, "stalled"), runbook=RUNBOOKS[state], **changes)


def shown(found: RotationWhole, manual: frozenset[str] = NOBODY, width: int = 80) -> str:
    out = Console(width=width, file=io.StringIO(), highlight=False)
    with out.capture() as capture:
        whole(out, Face(), found, manual)
    return capture.get()


def test_every_state_and_effect_has_its_words() -> None:
    for state in State:
        assert words(rotation("draining"), state.value)
    for effect in Do:
        assert line_words(line("draining", "draining", effect=effect.value)) not in {"", effect.value}


@pytest.mark.parametrize("runbook", sorted(set(RUNBOOKS.values())))
def test_the_page_that_is_named_is_there(runbook: str) -> None:
    assert (ROOT / PAGES[runbook]).exists()


@pytest.mark.parametrize("state", sorted(RUNBOOKS))
def test_whatever_stalls_prints_its_page_and_commands_that_are_whole(state: State) -> None:
    text = shown(stalled(state))
    assert PAGES[RUNBOOKS[state]] in text
    for way in ways_on(stalled(state)):
        assert way.command in text
        assert ID in way.command


@pytest.mark.parametrize(
    ("state", "option"),
    [
        (State.RECONCILING, "--key-id"),
        (State.RECONCILING, "--no-key"),
        (State.CUTTING_OVER, "--discard"),
        (State.ROLLING_BACK, "--onward"),
        (State.DRAINING, "rollback"),
    ],
)
def test_a_way_on_is_offered_where_it_can_be_taken_and_nowhere_else(state: State, option: str) -> None:
    offered = {one for one in RUNBOOKS if any(option in way.command for way in ways_on(stalled(one)))}
    assert offered == {state}


@pytest.mark.parametrize("how", [{"paused": True}, {"held": "it was open when cut_1 closed everything"}])
def test_what_stands_still_prints_how_it_goes_on_or_is_given_up(how: dict[str, Any]) -> None:
    """A paused one printed no command at all, and one held after a restore no way to take the old key back."""
    text = shown(rotation("draining", **how))
    assert f"rotation resume {ID}" in text
    assert f'rotation rollback {ID} --reason "..."' in text
    late = shown(rotation("retiring-old", **how))
    assert f"rotation resume {ID}" in late
    assert "rollback" not in late
    over = shown(rotation("done", ended_at="2026-11-28T10:00:09+00:00", **how))
    assert "rotation resume" not in over


@pytest.mark.parametrize("beside", [["--discard"], ["--onward"], ["--no-key"], ["--key-id", "k"]])
def test_to_leave_a_key_and_to_go_on_are_not_said_in_one(beside: list[str], tmp_path: Path) -> None:
    """What was typed beside `--leave` was dropped in silence, or the other way round."""
    home = ["--home", str(tmp_path / "home")]
    assert CliRunner().invoke(app, [*home, "init", "--environment", "paper", "--mode", "solo"]).exit_code == 0
    done = CliRunner().invoke(app, [*home, "rotation", "resume", ID, "--leave", *beside])
    assert done.exit_code == 1
    assert "--leave ends it" in done.stderr


def test_what_stalls_while_a_key_is_retired_can_be_ended_and_taken_back_where_the_key_that_stays_is_lost() -> (
    None
):
    for state in (State.RETIRING_OLD, State.DISCARDING_NEW):
        lost = stalled(state, reason=f"{KEPT}the secret is gone")
        assert any("--leave" in way.command for way in ways_on(stalled(state)))
        assert not any("rollback" in way.command for way in ways_on(stalled(state)))
        assert any("rollback" in way.command for way in ways_on(lost)) is (state is State.RETIRING_OLD)


def test_a_destination_that_stalls_a_drain_is_named_with_every_way_to_let_go() -> None:
    found = stalled(State.DRAINING, deliveries=[delivery("tax"), delivery("file", says="no such file")])
    text = shown(found, frozenset({"tax"}), 200)
    for command in (
        "destination key tax", f"destination confirm tax --rotation {ID}",
        f"rotation waive {ID} --destination tax", f"rotation waive {ID} --destination file",
    ):  # fmt: skip
        assert command in text
    assert "confirm file" not in text


def test_who_is_waited_for_stays_on_the_screen_when_the_last_line_says_nothing() -> None:
    held = f"local may use it for up to 5 s; tax: {PASTES}"
    found = rotation(
        "draining", line("cutting-over", "draining"), line("draining", "draining", held),
        line("draining", "draining", effect="drain"), deliveries=[delivery("tax")],
    )  # fmt: skip
    assert note(found) == "local may use it for up to 5 s"
    assert [one.destination for one in awaited(found)] == ["tax"]


def test_a_note_of_the_state_before_is_not_said_of_this_one() -> None:
    found = rotation("draining", line("canary", "canary", "local tries it"), line("cutting-over", "draining"))
    assert note(found) == ""


@pytest.mark.parametrize(
    "done",
    [
        delivery("tax", confirmed_at="2026-11-28T10:00:00+00:00"),
        delivery("tax", waived_by="ann"),
        delivery("tax", version=1),
    ],
)
def test_who_confirmed_or_was_waived_or_has_another_key_is_not_waited_for(done: Delivery) -> None:
    assert awaited(rotation("draining", deliveries=[done])) == []


def test_a_rotation_that_goes_back_waits_for_the_old_key_to_be_taken() -> None:
    found = rotation("draining-new", deliveries=[delivery("tax"), delivery("file", version=1)])
    assert [one.destination for one in awaited(found)] == ["file"]
    assert ways_for(found, found.deliveries[1], NOBODY)[0].command.startswith("rotation waive")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "the old key is proven dead"),
        ({"old_version": None}, "the first key is in use"),
        ({"reason": f"version 1 is dead: {STATED}"}, "stated, not proven"),
    ],
)
def test_of_the_old_key_it_says_what_was_proven(changes: dict[str, Any], said: str) -> None:
    found = rotation("done", **changes)
    assert said in words(found, "done")
    assert ("proven dead" in words(found, "done")) is (said == "the old key is proven dead")


@pytest.mark.parametrize("old", [None, 1])
@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (f"{LEFT}: version 1 may live on", "the key that was to go is not proven dead"),
        ("dropped: the old host is gone", "a key that it made may live"),
    ],
)
def test_one_that_a_person_ended_is_said_to_leave_a_key_also_where_it_was_the_first(
    old: int | None, reason: str, said: str
) -> None:
    """Of a first key it said that no key was in use, and none is; of a dropped one that the old key stays in use."""
    assert said in words(rotation("abandoned", reason=reason, old_version=old), "abandoned")
    given_up = words(rotation("abandoned", reason="no key was made", old_version=old), "abandoned")
    assert given_up.startswith("given up: ")


def test_where_a_person_makes_the_key_nobody_says_that_the_exchange_is_asked() -> None:
    asked = rotation("verifying", line("creating", "creating", effect="ask-create"))
    assert "a person" in words(asked, "creating")
    assert "a person" not in words(rotation("verifying"), "creating")


def test_one_that_only_retires_a_key_shows_no_new_one() -> None:
    assert versions(rotation("retiring-old", why="retire", new_version=3)) == "1 retires"
    assert versions(rotation("draining", old_version=None)) == "none -> 2"


def test_where_it_stalled_is_read_from_its_history() -> None:
    found = rotation("stalled", line("reconciling", "stalled"), line("stalled", "stalled"))
    assert stands_in(found) == "reconciling"


@pytest.mark.parametrize("event", ["refused out_of_budget", "unknown", "retry rate_limited", "ok"])
def test_a_history_speaks_no_machine_words(event: str) -> None:
    said = line_words(line("draining", "draining", event=event))
    assert "_" not in said
    assert not said.startswith(("refused ", "unknown", "retry", "ok"))


def test_steps_for_a_person_are_wrapped_between_words_and_the_key_is_not() -> None:
    key = "-----BEGIN PUBLIC KEY-----\n" + "A" * 90 + "\n-----END PUBLIC KEY-----"
    todo = {"title": "make a key", "steps": ["Create a key: self-generated (Ed25519): you upload the public key."],
            "public_key": key, "then": f"rotation answer {ID}"}  # fmt: skip
    text = shown(rotation("creating", todo=todo), width=40)
    assert "A" * 90 in text
    assert "self-generated" in text
    assert f"rotation rollback {ID}" in text


def test_who_stops_looking_is_told_that_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rotation_screen.time, "sleep", interrupted)
    face = Face(err=Console(file=io.StringIO(), width=100, force_terminal=False, highlight=False))
    with pytest.raises(typer.Exit) as ended:
        follow(face, lambda: rotation("done"), rotation("draining"), NOBODY)
    assert ended.value.exit_code == 130
    said = face.err.file.getvalue()  # type: ignore[attr-defined]
    assert "the rotation goes on" in said
    assert f"rotation watch {ID}" in said


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_commands_of_the_live_view_stand_on_lines_of_their_own_and_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, width: int, encoding: str
) -> None:
    """What is redrawn in place is cut to the width: a command in it was broken at the terminal's edge."""
    monkeypatch.setattr(rotation_screen.time, "sleep", lambda _: None)
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    streams.fit(file)
    home = tmp_path / ("a-home-with-a-long-name" * 3)
    face = Face(home, err=Console(file=file, width=width, force_terminal=True, highlight=False))
    waiting = rotation("draining", deliveries=[delivery("tax"), delivery("file")])
    looks = iter([waiting, waiting, rotation("draining", deliveries=[delivery("file")]), rotation("done")])
    follow(face, lambda: next(looks), waiting, frozenset({"tax"}))
    file.flush()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", raw.getvalue().decode(encoding)).replace("\r", "\n")
    lines = [line.strip() for line in text.splitlines()]
    for one, manual in ((delivery("tax"), frozenset({"tax"})), (delivery("file"), NOBODY)):
        for way in ways_for(waiting, one, manual):
            assert lines.count(face.command(way.command)) == 1, way.command
    assert not any("portcullis" in line and not line.endswith(('"..."', ID)) for line in lines)


def test_under_a_cut_no_way_is_shown_that_is_refused() -> None:
    cut = delivery(
        "tax", says="main/trade/2 is cut off or halted: the key goes to nobody. portcullis cuts shows by what"
    )
    ways = [one.command for one in ways_for(rotation("draining"), cut, frozenset({"tax"}))]
    assert ways == ["cuts", f'rotation waive {ID} --destination tax --reason "..."']


def test_a_destination_that_is_waived_shows_why_and_one_left_behind_asks_for_nothing() -> None:
    waived = delivery("tax", waived_by="ann", says="waived: that tool is gone")
    found = rotation("draining-new", deliveries=[waived, delivery("file")])
    text = shown(found)
    assert "waived by ann: that tool is gone" in text
    assert "not waited for any more" in text
    assert PASTES not in " ".join(text.split())


def test_what_leads_on_from_a_lost_manager_key_can_be_typed_as_it_is_printed() -> None:
    said = (
        "the secret of the manager key master, which main is under, is lost (destroyed). No key of main is made or "
        "deleted before another takes its place: portcullis manager import --name master-2 --egress direct, then "
        "portcullis account manage main --manager master-2 --subaccount o@b.c"
    )
    out = Console(file=io.StringIO(), width=60, highlight=False)
    found = rotation("creating", line("preparing", "creating"), line("creating", "creating", said))
    face = Face(Path("/srv/pc"), commands=frozenset({"manager", "account"}))
    whole(out, face, found, NOBODY)
    lines = [one.strip() for one in out.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    given = face.command("").strip()
    assert f"next {given} manager import --name master-2 --egress direct" in lines
    assert f"next {given} account manage main --manager master-2 --subaccount o@b.c" in lines
