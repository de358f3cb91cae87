"""The files that other starts of this gateway left in its spool, and which of these starts are over.

Rules:
1. A gateway that runs holds a lock on the part it writes to. It locks the next one before anybody can see it, and
   before it lets go of the last.
2. So a start is over where nobody holds its newest part, and no newer one came meanwhile. What is over stays over.
3. Only who holds the lock sends lines of a start that is over, or deletes them: another may have begun beside us. It is
   taken when it is needed, for a thousand boots have more files than a process may have open.
"""

import errno
import fcntl
import logging
import os
import threading
from pathlib import Path

from broker.gateway.parts import Part, Parts, listed, started
from broker.gateway.said import Said

_LOG = logging.getLogger("portcullis.spool")


class Others:
    """What other starts left."""

    def __init__(self, directory: Path, boot: str) -> None:
        self.directory, self._boot = directory, boot
        self._over = set[str]()
        self.begun = False
        """Whether a file of ours was begun here: then a directory that is not there was taken away."""
        self.said = Said(_LOG)
        self._looking = threading.Lock()
        """Two that try the same lock at the same moment would take each other for a gateway that runs."""

    def look(self) -> tuple[dict[str, list[Part]], set[str]]:
        """Return the parts of each other start, oldest start first, and which of these may still write.

        Raises:
            OSError: The directory cannot be read.
        """
        with self._looking:
            found = self._listed()
            self.said.only(found)
            free = {
                boot for boot, parts in found.items() if boot in self._over or self._free(boot, parts[-1])
            }
            if free - self._over:
                again = self._listed()
                self._over |= {
                    boot for boot in free if boot not in again or again[boot][-1] == found[boot][-1]
                }
            return found, found.keys() - self._over

    def earlier(self) -> "tuple[list[Earlier], bool]":
        """Return what starts that are over left behind, and whether others may still write."""
        found, running = self.look()
        return [self.of(boot, parts) for boot, parts in found.items() if boot not in running], bool(running)

    def of(self, boot: str, parts: list[Part]) -> "Earlier":
        """Return what one left behind."""
        return Earlier(boot, parts, self._looking)

    def _listed(self) -> dict[str, list[Part]]:
        if self.begun and not self.directory.is_dir():
            raise FileNotFoundError(errno.ENOENT, "the directory was taken away", str(self.directory))
        found = listed(self.directory)
        found.pop(self._boot, None)
        return {boot: found[boot] for boot in sorted(found, key=lambda boot: _order(boot, found[boot]))}

    def _free(self, boot: str, newest: Part) -> bool:
        try:
            fd = os.open(newest.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # the listing that follows shows whether another took its place
            return True
        except OSError as fault:  # whoever ran it left files that are not ours to read
            self.said.say(boot, f"{newest.path} cannot be read; the lines of its boot wait: {fault.strerror}")
            return False
        self.said.well(boot)
        try:
            return lock(fd)
        finally:
            os.close(fd)


class Earlier:
    """What a start that is over left behind. Whoever reads or deletes it here holds its lock."""

    def __init__(self, boot: str, parts: list[Part], looking: threading.Lock) -> None:
        self.boot = boot
        self._listed, self._looking = parts, looking
        self._parts = Parts(parts)
        self._fd = -1
        self._dropped = False
        self.before = self._parts.first - 1
        """The number of the last line that is not here any more: it was acknowledged."""

    @property
    def first(self) -> int:
        """The number of the first line that may still be there."""
        return self._parts.first

    @property
    def whole(self) -> bool:
        """Whether nothing was found torn, unreadable or gone so far, and all that was spent has its line."""
        return not self._parts.torn and not self._parts.lacks()

    def batch(self, after: int, most: int) -> list[tuple[int, str]]:
        """Return lines that follow one number, in order.

        Raises:
            BlockingIOError: Another gateway has them.
            OSError: They cannot be read.
        """
        if self._hold() and not all(part.path.exists() for part in self._listed):
            self.let_go()  # another has deleted some: what is gone is not lost
        if self._dropped:
            raise BlockingIOError(errno.EAGAIN, "another gateway read these files")
        return self._parts.read(after, most)

    def kept(self, seq: int, unreadable: tuple[int, ...] = ()) -> None:
        """The broker has acknowledged every line up to this one; the last part stays until `done`."""
        self._parts.set_aside(unreadable)
        self._parts.kept(seq)

    def done(self) -> None:
        """The broker wants nothing more of this boot.

        Raises:
            BlockingIOError: Another gateway has them.
            OSError: A part cannot be deleted.
        """
        self._dropped = False
        try:
            self._hold()
            self._parts.kept(0, all_of_it=True)
        except FileNotFoundError:
            return  # somebody else has done it
        finally:
            self.let_go()

    def gone(self) -> bool:
        """Tell whether somebody else has deleted all of it."""
        return not any(part.path.exists() for part in self._listed)

    def let_go(self) -> None:
        """Unlock the files."""
        with self._looking:
            self._dropped = True
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _hold(self) -> bool:
        """Lock the files, unless they are; tell whether they were not."""
        with self._looking:
            if self._fd >= 0 or self._dropped:
                return False
            fd = os.open(self._listed[-1].path, os.O_RDONLY | os.O_CLOEXEC)
            if not lock(fd):
                os.close(fd)
                raise BlockingIOError(errno.EAGAIN, "another gateway reads these files")
            self._fd = fd
            return True


def lock(fd: int) -> bool:
    """Lock a file against every other process and every other opening of it here; tell whether it is ours now."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _order(boot: str, parts: list[Part]) -> tuple[int, int, str]:
    """Order starts by their number; those of older versions have none, and came before."""
    number = started(boot)
    if number is not None:
        return number, 0, boot
    try:
        return -1, parts[-1].path.stat().st_mtime_ns, boot
    except OSError:
        return -1, 0, boot
