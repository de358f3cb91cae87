"""An anchor that was emptied, cut off, thinned or torn is never called well; what cannot be looked at is said."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.audit.anchors import FileAnchor
from broker.audit.held import Copy, joined, judged
from broker.backup.code import private_key
from clients.venue import Environment
from portcullis import backup
from portcullis.cli.audit_work import judge
from portcullis.foundation import found, opened
from portcullis.settings import Home, SettingsError, open_home
from tests.cli.started import cli, cli_json


def test_runs_are_joined_where_they_touch() -> None:
    """What is remembered stays small, whatever the order it comes in."""
    assert joined((), [3, 1, 2]) == ((1, 3),)
    assert joined(((1, 3), (7, 9)), [4, 5, 6]) == ((1, 9),)
    assert joined(((1, 3),), [5]) == ((1, 3), (5, 5))
    assert len(joined((), range(0, 2000, 2))) == 200


def kinds(*copies: Copy, stored: int = 9, **taken: tuple[tuple[int, int], ...]) -> list[str]:
    return [kind for kind, _ in judged(copies, taken, stored)]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (range(1, 10), []), (None, ["gone"]), ([], ["emptied"]), (range(1, 9), ["short"]), (range(2, 10), ["thinned"]),
        ([1, 9], ["thinned"]), ([*range(1, 10), 10], []),
    ],
)  # fmt: skip
def test_our_own_anchor_has_to_hold_what_it_took(
    numbers: range | list[int] | None, expected: list[str]
) -> None:
    """By the record of what it took: the end, the begin and the middle."""
    own = Copy("file", None if numbers is None else frozenset(numbers), "file")
    assert kinds(own, file=((1, 9),)) == expected


def test_checkpoints_that_an_anchor_never_took_are_not_missed() -> None:
    """It was away for a while: that is a gap, and no contradiction."""
    own = Copy("file", frozenset({1, 2, 8, 9}), "file")
    assert kinds(own, file=((1, 2), (8, 9))) == []
    assert kinds(Copy("file", None, "file")) == [], "it has kept nothing yet"


def test_older_parts_of_an_anchor_may_be_named_besides_and_never_its_end() -> None:
    """Logs are put away; the end is where tampering shows, and is looked for in its place."""
    old = Copy("old", frozenset(range(1, 6)))
    assert kinds(Copy("file", frozenset(range(6, 10)), "file"), old, file=((1, 9),)) == []
    assert "emptied" in kinds(
        Copy("file", frozenset(), "file"), Copy("all", frozenset(range(1, 10))), file=((1, 9),)
    )


def test_a_copy_that_somebody_names_has_to_be_whole() -> None:
    """An empty one, or one that ends early, proves nothing: with a record of what was taken and without."""
    for taken in ({}, {"webhook": ((1, 9),)}):
        assert kinds(Copy("copy", frozenset()), **taken) == ["emptied"]
        assert kinds(Copy("copy", frozenset(range(1, 8))), **taken) == ["short"]
        assert kinds(Copy("copy", frozenset(range(1, 10))), **taken) == []
    assert kinds(Copy("copy", frozenset({1, 2, 9})), webhook=((1, 9),)) == ["thinned"]
    parts = Copy("a", frozenset(range(1, 5))), Copy("b", frozenset(range(5, 10)))
    assert kinds(*parts, webhook=((1, 9),)) == []
    assert kinds(parts[1], Copy("c", frozenset()), webhook=((5, 9),)) == ["emptied"]


def test_a_file_that_was_left_in_the_middle_of_a_line_gets_a_new_one(tmp_path: Path) -> None:
    """What is torn spoils nothing after it."""
    path = tmp_path / "anchor"
    path.write_text('{"torn": ')
    FileAnchor(path).keep("whole")
    assert path.read_text() == '{"torn": \nwhole\n'


def _emptied(path: Path) -> None:
    path.write_text("")


def _blank(path: Path) -> None:
    path.write_text("\n \n\n")


def _gone(path: Path) -> None:
    path.unlink()


def _short(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def _beheaded(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))


def _torn(path: Path) -> None:
    path.write_text(path.read_text()[:-40])


def _torn_in_the_middle(path: Path) -> None:
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0][:50], *lines[1:]]) + "\n")


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(len(path.read_bytes())))


TAMPERINGS = [_emptied, _blank, _gone, _short, _beheaded, _torn, _torn_in_the_middle, _zeros]


@pytest.fixture
def anchored(tmp_path: Path) -> tuple[Home, Path]:
    """A home whose three checkpoints are in a file, and the file."""
    outside = tmp_path / "outside"
    home = found(tmp_path / "home", Environment.PAPER, "solo").home
    settings = json.loads((home.root / "home.json").read_text())
    settings["audit"] = {"anchors": [{"kind": "file", "path": str(outside)}]}
    (home.root / "home.json").write_text(json.dumps(settings))
    home = open_home(home.root)
    assert "has kept nothing yet" in " ".join(judge(home, [])[1])
    with opened(home) as service:
        for number in range(3):
            service.grants.create_consumer(f"bot-{number}")
            service.audit.checkpoint(at_once=True)
        service.grants.create_consumer("later")
    return home, outside


def test_a_whole_anchor_is_well_and_what_it_does_not_prove_is_said(anchored: tuple[Home, Path]) -> None:
    """A file of this host proves nothing against its owner, and the newest records are nobody's yet."""
    report, not_proven = judge(anchored[0], [])
    assert report.bad == []
    assert "whoever owns this host" in " ".join(not_proven)
    assert "came after the last anchored checkpoint" in " ".join(not_proven)


