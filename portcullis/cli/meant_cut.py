"""Who types another word for a cut gets the commands, whole, each in a line of its own: nothing is cut by a guess."""

from pathlib import Path
from typing import Any

from portcullis.cli import lacks
from portcullis.cli.blank import NOTHING
from portcullis.cli.face import Face, Stopped
from portcullis.cli.mistyped import read

_NOT_UNDERSTOOD = 2


def instead_of(ctx: Any, typed: list[str]) -> int:
    """Say how a bot is stopped, with what else was typed; return the exit code."""
    home: Path | None = ctx.params.get("home")
    line = read(typed[1:])
    face = Face(line.home or home, bool(ctx.params.get("as_json")) or line.as_json)
    face.commands = frozenset(ctx.command.commands)
    why = lacks.why(line.reason)
    named = [one.options[0] for one in lacks.as_typed(line.targets) if one.options]
    bot = " ".join(named) or "--consumer NAME"
    lines = []
    for what, verb, whom in (
        ("Stop a bot:", "cut", bot), ("Stop all trading:", "cut", "--everything"),
        ("Let exits pass alone:", "halt", bot),
    ):  # fmt: skip
        lines += [what, face.command(f"{verb} {whom} --reason {why}")]
    face.stop(Stopped(f"No such command: {typed[0]}.", NOTHING, "\n".join(lines), reason="no_command"))
    return _NOT_UNDERSTOOD
