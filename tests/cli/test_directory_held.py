"""A lock that was removed, or is there anew and free, says nothing of a broker that holds its home's directory."""

import errno
import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clients.venue import Environment
from portcullis.cli.absent import absent
from portcullis.cli.face import Face
from portcullis.foundation import found
from portcullis.running import Running, find, held, holder, tell
from portcullis.settings import Home, SettingsError

TRADES_NOT = "No bot of this home can trade"
_HOLDS = "import fcntl, os, sys; fd = os.open(sys.argv[1], os.O_RDONLY); fcntl.flock(fd, fcntl.LOCK_EX); print(1, flush=True); input()"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return found(tmp_path / "home", Environment.PAPER, "solo").home


@contextmanager
def another_holds(directory: Path) -> Iterator[int]:
    """Another process locks a directory."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as one:
        assert one.stdout is not None
        assert one.stdout.readline()
        yield one.pid
        one.kill()


@pytest.mark.parametrize("anew", [False, True])
def test_that_nobody_runs_is_not_said_while_one_holds_the_directory(home: Home, *, anew: bool) -> None:
    with held(home):
        tell(home, Running(os.getpid(), 1, 2, 3))
        home.lock.unlink()
        if anew:  # as by a start of a program of before, or a command that looks where the home lies
            home.lock.touch()
        assert holder(home).there
        assert holder(home).pid in {os.getpid(), 0}, "0 where locks are not listed"
        said = absent(Face(home.root), home)
        assert said.reason == "not_listening"
        assert TRADES_NOT not in said.state


def test_a_start_that_is_refused_makes_no_lock(home: Home) -> None:
    with held(home):
        home.lock.unlink()
        with pytest.raises(SettingsError, match="runs on"), held(home):
            pass
        assert not home.lock.exists()
        assert holder(home).there
    assert holder(home).there is False, "it ended in order"


def test_who_holds_it_and_wrote_where_it_listens_is_spoken_to(home: Home) -> None:
    """A cut gets there, as if nobody had removed anything."""
    with held(home):
        tell(home, Running(os.getpid(), 1, 2, 3))
        home.lock.unlink()
        if holder(home).pid:
            assert find(home) == Running(os.getpid(), 1, 2, 3)


def test_another_that_locks_the_directory_is_not_who_wrote_that(home: Home) -> None:
    """A broker died, and a program of the same user locks the directory: at that port anybody may listen."""
    tell(home, Running(os.getpid(), 1, 2, 3))
    with another_holds(home.root) as pid:
        assert find(home) is None
        assert holder(home).there, "it may be one"
        assert holder(home).pid in {pid, 0}
        assert TRADES_NOT not in absent(Face(home.root), home).state


@pytest.mark.parametrize(
    ("number", "there"),
    [(errno.EMFILE, None), (errno.EIO, None), (errno.EACCES, False)],
)
def test_a_directory_that_cannot_be_opened(
    home: Home, monkeypatch: pytest.MonkeyPatch, number: int, there: bool | None
) -> None:
    """Where it may be held that is not known; by who must not read it, it is not."""
    with held(home):
        pass
    opens = os.open

    def refuses(path: object, *more: int, **how: int) -> int:
        if str(path) == str(home.root):
            raise OSError(number, os.strerror(number))
        return opens(path, *more, **how)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(os, "open", refuses)
    assert holder(home).there is there


def test_a_disk_that_locks_no_directories_leaves_it_to_the_lock(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def refuses(fd: int, how: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", refuses)
    with held(home):
        assert holder(home).there
    assert holder(home).there is False
