"""Who the command line speaks as: who was named for the command, logged in within the hour, or owns the home.

The session lies in a file of the person who typed the command, not in the home: on a server the home belongs to
the system user, and several people log in to it; who comes by sudo has a file of their own, too.

Rules:
1. One token speaks for a command: who named one is not served with another, and a session comes before the home's own,
   so that a person is on record.
2. Only what takes rights away goes on to the next token at hand where one counts no more (`portcullis.cli.voice`).
"""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

import typer

from clients.secret import Secret
from portcullis.cli import way
from portcullis.cli.face import Stopped
from portcullis.settings import (
    Home,
    private_directory,
    state_directory,
    variable,
    write_private,
)

CODE_VARIABLE = "PORTCULLIS_CODE"
TOKEN_VARIABLE, TOKEN_FILE_VARIABLE = "PORTCULLIS_TOKEN", "PORTCULLIS_TOKEN_FILE"
_LONGEST_TOKEN = 200


class From(Enum):
    """Where a token is from, as it is said."""

    GIVEN = "the token in the file that was named"
    VARIABLE = f"the token in ${TOKEN_VARIABLE}"
    FILE_VARIABLE = f"the token in the file that ${TOKEN_FILE_VARIABLE} names"
    SESSION = "your session"
    HOME = "the home's own token"


@dataclass(frozen=True, slots=True)
class Held:
    """A token at hand."""

    token: Secret
    source: From


def path_of(home: Home, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the file of this person's session on a home."""
    state = state_directory(environ)
    if state is None:
        raise Stopped(
            "This user has no home directory to keep a session in.",
            step="Set XDG_STATE_HOME to a directory of yours.", reason="no_directory",
        )  # fmt: skip
    whose = f"{home.root.resolve()}\n{environ.get('SUDO_UID', '')}"
    digest = hashlib.sha256(whose.encode()).hexdigest()[:16]
    return state / f"session-{digest}.json"


def keep(home: Home, operator: str, token: Secret, expires_at: str) -> Path:
    """Keep a session for the commands that follow."""
    path = path_of(home)
    private_directory(path.parent)
    document = {"operator": operator, "token": token.reveal(), "expires_at": expires_at}
    write_private(path, json.dumps(document) + "\n")
    return path


def forget(home: Home) -> None:
    """Remove the session's file."""
    path_of(home).unlink(missing_ok=True)


def token_of(home: Home) -> Secret:
    """Return the token to speak with: the one that is named, a session's, the home's own.

    Raises:
        Stopped: There is none, or what is named holds none.
    """
    return best_of(home).token


def best_of(home: Home) -> Held:
    """Return the best token at hand, and where it is from; see `token_of`."""
    found = _named() or _of_session(home) or _own(home)
    if found is None and way.named() is not None:
        raise Stopped(
            "You are not logged in there, and no token is named.",
            step=f"Log in: portcullis login --name YOU; or name the file of a token: {TOKEN_FILE_VARIABLE}.",
            reason="no_token",
        )
    if found is None:
        raise Stopped(
            f"You are not logged in, and the operator token of this home is not readable ({home.operator_token}).",
            step="Log in: portcullis login --name YOU; or run as the user that owns the home.",
            reason="no_token",
        )
    return found


def all_of(home: Home) -> tuple[list[Held], str]:
    """Return every token at hand, best first, and why one that was named is not among them; empty where none is not.

    What takes rights away is not kept from it by a bad one. A session that is over by this host's clock comes last:
    the clock may be wrong.

    Raises:
        Stopped: There is none.
    """
    named, fault = None, ""
    try:
        named = _named()
    except Stopped as odd:
        fault = str(odd)
    at_hand = (named, _of_session(home), _own(home), _of_session(home, is_over=True))
    found: dict[str, Held] = {}
    for one in at_hand:
        if one is not None:
            found.setdefault(one.token.reveal(), one)
    return list(found.values()) or [best_of(home)], fault


def _of_session(home: Home, *, is_over: bool = False) -> Held | None:
    """Return the session's token; None where there is none, of another age, or damaged, or over by the clock here."""
    try:
        found = json.loads(path_of(home).read_text(encoding="utf-8"))
        lasts = datetime.fromisoformat(found["expires_at"]) > datetime.now(UTC)
        text = str(found["token"])
    except (Stopped, OSError, RuntimeError, ValueError, KeyError, TypeError):
        return None
    return Held(Secret(text), From.SESSION) if lasts is not is_over and _is_token(text) else None


def _own(home: Home) -> Held | None:
    """Return the home's own token; None where it is not ours to read, or there is none."""
    try:
        return Held(read_token(home.operator_token, "The home's own token"), From.HOME)
    except Stopped:
        return None


def _named(environ: Mapping[str, str] = os.environ) -> Held | None:
    """Return the token that a person has named for this command, by value or by file."""
    text, file = variable(TOKEN_VARIABLE, environ), variable(TOKEN_FILE_VARIABLE, environ)
    if text is not None:
        if not _is_token(text):
            raise Stopped(
                f"${TOKEN_VARIABLE} holds no token.", reason="no_token",
                step=f"Give it a token, or take it away (unset {TOKEN_VARIABLE}).",
            )  # fmt: skip
        return Held(Secret(text), From.VARIABLE)
    if file is None:
        return None
    return Held(read_token(Path(file), f"${TOKEN_FILE_VARIABLE}"), From.FILE_VARIABLE)


def _is_token(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_TOKEN and text.isascii() and text.isprintable() and " " not in text


def read_token(path: Path, option: str) -> Secret:
    """Read a token out of a file.

    Raises:
        Stopped: There is none in it.
    """
    try:
        text = path.expanduser().read_text(encoding="ascii").strip()
    except (OSError, RuntimeError, UnicodeDecodeError):  # the second: `~` of a user without a home directory
        text = ""
    if not _is_token(text):
        raise Stopped(
            f"{option}: {path} cannot be read, or holds no token.",
            step="Name the file that `operator create` wrote, or the home's own.", reason="no_token",
        )  # fmt: skip
    return Secret(text)


def one_time_code(why: str) -> str:
    """Ask for a one-time code; a script sets the variable.

    Raises:
        Stopped: There is none.
    """
    given = variable(CODE_VARIABLE)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise Stopped(
            why, step=f"Run it at a terminal, or set {CODE_VARIABLE} to a code of your authenticator app.",
            reason="code_needed",
        )  # fmt: skip
    return str(typer.prompt("one-time code", err=True)).strip()
