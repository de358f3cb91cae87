"""How far the broker's record had come, as this gateway was told last: kept on disk beside the spool.

A database that is put back together with its secret store has nobody else to tell it. The next start of this gateway
says it in its first frame; what cannot be read or written is said by nobody.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from broker.gateway import whole
from broker.link import frames

_LONGEST = 1_000
_LOG = logging.getLogger("portcullis.gateway")


class RecordMark:
    """The file: whose record it is, and the mark, a line each."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "record.mark"
        self._writing = threading.Lock()
        self._count = self._last = 0

    def read(self) -> tuple[str, str]:
        """Return instance and mark; empty where none is known."""
        with suppress(OSError, ValueError), self._path.open(encoding="ascii") as file:
            instance, mark, end = file.read(_LONGEST).split("\n")
            if instance and mark and not end:
                return instance, mark
        return "", ""

    def taken(self, frame: frames.Marked) -> Callable[[], None]:
        """Take in what the broker said; return what writes it down, beside the requests: a disk may be slow."""
        self._count += 1
        return partial(self._put, self._count, frame)

    def keep(self, frame: frames.Marked) -> None:
        """Write down what the broker said."""
        self.taken(frame)()

    def _put(self, count: int, frame: frames.Marked) -> None:
        with self._writing:
            if count < self._last:
                return  # a later one was written meanwhile
            self._last = count
            try:
                whole.replace(self._path, (f"{frame.instance}\n{frame.mark}\n".encode("ascii"),))
            except (OSError, ValueError) as fault:
                _LOG.warning("how far the record has come could not be kept: %s", type(fault).__name__)
