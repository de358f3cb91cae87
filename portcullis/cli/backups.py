"""`portcullis backup` and `restore`: what outlives this machine."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from portcullis import settings
from portcullis.cli.face import Face, command

app = typer.Typer(help="Sealed copies of everything.", no_args_is_help=True)

CodeFile = Annotated[
    Path | None,
    typer.Option(
        "--code-file", help="The recovery code; else it is asked for, or piped in.", show_default=False
    ),
]
File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")]


def register(root: typer.Typer) -> None:
    """Put `restore` onto the root."""
    command(root, "restore")(restore)


@command(app, "code")
def new_code(
    face: Face,
    to: Annotated[
        Path | None, typer.Option("--to", help="Write it there (0600); else it is shown, this once.")
    ] = None,
    *,
    again: Annotated[
        bool, typer.Option("--again", help="Make another one; backups of before open with the old one only.")
    ] = False,
) -> None:
    """Make the recovery code that opens every backup. Write it down; nobody can show it again."""
    _work().new_code(face, to, again=again)


@command(app, "create")
def create(
    face: Face, to: Annotated[Path, typer.Option("--to", help="A file; written whole or not at all.")]
) -> None:
    """Write a sealed backup of everything, while everything runs."""
    _work().create(face, to)


@command(app, "check")
def check(face: Face, file: File, code_file: CodeFile = None) -> None:
    """Open a backup with the recovery code, read it to its end and say what is in it."""
    _work().check(face, file, code_file)


def restore(
    face: Face,
    file: File,
    code_file: CodeFile = None,
    vault: Annotated[Path | None, typer.Option("--vault", help="Keys go into this Vault.")] = None,
    database: Annotated[
        Path | None, typer.Option("--database", help="State goes into this PostgreSQL.")
    ] = None,
    api_port: Annotated[int, typer.Option("--api-port", min=0, max=65535)] = settings.API_PORT,
    gateway_port: Annotated[int, typer.Option("--gateway-port", min=0, max=65535)] = settings.GATEWAY_PORT,
) -> None:
    """Make a home out of a backup, on an empty machine. It starts CLOSED, until `reconcile` and a thaw."""
    _work().restore(face, file, code_file, vault, database, (api_port, gateway_port))


def _work() -> ModuleType:
    """Return `portcullis.cli.backup_work`, loaded only by the commands that need it."""
    return importlib.import_module("portcullis.cli.backup_work")
