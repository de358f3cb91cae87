"""A command line on a real terminal of 80 columns, in a pipe, or in a pipe that knows latin-1 only.

The command runs in a fork of this process, so that each costs milliseconds and not the start of an interpreter.
"""

import io
import os
import pty
import re
import select
import signal
import sys
import termios
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fcntl import ioctl
from struct import pack

from portcullis.__main__ import main

TERMINAL, PIPE, LATIN = "terminal", "pipe", "latin-1"
CONSOLES = (TERMINAL, PIPE, LATIN)
WIDTH = 80
_LONG_S = 180
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it wrote. At a terminal both streams are one."""

    code: int
    out: str
    err: str = ""

    @property
    def plain(self) -> str:
        """What a person sees."""
        return _COLOUR.sub("", self.out + self.err).replace("\r\n", "\n").replace("\r", "\n")

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.plain.splitlines()]


def run_on(
    console: str, arguments: Sequence[str], *, stdin: str = "", before: Callable[[], None] = lambda: None
) -> Said:
    """Run a command line on a console; `before` is called in the fork."""
    if console == TERMINAL:
        return _terminal(arguments, before)
    encoding = "latin-1" if console == LATIN else "utf-8"
    given, out, err = os.pipe(), os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(given[0], 0)
        os.dup2(out[1], 1)
        os.dup2(err[1], 2)
        os.closerange(3, 256)
        _run(arguments, encoding, before)
    for fd in (given[0], out[1], err[1]):
        os.close(fd)
    os.write(given[1], stdin.encode())
    os.close(given[1])
    texts = _read_all(child, [out[0], err[0]])
    return Said(_code(child), texts[0].decode(encoding), texts[1].decode(encoding))


def _terminal(arguments: Sequence[str], before: Callable[[], None]) -> Said:
    child, master = pty.fork()
    if child == 0:
        ioctl(1, termios.TIOCSWINSZ, pack("HHHH", 24, WIDTH, 0, 0))
        _run(arguments, "utf-8", before)
    text = _read_all(child, [master])[0]
    return Said(_code(child), text.decode("utf-8", "replace"))


def _run(arguments: Sequence[str], encoding: str, before: Callable[[], None]) -> None:
    """Be the command, and end."""
    code = 70
    try:
        for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
            os.environ.pop(name, None)
        os.environ["TERM"] = "xterm-256color"
        sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding=encoding)
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), encoding=encoding)
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(io.FileIO(2, "w", closefd=False)), encoding=encoding, line_buffering=True
        )
        sys.argv = ["portcullis", *arguments]
        before()
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 - the fork must not go on as the test
        os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace"))
    finally:
        os._exit(code)


def _read_all(child: int, fds: list[int]) -> list[bytes]:
    texts = dict.fromkeys(fds, b"")
    waiting, deadline = set(fds), time.monotonic() + _LONG_S
    while waiting:
        ready, _, _ = select.select(waiting, [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            os.kill(child, signal.SIGKILL)
        for fd in ready:
            try:
                read = os.read(fd, 65536)
            except OSError:  # the other end of a terminal is gone
                read = b""
            texts[fd] += read
            if not read:
                waiting.discard(fd)
                os.close(fd)
    return [texts[fd] for fd in fds]


def _code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
