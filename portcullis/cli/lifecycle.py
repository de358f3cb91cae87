"""`portcullis init`, `run`, `demo`, `paper`: what starts something and stays."""

import importlib
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Annotated, TypeVar

import typer
from rich.text import Text

from broker.model import NAME
from broker.passed_on import passed_on
from broker.pasted import looks_secret
from clients.venue import Environment
from portcullis import settings
from portcullis.cli.face import Face, Stopped, badge, command
from portcullis.cli.inputs import new_file
from portcullis.settings import Mode, SettingsError

T = TypeVar("T")
OWNER = "owner"
Port = Annotated[
    int | None,
    typer.Option("--port", min=0, max=65535, help="Port of the gateway; 0 is any, another at each start."),
]


def register(app: typer.Typer) -> None:
    """Put the commands onto the root."""
    command(app, "init")(init)
    command(app, "run")(run)
    command(app, "demo")(demo)
    command(app, "paper")(paper)


def init(
    face: Face,
    environment: Annotated[
        Environment | None, typer.Option("--environment", help="paper, testnet or live; for ever.")
    ] = None,
    mode: Annotated[str | None, typer.Option("--mode", help="solo or team.")] = None,
    operator: Annotated[
        list[str] | None, typer.Option("--operator", help="First operators; a team names two or more.")
    ] = None,
    api_port: Annotated[int, typer.Option("--api-port", min=0, max=65535)] = settings.API_PORT,
    gateway_port: Annotated[int, typer.Option("--gateway-port", min=0, max=65535)] = settings.GATEWAY_PORT,
    vault: Annotated[
        Path | None, typer.Option("--vault", help="JSON that describes a Vault: keys go there.")
    ] = None,
    database: Annotated[
        Path | None, typer.Option("--database", help="JSON that describes a PostgreSQL: state goes there.")
    ] = None,
) -> None:
    """Make a home: its stores, its keys, its first operators. Asks what was not said."""
    kind = _mode(mode)
    world = environment or _ask("environment: paper, testnet or live", "--environment", "paper", _environment)
    names = operator or ([OWNER] if kind == "solo" else _team())
    if kind == "team" and len(set(names)) < 2:  # noqa: PLR2004 - four eyes
        raise Stopped("--operator: a team has two first operators or more.", reason="malformed")
    work = _work()
    places = work.Places(vault, database)
    work.init(face, world, kind, names, places, api_port=api_port, gateway_port=gateway_port)


def run(
    face: Face,
    port: Port = None,
    api_port: Annotated[int | None, typer.Option("--api-port", min=0, max=65535, help="0 is any.")] = None,
    gateway_host: Annotated[
        str,
        typer.Option(
            "--gateway-host", help="Address the gateway listens on; beyond loopback name --allowed-host."
        ),
    ] = "127.0.0.1",
    allowed_host: Annotated[
        list[str] | None, typer.Option("--allowed-host", help="A host name bots call the gateway by.")
    ] = None,
    paper_upstream: Annotated[
        str | None, typer.Option("--paper-upstream", help="Paper homes: use this paper exchange, start none.")
    ] = None,
    gateway_socket: Annotated[
        Path | None, typer.Option("--gateway-socket", help="A Unix socket to listen on as well.")
    ] = None,
    restored: Annotated[
        bool,
        typer.Option(
            "--restored", help="This home, its disk or its machine was put back from a copy: start closed."
        ),
    ] = False,
) -> None:
    """Run everything on this home: broker, gateway, and in a paper home the paper exchange."""
    work = _work()
    options = work.Options(
        api_port, port, gateway_host, tuple(allowed_host or ()), paper_upstream, gateway_socket, restored
    )
    work.run(face, options)


def demo(face: Face, port: Port = None) -> None:
    """Try it on a paper exchange of your own: one bot, one policy, one command that cuts it off.

    With --json: exactly one line on stdout when ready, then it stays up until SIGTERM.
    """
    _work().demo(face, port)


def paper(
    face: Face,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 is any.")] = 8702,
    seed: Annotated[int, typer.Option("--seed", help="Of its prices and books.")] = 1,
    admin_token_file: Annotated[
        Path | None, typer.Option("--admin-token-file", help="Made where there is none.")
    ] = None,
    state: Annotated[Path | None, typer.Option("--state", help="File it goes on from.")] = None,
) -> None:
    """Run the paper exchange alone: Binance spot as bots see it. Prints one line of JSON when ready."""
    token_file = admin_token_file or face.root / "paper-admin.token"
    if not token_file.exists():
        settings.private_directory(token_file.parent)
        token = secrets.token_urlsafe(32) + "\n"
        if admin_token_file is None:  # a file of ours, not one that a person named
            settings.write_private(token_file, token)
        else:
            with new_file(admin_token_file, "--admin-token-file") as file:
                if file is not None:
                    file.write(token.encode())
    face.err.print(Text.assemble(badge("paper"), f"  admin token in {token_file}"))
    arguments = ["--port", str(port), "--seed", str(seed), "--admin-token-file", str(token_file)]
    if state is not None:
        arguments += ["--state", str(state)]
    command = [sys.executable, "-P", "-m", "clients.paper", *arguments]
    os.execve(sys.executable, command, passed_on(os.environ))  # noqa: S606 - no shell


def _work() -> ModuleType:
    """Return `portcullis.cli.processes`, loaded only by the commands that need it."""
    return importlib.import_module("portcullis.cli.processes")


def _mode(given: str | None) -> Mode:
    return _mode_of(given) if given else _ask("solo or team", "--mode", "solo", _mode_of)


def _mode_of(said: str) -> Mode:
    if said == "solo":
        return "solo"
    if said == "team":
        return "team"
    raise SettingsError("--mode", "is solo or team")


def _environment(said: str) -> Environment:
    try:
        return Environment(said)
    except ValueError:
        raise SettingsError("--environment", "is paper, testnet or live") from None


def _team() -> list[str]:
    return _ask("the first two operators, as in: ann bob", "--operator", "", _names)


def _names(said: str) -> list[str]:
    names = said.replace(",", " ").split()
    for name in names:
        if looks_secret(name):
            raise SettingsError("--operator", "looks like a key: choose a name that says who it is")
        if not NAME.fullmatch(name):
            raise SettingsError("--operator", "a name is of a-z, 0-9, dot, dash, underscore")
    if len(set(names)) != len(names) or len(names) != 2:  # noqa: PLR2004 - four eyes
        raise SettingsError(
            "--operator",
            "name two, with a space or a comma between them; each gets every right, and others are made later",
        )
    return names


def _ask(question: str, option: str, default: str, read: Callable[[str], T]) -> T:
    """Ask at a terminal, again where the answer cannot be read; a script is told which option answers."""
    if not sys.stdin.isatty():
        raise Stopped(f"{option} is missing.", step=f"Say it: {question}.", reason="malformed")
    while True:
        said = str(typer.prompt(question, default=default or None, err=True)).strip()
        try:
            return read(said)
        except SettingsError as fault:
            typer.echo(str(fault), err=True)
