"""`portcullis ready`: one line per account, each red one with its command."""

import typer
from rich.console import Console
from rich.text import Text

from portcullis.cli import oversight_answers
from portcullis.cli.client import connect
from portcullis.cli.face import FAILED, Face, command
from portcullis.cli.tables import hanging, said, table
from portcullis.cli.wrong import red_lines


def register(app: typer.Typer) -> None:
    """Put the command onto the root."""
    command(app, "ready")(ready)


def ready(face: Face) -> None:
    """Are we ready for a leak: who can delete each key, what it switches to, its age and IP restriction.

    Ends with 1 where anything is red.
    """
    found = connect(face).get(oversight_answers.Ready, "ready")

    def show(out: Console) -> None:
        if found.instead:
            out.print(hanging("[bold red]■ STANDBY[/]", said("it serves nobody: {}", found.instead), 0))
        if not found.accounts:
            out.print(
                said(
                    "no accounts yet: {}",
                    face.command("account create --name NAME --venue binance --egress EGRESS"),
                ),
                soft_wrap=True,
            )
            red_lines(out, face, found.wrong)
            return
        listed = table(
            "account",
            "who deletes",
            "standby",
            "age",
            "key bound to",
            "new keys",
            fold=("key bound to", "new keys"),
        )
        for row in found.accounts:
            red = row.red or any(one.account == row.account for one in found.wrong)
            mark = Text("■", "red") if red else Text("✓", "green")
            age = Text("no key", "red") if row.age_days is None else f"{row.age_days:.0f} d"
            who = "automatic" if row.deletes == "machine" else Text("manual: you", "yellow")
            listed.add_row(
                said("{} [bold]{}[/]", mark, row.account), who, _standby(row), age, _bound(row), _new(row)
            )
        out.print(listed)
        red_lines(out, face, found.wrong)
        if found.ready:
            out.print("[bold green]✓ ready[/]")

    face.answer(face.typed(found.document), show)
    if not found.ready:
        raise typer.Exit(FAILED)


def _standby(row: oversight_answers.Readiness) -> Text:
    if row.standby:
        return Text("yes", "green")
    return Text("none", "red") if row.deletes == "you" else Text("made when needed", "dim")


def _bound(row: oversight_answers.Readiness) -> Text:
    if row.bound is False:
        return Text("ANY address", "bold red")
    if row.bound is None or row.age_days is None:
        return Text("not known", "yellow")
    return Text("some addresses", "green")


def _new(row: oversight_answers.Readiness) -> Text:
    """Say what a new key is bound to: the exchange tells of a key that it is bound, and not where to."""
    return said("{}", ", ".join(row.addresses)) if row.addresses else Text("no addresses declared", "red")
