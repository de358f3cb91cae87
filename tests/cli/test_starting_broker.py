"""A broker that holds its home and does not listen: whoever cuts hears of it soon, and how to end everything."""

import os
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from portcullis.cli import absent, client
from portcullis.cli.app import app
from portcullis.running import Running, find_started, held, tell
from portcullis.settings import open_home

COMMANDS = [
    ("cut", "--everything", "--reason", "leak"),
    ("halt", "--everything", "--reason", "leak"),
    ("status",),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "home [x]"
    done = CliRunner().invoke(app, ["--home", str(made), "init", "--environment", "paper", "--mode", "solo"])
    assert done.exit_code == 0, done.output
    return made


@pytest.fixture
def no_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absent, "UNIT", tmp_path / "portcullis.service")


@pytest.mark.usefixtures("no_unit")
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_it_is_said_while_it_is_waited_for(
    root: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Nothing was said for ten seconds."""
    monkeypatch.setattr(client, "LATE_S", 0.05)
    monkeypatch.setattr(client, "find_started", partial(find_started, within_s=0.5))
    with held(open_home(root)):
        done = CliRunner().invoke(app, ["--home", str(root), *words])
    text = " ".join(done.output.split())
    assert done.exit_code == 1
    assert text.count(f"A process holds {root} and does not listen:") == 1
    assert text.count(f"(kill -9 {os.getpid()})") == 2, "while it is waited for, and at the end"


def test_one_that_comes_up_meanwhile_is_found(root: Path) -> None:
    home, waited = open_home(root), list[int]()
    there = Running(os.getpid(), 1, 2, 3)

    def late(pid: int) -> None:
        waited.append(pid)
        tell(home, there)

    with held(home):
        assert find_started(home, late_s=0.01, late=late) == there
    assert waited == [os.getpid()]


def test_one_that_listens_is_not_waited_for(root: Path) -> None:
    home, waited = open_home(root), list[int]()
    with held(home):
        tell(home, Running(os.getpid(), 1, 2, 3))
        assert find_started(home, late_s=0, late=waited.append) is not None
    assert find_started(home, late_s=0, late=waited.append) is None, "nobody runs"
    assert waited == []
