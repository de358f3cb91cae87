"""A lock that somebody removed as stale lets no second broker run beside the first."""

import errno
import fcntl
import os
import stat
from pathlib import Path

import pytest

from clients.venue import Environment
from portcullis.foundation import found
from portcullis.running import Running, held, tell
from portcullis.settings import Home, SettingsError


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return found(tmp_path / "home", Environment.PAPER, "solo").home


def test_who_starts_after_it_was_removed_is_refused(home: Home) -> None:
    """Only where both listened at the same ports did they keep each other off: two wrote one home."""
    with held(home):
        tell(home, Running(4711, 1, 2, 3))
        for _ in range(2):
            home.lock.unlink(missing_ok=True)
            with pytest.raises(SettingsError, match="process 4711 runs on"), held(home):
                pass
            assert not home.lock.exists(), "who was refused makes none that is free"
        assert home.running.exists(), "who was refused takes nothing away"
    with held(home):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF])
def test_a_disk_that_locks_no_directories_keeps_nobody_off(
    home: Home, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As on NFS, where that takes a file that was opened for writing."""
    flock = fcntl.flock

    def refuses(fd: int, how: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(number, os.strerror(number))
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", refuses)
    with held(home), pytest.raises(SettingsError, match="runs on"), held(home):
        pass


def test_a_directory_that_cannot_be_read_keeps_nobody_off(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens = os.open

    def refuses(path: object, *more: int, **how: int) -> int:
        if str(path) == str(home.root):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return opens(path, *more, **how)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(os, "open", refuses)
    with held(home):
        pass
