"""Who the command line speaks as: who was named for the command, logged in within the hour, or owns the home.

The session lies in a file of the person who typed the command, not in the home: on a server the home belongs to
the system user, and several people log in to it; who comes by sudo has a file of their own, too.
"""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import typer

from clients.secret import Secret
from portcullis.cli.face import Stopped
from portcullis.settings import Home, private_directory, state_directory, variable, write_private

CODE_VARIABLE = "PORTCULLIS_CODE"
TOKEN_VARIABLE, TOKEN_FILE_VARIABLE = "PORTCULLIS_TOKEN", "PORTCULLIS_TOKEN_FILE"
_LONGEST_TOKEN = 200


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
        SettingsError: A variable that names one is set, but empty.
    """
    given = _named()
    if given is not None:
        return given
    try:
        found = json.loads(path_of(home).read_text(encoding="utf-8"))
        if datetime.fromisoformat(found["expires_at"]) > datetime.now(UTC):
            return Secret(str(found["token"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no session, or one of another age: the home's own token, where we may read it
    try:
        return read_token(home.operator_token, "The home's own token")
    except Stopped:
        raise Stopped(
            f"You are not logged in, and the operator token of this home is not readable ({home.operator_token}).",
            step="Log in: portcullis login --name YOU; or run as the user that owns the home.",
            reason="no_token",
        ) from None


def _named(environ: Mapping[str, str] = os.environ) -> Secret | None:
    """Return the token that a person has named for this command, by value or by file."""
    text, file = variable(TOKEN_VARIABLE, environ), variable(TOKEN_FILE_VARIABLE, environ)
    if text is not None:
        if not _is_token(text):
            raise Stopped(
                f"${TOKEN_VARIABLE} holds no token.", reason="no_token",
                step=f"Give it a token, or take it away (unset {TOKEN_VARIABLE}).",
            )  # fmt: skip
        return Secret(text)
    return read_token(Path(file), f"${TOKEN_FILE_VARIABLE}") if file is not None else None


def _is_token(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_TOKEN and text.isascii() and text.isprintable() and " " not in text


def read_token(path: Path, option: str) -> Secret:
    """Read a token out of a file.

    Raises:
        Stopped: There is none in it.
    """
    try:
        text = path.expanduser().read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
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
