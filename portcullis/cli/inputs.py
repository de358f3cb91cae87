"""Where a command gets text that is no argument: secrets and policies.

Rules:
1. A secret comes from a prompt that does not echo, from stdin, or from a file; never from an argument, where
   `ps` and the shell's history would keep it.
2. A file of a secret that others may read is used, and said to be open.
"""

import json
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import typer
from rich.console import Console

from broker.files.named import NotWritten, created
from clients.secret import Secret
from portcullis.cli.face import Face, Stopped
from portcullis.cli.tables import said

LARGEST = 64 * 1024
_NO_TEXT = re.compile("[\ud800-\udfff]")
"""How bytes of an argument that are not UTF-8 stand in it (PEP 383)."""

_LONGEST_SENT = 1500
"""Characters of a reason: the broker looks at so many for what looks like a key, and keeps a third of them."""


def secret_text(what: str, file: Path | None) -> Secret:
    """Read a secret from a file, from stdin where that is no terminal, or from a prompt.

    Raises:
        Stopped: There is none.
    """
    if file is not None:
        text = read_file(file, f"the {what}")
        if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            warning = said("[yellow]![/] others may read {}; remove it when this is done", file)
            Console(stderr=True, highlight=False).print(warning)
    elif sys.stdin.isatty():
        text = typer.prompt(what, hide_input=True, err=True)
    else:
        text = sys.stdin.read(LARGEST)
    text = text.strip("\r\n\t ")
    if not text:
        raise Stopped(
            f"There is no {what}.",
            step="Type it at the prompt, pipe it in, or name a file.",
            reason="no_secret",
        )
    if not text.startswith("-----BEGIN"):
        return Secret(text)
    return Secret(text + "\n")


def key_id_of(given: str | None) -> str:
    """Return the id of a key: as it was given, or asked for at a terminal.

    Raises:
        Stopped: There is none, and no terminal to ask at.
    """
    if given is None and not sys.stdin.isatty():
        raise Stopped(
            "There is no key id, and no terminal to ask at.",
            step="Name it: --key-id ID. The secret comes from --secret-file FILE, or from stdin.",
            reason="malformed",
        )  # fmt: skip
    return str(typer.prompt("key id", err=True) if given is None else given).strip()


def read_file(path: Path, what: str) -> str:
    """Read a small text file; `-` is stdin.

    Raises:
        Stopped: It cannot be read, or is too large.
    """
    try:
        text = sys.stdin.read(LARGEST + 1) if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        why = fault.strerror if isinstance(fault, OSError) else "it is not UTF-8 text"
        raise Stopped(
            f"{path}: {what} cannot be read ({why}).", step="Check the path and its rights.", reason="no_file"
        ) from None
    if len(text) > LARGEST:
        raise Stopped(f"{path}: {what} is larger than {LARGEST // 1024} KiB.", reason="too_large")
    return text


def read_json(path: Path, option: str) -> dict[str, Any]:
    """Read a JSON object from a file; a fault is told by line and column, never by what is written there.

    Raises:
        Stopped: It cannot be read, or is none.
    """
    try:
        found = json.loads(read_file(path, "the JSON file"))
    except json.JSONDecodeError as fault:
        where = f"in line {fault.lineno}, column {fault.colno}"
        raise Stopped(
            f"{option}: {path} is no JSON: {fault.msg.removesuffix(' at')}, {where}.",
            step="Mend that line, then again.", reason="malformed",
        ) from None  # fmt: skip
    if not isinstance(found, dict):
        raise Stopped(f"{option}: {path} holds no JSON object; it begins with {{.", reason="malformed")
    return found


@contextmanager
def new_file(path: Path | None, option: str) -> Iterator[BinaryIO | None]:
    """Take the name of a new file that an option names, before the work whose result is written there; None: none is.

    Raises:
        Stopped: Something is there already, or it cannot be written.
    """
    if path is None:
        yield None
        return
    try:
        with created(path) as file:
            yield file
    except NotWritten as fault:
        raise Stopped(
            f"{option}: {path} {fault}.", step="Name a new file, in a directory of yours.", reason="malformed"
        ) from None


@contextmanager
def options_named(names: Mapping[str, str]) -> Iterator[None]:
    """Name inputs at fault as they were typed: by the option, where the API has another name for its field."""
    try:
        yield
    except Stopped as stopped:
        stopped.errors = tuple((names.get(field, field), text) for field, text in stopped.errors)
        raise


def as_text(face: Face, reason: str) -> str:
    """Return a reason that can be sent: what was pasted may be no text, or without end, and the cut is made."""
    text = _NO_TEXT.sub("\ufffd", reason)
    if text != reason:
        face.err.print(
            "[yellow]![/] the reason holds bytes that are no text; they are not kept", soft_wrap=True
        )
    return text[:_LONGEST_SENT]
