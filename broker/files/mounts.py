"""Which files are mounts of their own, as a container's single file is: nothing can take the place of such a file.

Rules:
1. What the system says of two open files counts: a file on another mount than its directory is one by itself. Where it
   does not say that, its list of mounts does.
2. That list is bytes: fields that single spaces part, lines that newlines end, and these two, tabs and backslashes in a
   path as three octal digits. Whatever else is in a path stands there as it is.
"""

import contextlib
import os
import re
from pathlib import Path

LISTED = Path("/proc/self/mountinfo")
_POINT = 4
_ESCAPED = re.compile(rb"\\([0-7]{3})")


def is_mounted(path: Path, listed: Path = LISTED) -> bool:
    """Tell whether a file is a mount of its own; False where there is no file.

    Args:
        path: Of the file. Links on the way to it are followed, one in its place is not.
        listed: The system's list of mounts.
    """
    return _lies_apart(path) or _point_of(path) in _points(listed)


def mount_of(fd: int) -> str:
    """Return which mount a file was opened on; empty where the system does not say."""
    with contextlib.suppress(OSError), open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as lines:  # noqa: PTH123
        for line in lines:
            if line.startswith("mnt_id:"):
                return line
    return ""


def _lies_apart(path: Path) -> bool:
    with contextlib.ExitStack() as opened:
        try:
            directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, directory)
            fd = os.open(path.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            opened.callback(os.close, fd)
        except OSError:
            return False
        here, there = mount_of(fd), mount_of(directory)
        return bool(here and there) and here != there


def _point_of(path: Path) -> bytes:
    try:
        return os.fsencode(path.parent.resolve() / path.name)
    except (OSError, RuntimeError):  # links that lead in a circle
        return os.fsencode(path)


def _points(listed: Path) -> set[bytes]:
    """Return the mount points that a list names."""
    try:
        lines = listed.read_bytes().split(b"\n")
    except OSError:
        return set()
    fields = (line.split(b" ") for line in lines)
    return {_ESCAPED.sub(_byte, one[_POINT]) for one in fields if len(one) > _POINT}


def _byte(found: re.Match[bytes]) -> bytes:
    return bytes([int(found.group(1), 8) & 0xFF])
