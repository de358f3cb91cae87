"""`portcullis reconcile`: after a restore or a failover, is what we believe still so."""

from typing import Annotated

import typer
from rich.console import Console

from clients.venue import Environment
from portcullis.cli import oversight_answers
from portcullis.cli.client import connect
from portcullis.cli.face import FAILED, Face, badge, command
from portcullis.cli.tables import hanging, said, styled, table

_COLOURS = {"alive": "green", "pending": "dim", "changed": "yellow", "dead": "red", "undecided": "yellow"}


def register(app: typer.Typer) -> None:
    """Put the command onto the root."""
    command(app, "reconcile")(reconcile)


def reconcile(
    face: Face,
    confirm: Annotated[
        list[str] | None,
        typer.Option("--confirm", help="An account of which you looked up that there are no other keys."),
    ] = None,
    deleted: Annotated[
        list[str] | None,
        typer.Option(
            "--deleted", help="A key of which you looked up that it is deleted there: ACCOUNT/SLOT/VERSION."
        ),
    ] = None,
    *,
    old_host_off: Annotated[
        bool,
        typer.Option("--old-host-off", help="You made sure that the restored host's predecessor is off."),
    ] = False,
) -> None:
    """After a restore or a failover: compare the record with the exchanges, and say what is left to do.

    It opens nothing by itself. What you declare is kept: say it once, one thing after another.
    """
    api = connect(face)
    body = {"confirmed": confirm or [], "deleted": deleted or [], "old_host_off": old_host_off}
    found = api.post(oversight_answers.Reconciled, "reconciliations", body)

    def show(out: Console) -> None:
        if found.environment == Environment.PAPER.value:
            what = "wherever an exchange is named here, it is the paper exchange: nothing of this is about a real one"
            out.print(hanging(badge(found.environment), what, 0))
        listed = table("key", "on record", "at the exchange", "", fold=("",))
        for row in found.keys:
            finding = styled(row.finding, _COLOURS.get(row.finding, "yellow"))
            listed.add_row(row.key, row.stage, finding, row.note)
        out.print(listed if found.keys else "no keys on record")
        if found.well:
            out.print("[bold green]✓ all is as it is on record[/]")
            out.print("[bold]Left to do:[/]" if found.steps else "Nothing is closed, nothing is left to do.")
        else:
            out.print(hanging("", said("[bold red]{}[/] [bold]Left to do:[/]", found.waits), 0))
        for number, step in enumerate(found.steps, 1):
            out.print(hanging(f"[bold]{number}.[/]", said("{}: [bold]{}[/]", step.what, step.do), 1))
            for line in step.commands:
                face.step(out, "", line, 4)
        if not found.well:
            out.print(said("  [dim]then[/] {}", face.command("reconcile")), soft_wrap=True)

    face.answer(found, show)
    if not found.well:
        raise typer.Exit(FAILED)
