"""`portcullis alerts`: what is wrong now, and who is told."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
from rich.console import Console
from rich.markup import escape

from portcullis.cli.client import connect
from portcullis.cli.face import Face, command
from portcullis.cli.inputs import secret_text
from portcullis.cli.tables import ago, table

app = typer.Typer(help="What is wrong now, and who is told.", no_args_is_help=True)
SHAPES = {
    "telegram": "tgram://BOT_TOKEN/CHAT_ID",
    "slack": "slack://TOKEN_A/TOKEN_B/TOKEN_C, or the webhook's URL",
    "mail": "mailtos://USER:PASSWORD@HOST?to=ADDRESS",
    "discord": "discord://WEBHOOK_ID/WEBHOOK_TOKEN, or the webhook's URL",
    "ntfy": "ntfys://TOPIC, or ntfys://USER:PASSWORD@HOST/TOPIC",
    "pagerduty": "pagerduty://INTEGRATION_KEY@API_KEY",
    "webhook": "jsons://USER:PASSWORD@HOST/PATH, which gets JSON",
    "heartbeat": "https://..., asked every minute: somebody else notices when we are dead",
}


@command(app, "add")
def add(
    face: Face,
    kind: Annotated[
        str, typer.Argument(help="telegram, slack, mail, discord, ntfy, pagerduty, webhook or heartbeat.")
    ],
    name: Annotated[str | None, typer.Option("--name", help="A name of yours; the kind if absent.")] = None,
    address_file: Annotated[
        Path | None, typer.Option("--address-file", help="File with the address; asked for if absent.")
    ] = None,
) -> None:
    """Name a place that alerts go to, and send it a test. The address holds a token: it is never an argument."""
    if not face.as_json and kind in SHAPES:
        face.err.print(f"[dim]address of {kind}: {SHAPES[kind]}[/]", soft_wrap=True)
    address = secret_text("address", address_file)
    made = connect(face).post(
        "alert-channels", {"name": name or kind, "kind": kind, "address": address.reveal()}
    )

    def show(out: Console) -> None:
        if made["kind"] == "heartbeat":
            out.print(
                f"[green]✓[/] {made['name']} is asked every minute, and answered; it is told nothing else"
            )
        else:
            out.print(f"[green]✓[/] {made['name']} is told what is wrong; a test was sent and taken")

    face.answer(made, show)


@command(app, "test")
def test(face: Face, name: Annotated[str, typer.Argument(help="A channel.")]) -> None:
    """Send a channel a test."""
    done = connect(face).post(f"alert-channels/{quote(name, safe='')}/test")
    face.answer(done, lambda out: out.print(f"[green]✓[/] {name} took a test"))


@command(app, "remove")
def remove(face: Face, name: Annotated[str, typer.Argument(help="A channel.")]) -> None:
    """Tell a channel nothing any more."""
    done = connect(face).post(f"alert-channels/{quote(name, safe='')}/remove")
    face.answer(done, lambda out: out.print(f"[green]✓[/] {name} is told nothing any more"))


@command(app, "list")
def list_(face: Face) -> None:
    """Show what is wrong now, and who is told."""
    api = connect(face)
    rows, channels = list(api.pages("alerts")), list(api.pages("alert-channels"))

    def show(out: Console) -> None:
        for row in rows:
            told = "" if row["sent_at"] else " [yellow](nobody was told yet)[/]"
            out.print(
                f"[red]■[/] {escape(row['says'])} [dim]{ago(row['opened_at'])}[/]{told}", soft_wrap=True
            )
            out.print(f"    [dim]next[/] {escape(row['step'])}", soft_wrap=True)
        if not rows:
            out.print("[green]✓[/] nothing is wrong")
        if not channels:
            out.print(f"[yellow]nobody is told:[/] {face.command('alerts add telegram')}", soft_wrap=True)
            return
        listed = table("channel", "kind", "last message", fold=("last message",))
        for one in channels:
            listed.add_row(
                one["name"], one["kind"], f"[red]{escape(one['failed'])}[/]" if one["failed"] else "went"
            )
        out.print(listed)

    face.answer({"alerts": rows, "channels": channels}, show)
