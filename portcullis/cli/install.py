"""`portcullis install`: a system user, a home and a hardened systemd unit on this host."""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from clients.venue import Environment
from portcullis import install as plan
from portcullis.cli.face import Face, Stopped, command
from portcullis.cli.tables import said

_CLOSED = (Path("/root"), Path("/home"))


def register(app: typer.Typer) -> None:
    """Put the command onto the root."""
    command(app, "install")(install)


def install(
    face: Face,
    environment: Annotated[
        Environment, typer.Option("--environment", help="paper, testnet or live; for ever.")
    ],
    mode: Annotated[str, typer.Option("--mode", help="solo or team.")] = "solo",
    operator: Annotated[list[str] | None, typer.Option("--operator", help="First operators.")] = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, change nothing.")
    ] = False,
) -> None:
    """Set Portcullis up on this host, as a service under its own user. Idempotent. Needs root."""
    program = Path(
        sys.argv[0] if Path(sys.argv[0]).name == "portcullis" else Path(sys.executable).parent / "portcullis"
    )
    program = program.resolve()
    names = tuple(operator or (["owner"] if mode == "solo" else []))
    if mode == "team" and len(set(names)) < 2:  # noqa: PLR2004 - four eyes
        raise Stopped("--operator: a team has two first operators or more.", reason="malformed")
    team: Literal["solo", "team"] = "team" if mode == "team" else "solo"
    steps = plan.steps(program, environment.value, team, names)
    if dry_run:
        _show(face, steps)
        return
    if os.geteuid() != 0:
        raise Stopped(
            "This needs root.", step="Run it with sudo, or look first: --dry-run.", reason="not_root"
        )
    if any(program.is_relative_to(closed) for closed in _CLOSED):
        raise Stopped(
            f"{program} lies in somebody's home, where the service's user may not go.",
            step="Install Portcullis for everybody first, as into /opt/portcullis, and run that one.",
            reason="bad_place",
        )
    done = []
    try:
        for step in steps:
            done.append({"why": step.why, "done": plan.carry_out(step)})
            already = "" if done[-1]["done"] else " (there already)"
            face.err.print(said("[green]✓[/] {}[dim]{}[/]", step.why, already))
    except plan.NotInstalled as fault:
        raise Stopped(
            str(fault), "Steps before it were done; doing them again is safe.", "Mend it and run this again.",
            reason="not_installed",
        ) from None  # fmt: skip
    face.answer({"steps": done}, lambda out: out.print("It runs: systemctl status portcullis"))


def _show(face: Face, steps: tuple[plan.Step, ...]) -> None:
    document = [
        {"why": step.why, "command": list(step.command), "file": str(step.file or ""), "text": step.text}
        for step in steps
    ]

    def show(out: Console) -> None:
        out.print("# Nothing was changed. As root this would be done:")
        for step in steps:
            out.print(f"\n# {step.why}", markup=False)
            if step.file is not None:
                out.print(f"cat > {step.file} <<'UNIT'\n{step.text}UNIT", markup=False, soft_wrap=True)
            else:
                out.print(shlex.join(step.command), markup=False, soft_wrap=True)

    face.answer({"steps": document}, show)
