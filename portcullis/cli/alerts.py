"""`portcullis alerts`: what is wrong now, and who is told."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
from rich.console import Console
from rich.text import Text

from portcullis.cli import oversight_answers
from portcullis.cli.client import connect
from portcullis.cli.face import Face, command
from portcullis.cli.inputs import secret_text
from portcullis.cli.tables import ago, clean, hanging, said, table

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
        face.err.print(said("[dim]address of {}: {}[/]", kind, SHAPES[kind]), soft_wrap=True)
    address = secret_text("address", address_file)
    body = {"name": name or kind, "kind": kind, "address": address.reveal()}
    made = connect(face).post(oversight_answers.Channel, "alert-channels", body)

    def show(out: Console) -> None:
        if made.kind == "heartbeat":
            out.print(
                said("[green]✓[/] {} is asked every minute, and answered; it is told nothing else", made.name)
            )
        else:
            out.print(said("[green]✓[/] {} is told what is wrong; a test was sent and taken", made.name))

    face.answer(made, show)


@command(app, "test")
def test(face: Face, name: Annotated[str, typer.Argument(help="A channel.")]) -> None:
    """Send a channel a test."""
    done = connect(face).post(oversight_answers.Channels, f"alert-channels/{quote(name, safe='')}/test")
    face.answer(done, lambda out: out.print(said("[green]✓[/] {} took a test", name)))


@command(app, "remove")
def remove(face: Face, name: Annotated[str, typer.Argument(help="A channel.")]) -> None:
    """Remove a channel: no alert goes there any more."""
    done = connect(face).post(oversight_answers.Channel, f"alert-channels/{quote(name, safe='')}/remove")
    face.answer(done, lambda out: out.print(said("[green]✓[/] {} is removed: no alert goes there", name)))


@command(app, "list")
def list_(face: Face) -> None:
    """Show what is wrong now, and who is told."""
    api = connect(face)
    rows = sorted(
        api.pages(oversight_answers.Alert, "alerts"), key=lambda row: row.place
    )  # as `status` has it
    channels = list(api.pages(oversight_answers.Channel, "alert-channels"))

    def show(out: Console) -> None:
        for row in rows:
            out.print(hanging("[red]■[/]", _line(row), 0))
            face.step(out, "[dim]next[/]", row.step)
        if not rows:
            out.print("[green]✓[/] nothing is wrong")
        if not channels:
            out.print(
                said("[yellow]nobody is told:[/] {}", face.command("alerts add telegram")), soft_wrap=True
            )
            return
        listed = table("channel", "kind", "last message", fold=("last message",))
        for one in channels:
            listed.add_row(one.name, one.kind, Text(clean(one.failed), "red") if one.failed else "went")
        out.print(listed)

    face.answer({"alerts": [face.typed(one.document) for one in rows], "channels": channels}, show)


def _line(row: oversight_answers.Alert) -> Text:
    """Say what is wrong, and since when: of what nobody is told of, no beginning was written down."""
    if row.quiet:
        return said("{}", row.says)
    told = Text("" if row.sent_at else "; nobody was told yet", "yellow")
    return said("{} [dim]([/]{}{}[dim])[/]", row.says, Text(ago(row.opened_at), "dim"), told)
