"""What is wrong, as screens show it: a red line each, and under it the next step."""

from collections.abc import Iterable

from rich.console import Console

from portcullis.cli import oversight_answers
from portcullis.cli.face import Face
from portcullis.cli.tables import hanging, said


def red_lines(out: Console, face: Face, wrong: Iterable[oversight_answers.Wrong]) -> None:
    """Show everything that is wrong."""
    for one in wrong:
        out.print(hanging("[red]■[/]", said("[red]{}[/]", one.what), 0))
        face.step(out, "[dim]next[/]", one.step)
