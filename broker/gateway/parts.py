"""The files of one boot's call log, oldest first: read from any number on, deleted once every line is kept.

Rules:
1. A part's name says the number of its first line. Every line counts, one that cannot be read too.
2. What ends without line break is no line: it was never acted on, unless the machine itself died.
3. Numbers that no part holds are read as empty lines: the broker puts them on record as lost.
4. A part with a line that the broker could not read is set aside under another name, never deleted.
5. The name of a boot begins with a number, one above those that were there as it began: clocks can be set. Two that
   began at once may have the same one, and boots of older versions have none.
6. The newest part of a boot tells by its mode whether the boot spent budget that no line tells of.
7. They are read in a thread while others are deleted: what is known of them is replaced, never changed in place.
"""

import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

BOOT = r"([0-9a-f]{24}|[0-9a-f]{16})"
NAME = re.compile(rf"calls-{BOOT}-(\d{{8,}})\.jsonl")
_OF_A_BOOT = re.compile(rf"(?:calls|doubts)-{BOOT}[-.]")
_ASIDE = "unreadable-"
NEW = ".new"
"""Behind the name of a file that is not whole yet, or not locked: nobody else reads or takes it."""

LACKS = stat.S_IXUSR
"""In the mode of a part. Nobody runs it: it is a mark that can be set where nothing can be written any more."""

_DIGITS, _LARGEST, _RANDOM_BYTES = 8, 0xFFFFFFFF, 8


@dataclass(frozen=True, slots=True)
class Part:
    """One file, and the number of its first line."""

    first: int
    path: Path


def part_of(path: Path) -> Part | None:
    """Return what a file is by its name; None where it is no part."""
    match = NAME.fullmatch(path.name)
    return None if match is None else Part(int(match[2]) + 1, path)


def path_of(directory: Path, boot: str, before: int) -> Path:
    """Return the path of the part that begins after a number."""
    return directory / f"calls-{boot}-{before:08d}.jsonl"


def boot_of(path: Path) -> str:
    """Return whose file it is; empty where it is nobody's."""
    match = _OF_A_BOOT.match(path.name)
    return "" if match is None else match[1]


def listed(directory: Path) -> dict[str, list[Part]]:
    """Return the parts of each boot, oldest first; nothing where there is no such directory."""
    found: dict[str, list[Part]] = {}
    try:
        paths = list(directory.iterdir())
    except FileNotFoundError:
        return found
    for path in paths:
        match = NAME.fullmatch(path.name)
        if match is not None:
            found.setdefault(match[1], []).append(Part(int(match[2]) + 1, path))
    for parts in found.values():
        parts.sort(key=lambda part: part.first)
    return found


def new_boot(directory: Path) -> str:
    """Return the name of a start."""
    try:
        boots = {boot_of(path) for path in directory.iterdir()}
    except OSError:  # none there, or none that could be read either
        boots = set()
    number = min(_LARGEST, max((started(boot) or 0 for boot in boots), default=0) + 1)
    return f"{number:0{_DIGITS}x}{secrets.token_hex(_RANDOM_BYTES)}"


def started(boot: str) -> int | None:
    """Return the number of a start; None where it has none."""
    return int(boot[:_DIGITS], 16) if len(boot) > 2 * _RANDOM_BYTES else None


class Parts:
    """All files of one boot that are still there."""

    def __init__(self, parts: Iterable[Part] = ()) -> None:
        self._parts = sorted(parts, key=lambda part: part.first)
        self._place: tuple[Path, int, int] | None = (
            None  # in which file the line of a number begins, and where
        )
        self._set_aside: set[Path] = set()
        self.torn = False

    @property
    def first(self) -> int:
        """The number of the first line that may still be there."""
        return self._parts[0].first if self._parts else 1

    @property
    def newest(self) -> Path | None:
        """The file that was begun last."""
        return self._parts[-1].path if self._parts else None

    def lacks(self) -> bool:
        """Tell whether budget was spent that no line tells of; where that cannot be read it may have been."""
        try:
            return self.newest is not None and bool(self.newest.stat().st_mode & LACKS)
        except OSError:
            return True

    def add(self, part: Part) -> None:
        """A file was begun. It may begin again with what later ones held that were taken away."""
        self._parts = [known for known in self._parts if known.first < part.first] + [part]
        self._place = None

    def drop_gone(self) -> None:
        """Know no more of files that somebody took away."""
        self._parts = [known for known in self._parts if known.path.exists()]

    def read(self, after: int, most: int) -> list[tuple[int, str]]:
        """Return the lines that follow a number, in order and without a gap; nothing at the end."""
        found: list[tuple[int, str]] = []
        parts, number = self._parts, after + 1
        if parts:
            number = self._gap(found, number, parts[0].first, most)
        for index in _from(parts, number):
            part = parts[index]
            end = parts[index + 1].first if index + 1 < len(parts) else None
            for line in self._lines(part, number, most - len(found)):
                if end is not None and number >= end:
                    break
                found.append((number, line))
                number += 1
            if end is not None:
                number = self._gap(found, number, end, most)
            if len(found) >= most:
                break
        return found

    def _gap(self, found: list[tuple[int, str]], number: int, end: int, most: int) -> int:
        """Add the numbers that no part holds before a part begins (rule 3); return the one that follows."""
        while number < end and len(found) < most:
            self.torn = True
            found.append((number, ""))
            number += 1
        return number

    def spent(self, seq: int) -> int:
        """Return the last line of those parts that go once every line up to this one is kept."""
        return max((part.first - 1 for part in self._parts if part.first <= seq + 1), default=0)

    def kept(self, seq: int, *, all_of_it: bool = False) -> None:
        """Every line up to this one is kept; with `all_of_it` nothing follows.

        Raises:
            OSError: A part cannot be deleted: it and those behind it stay, and are tried with the next call.
        """
        while self._parts and (all_of_it or (len(self._parts) > 1 and self._parts[1].first <= seq + 1)):
            path = self._parts[0].path
            if path not in self._set_aside:
                path.unlink(missing_ok=True)
            elif path.exists():
                path.replace(path.with_name(_ASIDE + path.name))
            self._parts = self._parts[1:]

    def set_aside(self, numbers: Iterable[int]) -> None:
        """The broker could not read these lines."""
        for number in numbers:
            self.torn = True
            for index in _from(self._parts, number)[:1]:
                self._set_aside.add(self._parts[index].path)

    def _lines(self, part: Part, number: int, most: int) -> Iterator[str]:
        try:
            file = part.path.open("rb")
        except FileNotFoundError:
            return
        with file:
            if self._place is not None and self._place[:2] == (part.path, number):
                file.seek(self._place[2])
            else:
                for _ in range(number - part.first):
                    file.readline()
            for _ in range(most):
                line = self._next(file)
                if line is None:
                    return
                number += 1
                self._place = (part.path, number, file.tell())
                yield line

    def _next(self, file: BinaryIO) -> str | None:
        line = file.readline()
        if line.endswith(b"\n"):
            return line[:-1].decode("utf-8", errors="replace")
        self.torn = self.torn or bool(line)
        return None


def _from(parts: list[Part], number: int) -> range:
    """Return the places of the parts from the one that holds a number on."""
    start = 0
    for place, part in enumerate(parts):
        if part.first <= number:
            start = place
    return range(start, len(parts))
