"""What `portcullis operator recover` does: on the home itself, whether a broker runs on it or not.

Whoever can read the home's files owns everything in it already; this only makes it usable, and leaves it on record.
"""

import contextlib
import getpass
import os
from pathlib import Path

from rich.console import Console

from broker.deeds import Deed
from portcullis.cli import session
from portcullis.cli.face import Face, Stopped
from portcullis.cli.inputs import new_file
from portcullis.cli.tables import hanging, said
from portcullis.foundation import opened
from portcullis.settings import write_private


def recover(face: Face, name: str, token_file: Path | None) -> None:
    """Give an admin a fresh token, and say what that did."""
    home = face.home()
    if not os.access(home.root, os.R_OK | os.W_OK | os.X_OK):
        raise Stopped(
            f"The home {home.root} is not yours to write.", step="Run it as the user that owns the home, or as root.",
            reason="not_yours",
        )  # fmt: skip
    with new_file(token_file, "--token-file") as file, opened(home) as service:
        service.desk.guard.ensure(Deed.RECOVER)
        token, done = service.operators.recover(name, f"{_user()} on the host")
        service.audit.checkpoint(at_once=True)
        if file is not None:
            file.write(token.reveal().encode() + b"\n")
    path = (token_file or home.operator_token).absolute()
    if token_file is None:
        write_private(path, token.reveal() + "\n")
    with contextlib.suppress(Stopped):  # no place for sessions: then there is none in the way
        session.forget(home)
    document = {"operator": name, "token_file": str(path), "done": list(done)}

    def show(out: Console) -> None:
        for one in done:
            out.print(hanging("[green]✓[/]", one, 0))
        out.print(
            said("  token in {}; it is on record: {}", path, face.command("audit list")), soft_wrap=True
        )
        out.print(said("  [dim]next[/] {}", face.command(f"operator enrol --name {name}")), soft_wrap=True)

    face.answer(document, show)


def _user() -> str:
    """Return whose account on this host this is."""
    try:
        return f"{getpass.getuser()} ({os.getuid()})"
    except (KeyError, OSError):
        return f"user {os.getuid()}"
