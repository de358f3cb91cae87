"""The process that is named to be ended is the broker, by its number where it is typed; else another way is named."""

import os
import select
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from clients.venue import Environment
from portcullis import running
from portcullis.cli import absent, client, cuts
from portcullis.cli.app import app
from portcullis.cli.client import Api
from portcullis.cli.face import Face
from portcullis.foundation import found
from portcullis.running import Holder, Running, held, holder, is_nested, pid_here
from portcullis.settings import Home
from tests.cli.started import READY_S
from tests.lacking import lack

FROM_HOST = "docker compose kill portcullis"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr(absent, "UNIT", tmp_path / "portcullis.service")
    monkeypatch.setenv("COLUMNS", "200")
    return found(tmp_path / "home", Environment.PAPER, "solo").home


def cut(home: Home, monkeypatch: pytest.MonkeyPatch, written: int) -> str:
    """Type a cut at a broker that does not answer and once wrote down that number."""

    def stands_still(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("it stands still", request=request)

    def connect(face: Face) -> Api:
        return Api(face, home, Running(written, 2, 3, 4), httpx.MockTransport(stands_still))

    for module in (client, cuts):
        monkeypatch.setattr(module, "connect", connect)
    done = CliRunner().invoke(app, ["--home", str(home.root), "cut", "--everything", "--reason", "leak"])
    return " ".join(done.output.split())


def test_who_has_the_lock_is_named_and_not_what_was_written_down(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held(home):
        if not holder(home).pid:
            lack("locks are not listed here with their processes")
        said = cut(home, monkeypatch, os.getppid())
    assert f"The broker (process {os.getpid()}) does not answer." in said
    assert f"(kill -9 {os.getpid()})" in said
    assert f"kill -9 {os.getppid()}" not in said


def test_a_number_that_another_process_has_is_not_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the broker runs in a container, and whoever is on call cuts from its host."""
    monkeypatch.setattr(running, "_pid_of", lambda _: 0)
    with held(home):
        assert pid_here(home, os.getpid()) == os.getpid(), "that one has the lock open"
        said = cut(home, monkeypatch, os.getppid())
    assert "The broker does not answer." in said
    assert FROM_HOST in said
    assert "pgrep -af portcullis" in said
    assert str(os.getppid()) not in said


def test_where_no_process_is_listed_what_was_written_down_counts(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_LOCKS", tmp_path / "proc" / "locks")
    with held(home):
        assert pid_here(home, 4711) == 4711


def test_process_1_is_ended_from_the_host_of_its_container(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "holder", lambda _: Holder(there=True, pid=1))
    monkeypatch.setattr(absent, "holder", lambda _: Holder(there=True, pid=1))
    for said in (cut(home, monkeypatch, 1), absent.absent(Face(home.root), home).step):
        assert "kill -9" not in said
        assert FROM_HOST in said


def test_one_of_this_host_and_one_in_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_LOCKS", tmp_path / "locks")
    for pid, numbers in ((11, "11"), (12, "12\t7")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "status").write_text(f"Name:\tportcullis\nNSpid:\t{numbers}\n")
    assert [is_nested(pid) for pid in (11, 12, 13)] == [False, True, False]


HOLDS = """
import os, sys, time
from pathlib import Path
from portcullis.running import Running, held, tell
from portcullis.settings import open_home
home = open_home(Path(sys.argv[1]))
with held(home):
    tell(home, Running(os.getpid(), 1, 2, 3))
    print(os.getpid(), flush=True)
    sys.stdin.read()
"""


def test_one_in_a_container_is_named_by_its_number_here(home: Home) -> None:
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", HOLDS, str(home.root)]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    except OSError:
        lack("there is no `unshare` here")
    try:
        assert process.stdout is not None
        ready = select.select([process.stdout], [], [], READY_S)[0]
        if not ready or not (own := process.stdout.readline().strip()):
            lack("no namespaces of processes may be made here")
        known = holder(home)
        if not known.pid:
            lack("locks are not listed here with their processes")
        assert (own, pid_here(home, 1)) == ("1", known.pid)
        assert known.pid > 1
        said = absent.ended_by(known.pid)
        assert FROM_HOST in said
        assert f"kill -9 {known.pid}" in said
    finally:
        process.communicate(timeout=READY_S)
