"""Whether somebody runs on a home: that it cannot be told is never told as nobody, whose bots could not trade."""

import errno
import fcntl
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clients.venue import Environment
from portcullis import running
from portcullis.cli import absent, client, way
from portcullis.cli.face import Face, Stopped
from portcullis.foundation import found
from portcullis.running import Holder, Running, find, held, holder, tell
from portcullis.settings import DatabaseDocument, Home, SettingsError
from tests.lacking import lack

TRADES_NOT = "No bot of this home can trade"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr(client, "find_started", lambda home, **_: find(home))  # waits for nobody
    return found(tmp_path / "home", Environment.PAPER, "solo").home


@contextmanager
def listening(home: Home) -> Iterator[None]:
    """Somebody listens at the socket in the home."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.bind(str(home.root / running.SOCKET))
        one.listen()
        yield


def said(home: Home) -> Stopped:
    with pytest.raises(Stopped) as raised:
        client.connect(Face(home.root))
    return raised.value


def fails(*numbers: int) -> OSError:
    return OSError(numbers[0], os.strerror(numbers[0]))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ELOOP])
def test_a_lock_that_cannot_be_opened_does_not_say_that_nobody_trades(
    home: Home, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    opens = os.open

    def refuses(path: object, *more: int, **how: int) -> int:
        if str(path) == str(home.lock):
            raise fails(number)
        return opens(path, *more, **how)  # type: ignore[call-overload, no-any-return]

    tell(home, Running(os.getpid(), 1, 2, 3))
    monkeypatch.setattr(os, "open", refuses)
    stopped = said(home)
    assert stopped.reason == "not_known"
    assert TRADES_NOT not in stopped.state
    assert "bots trade on" in stopped.state
    assert "To stop all trading" in stopped.step
    assert "as root" in stopped.step
    with pytest.raises(SettingsError, match="cannot be opened"), held(home):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_that_takes_no_lock_does_not_say_so_either(
    home: Home, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuses(*_: int) -> None:
        raise fails(number)

    home.lock.touch()
    monkeypatch.setattr(fcntl, "flock", refuses)
    assert said(home).reason == "not_known"


def test_a_lock_that_was_removed_as_stale_does_not_say_so(home: Home) -> None:
    tell(home, Running(os.getpid(), 1, 2, 3))
    home.lock.unlink(missing_ok=True)
    assert said(home).reason == "not_known"
    assert find(home) is None, "at that port anybody may listen by now"


def test_nobody_is_told_as_nobody(home: Home) -> None:
    for _ in range(2):
        stopped = said(home)
        assert stopped.reason == "not_running"
        assert TRADES_NOT in stopped.state
        with held(home):  # a lock that is there, and free
            pass


def test_a_database_that_others_share_is_served_by_them(home: Home) -> None:
    team = Home(
        home.root,
        Environment.LIVE,
        "team",
        database=DatabaseDocument(hosts=["127.0.0.1:5432"], ssl_mode="disable"),
    )
    stopped = absent.absent(Face(home.root), team)
    assert TRADES_NOT not in stopped.state
    assert "other hosts" in stopped.state


def test_who_holds_the_lock_is_named_so_that_it_can_be_ended(home: Home) -> None:
    with held(home):
        known = holder(home)
        assert known in {Holder(there=True, pid=os.getpid()), Holder(there=True)}, (
            "where locks are not listed"
        )
        assert known.pid == 0 or f"kill -9 {known.pid}" in said(home).step


def test_who_listens_in_the_home_is_spoken_to_whatever_is_known_of_the_lock(home: Home) -> None:
    """A full disk keeps it from writing down where it listens; a lock that was removed is another one by now."""
    with listening(home):
        for prepare in (lambda: None, home.lock.touch, home.lock.unlink):
            prepare()
            api = client.connect(Face(home.root))
            assert api.running.pid == os.getpid()
    assert way.by_socket(home) is None, "nobody listens there any more"
    assert said(home).reason == "not_known"


def test_a_home_whose_lock_is_roots_is_not_told_as_one_that_nobody_runs() -> None:
    """`sudo portcullis run` was the first; its owner cuts."""
    if os.geteuid() != 0:
        lack("not root: whose lock it is cannot be tried with two users")
    with tempfile.TemporaryDirectory(prefix="held", dir="/tmp") as folder:
        root = Path(folder) / "home"
        made = found(root, Environment.PAPER, "solo").home
        for one in (Path(folder), root, *root.rglob("*")):
            os.chown(one, 65534, 65534)
        made.lock.unlink(missing_ok=True)
        with held(made):
            tell(made, Running(os.getpid(), 1, 2, 3))
            script = (
                "import os\nfrom pathlib import Path\n"
                "from portcullis.cli import remedies, tables, pages\n"
                "from portcullis.cli.client import connect\nfrom portcullis.cli.face import Face, Stopped\n"
                "import encodings.ascii\nfrom portcullis.cli import client\nfrom portcullis.running import find\nclient.find_started = lambda home, **_: find(home)\n"
                "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
                f"try: connect(Face(Path({str(root)!r})))\n"
                "except Stopped as stopped: print(stopped.what, stopped.state, stopped.step)\n"
            )
            env = {**os.environ, "XDG_STATE_HOME": folder, "HOME": folder}
            done = subprocess.run(
                [sys.executable, "-B", "-c", script], capture_output=True, text=True, env=env, check=False
            )
    assert TRADES_NOT not in done.stdout
    assert "bots" in done.stdout, done.stderr
