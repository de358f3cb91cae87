"""The socket in the home: the way of this host's people to the API, whatever happens on the network's.

Rules:
1. It is 0600 in a directory of 0700, so that only the home's owner and root come in by it.
2. A socket's path has 107 bytes at most. A longer one is reached by its directory's descriptor, under /proc/self/fd.
3. Where the home's disk takes no sockets, it lies in a private directory for temporary files; `run.json` says where.
4. Who binds holds the home's lock: a socket that lies there belongs to nobody, and is replaced.
"""

import os
import socket
import stat
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from portcullis.running import SOCKET

NAME = SOCKET
_MET_WITHIN_S = 2.0
_PEER = struct.Struct("3i")
"""Process, user and group of who listens: `struct ucred`, unix(7)."""

_LONGEST = 100


@contextmanager
def bound(root: Path) -> Iterator["tuple[socket.socket, Path] | None"]:
    """Bind the socket of a home, and remove it in the end; None where this host takes none."""
    made = _bind_in(root)
    spare: Path | None = None
    if made is None:
        spare = Path(tempfile.mkdtemp(prefix="portcullis-"))
        made = _bind_in(spare)
    try:
        yield None if made is None else (made, (spare or root) / NAME)
    finally:
        if made is not None:
            made.close()
            ((spare or root) / NAME).unlink(missing_ok=True)
        if spare is not None:
            spare.rmdir()


@contextmanager
def short(path: Path) -> Iterator[str]:
    """Yield a name of a socket that the system takes, for as long as the context lasts.

    Raises:
        OSError: Its directory cannot be opened, or this system has no other name for it.
    """
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def who_listens(name: str) -> int:
    """Return which process listens at a socket.

    Raises:
        OSError: None does, or it is not ours to connect to.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as met:
        met.settimeout(_MET_WITHIN_S)
        met.connect(name)
        return int(_PEER.unpack(met.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[0])


def _bind_in(directory: Path) -> socket.socket | None:
    path = directory / NAME
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        with short(path) as name:
            made.bind(name)
        path.chmod(0o600)
    except OSError:
        made.close()
        return None
    return made


def _remove_stale(path: Path) -> None:
    """Remove a socket of a broker that died; anything else is not ours to remove."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise OSError(f"{path.name} is no socket")
    path.unlink()
