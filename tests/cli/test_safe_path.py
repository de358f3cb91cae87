"""No process of ours imports from the directory that it was started in: there anybody may have put something."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.passed_on import passed_on
from clients.venue import Environment
from portcullis import children, paper_process
from portcullis.cli.app import app
from portcullis.settings import Home
from rotation.alerts import sending
from rotation.alerts.answers import Fault
from tests.cli.started import READY_S
from tests.lacking import lack

pytestmark = pytest.mark.sockets
ROOT = Path(__file__).parents[2]
PLANTED = """
import os
open({ran!r}, "a").write(__name__)
print('{{"port": 1, "taken": true}}', flush=True)
os._exit(0)
"""


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go into a directory where every package of ours is planted; return the file that tells whether one ran."""
    told, here = tmp_path / "ran", tmp_path / "bot"
    for name in ("clients", "portcullis", "rotation", "broker"):
        (here / name).mkdir(parents=True)
        (here / name / "__init__.py").write_text(PLANTED.format(ran=str(told)))
    monkeypatch.chdir(here)
    return told


async def test_a_child_does_not(tmp_path: Path, ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gateway, rotator and paper exchange are started alike; the last becomes another program besides."""
    monkeypatch.setattr(children, "READY_S", READY_S)
    home = Home(tmp_path / "home", Environment.PAPER, "solo")
    home.root.mkdir(mode=0o700)
    child = await paper_process.start(home)
    await child.end()
    assert child.port > 1
    assert not ran.exists()


def test_nor_does_the_paper_exchange_once_it_is_another_program(
    ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = list[list[str]]()
    monkeypatch.setattr(children, "end_with_parent", lambda: None)
    monkeypatch.setattr(os, "execv", lambda _, command: done.append(command))
    monkeypatch.setattr(sys, "argv", ["paper", "--help"])
    paper_process.main()
    (command,) = done
    shown = subprocess.run(command, capture_output=True, text=True, timeout=READY_S, check=False)
    assert "--admin-token-file" in shown.stdout, shown.stderr
    assert not ran.exists()


def test_nor_does_the_one_that_is_started_alone(tmp_path: Path, ran: Path) -> None:
    program = ROOT / ".venv" / "bin" / "portcullis"
    if not program.exists():
        lack("the program is not installed here")
    command = [str(program), "--home", str(tmp_path / "home"), "paper", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["port"] > 1
    finally:
        process.terminate()
        process.communicate(timeout=READY_S)
    assert not ran.exists()


def test_nor_does_the_sender_of_alerts(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_START_S", READY_S)
    assert sending.by_apprise("json://127.0.0.1:9/", SAID).fault is Fault.SILENT, "nobody listens there"
    assert not ran.exists()


SAID = sending.Message("title", [("body", "")])
PARTS = [".", "", "../bot", f"{os.pathsep}/nowhere", f"/nowhere{os.pathsep}.", f"/nowhere{os.pathsep}"]
"""Of PYTHONPATH: all of them are the directory that one stands in."""


@pytest.mark.parametrize("path", PARTS)
async def test_no_child_imports_from_a_relative_part_of_the_path(
    path: str, tmp_path: Path, ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "READY_S", READY_S)
    monkeypatch.setenv("PYTHONPATH", path)
    home = Home(tmp_path / "home", Environment.PAPER, "solo")
    home.root.mkdir(mode=0o700)
    child = await paper_process.start(home)
    await child.end()
    assert child.port > 1
    monkeypatch.setattr(sending, "_START_S", READY_S)
    assert sending.by_apprise("json://127.0.0.1:9/", SAID).fault is Fault.SILENT
    assert not ran.exists()


def test_whole_parts_of_a_path_are_passed_on_and_no_secret_is() -> None:
    """A program that a file's owner is told by finds its own commands there, and none of a stranger's."""
    ours = {
        "PATH": "/usr/bin::bin:.:/opt/a b/bin:",
        "PYTHONPATH": ".:",
        "TZ": "",
        "PORTCULLIS_TOKEN": "planted",
    }
    assert passed_on(("PATH", "PYTHONPATH", "TZ", "HOME"), ours) == {
        "PATH": "/usr/bin:/opt/a b/bin",
        "TZ": "",
    }


def test_the_paper_exchange_alone_does_not_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    got = list[dict[str, str]]()
    monkeypatch.setenv("PYTHONPATH", f".{os.pathsep}{tmp_path}")
    monkeypatch.setattr(os, "execve", lambda _, __, environ: got.append(environ))
    done = CliRunner().invoke(app, ["--home", str(tmp_path / "home"), "paper", "--port", "0"])
    assert done.exit_code == 0, done.output
    assert [one["PYTHONPATH"] for one in got] == [str(tmp_path)]


def test_no_other_is_started_without() -> None:
    """Whoever starts another one says so as those do."""
    found = [
        f"{file.relative_to(ROOT)}: {line.strip()}"
        for package in ("broker", "clients", "portcullis", "rotation")
        for file in (ROOT / package).rglob("*.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if re.search(r'"-[mc]"', line) and "-P" not in line and "SAFE" not in line
    ]
    assert found == []
