"""Pairs that a venue has told of, kept on disk beside the spool: a gateway that starts anew can judge exits at once.

Rules:
1. What a pair trades never changes, so one line is enough for ever: upstream, symbol, base, quote.
2. A venue that bans us, or answers no questions, would leave a fresh gateway without any pair, and no exit can be
   judged without one. What is known from before refuses nobody.
3. It only helps: what cannot be read or written is asked of the venue again. Never more than `MOST` lines.
"""

import json
import logging
import os
from contextlib import suppress
from pathlib import Path

from broker.gateway.whole import write_all
from clients.venue import SymbolInfo

MOST = 20_000
_LONGEST_LINE = 1_000
_FIELDS = 4
_LOG = logging.getLogger("portcullis.gateway")


class KnownPairs:
    """The file, and what was in it."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "pairs.jsonl"
        self._of: dict[str, dict[str, SymbolInfo]] = {}
        self._lines = 0
        self._torn = b""
        with suppress(OSError):
            self._read()

    def of(self, upstream: str) -> dict[str, SymbolInfo]:
        """Return the pairs of a venue by symbol."""
        return dict(self._of.get(upstream, {}))

    def learn(self, upstream: str, pair: SymbolInfo) -> None:
        """Keep a pair that the venue told of."""
        known = self._of.setdefault(upstream, {})
        if known.get(pair.symbol) == pair or self._lines >= MOST:
            return
        known[pair.symbol] = pair
        line = json.dumps([upstream, pair.symbol, pair.base, pair.quote], separators=(",", ":"))
        try:
            self._append(self._torn + line.encode("ascii") + b"\n")
        except OSError as fault:
            _LOG.warning("a pair could not be kept for the next start: %s", fault.strerror)

    def _append(self, line: bytes) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self._path, flags, 0o600)
        try:
            self._torn = b"\n"  # where a part of it is written only
            write_all(fd, line)
        finally:
            os.close(fd)
        self._lines, self._torn = self._lines + 1, b""

    def _read(self) -> None:
        """Read what is there; of lines that are none, or of two of the same pair, the last that is one counts."""
        with self._path.open("rb") as file:
            while self._lines < MOST and (line := file.readline(_LONGEST_LINE)):
                self._lines += 1
                self._torn = b"" if line.endswith(b"\n") else b"\n"
                found = _pair_of(line)
                if found is not None:
                    self._of.setdefault(found[0], {})[found[1].symbol] = found[1]


def _pair_of(line: bytes) -> tuple[str, SymbolInfo] | None:
    """Read one line; None where it is not whole, or no pair."""
    try:
        row = json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None
    if (
        not isinstance(row, list)
        or len(row) != _FIELDS
        or not all(isinstance(one, str) and one for one in row)
    ):
        return None
    return row[0], SymbolInfo(*row[1:])
