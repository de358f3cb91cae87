"""A file that gets a key: looked at, read and replaced through its open directory.

Rules:
1. The directory is opened once, and everything happens in what was opened: nobody can put another in its place between
   the look and the writing.
2. No link is followed, no device or pipe opened, nothing of ours written: when a place is named, and at every delivery.
3. A file is replaced whole, by a rename, read by its owner only. Whatever fails leaves no second file with a secret; a
   crash leaves one of a name of ours (`leftover`), which is removed at the next start.
4. Nobody reads a key in what is written, before the last look at whether it may take the file's place: it has no name
   until then, and becomes its owner's after it. Where the file system has no files without a name it has one of ours,
   which only our own user can read.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.files import mounts
from broker.files.ours import Ours

LARGEST = 1024 * 1024
_LEFTOVER = ".portcullis"
_BOM = "\ufeff"
_MADE_UP = ("/proc/", "/sys/", "/dev/")
_REAL = ("/dev/shm/",)  # noqa: S108 - a memory file system; its files are files
_OPEN = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_NO_NAMELESS = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT, errno.ENOSYS})
"""What a file system, or a kernel, says that has no files without a name."""

_FD = "/proc/self/fd/{}"
"""By which a file without a name is given one."""


class Unfit(Exception):
    """A place that cannot take a key; the text goes on after `path`: what is wrong, and what to do."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds, and whose it is. `owner` None: there is no file yet."""

    text: str
    owner: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Spot:
    """A name in an open directory."""

    directory: int
    name: str

    @property
    def leftover(self) -> str:
        """The name under which a replacement is written."""
        return f".{self.name}{_LEFTOVER}"

    def read(self) -> Content:
        """Return what is there.

        Raises:
            Unfit: It is no file that can hold a key, or cannot be read.
        """
        try:
            fd = os.open(self.name, os.O_RDONLY | _OPEN, dir_fd=self.directory)
        except FileNotFoundError:
            return Content("", None)
        except OSError as fault:
            raise Unfit(f"cannot be read ({fault.strerror})") from None
        try:
            known = os.fstat(fd)
            _judge(known)
            if mounts.mount_of(fd) != mounts.mount_of(self.directory):
                raise Unfit(
                    "is mounted as a single file, which cannot be replaced whole: mount the directory that it lies in"
                )
            data = os.read(fd, LARGEST + 1)
        except OSError as fault:
            raise Unfit(f"cannot be read ({fault.strerror})") from None
        finally:
            os.close(fd)
        if len(data) > LARGEST:
            raise Unfit(f"is larger than {LARGEST // 1024} KiB: it holds no settings")
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise Unfit("is not UTF-8 text") from None
        if text.startswith(_BOM):
            raise Unfit("begins with a byte order mark: save it as UTF-8 without one")
        if "\0" in text:
            raise Unfit("is not text")
        return Content(text, (known.st_uid, known.st_gid))

    def replace(self, text: str, owner: tuple[int, int] | None, look: Callable[[], object]) -> None:
        """Replace the file, whole or not at all.

        Args:
            text: What it is to hold.
            owner: Whose it is to be; None: ours.
            look: Raises where that is not to be any more; asked right before the file is replaced.

        Raises:
            OSError: It cannot be; nothing is left beside it.
        """
        try:
            with self._written(text) as (fd, named):
                look()
                if not named:
                    self._name(fd)
                if owner is not None and owner != (os.geteuid(), os.getegid()):
                    os.fchown(fd, *owner)
                os.rename(self.leftover, self.name, src_dir_fd=self.directory, dst_dir_fd=self.directory)
                os.fsync(fd)
        except BaseException:
            self.clean()
            raise
        os.fsync(self.directory)

    def rehearse(self) -> None:
        """Try whether a file can be made here; nothing is left.

        Raises:
            Unfit: It cannot.
        """
        try:
            with self._written("") as (fd, named):
                if not named:
                    self._name(fd)
        except OSError as fault:
            raise Unfit(f"cannot be replaced ({fault.strerror}): its directory must let us write") from None
        finally:
            self.clean()

    def clean(self) -> bool:
        """Remove what a broken writing left; tell whether there was something."""
        try:
            os.unlink(self.leftover, dir_fd=self.directory)
        except OSError:
            return False
        return True

    @contextmanager
    def _written(self, text: str) -> Iterator[tuple[int, bool]]:
        """Write a replacement, and lend it open; tell whether it has its name yet."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.leftover, dir_fd=self.directory)
        fd = self._nameless()
        named = fd is None
        if fd is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN
            fd = os.open(self.leftover, flags, 0o600, dir_fd=self.directory)
        with os.fdopen(fd, "w", encoding="utf-8", newline="") as file:
            os.fchmod(fd, 0o600)
            file.write(text)
            file.flush()
            os.fsync(fd)
            yield fd, named

    def _nameless(self) -> int | None:
        """Open a file of this directory that has no name; None where there are none, or it could be given none."""
        kind = getattr(os, "O_TMPFILE", 0)
        if not kind:
            return None
        try:
            fd = os.open(".", os.O_WRONLY | os.O_CLOEXEC | kind, 0o600, dir_fd=self.directory)
        except OSError as fault:
            if fault.errno in _NO_NAMELESS:
                return None
            raise
        if not Path(_FD.format(fd)).exists():
            os.close(fd)
            return None
        return fd

    def _name(self, fd: int) -> None:
        """Give a file the name of a replacement."""
        os.link(_FD.format(fd), self.leftover, dst_dir_fd=self.directory)


def is_whole(path: str) -> bool:
    """Tell whether a path says where a file lies, from the root, in the one way there is to write it."""
    parts = path.split("/")
    return (
        path.isprintable() and len(parts) > 1 and not parts[0]
        and all(part and part not in {".", ".."} for part in parts[1:])
    )  # fmt: skip


@contextmanager
def spot(text: str, ours: Ours) -> Iterator[Spot]:
    """Open the directory of a file.

    Args:
        text: The path as it was written: `pathlib` would mend what is refused here.
        ours: What no key is written into.

    Raises:
        Unfit: There is none, or what the path names is a link, no file, or something of ours.
    """
    path = Path(text)
    if not is_whole(text):
        raise Unfit("is no file's whole path: write it from the root, without `.`, `..` or `//` in it")
    if path.name.startswith(".") and path.name.endswith(_LEFTOVER):
        raise Unfit(
            f"has a name that a replacement of ours is written under (.NAME{_LEFTOVER}): name another file"
        )
    if text.startswith(_MADE_UP) and not text.startswith(_REAL):
        raise Unfit("lies in a file system that keeps no files")
    try:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise Unfit("lies in no directory of this host: make that first, or mend the path") from None
    except OSError as fault:
        raise Unfit(f"lies in a directory that cannot be opened ({fault.strerror})") from None
    try:
        if ours.holds(directory, path.name):
            raise Unfit(
                "is, or lies among, what belongs to Portcullis itself: no key is written there; name a file of "
                "the bot's"
            )
        with contextlib.suppress(FileNotFoundError):
            _judge(os.stat(path.name, dir_fd=directory, follow_symlinks=False))
        yield Spot(directory, path.name)
    finally:
        os.close(directory)


def _judge(known: os.stat_result) -> None:
    """Refuse what is no file of its own."""
    mode = known.st_mode
    if stat.S_ISLNK(mode):
        raise Unfit("is a link, and a link is refused: name the file itself")
    if stat.S_ISDIR(mode):
        raise Unfit("is a directory: name a file in it")
    if not stat.S_ISREG(mode):
        raise Unfit("is no file, but a device, a pipe or a socket")
    if known.st_nlink > 1:
        raise Unfit(
            "has another name as well (a hard link), which would keep the old key: copy it to a file of its own"
        )
    if os.geteuid() not in {0, known.st_uid}:
        raise Unfit("belongs to another user: let it belong to the user that Portcullis runs as")
