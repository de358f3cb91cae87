"""The call-log spool: lines on disk before the request they tell of is sent.

Rules:
1. One line, one `write(2)` to an append-only file; no fsync: it outlives the process, not the machine.
2. A file per boot of the gateway, in parts. A part goes once the broker has acknowledged every line of it.
3. After a restart older boots are sent too, and deleted like that; the broker ignores what it already has. Every boot
   leaves a part, if an empty one: the broker closes its budget slices once it has heard of all its lines. The files of
   a gateway that still runs are locked: nobody else sends or deletes them.
4. A spool that cannot be written stops orders: what is not written down is not sent. Cancels and exits pass.
5. A spool that is far behind (`MOST_BEHIND` lines that the broker does not have) stops new risk, too: else the log of
   a fast bot would grow without end while the broker cannot write it. Cancels, exits and reads pass.
6. Sequence numbers count lines within a boot, from 1. What could not be written whole is cut off again, or its part
   left behind: it has no number, and no later line ends up behind its torn beginning.
"""

import contextlib
import fcntl
import os
import secrets
from collections import deque
from itertools import islice
from pathlib import Path

from broker.gateway.parts import Part, Parts, part_of, path_of

PART_LINES = 20_000
MOST_HELD = 200_000
MOST_BEHIND = 10_000


class Spool:
    """Lines of this boot, written down and waiting for the broker."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.boot = secrets.token_hex(8)
        self.seq = 0
        self._kept = 0
        self._waiting: deque[tuple[int, str]] = deque()
        self._parts = Parts()
        self._fd = -1
        self._began = self._size = 0
        self._torn = False
        self._open()

    def next(self) -> int:
        """Return the number of the next line."""
        return self.seq + 1

    def write(self, line: str) -> None:
        """Write one line.

        Raises:
            OSError: It could not be written whole; then it counts as not written, and has no number.
        """
        if self._torn or self.seq - self._began >= PART_LINES:
            self._open_next()
        data = line.encode() + b"\n"
        if os.write(self._fd, data) != len(data):
            self._cut_off()
            raise OSError("short write to the call-log spool")
        self._size += len(data)
        self.seq += 1
        self._waiting.append((self.seq, line))
        if len(self._waiting) > MOST_HELD:
            self._waiting.popleft()

    @property
    def waiting(self) -> int:
        """How many lines the broker does not have yet."""
        return self.seq - self._kept

    @property
    def behind(self) -> bool:
        """Whether so much waits for the broker that new risk has to wait as well."""
        return self.waiting >= MOST_BEHIND

    def batch(self, after: int, most: int) -> list[tuple[int, str]]:
        """Return lines that follow one number, in order. Lines that memory let go come from disk."""
        if after >= self.seq:
            return []
        if self._waiting and after + 1 >= self._waiting[0][0]:
            skip = after + 1 - self._waiting[0][0]
            return list(islice(self._waiting, skip, skip + most))
        return self._parts.read(after, most)

    def kept(self, seq: int, unreadable: tuple[int, ...] = ()) -> None:
        """The broker has acknowledged every line up to this one, some of them as lines it cannot read."""
        self._parts.set_aside(unreadable)
        self._kept = max(self._kept, seq)
        while self._waiting and self._waiting[0][0] <= seq:
            self._waiting.popleft()
        self._parts.kept(seq)

    def earlier(self) -> "tuple[list[Earlier], bool]":
        """Return what earlier boots left behind, and whether gateways that still run have files here, too.

        Theirs are passed over: they are looked at again, for such a gateway may end without having sent them.
        """
        found: dict[str, list[Part]] = {}
        for path in sorted(self._directory.iterdir()):
            part = part_of(path)
            boot = path.name.split("-")[1] if part is not None else ""
            if part is not None and boot != self.boot:
                found.setdefault(boot, []).append(part)
        taken = [Earlier.take(boot, Parts(parts)) for boot, parts in found.items()]
        return [one for one in taken if one is not None], None in taken

    def close(self) -> None:
        """Close the file. Lines that wait stay; where none do, an empty part tells the next boot of this one.

        So what this boot gave back in its last moment, which nobody may have heard, is given back then.
        """
        if not self.waiting and self.seq > self._began:
            with contextlib.suppress(OSError):
                self._open()
            self._parts.kept(self.seq)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open_next(self) -> None:
        """Begin the next part. Where that fails, the one we have goes on, unless its end is torn."""
        try:
            self._open()
        except OSError:
            if self._torn:
                raise

    def _open(self) -> None:
        path = path_of(self._directory, self.boot, self.seq)
        # nothing is lost: a part of this name can hold no whole line yet
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        _lock(fd)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size, self._began, self._torn = fd, 0, self.seq, False
        self._parts.add(Part(self.seq + 1, path))

    def _cut_off(self) -> None:
        """Take a torn line away again; else the next line begins another part."""
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:
            self._torn = True


class Earlier:
    """What one earlier boot left behind, locked for us."""

    def __init__(self, boot: str, parts: Parts, fd: int) -> None:
        self.boot = boot
        self._parts, self._fd = parts, fd
        self.before = parts.first - 1
        """The number of the last line that is not here any more: it was acknowledged."""

    @classmethod
    def take(cls, boot: str, parts: Parts) -> "Earlier | None":
        """Lock a boot's files; None where a gateway that runs has them."""
        if parts.newest is None:
            return None
        try:
            fd = os.open(parts.newest, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # its gateway has just ended, and everything of it was kept
            return None
        if not _lock(fd):
            os.close(fd)
            return None
        return cls(boot, parts, fd)

    @property
    def whole(self) -> bool:
        """Whether nothing was found torn, unreadable or gone so far."""
        return not self._parts.torn

    def batch(self, after: int, most: int) -> list[tuple[int, str]]:
        """Return lines that follow one number, in order."""
        return self._parts.read(after, most)

    def kept(self, seq: int, unreadable: tuple[int, ...] = ()) -> None:
        """The broker has acknowledged every line up to this one; the last part stays until `done`."""
        self._parts.set_aside(unreadable)
        self._parts.kept(seq)

    def done(self) -> None:
        """The broker wants nothing more of this boot."""
        self._parts.kept(0, all_of_it=True)
        self.let_go()

    def let_go(self) -> None:
        """Unlock the files."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
