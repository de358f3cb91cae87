"""The call-log spool: lines on disk before the request they tell of is sent.

Rules:
1. One line, one `write(2)` to an append-only file; no fsync: it outlives the process, not the machine.
2. A file per boot of the gateway, in parts. A part goes once the broker has acknowledged every line of it.
3. After a restart older boots are sent too, and deleted like that; the broker ignores what it already has. Every boot
   leaves a part, if an empty one: the broker closes its budget slices once it has heard of all its lines. The files of
   a gateway that still runs are locked, from before anybody sees them: nobody else sends or deletes them (`others`).
4. A spool that cannot be written, or begun, stops orders: what is not written down is not sent. Cancels and exits pass.
5. A spool that is far behind (`MOST_BEHIND` lines that the broker does not have) stops new risk, too: else the log of
   a fast bot would grow without end while the broker cannot write it. Cancels, exits and reads pass.
6. Sequence numbers count lines within a boot, from 1. What could not be written whole is cut off again, or its part
   left behind: it has no number, and no later line ends up behind its torn beginning.
7. A file that was taken away while we write to it is noticed with the next line, a directory in another's place within
   a second (`look`). Then no line is written before the directory is there again; what the broker does not have yet is
   written once more, for memory has it. We do not make the directory anew: it may be a disk that is not mounted.
8. Where what left reserved budget and has no line yet, the file says so by its mode, `LACKS`: that takes no room on a
   full disk. A start that ends then has not written all that it spent, and of its slices nothing goes back. Where not
   even that can be done the broker is told what is left of them at once (`send`).
9. Nothing goes before what is in doubt of it is on disk elsewhere (`doubts`): the broker asks no venue.
"""

import contextlib
import errno
import logging
import os
from collections import deque
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from broker.gateway.others import Earlier, Others, lock
from broker.gateway.parts import LACKS, NEW, Part, Parts, listed, new_boot, path_of
from broker.gateway.said import Said
from broker.gateway.whole import write_all

_LOG = logging.getLogger("portcullis.spool")
PART_LINES = 20_000
MOST_HELD = 200_000
MOST_BEHIND = 10_000
_MODE = 0o600


def _mode(*, lacks: bool) -> int:
    return _MODE | LACKS if lacks else _MODE


class SpoolGone(OSError):
    """The directory was taken away, and is not back."""


