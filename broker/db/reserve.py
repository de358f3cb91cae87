"""Room on the disk that is kept for closing gates: a cut on a full disk has to find some.

Nobody takes it but a cut that found none (`Cuts.close`); it is laid aside anew once there is plenty again.
"""

import os
from contextlib import suppress
from pathlib import Path

NAME = "state.reserve"
SIZE = 2 * 1024 * 1024
_PLENTY = 8 * SIZE


class Reserve:
    """A file that holds room, beside a SQLite database; nothing where the database is elsewhere."""

    def __init__(self, directory: Path | None) -> None:
        self._path = None if directory is None else directory / NAME

    def keep(self) -> None:
        """Lay the room aside, where it is not and there is plenty. That it cannot be had is no fault."""
        if self._path is None or self._path.exists():
            return
        with suppress(OSError):
            room = os.statvfs(self._path.parent)
            if room.f_bavail * room.f_frsize < _PLENTY:
                return
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, SIZE)
            finally:
                os.close(fd)

    def free(self) -> None:
        """Give the room back to the disk."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
