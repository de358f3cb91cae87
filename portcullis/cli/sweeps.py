"""`portcullis sweep`: is what the exchanges list what is on record."""

from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.markup import escape

from portcullis.cli.client import connect
from portcullis.cli.face import FAILED, Face, Stopped, command
from portcullis.cli.tables import ago, hanging, short, table

app = typer.Typer(help="Keys at the exchanges against the record.", no_args_is_help=True)


@command(app, "run")
def run(face: Face) -> None:
    """Look now. What a rotation of ours left behind is deleted; of everything else you are told."""
    api = connect(face)
    rows = api.post("sweeps")["items"]
    _answer(face, rows, list(api.pages("accounts")))


@command(app, "show")
def show_(face: Face) -> None:
    """Show what the last sweep found; it looks every hour."""
    api = connect(face)
    _answer(face, list(api.pages("findings")), list(api.pages("accounts")))


@command(app, "retire")
def retire(face: Face, key: Annotated[str, typer.Argument(help="As ACCOUNT/SLOT/VERSION.")]) -> None:
    """Delete a key version that was replaced and still lives, and prove it dead.

    Refused while a destination of the slot has not confirmed the key in use, and for a key that is dead already.
    """
    parts = key.split("/")
    if len(parts) != 3 or not parts[2].isdigit():  # noqa: PLR2004 - account, slot, version
        raise Stopped(f"{key[:60]!r} is no key version; write it as main/trade/1.", reason="malformed")
    done = connect(face).post(f"keys/{quote(parts[0], safe='')}/{parts[1]}/{parts[2]}/retire")

    def show(out: Console) -> None:
        out.print(f"[green]✓[/] {key} is being deleted at the exchange; it is dead once it is proven")
        out.print(f"  [dim]next[/] {face.command('rotation watch ' + done['id'])}", soft_wrap=True)

    face.answer(done, show)


def _answer(face: Face, rows: list[dict[str, Any]], accounts: list[dict[str, Any]]) -> None:
    """Say what was found, and what could be looked at: of keys that nobody can list nothing is claimed."""
    looked = [row["name"] for row in accounts if row["manager"]]
    blind = [row["name"] for row in accounts if not row["manager"]]

    def show(out: Console) -> None:
        if rows:
            listed = table("account", "key", "found", "", fold=("",))
            for row in rows:
                listed.add_row(
                    f"[bold]{row['account']}[/]", short(row["key_id"]),
                    f"[red]{row['what']}[/] {ago(row['first_at'])}", escape(row["says"]),
                )  # fmt: skip
            out.print(listed)
        elif looked:
            out.print(hanging("[green]✓[/]", f"every key is as it is on record: {', '.join(looked)}", 0))
        if blind:
            said = f"not looked at, no manager key lists their keys: {', '.join(blind)}"
            out.print(hanging("[yellow]![/]", said, 0))
            out.print(
                "    [dim]next[/] compare at the exchange's API Management page with what is on record:"
            )
            out.print(f"         {face.command('key list')}", soft_wrap=True)
        if not accounts:
            out.print(f"no accounts yet: {face.command('account create')}")

    face.answer({"items": rows, "looked_at": looked, "not_looked_at": blind}, show)
    if rows:
        raise typer.Exit(FAILED)