class Spool:
    """Lines of this boot, written down and waiting for the broker."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.boot = new_boot(directory)
        self.others = Others(directory, self.boot)
        self.seq = 0
        self._kept = 0
        self._covered: int | None = None
        self.on_spent: Callable[[], None] = lambda: None
        """Called where parts could go, once what is in doubt of them is on disk elsewhere."""
        self.holds = False
        """Whether nothing goes: what became of its lines could not be written yet."""
        self.said = Said(_LOG)
        self._waiting: deque[tuple[int, str]] = deque()
        self._parts = Parts()
        self._fd = -1
        self._began = self._size = 0
        self.owes: Callable[[], int] = lambda: 0
        """How many lines of what has left could not be written yet."""
        self._torn = self._gone = self._lacks = self._marked = False
        self.on_anew: Callable[[], None] = lambda: None
        """Called where a directory that was gone is back: it may be another one."""
        try:
            self._open()
        except OSError:  # orders wait for it; cancels and exits do not
            self._torn = True

    def next(self) -> int:
        """Return the number of the next line."""
        return self.seq + 1

    def write(self, line: str) -> None:
        """Write one line.

        Raises:
            OSError: It could not be written whole; then it counts as not written, and has no number.
            SpoolGone: As that; nothing can be before the directory is back.
        """
        if (
            self._torn
            or self._gone
            or self.seq - self._began >= PART_LINES
            or not os.fstat(self._fd).st_nlink
        ):
            self._open_next()
        data = line.encode() + b"\n"
        try:
            write_all(self._fd, data)
        except OSError:
            self._cut_off()
            raise
        self._size += len(data)
        self.seq += 1
        self._waiting.append((self.seq, line))
        if len(self._waiting) > MOST_HELD:
            self._waiting.popleft()

    @property
    def told_by(self) -> int:
        """Up to which line all that has left is told of; the last of these may not be written yet."""
        return self.seq + self.owes()

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
        self._let_go_of(seq)
        if self._covered is not None and self.spent > self._covered:
            self.on_spent()

    @property
    def spent(self) -> int:
        """The last line of those parts that can go."""
        return self._parts.spent(self._kept)

    def guard(self) -> None:
        """From now on lines stay until what is in doubt of them is on disk elsewhere."""
        self._covered = 0

    def covered(self, seq: int) -> None:
        """What is in doubt of the lines up to this one is on disk elsewhere."""
        if self._covered is not None and seq > self._covered:
            self._covered = seq
            self._let_go_of(self._kept)

    def _let_go_of(self, seq: int) -> None:
        if self.holds:
            return
        try:
            self._parts.kept(seq if self._covered is None else min(seq, self._covered))
        except OSError as fault:  # they are tried again with the next that can go
            self.said.say("parts", f"the spool's files cannot be deleted: {fault.strerror}")
        else:
            self.said.well("parts")

    def forgotten(self, first: int) -> int:
        """The broker lost lines from this one on; return the first of them that is still on disk."""
        first = max(first, self._parts.first)
        self._kept = min(self._kept, first - 1)
        return first

    def earlier(self) -> tuple[list[Earlier], bool]:
        """Return what earlier boots left behind, and whether gateways that still run have files here, too.

        Theirs are passed over: they are looked at again, for such a gateway may end without having sent them.
        """
        return self.others.earlier()

    def lacks(self, *, some: bool) -> None:
        """Tell whether budget was spent of which there is no line, in the mode of the file (rule 8)."""
        self._lacks = some
        if self._fd < 0 or self._marked == some:
            return  # without any file nobody tells the broker that this start is over
        try:
            os.fchmod(self._fd, _mode(lacks=some))
        except OSError as fault:
            text = f"its file cannot be marked ({fault.strerror}): killed now, this gateway takes back what it spent"
            self.said.say("mark", text)
        else:
            self._marked = some
            self.said.well("mark")

    @property
    def whole(self) -> bool:
        """Whether all that was spent has its line."""
        return not self._lacks

    @property
    def tells(self) -> bool:
        """Whether who begins after us learns from our file whether we are `whole`."""
        return self._fd < 0 or self._marked == self._lacks

    def close(self) -> None:
        """Close the file. Lines that wait stay; where none do, an empty part tells the next boot of this one.

        So what this boot gave back in its last moment, which nobody may have heard, is given back then.
        """
        self.look()
        if not self.waiting and self.seq > self._began and not self._gone:
            with contextlib.suppress(OSError):
                self._open()
            self._let_go_of(self.seq)
        if self._gone and self._waiting:
            _LOG.error(
                "%d call-log lines that the broker may not have are lost with the spool", len(self._waiting)
            )
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open_next(self) -> None:
        """Begin the next part. Where that fails, the one we have goes on, unless its end is torn, or it is gone."""
        if self._gone or (self._fd >= 0 and not os.fstat(self._fd).st_nlink):
            self._go_on()
            return
        try:
            self._open()
        except OSError:
            if self._torn:
                raise

    def look(self) -> None:
        """Find out whether our file is still where it was; where it is not, go on as soon as that can be."""
        if self._fd < 0:
            return
        with contextlib.suppress(OSError):
            if self._gone or not self._is_there():
                self._go_on()

    def _is_there(self) -> bool:
        newest = self._parts.newest
        try:
            return newest is not None and os.path.samestat(os.fstat(self._fd), newest.stat())
        except OSError:
            return False

    def _go_on(self) -> None:
        """Write on in a directory that is back (rule 7).

        Raises:
            SpoolGone: It is not.
        """
        if not self._gone:
            self._gone = True
            self.said.say(
                "gone", f"{self.directory} was taken away while it was in use: only cancels and exits pass"
            )
        if not self.directory.is_dir():
            raise SpoolGone(errno.ENOENT, f"{self.directory} was taken away")
        before = self._waiting[0][0] - 1 if self._waiting else self.seq
        for part in listed(self.directory).get(self.boot, ()):
            if part.first > before + 1:  # the new one has these lines; a disk is back that was away
                part.path.unlink()
        self._open(before, "".join(f"{line}\n" for _, line in self._waiting).encode())
        self._parts.drop_gone()
        self._gone = False
        self.said.well("gone")
        self.on_anew()

    def _open(self, before: int | None = None, lines: bytes = b"") -> None:
        before = self.seq if before is None else before
        if self._fd < 0 and not self.seq:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = path_of(self.directory, self.boot, before)
        unseen = path.with_name(path.name + NEW)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(unseen, flags, _MODE)
        lock(fd)
        try:
            write_all(fd, lines)
            if self._lacks:
                os.fchmod(fd, _mode(lacks=True))
            # nothing is lost: a part of this name holds no whole line yet, or what these lines are
            unseen.replace(path)
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                unseen.unlink()
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size, self._began, self._torn = fd, len(lines), before, False
        self._marked = self._lacks
        self._parts.add(Part(before + 1, path))
        self.others.begun = True

    def _cut_off(self) -> None:
        """Take a torn line away again; else the next line begins another part."""
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:
            self._torn = True
