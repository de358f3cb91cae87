"""The files of one boot's call log, oldest first: read from any number on, deleted once every line is kept.

Rules:
1. A part's name says the number of its first line. Every line counts, one that cannot be read too.
2. What ends without line break is no line: it was never acted on, unless the machine itself died.
3. Numbers that no part holds are read as empty lines: the broker puts them on record as lost.
4. A part with a line that the broker could not read is set aside under another name, never deleted.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

NAME = re.compile(r"calls-([0-9a-f]{16})-(\d{8,})\.jsonl")
_ASIDE = "unreadable-"


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

    def add(self, part: Part) -> None:
        """A file was begun."""
        self._parts = [known for known in self._parts if known.path != part.path] + [part]

    def read(self, after: int, most: int) -> list[tuple[int, str]]:
        """Return the lines that follow a number, in order and without a gap; nothing at the end."""
        found: list[tuple[int, str]] = []
        for index in self._from(after + 1):
            part = self._parts[index]
            end = self._parts[index + 1].first if index + 1 < len(self._parts) else None
            number = after + 1 + len(found)
            for line in self._lines(part, number, most - len(found)):
                if end is not None and number >= end:
                    break
                found.append((number, line))
                number += 1
            while end is not None and number < end and len(found) < most:
                self.torn = True
                found.append((number, ""))
                number += 1
            if len(found) >= most:
                break
        return found

    def kept(self, seq: int, *, all_of_it: bool = False) -> None:
        """Every line up to this one is kept; with `all_of_it` nothing follows."""
        while self._parts and (all_of_it or (len(self._parts) > 1 and self._parts[1].first <= seq + 1)):
            path = self._parts.pop(0).path
            if path in self._set_aside:
                path.replace(path.with_name(_ASIDE + path.name))
            else:
                path.unlink(missing_ok=True)

    def set_aside(self, numbers: Iterable[int]) -> None:
        """The broker could not read these lines."""
        for number in numbers:
            self.torn = True
            for index in list(self._from(number))[:1]:
                self._set_aside.add(self._parts[index].path)

    def _from(self, number: int) -> Iterator[int]:
        """Yield the parts from the one that holds a number on."""
        start = 0
        for index, part in enumerate(self._parts):
            if part.first <= number:
                start = index
        yield from range(start, len(self._parts))

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
