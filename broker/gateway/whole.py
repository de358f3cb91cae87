"""Files beside the spool that are written whole or not at all.

Rules:
1. A write that took a part only failed: a full disk says so of the rest, or of nothing.
2. What replaces another is on the disk itself before it has the name, and the name is before anybody is told.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from broker.gateway.parts import NEW


def write_all(fd: int, data: bytes) -> None:
    """Write by one call, for a file that is only added to.

    Raises:
        OSError: It could not be written whole; a part of it may be there.
    """
    if os.write(fd, data) != len(data):
        raise OSError("short write")


def replace(path: Path, pieces: Iterable[bytes]) -> None:
    """Put a file in the place of another.

    Raises:
        OSError: It could not be written whole, or may not outlive the machine: then the one before stands, or may.
    """
    fresh = path.with_name(path.name + NEW)
    try:
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(fd)
        fresh.replace(path)
    except OSError:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise
    _on_disk(path.parent)


def _on_disk(directory: Path) -> None:
    """Wait until the names in a directory are on the disk itself."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # there are file systems that cannot
            os.fsync(fd)
    finally:
        os.close(fd)
