"""`portcullis ready`: one line per account, each red one with its command."""

from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from portcullis.cli.client import connect
from portcullis.cli.face import FAILED, Face, command
from portcullis.cli.tables import table


def register(app: typer.Typer) -> None:
    """Put the command onto the root."""
    command(app, "ready")(ready)


def ready(face: Face) -> None:
    """Are we ready for a leak: who can delete each key, what it switches to, how old and how bound it is.

    Ends with 1 where anything is red.
    """
    found = connect(face).get("ready")

    def show(out: Console) -> None:
        if not found["accounts"]:
            out.print(f"no accounts yet: {face.command('account create')}")
            return
        listed = table("account", "who deletes", "standby", "age", "bound to", fold=("bound to",))
        for row in found["accounts"]:
            listed.add_row(
                ("[red]■[/] " if row["red"] else "[green]✓[/] ") + f"[bold]{row['account']}[/]",
                "the machine" if row["deletes"] == "machine" else "[yellow]you[/]", _standby(row),
                "[red]no key[/]" if row["age_days"] is None else f"{row['age_days']:.0f} d", _bound(row),
            )  # fmt: skip
        out.print(listed)
        for row in found["accounts"]:
            for red in row["red"]:
                out.print(f"[red]■[/] [bold]{row['account']}[/]: {escape(red['what'])}", soft_wrap=True)
                out.print(
                    f"    [dim]next[/] {escape(face.command(red['step'].removeprefix('portcullis ')))}",
                    soft_wrap=True,
                )
        if found["ready"]:
            out.print("[bold green]✓ ready[/]")

    face.answer(found, show)
    if not found["ready"]:
        raise typer.Exit(FAILED)


def _standby(row: dict[str, Any]) -> str:
    if row["standby"]:
        return "[green]yes[/]"
    return "[red]none[/]" if row["deletes"] == "you" else "[dim]made when needed[/]"


def _bound(row: dict[str, Any]) -> str:
    if row["bound"] is False:
        return "[bold red]ANY address[/]"
    return ", ".join(row["addresses"]) or "[red]no addresses declared[/]"
