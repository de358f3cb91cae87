"""Room on the disk that is kept for closing gates: a cut on a full disk has to find some.

Nobody takes it but a cut that found none (`Closing`), and half of it a broker that could not start without: there is no
cut where none runs. It is laid aside anew once there is plenty again.
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
        if self._path is None or self._size() >= SIZE:
            return
        with suppress(OSError):
            if not self._has_plenty():
                return
            self._path.unlink(missing_ok=True)
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, SIZE)
            finally:
                os.close(fd)

    def is_short(self) -> bool:
        """Tell whether it is not all there, or the disk has hardly more than it: nobody else takes of it."""
        if self._path is None:
            return False
        with suppress(OSError):
            return self._size() < SIZE or not self._has_plenty()
        return False

    def _has_plenty(self) -> bool:
        if self._path is None:
            return True
        room = os.statvfs(self._path.parent)
        return room.f_bavail * room.f_frsize >= _PLENTY

    def lend(self) -> bool:
        """Give half of the room back to the disk, once, for a start; tell whether there was so much."""
        if self._path is None or self._size() <= SIZE // 2:
            return False
        with suppress(OSError):
            os.truncate(self._path, SIZE // 2)
            return True
        return False

    def _size(self) -> int:
        with suppress(OSError):
            return 0 if self._path is None else self._path.stat().st_size
        return 0

    def free(self) -> None:
        """Give the room back to the disk."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
