"""The call-log spool: lines on disk before the request they tell of is sent.

Rules:
1. One line, one `write(2)` to an append-only file; no fsync: it outlives the process, not the machine.
2. A file per boot of the gateway, in parts. A part goes once the broker has all of it.
3. After a restart older boots are sent first and then deleted; the broker ignores what it already has.
4. A spool that cannot be written stops orders: what is not written down is not sent. Cancels and exits pass.
5. Sequence numbers count lines within a boot, from 1.
"""

import contextlib
import os
import re
import secrets
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

PART_LINES = 20_000
MOST_HELD = 200_000
_NAME = re.compile(r"calls-([0-9a-f]{16})-(\d{8})\.jsonl")


class Spool:
    """Lines of this boot, written down and waiting for the broker."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.boot = secrets.token_hex(8)
        self.seq = 0
        self._kept = 0
        self._waiting: deque[tuple[int, str]] = deque()
        self._parts: deque[tuple[int, Path]] = deque()
        self._fd = -1
        self._open()

    def next(self) -> int:
        """Return the number of the next line."""
        return self.seq + 1

    def write(self, line: str) -> None:
        """Write one line.

        Raises:
            OSError: It could not be written whole; then it counts as not written.
        """
        data = line.encode() + b"\n"
        short = os.write(self._fd, data) != len(data)
        self.seq += 1
        self._waiting.append((self.seq, "" if short else line))
        if short:  # the torn line keeps its number; the broker passes over lines it cannot read
            os.write(self._fd, b"\n")
            raise OSError("short write to the call-log spool")
        if len(self._waiting) > MOST_HELD:
            self._waiting.popleft()
        if self.seq % PART_LINES == 0:
            self._open()

    @property
    def waiting(self) -> int:
        """How many lines the broker does not have yet."""
        return self.seq - self._kept

    def batch(self, after: int, most: int) -> list[tuple[int, str]]:
        """Return lines that follow one number, in order. Lines that memory let go come from disk."""
        if self._waiting and after + 1 >= self._waiting[0][0]:
            skip = after + 1 - self._waiting[0][0]
            return list(islice(self._waiting, skip, skip + most))
        return self._from_disk(after, most)

    def kept(self, seq: int) -> None:
        """The broker has every line up to this one."""
        self._kept = max(self._kept, seq)
        while self._waiting and self._waiting[0][0] <= seq:
            self._waiting.popleft()
        while len(self._parts) > 1 and self._parts[1][0] <= seq:
            _, path = self._parts.popleft()
            path.unlink(missing_ok=True)

    def earlier(self) -> dict[str, list[Path]]:
        """Return the files of earlier boots, oldest part first."""
        found: dict[str, list[Path]] = {}
        for path in sorted(self._directory.iterdir()):
            match = _NAME.fullmatch(path.name)
            if match and match[1] != self.boot:
                found.setdefault(match[1], []).append(path)
        return found

    def close(self) -> None:
        """Close the file; it stays where lines still wait."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if not self.waiting:
            for _, path in self._parts:
                path.unlink(missing_ok=True)

    def _open(self) -> None:
        path = self._directory / f"calls-{self.boot}-{self.seq:08d}.jsonl"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._parts.append((self.seq + 1, path))

    def _from_disk(self, after: int, most: int) -> list[tuple[int, str]]:
        found = []
        for first, path in list(self._parts):
            for number, line in enumerate(lines_of([path]), first):
                if number > after:
                    found.append((number, line))
                    if len(found) == most:
                        return found
        return found


def lines_of(paths: list[Path]) -> Iterator[str]:
    """Yield the whole lines of some files; a torn last line was never acted on."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError), path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.endswith("\n") and line != "\n":
                    yield line[:-1]


def first_number(path: Path) -> int:
    """Return the number of the first line of a part."""
    match = _NAME.fullmatch(path.name)
    return 1 if match is None else int(match[2]) + 1
