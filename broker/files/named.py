"""Files that are written once, at a path that a person named: backups, tokens, codes, exports.

Rules:
1. What is there is never written into and never replaced: not by its own name, not through a link.
2. Read by its owner only; whole or not at all; on disk, with its directory, before anybody is told that it is.
3. None is made in a home of ours: a store reads what lies beside it (`state.db-journal`).
4. A name is taken before the work begins whose result is to be kept: a secret that is shown once is not made for a file
   that cannot be written.
"""

import contextlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from broker.files.ours import in_a_home

_LARGEST = 16 * 1024 * 1024
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class NotWritten(Exception):
    """A file that cannot be written; the text goes on after its path."""


@contextmanager
def created(path: Path, mode: int = 0o600) -> Iterator[BinaryIO]:
    """Take a name for a new file, and give what is written there; when anything fails the name is free again.

    Raises:
        NotWritten: Something is there already, or the directory does not let us.
    """
    path = path.absolute()
    try:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as fault:
        raise NotWritten(f"cannot be written ({fault.strerror})") from None
    try:
        if in_a_home(directory):
            raise NotWritten(
                "lies in a home of Portcullis, which keeps its own files there: name another place"
            )
        with _new(directory, path.name, mode) as file:
            yield file
    finally:
        os.close(directory)


def create(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a new file.

    Raises:
        NotWritten: Something is there already, or it cannot be written.
    """
    with created(path, mode) as file:
        file.write(text.encode())


def put(path: Path, data: bytes, *, replaces: Callable[[bytes], bool], mode: int = 0o600) -> None:
    """Write a file that is written again and again: one that is there is replaced if it is told to be ours.

    Raises:
        NotWritten: Something else is there, or it cannot be written.
    """
    path = path.absolute()
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        with created(path, mode) as file:
            file.write(data)
        return
    except OSError as fault:
        raise NotWritten(f"cannot be replaced ({fault.strerror}); a link is not followed") from None
    try:
        known = os.fstat(fd)
        if not stat.S_ISREG(known.st_mode) or not replaces(os.read(fd, _LARGEST)):
            raise NotWritten("exists already, and is nothing that was written here before: name a new file")
    finally:
        os.close(fd)
    mode = stat.S_IMODE(known.st_mode)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with created(fresh, mode) as file:
        file.write(data)
    try:
        fresh.replace(path)
    except OSError as fault:
        fresh.unlink(missing_ok=True)
        raise NotWritten(f"cannot be replaced ({fault.strerror})") from None


@contextmanager
def _new(directory: int, name: str, mode: int) -> Iterator[BinaryIO]:
    try:
        fd = os.open(name, _NEW, 0o600, dir_fd=directory)
    except FileExistsError:
        raise NotWritten("exists already, and is not written into: name a new file") from None
    except OSError as fault:
        raise NotWritten(f"cannot be written ({fault.strerror})") from None
    taken = os.fstat(fd)
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
            file.flush()
            os.fchmod(fd, mode)
            os.fsync(fd)
        os.fsync(directory)
    except BaseException as fault:
        _let_go(directory, name, taken)
        if isinstance(fault, OSError):
            raise NotWritten(f"cannot be written ({fault.strerror})") from None
        raise


def _let_go(directory: int, name: str, taken: os.stat_result) -> None:
    """Remove what we made; what somebody put in its place stays."""
    with contextlib.suppress(OSError):
        known = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISREG(known.st_mode) and (known.st_dev, known.st_ino) == (taken.st_dev, taken.st_ino):
            os.unlink(name, dir_fd=directory)
