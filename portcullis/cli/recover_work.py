"""What `portcullis operator recover` does: on the home itself, whether a broker runs on it or not.

Whoever can read the home's files owns everything in it already; this only makes it usable, and leaves it on record.
"""

import contextlib
import getpass
import os
from pathlib import Path

from rich.console import Console

from broker.deeds import Deed
from broker.service.operators import Role
from clients.secret import Secret
from portcullis.cli import session
from portcullis.cli.face import Face, Stopped, shown_path
from portcullis.cli.inputs import new_file
from portcullis.cli.tables import said
from portcullis.foundation import opened
from portcullis.settings import Home, write_private


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
        held = _own_of(home)
        whose = service.operators.by_token(held) if isinstance(held, Secret) else None
        if token_file is None:
            _refuse_to_take_anothers(face, home, name, held, None if whose is None else whose.name)
        token, done = service.operators.recover(name, f"{_user()} on the host")
        others = [
            one.name
            for one in service.operators.list()
            if one.ended_at is None and one.may(Role.ADMIN) and one.name != name
        ]
        if others:
            done = (*done, f"admins beside {name}: {', '.join(sorted(others))}")
        service.audit.checkpoint(at_once=True)
        if file is not None:
            file.write(token.reveal().encode() + b"\n")
    path = (token_file or home.operator_token).absolute()
    is_ours = token_file is None or (whose is not None and whose.name == name)
    if is_ours:
        _keep(home, token, path)
    if token_file is not None:
        done = (*done, *_of_the_homes_own(home, path, held, is_ours=is_ours, counts=whose is not None))
    with contextlib.suppress(Stopped):  # no place for sessions: then there is none in the way
        session.forget(home)
    document = {"operator": name, "token_file": str(path), "done": list(done)}

    def show(out: Console) -> None:
        for one in done:
            face.step(out, "[green]✓[/]", one, 0)
        out.print(
            said("  token in {}; it is on record: {}", path, face.command("audit list")), soft_wrap=True
        )
        with_token = "" if token_file is None else f" --token-file {shown_path(path)}"
        step = face.command(f"operator enrol --name {name}{with_token}")
        out.print(said("  [dim]next[/] {}", step), soft_wrap=True)

    face.answer(document, show)


def _own_of(home: Home) -> Secret | OSError | None:
    """Return what the home's own token file holds; None where there is none, or no token in it."""
    try:
        text = home.operator_token.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except OSError as fault:
        return fault
    except UnicodeDecodeError:
        return None
    return Secret(text) if text else None


def _keep(home: Home, token: Secret, path: Path) -> None:
    """Put the token into the home's own file.

    Raises:
        Stopped: It cannot be written.
    """
    try:
        write_private(home.operator_token, token.reveal() + "\n")
    except OSError as fault:
        elsewhere = path != home.operator_token.absolute()
        raise Stopped(
            f"{home.operator_token} cannot be written ({fault.strerror}).",
            f"It was done, and the new token is in {path}." if elsewhere else "It was done, and the new token is lost.",
            _copied(path, home) if elsewhere else "Mend that, and the same command again.", reason="not_written",
        ) from None  # fmt: skip


def _of_the_homes_own(
    home: Home, path: Path, held: Secret | OSError | None, *, is_ours: bool, counts: bool
) -> list[str]:
    """Say what became of the home's own token: it makes a cut on this host where nobody is logged in."""
    own = home.operator_token
    if is_ours:
        return [
            f"{own} held the old token, and holds the new one: commands on this host, a cut too, speak by it"
        ]
    if isinstance(held, OSError):
        return [f"{own} cannot be read ({held.strerror}): whether it counts is not known"]
    if not counts:
        return [f"{own} holds no token that counts. {_copied(path, home)}"]
    return []


def _copied(path: Path, home: Home) -> str:
    """Return how a token comes into the home's own file."""
    copy = f"install -m 600 {shown_path(path)} {shown_path(home.operator_token)}"
    return f"So that a cut can be made on this host without a login: {copy}"


def _refuse_to_take_anothers(
    face: Face, home: Home, name: str, held: Secret | OSError | None, whose: str | None
) -> None:
    """Leave the home's own token file to whoever's it is: it may be the only copy.

    Raises:
        Stopped: It holds the token of another operator, or whose it holds is not known.
    """
    step = f"Name a new file: {face.command(f'operator recover --name {name} --token-file {name}.token')}"
    if isinstance(held, OSError):
        raise Stopped(
            f"{home.operator_token} cannot be read ({held.strerror}): whose token it holds is not known.",
            step=step, reason="anothers_token",
        )  # fmt: skip
    if whose is not None and whose != name:
        raise Stopped(
            f"{home.operator_token} holds the token of {whose}, who is not ended.", step=step,
            reason="anothers_token",
        )  # fmt: skip


def _user() -> str:
    """Return whose account on this host this is."""
    try:
        return f"{getpass.getuser()} ({os.getuid()})"
    except (KeyError, OSError):
        return f"user {os.getuid()}"
