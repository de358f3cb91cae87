"""Cuts that no store has taken: a small file each in the home, which the next start puts on record.

Rules:
1. A file is written for a cut that is on no record a moment after it was made, or once a try failed, and for each that
   is on no record as its broker ends (`leaving`). It goes once the cut is on record, thawed, or taken back.
2. It is written without a store and without a thread, whole or not at all, and on disk before it counts as written. A
   disk that has no room for it has room for its name: that file is empty.
3. It belongs to one home for ever (`instance`), whatever its generation or history: a cut that is on no record has no
   place in any. One of another instance is left alone, and said. What is on record by now was thawed there or holds
   there; what is not is closed, as the secret store's mirror is believed (`adoption`).
4. What cannot be read closes everything, until somebody thaws that: a file that is empty was a cut as well. Only where
   the cut of its name is known (made here and on its way, or on record) that one holds, and nothing in its place. A
   directory that cannot be read lets nothing be served.
"""

import errno
import hashlib
import json
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from broker import gate_document
from broker.errors import StoreUnavailable
from broker.gate import Mode
from broker.gate_document import NotedCut
from broker.model import EVERYTHING

VERSION = 1
_SUFFIX = ".cut"
_LARGEST = 256 * 1024
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_CUT = (OSError, ValueError, KeyError, TypeError, RecursionError)
_LOG = logging.getLogger("portcullis.cuts")


@dataclass(frozen=True, slots=True)
class Found:
    """A cut that was left, and where; `is_whole`: it could be read. Else `cut` is what holds in its place."""

    cut: NotedCut
    path: Path
    is_whole: bool

    @property
    def name(self) -> str:
        """The id of the cut that was to be written down, whatever came of it; what is no text is no id of ours."""
        name = self.path.name.removesuffix(_SUFFIX)
        return name if name.isascii() else self.cut.id


class Unrecorded:
    """The files of one home; without a directory there is no place for them."""

    def __init__(
        self, directory: Path | None = None, instance: str = "", free: Callable[[], None] = lambda: None
    ) -> None:
        """Take where they lie; `free` makes room on a full disk."""
        self._directory, self._instance, self._free = directory, instance, free
        self._strange = set[Path]()

    def keep(self, cut: NotedCut) -> bool:
        """Write a cut down; tell whether it is there. It may be there already."""
        if self._directory is None:
            return False
        path = self._directory / f"{cut.id}{_SUFFIX}"
        document = json.dumps(
            {"version": VERSION, "instance": self._instance, "cut": gate_document.dump(cut)}
        )
        with suppress(*_NO_CUT):
            if _read(path, cut.id) == (self._instance, cut):
                return True
        why: object = ""
        for _ in range(2):
            try:
                self._make_room()
                _write(path, document.encode())
            except OSError as fault:
                why = fault.strerror
                self._free()
            else:
                return True
        with suppress(OSError):
            os.close(os.open(path, _NEW, 0o600))
        _LOG.error("%s could not be written down in the home (%s)", cut.id, why)
        return False

    def _make_room(self) -> None:
        """Make the directory. What lies in its place is no cut that is there already."""
        if self._directory is not None:
            with suppress(FileExistsError):
                self._directory.mkdir(mode=0o700, exist_ok=True)

    def drop(self, cut: str) -> None:
        """Take the file of a cut away, where there is one. One that stays is looked at by the next start."""
        if self._directory is not None:
            with suppress(OSError):
                (self._directory / f"{cut}{_SUFFIX}").unlink()

    def found(self) -> Iterator[Found]:
        """Yield what earlier lives left.

        Raises:
            StoreUnavailable: It cannot be read what there is.
        """
        if self._directory is None:
            return
        try:
            names = sorted(name for name in os.listdir(self._directory) if name.endswith(_SUFFIX))  # noqa: PTH208 - of a directory that may be missing
        except FileNotFoundError:
            return
        except OSError as fault:
            raise StoreUnavailable(
                "cuts_unreadable",
                f"{self._directory} cannot be read ({fault.strerror}): a cut may lie there that is on no record, so "
                "nothing is served; mend it",
            ) from None
        for name in names:
            path = self._directory / name
            try:
                instance, cut = _read(path, name.removesuffix(_SUFFIX))
            except _NO_CUT:
                yield Found(unreadable(path), path, is_whole=False)
                continue
            if instance == self._instance:
                yield Found(cut, path, is_whole=True)
            elif path not in self._strange:
                self._strange.add(path)
                _LOG.error("%s is a cut of another Portcullis (%s): it is left alone", path, instance[:40])


def _write(path: Path, data: bytes) -> None:
    """Write a file beside its place, and put it there whole: who looks meanwhile sees nothing of it, or all."""
    beside = path.with_name(f".{path.stem}.{secrets.token_hex(4)}")
    fd = os.open(beside, _NEW, 0o600)
    try:
        try:
            if os.write(fd, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(fd)
        finally:
            os.close(fd)
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink()
        raise
    for above in (path.parent, path.parent.parent):
        fd = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _read(path: Path, name: str) -> tuple[str, NotedCut]:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        document = json.loads(os.read(fd, _LARGEST))
    finally:
        os.close(fd)
    if document["version"] != VERSION or not isinstance(document["instance"], str):
        raise ValueError("no cut of this version")
    return document["instance"], gate_document.load(name, document["cut"])


def unreadable(path: Path) -> NotedCut:
    """Return what holds in the place of a cut that cannot be read: the same each time it is looked at."""
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:20]
    name = os.fsencode(path.name[:60]).decode("ascii", "backslashreplace")
    reason = (
        f"a broker ended with a cut on no record, and what it wrote down ({path.parent.name}/{name} in the "
        "home) cannot be read: find out what was cut, cut that, then thaw this"
    )
    return NotedCut(f"cut_{digest}", Mode.CLOSED, (EVERYTHING,), reason, "home", 0)
