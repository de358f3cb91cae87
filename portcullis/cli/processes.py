"""What `portcullis init`, `run` and `demo` do. Apart from the commands, because it loads half the world.

A cut at 3 a.m. must not wait for a database library to be imported: only these three commands come here.
"""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
import uvloop
from rich.console import Console
from rich.text import Text

from clients.errors import VenueError
from clients.venue import Environment
from portcullis import logs, settings
from portcullis.children import ChildFailed
from portcullis.cli import demo_screen
from portcullis.cli.face import FAILED, Face, Stopped, badge, shown_path
from portcullis.cli.reached import show_elsewhere
from portcullis.cli.tables import hanging, said
from portcullis.database_settings import DatabaseDocument
from portcullis.demo import demo_home, running_demo
from portcullis.foundation import found
from portcullis.gateway import harden
from portcullis.log_writer import take_over
from portcullis.paper_process import PaperFailed
from portcullis.run import Broker, Options, run_process, stop_on_signals
from portcullis.settings import Mode
from portcullis.vault_settings import VaultDocument


@dataclass(frozen=True, slots=True)
class Places:
    """Files that say where keys and state go, where they do not stay in the home."""

    vault: Path | None
    database: Path | None


def init(
    face: Face, world: Environment, kind: Mode, names: Sequence[str], places: Places,
    *, api_port: int, gateway_port: int,
) -> None:  # fmt: skip
    """Make a home and say what comes next."""
    vault, database = places.vault, places.database
    made = found(
        face.root, world, kind, operators=names, api_port=api_port, gateway_port=gateway_port,
        vault=None if vault is None else settings.read_file(VaultDocument, vault, "--vault"),
        database=None if database is None else settings.read_file(DatabaseDocument, database, "--database"),
    )  # fmt: skip
    document = {
        "home": str(made.home.root), "environment": world.value, "mode": kind,
        "operators": {name: str(path) for name, path in made.tokens.items()},
    }  # fmt: skip

    def show(out: Console) -> None:
        out.print(Text.assemble(("✓ ", "green"), f"home {made.home.root} ", badge(world.value)))
        for name, path in made.tokens.items():
            out.print(said("  [dim]token of {}[/]  {}", name, path), soft_wrap=True)
        if made.home.vault is not None:
            out.print(
                said("  [dim]keys[/]  Vault at {}", ", ".join(made.home.vault.addresses)), soft_wrap=True
            )
        if made.home.database is not None:
            hosts = ", ".join(made.home.database.hosts)
            out.print(said("  [dim]state[/] PostgreSQL at {}", hosts), soft_wrap=True)
        if made.home.vault is None:
            what = (
                f"{made.home.kek.name}, secrets.db, state.db and calls.db belong together: back them up together, "
                f"and never with {made.home.kek.name} in the same place as the others."
            )
            out.print(hanging("[yellow]![/]", what))
        out.print(said("  [dim]next[/] {}", face.command("run")), soft_wrap=True)
        if world is not Environment.PAPER:
            what = "then, within the hour: a password and codes, without which nothing can be opened later"
            out.print(hanging("[yellow]![/]", what))
            for name, path in made.tokens.items():
                given = "" if path == made.home.operator_token else f" --token-file {shown_path(path)}"
                out.print(
                    said("    {}", face.command(f"operator enrol --name {name}{given}")), soft_wrap=True
                )

    face.answer(document, show)


def run(face: Face, options: Options) -> None:
    """Run a home until it is ended."""
    home = face.home()
    logs.configure()
    take_over("stdout")

    def ready(broker: Broker) -> None:
        where = broker.running
        document = {
            "pid": where.pid, "api": where.api, "gateway": where.gateway,
            "gateway_elsewhere": where.gateway_elsewhere, "home": str(home.root),
        }  # fmt: skip

        def show(out: Console) -> None:
            out.print(
                Text.assemble(
                    badge(home.environment.value), "  ", ("Portcullis runs", "bold"),
                    f"   gateway {where.gateway}   API {where.api}",
                )
            )  # fmt: skip
            show_elsewhere(out, where)
            ends = "Ctrl-C ends it" if _in_front() else f"kill {where.pid} ends it"
            out.print(said("[dim]status: {}   {}[/]", face.command("status"), ends), soft_wrap=True)

        face.answer(document, show)

    code = run_process(home, options, ready)
    if code:
        raise typer.Exit(code)


def demo(face: Face, port: int | None) -> None:
    """Run the demo until it is ended."""
    if face.given_home is None and settings.variable(settings.VARIABLE) is None:
        face.given_home = settings.DEMO_HOME.expanduser()
    home = demo_home(face.root)
    logs.configure(logs.QUIET)
    take_over("stdout")
    harden()
    os.umask(0o077)
    try:
        code = uvloop.run(_demo(face, home, Options(api_port=0, gateway_port=port)))
    except (ChildFailed, PaperFailed, VenueError) as fault:
        raise Stopped(str(fault), "Everything that was started was ended.", reason="not_ready") from None
    if code:
        raise typer.Exit(code)


async def _demo(face: Face, home: settings.Home, options: Options) -> int:
    stop = asyncio.Event()
    stop_on_signals(stop)
    async with running_demo(home, options) as ready:
        if face.as_json:
            sys.stdout.write(json.dumps(ready.document(), separators=(",", ":")) + "\n")
            sys.stdout.flush()
            showing: asyncio.Task[Any] = asyncio.create_task(stop.wait())
        else:
            demo_screen.opening(face, ready)
            showing = asyncio.create_task(demo_screen.follow(face.out, ready, stop))
        ends: list[asyncio.Future[Any]] = [showing, ready.broker.fallen]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        await showing
        if ready.broker.fallen.done():
            face.err.print(said("[bold red]✗[/] {}", ready.broker.fallen.result()))
            return FAILED
        if not face.as_json:
            face.out.print("\n[dim]ending: requests in flight first ...[/]")
    return 0


def _in_front() -> bool:
    """Tell whether keys at the terminal reach this process: not one that was put into the background."""
    try:
        return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
