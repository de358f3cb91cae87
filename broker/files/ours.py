"""What of this host is ours, and whether a place is part of it: no key is written there.

Rules:
1. Things are told by identity (device and inode), never by name: links, hard links, bind mounts, other spellings and
   other cases of a name lead to the same thing.
2. A directory of ours is ours with all that lies in it, now and later; so is every home of a Portcullis, whoever's.
3. What cannot be looked at is not judged here: whoever may not look may not write either.
"""

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Identity = tuple[int, int]

_HOME = "home.json"
_OF_A_HOME = ("state.db", "secrets.db", "kek", "operator.token", "run.lock", "spool")
_DEEPEST = 256
_PACKAGES = ("broker", "clients", "rotation", "portcullis")


@dataclass(frozen=True, slots=True)
class Ours:
    """Directories of ours, with all that lies in them, and single files: those that exist and those that will."""

    directories: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()

    def holds(self, directory: int, name: str) -> bool:
        """Tell whether a name in an open directory is, or would be, something of ours."""
        trees = (*self.directories, *_program())
        inside, files = set[Identity](), set[Identity]()
        for tree in trees:
            for identity, is_directory in _all_of(tree):
                (inside if is_directory else files).add(identity)
        names = set()
        for path in (*self.files, Path(sys.executable), Path(sys.executable).resolve()):
            with contextlib.suppress(OSError):
                files.add(_identity(path.stat()))
            with contextlib.suppress(OSError):
                names.add((_identity(path.parent.stat()), path.name.casefold()))
        above = tuple(_above(directory))
        if any(identity in inside or is_home for identity, is_home in above):
            return True
        if above and (above[0][0], name.casefold()) in names:
            return True
        with contextlib.suppress(OSError):
            return _identity(os.stat(name, dir_fd=directory)) in files | inside
        return False


def in_a_home(directory: int) -> bool:
    """Tell whether an open directory is, or lies in, somebody's home of a Portcullis."""
    return any(is_home for _, is_home in _above(directory))


def _identity(known: os.stat_result) -> Identity:
    return known.st_dev, known.st_ino


def _program() -> tuple[Path, ...]:
    """Return the directories that this program itself is read from."""
    root = Path(__file__).resolve().parents[2]
    own = sys.prefix != sys.base_prefix
    return (*(root / name for name in _PACKAGES), *((Path(sys.prefix) / "bin",) if own else ()))


def _all_of(tree: Path) -> Iterator[tuple[Identity, bool]]:
    """Yield everything in a directory, itself included; links in it are not followed."""
    with contextlib.suppress(OSError):
        yield _identity(tree.stat()), True
    for where, directories, files in os.walk(tree):
        for name in (*directories, *files):
            with contextlib.suppress(OSError):
                known = os.lstat(os.path.join(where, name))  # noqa: PTH118 - thousands of them
                yield _identity(known), stat.S_ISDIR(known.st_mode)


def _above(directory: int) -> Iterator[tuple[Identity, bool]]:
    """Yield an open directory and those above it, each with whether it is somebody's home of ours."""
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    before: Identity | None = None
    try:
        for _ in range(_DEEPEST):
            identity = _identity(os.fstat(here))
            if identity == before:
                return
            yield identity, _is_home(here)
            before = identity
            above = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = above
    except OSError:
        return
    finally:
        os.close(here)


def _is_home(directory: int) -> bool:
    def has(name: str) -> bool:
        try:
            os.stat(name, dir_fd=directory, follow_symlinks=False)
        except OSError:
            return False
        return True

    return has(_HOME) and any(has(name) for name in _OF_A_HOME)
