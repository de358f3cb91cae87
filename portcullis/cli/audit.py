"""`portcullis audit`: what happened, and whether the trail of it is still as it was written."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from portcullis.cli import oversight_answers
from portcullis.cli.client import connect
from portcullis.cli.face import Face, command
from portcullis.cli.tables import table, when

app = typer.Typer(help="What happened, and whether that record is whole.", no_args_is_help=True)


@command(app, "list")
def list_records(
    face: Face,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=10_000, help="Maximum rows, newest first.")
    ] = 30,
    calls: Annotated[bool, typer.Option("--calls", help="Also what was kept of the call log.")] = False,
) -> None:
    """Show what happened, newest last."""
    writer = None if calls else "control"
    rows = list(connect(face).pages(oversight_answers.AuditRecord, "audit", most=limit, writer=writer))

    def show(out: Console) -> None:
        listed = table("at", "who", "did", "to", "record", fold=("at", "to"))
        for row in reversed(rows):
            listed.add_row(when(row.at), row.actor, row.action, row.subject, Text(str(row.seq), "dim"))
        out.print(listed if rows else "nothing yet")

    face.answer({"items": rows}, show)


@command(app, "verify")
def verify(
    face: Face,
    anchor: Annotated[
        list[Path] | None,
        typer.Option("--anchor", help="What an anchor kept, from its place; may be repeated."),
    ] = None,
) -> None:
    """Look whether the trail is as it was written. Reads the database itself; nothing needs to run."""
    _work().verify(face, anchor or [])


def _work() -> ModuleType:
    """Return `portcullis.cli.audit_work`, loaded only by the command that needs it."""
    return importlib.import_module("portcullis.cli.audit_work")
