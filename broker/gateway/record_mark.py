"""How far the broker's record had come, as this gateway was told last: kept on disk beside the spool.

A database that is put back together with its secret store has nobody else to tell it. The next start of this gateway
says it in its first frame; what cannot be read or written is said by nobody.
"""

import logging
import os
from contextlib import suppress
from pathlib import Path

from broker.link import frames

_LONGEST = 1_000
_LOG = logging.getLogger("portcullis.gateway")


class RecordMark:
    """The file: whose record it is, and the mark, a line each."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "record.mark"

    def read(self) -> tuple[str, str]:
        """Return instance and mark; empty where none is known."""
        with suppress(OSError, ValueError), self._path.open(encoding="ascii") as file:
            instance, mark, end = file.read(_LONGEST).split("\n")
            if instance and mark and not end:
                return instance, mark
        return "", ""

    def keep(self, frame: frames.Marked) -> None:
        """Write down what the broker said."""
        fresh = self._path.with_suffix(".fresh")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(fresh, flags, 0o600)
            try:
                os.write(fd, f"{frame.instance}\n{frame.mark}\n".encode("ascii"))
            finally:
                os.close(fd)
            fresh.replace(self._path)
        except (OSError, ValueError) as fault:
            _LOG.warning("how far the record has come could not be kept: %s", type(fault).__name__)
