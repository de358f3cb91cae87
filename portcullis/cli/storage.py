"""`portcullis vault`, `store` and `db`: where keys and state lie, set up, looked at and moved."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from portcullis.cli.blank import StrictGroup
from portcullis.cli.face import Face, command

vaults = typer.Typer(help="The Vault that keeps the real keys.", no_args_is_help=True)
moves = typer.Typer(help="Where real keys are kept, and what seals them.", no_args_is_help=True)
keys = typer.Typer(help="The key that seals the embedded store.", no_args_is_help=True)
moves.add_typer(keys, name="key", cls=StrictGroup)
databases = typer.Typer(help="The database that keeps the state.", no_args_is_help=True)

VaultFile = Annotated[
    Path | None,
    typer.Option("--vault", help="JSON with addresses, mount, auth; else this home's.", show_default=False),
]


@command(vaults, "setup")
def setup(
    face: Face,
    vault: VaultFile = None,
    auth: Annotated[str, typer.Option("--auth", help="approle or kubernetes.")] = "approle",
    namespace: Annotated[
        str, typer.Option("--kubernetes-namespace", help="Of our service accounts.")
    ] = "portcullis",
    apply: Annotated[
        bool, typer.Option("--apply", help="Do it, with the token of an administrator.")
    ] = False,
    transit: Annotated[
        bool, typer.Option("--transit", help="Also let Vault countersign the audit trail.")
    ] = False,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="That token; else it is asked for.")
    ] = None,
) -> None:
    """Print what has to be set up in Vault (mount, policies, roles), or do it. Idempotent."""
    _work().setup(face, vault, auth, namespace, token_file, apply=apply, transit=transit)


@command(vaults, "check")
def check(face: Face, vault: VaultFile = None) -> None:
    """Look whether Vault is as it must be; say what is missing, what is too much, and how to mend it."""
    _work().check(face, vault)


@command(moves, "move", opens=True)
def move(
    face: Face,
    to: Annotated[str, typer.Option("--to", help="vault or embedded.")],
    vault: VaultFile = None,
) -> None:
    """Copy every secret to the other store, compare, and use that one from now on. Nothing may run meanwhile."""
    _work().move(face, to, vault)


@command(keys, "show")
def show_key(face: Face) -> None:
    """Show where the store's key lies, how old it is, and whether it opens the store."""
    _key_work().show(face)


@command(keys, "rotate")
def rotate_key(face: Face) -> None:
    """Seal the store under a new key, which takes the old one's place. Bots and a running broker go on."""
    _key_work().rotate(face)


@command(databases, "check")
def check_database(
    face: Face,
    database: Annotated[
        Path | None,
        typer.Option(
            "--database", help="JSON that describes a PostgreSQL; else this home's.", show_default=False
        ),
    ] = None,
) -> None:
    """Look whether the database's schema and settings are as they must be. Changes nothing."""
    _work().check_database(face, database)


@command(databases, "upgrade")
def upgrade_database(face: Face) -> None:
    """Bring the database's schema up to this program's. Back it up first; nothing may run meanwhile."""
    _work().upgrade_database(face)


def _work() -> ModuleType:
    """Return `portcullis.cli.storage_work`, loaded only by the commands that need it."""
    return importlib.import_module("portcullis.cli.storage_work")


def _key_work() -> ModuleType:
    """Return `portcullis.cli.store_key_work`, loaded only by the commands that need it."""
    return importlib.import_module("portcullis.cli.store_key_work")