@pytest.mark.parametrize("tamper", TAMPERINGS)
def test_an_anchor_that_lost_something_is_not_called_well(
    anchored: tuple[Home, Path], tamper: Callable[[Path], None], tmp_path: Path
) -> None:
    """Our own file in its place, and a copy that is named while our own is whole."""
    home, outside = anchored
    whole, copy = outside.read_bytes(), tmp_path / "copy"
    tamper(outside)
    assert judge(home, [])[0].bad
    outside.write_bytes(whole)
    copy.write_bytes(whole)
    assert not judge(home, [copy])[0].bad
    tamper(copy)
    if copy.exists():
        assert judge(home, [copy])[0].bad
    else:
        with pytest.raises(SettingsError):
            judge(home, [copy])


def test_checkpoints_that_the_database_lost_or_holds_otherwise_contradict_an_anchor(
    anchored: tuple[Home, Path],
) -> None:
    """Who takes the statements out of the database, or signs others, is told by the anchor."""
    home, _ = anchored
    with opened(home) as service, service.desk.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM audit_checkpoints WHERE number = 4")
    assert [one.kind for one in judge(home, [])[0].bad] == ["truncated"]


def test_a_home_in_a_new_container_knows_its_anchors_and_a_restored_one_does_not_miss_them(
    anchored: tuple[Home, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whose an anchor is tells the home's signing key, not the name of a host that changes with every start."""
    home, outside = anchored
    names = os.uname()
    monkeypatch.setattr(os, "uname", lambda: type(names)(("Linux", "another", "", "", "")))
    assert not judge(home, [])[0].bad
    whole = outside.read_text()
    outside.write_text("")
    assert [one.kind for one in judge(home, [])[0].bad] == ["emptied"]
    outside.write_text(whole)
    with opened(home) as service:
        code = backup.new_code(service)
        backup.make(home, service, tmp_path / "backup")
    content = backup.read_file(tmp_path / "backup", private_key(code))
    back, _ = backup.restore(
        content, tmp_path / "back", vault=None, database=None, ports=(0, 0), tell=lambda _: None
    )
    assert not judge(back, [])[0].bad


@pytest.mark.process
def test_the_command_says_what_is_not_proven_and_fails_on_an_emptied_anchor(
    anchored: tuple[Home, Path],
) -> None:
    """The verdict is in the exit code and in JSON; without an anchor the command says what that leaves open."""
    home, outside = anchored
    outside.write_text("")
    shown = cli_json(home.root, "audit", "verify", code=1)
    assert (shown["well"], shown["first_bad"]["kind"]) == (False, "emptied")
    settings = json.loads((home.root / "home.json").read_text())
    del settings["audit"]
    (home.root / "home.json").write_text(json.dumps(settings))
    said = " ".join(cli(home.root, "audit", "verify").stdout.split())
    assert "nothing contradicts" in said
    assert "cut off its end" in said
    assert "was not looked at" in said
