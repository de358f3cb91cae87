"""What a process that serves others says on stdout and stderr: one thread of its own writes it, nobody waits for that.

Rules:
1. A terminal that is stopped, a reader that is slow or went away and a full disk hold nobody up who says something, and
   are an error to nobody: no lock of a stream is held meanwhile, and `write` and `flush` neither wait nor fail.
2. At most `MOST_WAITING` texts of `LONGEST` characters wait. What comes then is lost; once texts are taken again, it is
   said how many were lost.
3. At the end of the process what waits is written, for `ENDS_WITHIN_S` at most.
"""

import atexit
import io
import os
import select
import sys
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import TextIO, cast

MOST_WAITING = 1_000
LONGEST = 16 * 1024
ENDS_WITHIN_S = 0.5
_TRIED_AGAIN_S = 1.0


class LogWriter(io.TextIOBase):
    """A text stream to a file descriptor whose writes are done by a thread."""

    def __init__(self, fd: int, encoding: str = "utf-8", errors: str = "backslashreplace") -> None:
        """Begin; on a host that has no thread for it each text is tried at once."""
        super().__init__()
        self._fd, self._encoding, self._how = fd, encoding, errors
        self._waiting: SimpleQueue[str | threading.Event] = SimpleQueue()
        self._lost = 0
        thread = threading.Thread(target=self._work, name="log", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self._threaded = False
        else:
            self._threaded = True

    def write(self, text: str) -> int:
        """Take a text; it is written soon, or lost."""
        if not self._threaded:
            self._out(text)
        elif self._waiting.qsize() >= MOST_WAITING:
            self._lost += 1
        else:
            self._waiting.put(text if len(text) <= LONGEST else f"{text[:LONGEST]} ...\n")
        return len(text)

    def finish(self, within_s: float = ENDS_WITHIN_S) -> bool:
        """Wait until what was said before is written, for so long at most; tell whether it is."""
        if not self._threaded:
            return True
        done = threading.Event()
        self._waiting.put(done)
        return done.wait(within_s)

    def writable(self) -> bool:
        """Tell that texts are taken."""
        return True

    def fileno(self) -> int:
        """Return where it is written to."""
        return self._fd

    def isatty(self) -> bool:
        """Tell whether that is a terminal."""
        return os.isatty(self._fd)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of what is written."""
        return self._encoding

    @property
    def errors(self) -> str:  # type: ignore[override]
        """What is written for a character that the encoding has not."""
        return self._how

    def _work(self) -> None:
        while True:
            said = self._waiting.get()
            if isinstance(said, threading.Event):
                said.set()
                continue
            lost = self._lost
            if self._out(said) and lost:
                self._lost -= lost
                self._out(f"{lost} lines are missing here: they could not be written\n")

    def _out(self, text: str) -> bool:
        left = text.encode(self._encoding, self._how)
        while left:
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:  # whoever shares it made it so
                with suppress(OSError, ValueError):
                    select.select([], [self._fd], [], _TRIED_AGAIN_S)
                if not self._threaded:
                    return False
            except OSError:
                self._lost += 1
                return False
        return True


def take_over(name: str) -> TextIO:
    """Let this process write its `stdout` or `stderr` so from now on; return that.

    What somebody else put in place of it, to read what is said, stays as it is.
    """
    there: TextIO | None = getattr(sys, name)
    if isinstance(there, io.TextIOWrapper) and there is getattr(sys, f"__{name}__"):
        with suppress(OSError):  # a full disk now says nothing of later
            there.flush()
        writer = LogWriter(there.fileno(), there.encoding, there.errors or "backslashreplace")
        atexit.register(writer.finish)
        there = cast("TextIO", writer)
        setattr(sys, name, there)
    return cast("TextIO", there)
