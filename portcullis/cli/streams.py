"""What a command writes to: terminals and pipes of every encoding, and readers that went away.

Rules:
1. No character stops a command: one that the terminal's encoding lacks is written as its plain stand-in, else as `?`.
2. A reader that has enough (`| head -1`) ends the command quietly.
"""

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Callable
from typing import TextIO

_HANDLER = "portcullis"
_BROKEN = 1
"""As the libraries below us end it."""

_STAND_INS = {
    "✓": "+", "✗": "x", "■": "#", "●": "*", "█": "#", "░": ".", "…": "...", "→": "->",
    "\N{EN DASH}": "-", "—": "-", "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "“": '"', "”": '"', "µ": "u", "─": "-", "━": "-", "│": "|", "┃": "|", "╭": "+", "╮": "+", "╰": "+", "╯": "+",
    "┏": "+", "┓": "+", "┗": "+", "┛": "+", "├": "+", "┤": "+", "┼": "+", "•": "*",
} | {chr(code): "*" for code in range(0x2800, 0x2900)}  # fmt: skip
"""The last are braille, which spinners turn in."""


def stand_in(fault: UnicodeError) -> tuple[str, int]:
    """Return what is written where an encoding has no such character."""
    if not isinstance(fault, UnicodeEncodeError):
        raise fault
    text = fault.object[fault.start : fault.end]
    return "".join(_STAND_INS.get(one, "?") for one in text), fault.end


def fit(stream: TextIO | None) -> None:
    """Let a stream write any text in the encoding it has."""
    if isinstance(stream, io.TextIOWrapper):
        codecs.register_error(_HANDLER, stand_in)
        stream.reconfigure(errors=_HANDLER)


def quietly(work: Callable[[], None]) -> None:
    """Run a command line; a reader that went away ends it without a word."""
    fit(sys.stdout)
    fit(sys.stderr)
    try:
        try:
            work()
        finally:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
    except BrokenPipeError:
        _abandon()
        raise SystemExit(_BROKEN) from None


def _abandon() -> None:
    """Let what is still in the buffers go nowhere, so that the interpreter's end does not complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            os.dup2(nowhere, stream.fileno())
