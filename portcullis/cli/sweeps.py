"""`portcullis sweep`: is what the exchanges list what is on record."""

from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.markup import escape

from portcullis.cli.client import connect
from portcullis.cli.face import FAILED, Face, Stopped, command
from portcullis.cli.tables import ago, short, table

app = typer.Typer(help="Keys at the exchanges against the record.", no_args_is_help=True)


@command(app, "run")
def run(face: Face) -> None:
    """Look now. What a rotation of ours left behind is deleted; of everything else you are told."""
    _answer(face, connect(face).post("sweeps")["items"])


@command(app, "show")
def show_(face: Face) -> None:
    """Show what the last sweep found; it looks every hour."""
    _answer(face, list(connect(face).pages("findings")))


@command(app, "retire")
def retire(face: Face, key: Annotated[str, typer.Argument(help="As ACCOUNT/SLOT/VERSION.")]) -> None:
    """Delete a key version that was replaced and still lives, and prove it dead."""
    parts = key.split("/")
    if len(parts) != 3 or not parts[2].isdigit():  # noqa: PLR2004 - account, slot, version
        raise Stopped(f"{key[:60]!r} is no key version; write it as main/trade/1.", reason="malformed")
    done = connect(face).post(f"keys/{quote(parts[0], safe='')}/{parts[1]}/{parts[2]}/retire")

    def show(out: Console) -> None:
        out.print(f"[green]✓[/] {key} is being deleted at the exchange; it is dead once it is proven")
        out.print(f"  [dim]next[/] {face.command('rotation watch ' + done['id'])}", soft_wrap=True)

    face.answer(done, show)


def _answer(face: Face, rows: list[dict[str, Any]]) -> None:
    def show(out: Console) -> None:
        if not rows:
            out.print("[green]✓[/] every key at the exchanges is as it is on record")
            return
        listed = table("account", "key", "found", "", fold=("",))
        for row in rows:
            listed.add_row(
                f"[bold]{row['account']}[/]", short(row["key_id"]), f"[red]{row['what']}[/] {ago(row['first_at'])}",
                escape(row["says"]),
            )  # fmt: skip
        out.print(listed)

    face.answer({"items": rows}, show)
    if rows:
        raise typer.Exit(FAILED)
