"""`portcullis key`: real keys of accounts. Imported once, never shown again."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Table

from clients.venue import KeyType, Slot
from portcullis.cli import access_answers, deaths
from portcullis.cli.client import connect
from portcullis.cli.face import Face, Stopped, command
from portcullis.cli.inputs import key_id_of, secret_text
from portcullis.cli.tables import facts, hanging, said, short, table, when, yes

app = typer.Typer(help="Real exchange keys: imported once, never shown again.", no_args_is_help=True)


@command(app, "import", opens=True)
def import_key(
    face: Face,
    account: Annotated[str, typer.Option("--account", help="Whose key it is.")],
    key_id: Annotated[str | None, typer.Option("--key-id", help="The key's id; asked for if absent.")] = None,
    secret_file: Annotated[
        Path | None, typer.Option("--secret-file", help="File with the secret or the PEM private key.")
    ] = None,
    slot: Annotated[Slot, typer.Option("--slot", help="What it is for.")] = Slot.TRADE,
    key_type: Annotated[
        KeyType | None,
        typer.Option("--key-type", help="hmac, rsa or ed25519; read from the secret if absent."),
    ] = None,
    allow_withdraw: Annotated[
        bool, typer.Option("--allow-withdraw", help="Take a key that MAY WITHDRAW. A thief takes everything.")
    ] = False,
    allow_any_address: Annotated[
        bool, typer.Option("--allow-any-address", help="Take a key that works FROM ANYWHERE.")
    ] = False,
) -> None:
    """Ask the exchange what a key may do, and store it if that is safe.

    The secret is asked for, or comes from stdin or a file; it is never an argument.
    """
    api = connect(face)
    key_id = key_id_of(key_id)
    secret = secret_text("secret", secret_file)
    body = {
        "account": account, "slot": slot.value, "key_id": key_id, "secret": secret.reveal(),
        "key_type": (key_type or type_of(secret.reveal())).value,
        "allow_withdraw": allow_withdraw, "allow_any_address": allow_any_address,
    }  # fmt: skip
    made = api.post(access_answers.ImportedKey, "keys", body)

    def show(out: Console) -> None:
        out.print(said("[green]✓[/] key [bold]{}[/] is stored and current", made.ref))
        _show(out, made)
        for line in _unsafe(made):
            out.print(hanging("[bold red]UNSAFE[/]", line))
        for old in made.replaced:
            lives = said("{} was replaced and is not deleted: whoever has it can use it at the exchange", old)
            out.print(hanging("[bold red]LIVES[/]", lives))
            step = face.command(f"sweep retire {old}")
            what = said("once no bot uses it: {} deletes it, or tells you what to delete by hand", step)
            out.print(hanging("[dim]next[/]", what))
        if secret_file is not None:
            what = said("delete {}: the key now lives in the secret store", secret_file)
            out.print(hanging("[dim]next[/]", what))

    face.answer(made, show)


@command(app, "list")
def list_(
    face: Face, account: Annotated[str | None, typer.Option("--account", help="Only of this one.")] = None
) -> None:
    """List key versions. No secret is shown: none is known here."""
    rows = list(connect(face).pages(access_answers.Key, "keys", account=account))

    def show(out: Console) -> None:
        if not rows:
            out.print(said("no keys yet; {}", face.command("key import --account ACCOUNT")), soft_wrap=True)
            return
        listed = table("key", "stage", "type", "key id", "IP-bound", "withdraws")
        for row in rows:
            listed.add_row(
                said("[bold]{}[/]", row.ref), deaths.stage(row), row.key_type, short(row.venue_key_id),
                yes(row.ip_restricted), yes(row.can_withdraw, good=False),
            )  # fmt: skip
        out.print(listed)

    face.answer({"items": rows}, show)


@command(app, "show")
def show_one(
    face: Face, key: Annotated[str, typer.Argument(metavar="KEY", help="As listed: ACCOUNT/SLOT/VERSION.")]
) -> None:
    """Show one key version."""
    if key.count("/") != 2:  # noqa: PLR2004 - account, slot, version
        raise Stopped(f"{key}: is no key.", step="It is written ACCOUNT/SLOT/VERSION, as in sub-1/trade/1.")
    found = connect(face).get(
        access_answers.Key, "keys/" + "/".join(quote(part, safe="") for part in key.split("/"))
    )
    face.answer(found, lambda out: _show(out, found))


def type_of(secret: str) -> KeyType:
    """Return a key's type by the look of its secret; an Ed25519 private key is a short PEM."""
    if "-----BEGIN" not in secret:
        return KeyType.HMAC
    return KeyType.ED25519 if len(secret) < 200 else KeyType.RSA  # noqa: PLR2004 - 119 against 1700 letters


def _show(out: Console, row: access_answers.Key) -> None:
    """Show a key; its id on a line that nothing breaks, because people copy it."""
    out.print(_facts(row))
    out.print(said("  [dim]key id[/] {}", row.venue_key_id), soft_wrap=True)


def _facts(row: access_answers.Key) -> Table:
    return facts(
        ("key", row.ref), ("stage", deaths.stage(row)), ("type", row.key_type),
        ("bound to addresses", yes(row.ip_restricted)),
        ("may withdraw", yes(row.can_withdraw, good=False)),
        ("since", when(row.created_at)),
    )  # fmt: skip


def _unsafe(row: access_answers.Key) -> list[str]:
    found = []
    if row.can_withdraw is not False:
        found.append("it may withdraw: whoever has it takes everything. Untick it at the exchange today.")
    if row.ip_restricted is not True:
        found.append("it works from any address. Bind it to the addresses of the account's egress.")
    return found
