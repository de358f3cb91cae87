"""`portcullis sweep`: is what the exchanges list what is on record."""

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import quote

import typer
from rich.console import Console

from portcullis.cli import access_answers, rotation_answers
from portcullis.cli.client import connect
from portcullis.cli.face import FAILED, Face, Stopped, command
from portcullis.cli.tables import ago, hanging, said, short, table

app = typer.Typer(help="Keys at the exchanges against the record.", no_args_is_help=True)


@command(app, "run")
def run(face: Face) -> None:
    """Look now. What a rotation of ours left behind is deleted; of everything else you are told."""
    api = connect(face)
    rows = api.post(rotation_answers.Findings, "sweeps").items
    _answer(face, rows, list(api.pages(access_answers.Account, "accounts")))


@command(app, "show")
def show_(face: Face) -> None:
    """Show what the last sweep found; it looks every hour."""
    api = connect(face)
    rows = list(api.pages(rotation_answers.Finding, "findings"))
    _answer(face, rows, list(api.pages(access_answers.Account, "accounts")))


@command(app, "retire")
def retire(face: Face, key: Annotated[str, typer.Argument(help="As ACCOUNT/SLOT/VERSION.")]) -> None:
    """Delete a key version that was replaced and still lives, and prove it dead.

    Refused while a destination of the slot has not confirmed the key in use, and for a key that is dead already.
    """
    parts = key.split("/")
    if len(parts) != 3 or not parts[2].isdigit():  # noqa: PLR2004 - account, slot, version
        raise Stopped(f"{key[:60]!r} is no key version; write it as main/trade/1.", reason="malformed")
    path = "/".join(quote(part, safe="") for part in parts)
    done = connect(face).post(rotation_answers.RotationWhole, f"keys/{path}/retire")

    def show(out: Console) -> None:
        what = said("{} is being deleted at the exchange; it is dead once it is proven", key)
        out.print(hanging("[green]✓[/]", what, 0))
        out.print(said("  [dim]next[/] {}", face.command("rotation watch " + done.id)), soft_wrap=True)

    face.answer(done, show)


def _answer(
    face: Face, rows: Sequence[rotation_answers.Finding], accounts: Sequence[access_answers.Account]
) -> None:
    """Say what was found, and what could be looked at: of keys that nobody can list nothing is claimed."""
    looked = [row.name for row in accounts if row.manager]
    blind = [row.name for row in accounts if not row.manager]

    def show(out: Console) -> None:
        if rows:
            listed = table("account", "key", "found", "", fold=("",))
            for row in rows:
                since = "" if row.first_at is None else ago(row.first_at)
                found = said("[red]{}[/] {}", row.what, since)
                listed.add_row(said("[bold]{}[/]", row.account), short(row.key_id), found, row.says)
            out.print(listed)
        elif looked:
            out.print(hanging("[green]✓[/]", f"every key is as it is on record: {', '.join(looked)}", 0))
        if blind:
            blank = f"not looked at, no manager key lists their keys: {', '.join(blind)}"
            out.print(hanging("[yellow]![/]", blank, 0))
            out.print(
                "    [dim]next[/] compare at the exchange's API Management page with what is on record:"
            )
            out.print(said("         {}", face.command("key list")), soft_wrap=True)
        if not accounts:
            out.print(
                said(
                    "no accounts yet: {}",
                    face.command("account create --name NAME --venue binance --egress EGRESS"),
                ),
                soft_wrap=True,
            )

    face.answer({"items": list(rows), "looked_at": looked, "not_looked_at": blind}, show)
    if rows:
        raise typer.Exit(FAILED)
