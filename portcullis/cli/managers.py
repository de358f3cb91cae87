"""`portcullis manager`: keys that make and delete the keys of sub-accounts; and `account manage` and `release`."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
from rich.console import Console

from clients.venue import KeyType
from portcullis.cli import access_answers
from portcullis.cli.accounts import accounts
from portcullis.cli.client import connect
from portcullis.cli.face import Face, command
from portcullis.cli.inputs import key_id_of, secret_text
from portcullis.cli.keys import type_of
from portcullis.cli.tables import hanging, said, short, table, when

app = typer.Typer(
    help="Manager keys: they make and delete the keys of sub-accounts, so that those rotate by themselves.",
    no_args_is_help=True,
)


@command(app, "import", opens=True)
def import_manager(
    face: Face,
    name: Annotated[str, typer.Option("--name", help="Lower case letters, digits, dot, dash, underscore.")],
    key_id: Annotated[str | None, typer.Option("--key-id", help="The key's id; asked for if absent.")] = None,
    secret_file: Annotated[
        Path | None, typer.Option("--secret-file", help="File with the secret or the PEM private key.")
    ] = None,
    venue: Annotated[str, typer.Option("--venue", help="The exchange.")] = "binance",
    egress: Annotated[
        str, typer.Option("--egress", help="The way to it; the key is bound to it.")
    ] = "direct",
    key_type: Annotated[
        KeyType | None,
        typer.Option("--key-type", help="hmac, rsa or ed25519; read from the secret if absent."),
    ] = None,
    upstream: Annotated[
        str | None,
        typer.Option("--upstream", help="Paper homes only: another paper exchange than this home's."),
    ] = None,
) -> None:
    """Take in the master account's key. Tick reading, and spot and margin trading; nothing else; bind it.

    The secret is asked for, or comes from stdin or a file; it is never an argument.
    """
    api = connect(face)
    key_id = key_id_of(key_id)
    secret = secret_text("secret", secret_file)
    body = {
        "name": name, "venue": venue, "egress": egress, "upstream": upstream or api.running.paper or None,
        "key_id": key_id, "secret": secret.reveal(),
        "key_type": (key_type or type_of(secret.reveal())).value,
    }  # fmt: skip
    made = api.post(access_answers.Manager, "managers", body)

    def show(out: Console) -> None:
        out.print(said("[green]✓[/] manager key [bold]{}[/] is stored", made.name))
        if secret_file is not None:
            what = said("delete {}: the key now lives in the secret store", secret_file)
            out.print(hanging("[dim]next[/]", what))
        step = face.command(f"account manage ACCOUNT --manager {made.name} --subaccount EMAIL")
        out.print(said("  [dim]next[/] {}", step), soft_wrap=True)

    face.answer(made, show)


@command(app, "list")
def list_(face: Face) -> None:
    """List manager keys, and the accounts under each."""
    api = connect(face)
    rows = list(api.pages(access_answers.Manager, "managers"))
    under: dict[str, list[str]] = {}
    for account in api.pages(access_answers.Account, "accounts"):
        if account.manager:
            under.setdefault(account.manager, []).append(account.name)

    def show(out: Console) -> None:
        if not rows:
            out.print("no manager keys: every key is made and deleted by hand")
            return
        listed = table("manager", "exchange", "key id", "egress", "accounts", "since", fold=("accounts",))
        for row in rows:
            listed.add_row(
                said("[bold]{}[/]", row.name), row.venue, short(row.venue_key_id), row.egress,
                ", ".join(under.get(row.name, [])) or "none", when(row.created_at),
            )  # fmt: skip
        out.print(listed)

    items = [row.document | {"accounts": under.get(row.name, [])} for row in rows]
    face.answer({"items": items}, show)


@command(accounts, "manage", opens=True)
def manage(
    face: Face,
    name: Annotated[str, typer.Argument(help="The account.")],
    manager: Annotated[str, typer.Option("--manager", help="The manager key; `portcullis manager list`.")],
    subaccount: Annotated[
        str, typer.Option("--subaccount", help="How the exchange calls the sub-account: its e-mail.")
    ],
) -> None:
    """Put an account under a manager key: its keys are then listed, made and deleted by the program."""
    path = f"accounts/{quote(name, safe='')}/manager"
    made = connect(face).put(access_answers.Account, path, {"manager": manager, "subaccount": subaccount})
    what = said("[bold]{}[/] is {} under the manager key [bold]{}[/]", name, subaccount, manager)
    face.answer(made, lambda out: out.print(hanging("[green]✓[/]", what, 0)))


@command(accounts, "release", opens=True)
def release(face: Face, name: Annotated[str, typer.Argument(help="The account.")]) -> None:
    """Take an account off its manager key: you make, delete and look up its keys by hand from then on.

    Where its sub-account is gone, belongs to another account, or is under no manager key that you have.
    """
    done = connect(face).post(access_answers.Account, f"accounts/{quote(name, safe='')}/release")

    def show(out: Console) -> None:
        out.print(hanging("[green]✓[/]", said("the keys of [bold]{}[/] are made by hand", name), 0))
        step = f"look up at the exchange which keys it has, then portcullis reconcile --confirm {name}"
        face.step(out, "next", step)

    face.answer(done, show)
