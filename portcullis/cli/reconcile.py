"""`portcullis reconcile`: after a restore or a failover, is what we believe still so."""

from typing import Annotated

import typer
from rich.console import Console

from portcullis.cli import answers
from portcullis.cli.client import connect
from portcullis.cli.face import FAILED, Face, command
from portcullis.cli.tables import hanging, said, styled, table

_COLOURS = {"alive": "green", "changed": "yellow", "dead": "red", "undecided": "yellow"}


def register(app: typer.Typer) -> None:
    """Put the command onto the root."""
    command(app, "reconcile")(reconcile)


def reconcile(
    face: Face,
    confirm: Annotated[
        list[str] | None,
        typer.Option("--confirm", help="An account of which you looked up that there are no other keys."),
    ] = None,
    *,
    old_host_off: Annotated[
        bool,
        typer.Option("--old-host-off", help="You made sure that the restored host's predecessor is off."),
    ] = False,
) -> None:
    """Ask the exchanges about every key on record. Changes nothing; what it closed is thawed by `thaw`."""
    api = connect(face)
    body = {"confirmed": confirm or [], "old_host_off": old_host_off}
    found = api.post(answers.Reconciled, "reconciliations", body)

    def show(out: Console) -> None:
        listed = table("key", "on record", "at the exchange", "", fold=("",))
        for row in found.keys:
            finding = styled(row.finding, _COLOURS.get(row.finding, "yellow"))
            listed.add_row(row.key, row.stage, finding, row.note)
        out.print(listed if found.keys else "no keys on record")
        for text in found.missing:
            out.print(hanging("[red]■[/]", text))
        if found.well:
            out.print("[bold green]✓ all is as it is on record[/]")
            steps = face.command("cuts"), face.command("thaw CUT --reason WHY")
            out.print(said("  [dim]next[/] {}, then {}", *steps), soft_wrap=True)
        else:
            out.print("[bold]Everything that was closed stays closed.[/]")

    face.answer(found, show)
    if not found.well:
        raise typer.Exit(FAILED)
