"""`portcullis init`, `run`, `demo`, `paper`: what starts something and stays."""

import asyncio
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
import uvloop
from rich.console import Console
from rich.text import Text

from clients.errors import VenueError
from clients.venue import Environment
from portcullis import logs, settings
from portcullis.children import ChildFailed
from portcullis.cli import demo_screen
from portcullis.cli.face import FAILED, Face, Stopped, badge, command
from portcullis.demo import demo_home, running_demo
from portcullis.foundation import OWNER, found
from portcullis.gateway import harden
from portcullis.paper_process import PaperFailed
from portcullis.run import Broker, Options, run_process, stop_on_signals
from portcullis.settings import Mode, SettingsError, write_private

Port = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port of the gateway; 0 is any.")]
_DEMO_HOME = Path("~/.local/share/portcullis-demo")


def register(app: typer.Typer) -> None:
    """Put the commands onto the root."""
    command(app, "init")(init)
    command(app, "run")(run)
    command(app, "demo")(demo)
    command(app, "paper")(paper)


def init(
    face: Face,
    environment: Annotated[
        Environment | None, typer.Option("--environment", help="paper, testnet or live; for ever.")
    ] = None,
    mode: Annotated[str | None, typer.Option("--mode", help="solo or team.")] = None,
    operator: Annotated[
        list[str] | None, typer.Option("--operator", help="First operators; a team names two or more.")
    ] = None,
    api_port: Annotated[int, typer.Option("--api-port", min=0, max=65535)] = settings.API_PORT,
    gateway_port: Annotated[int, typer.Option("--gateway-port", min=0, max=65535)] = settings.GATEWAY_PORT,
) -> None:
    """Make a home: its stores, its keys, its first operators. Asks what was not said."""
    kind = _mode(mode)
    world = environment or Environment(_ask("environment: paper, testnet or live", "--environment", "paper"))
    names = operator or ([OWNER] if kind == "solo" else _team())
    if kind == "team" and len(set(names)) < 2:  # noqa: PLR2004 - four eyes
        raise Stopped("--operator: a team has two first operators or more.", reason="malformed")
    made = found(face.root, world, kind, operators=names, api_port=api_port, gateway_port=gateway_port)
    document = {
        "home": str(made.home.root), "environment": world.value, "mode": kind,
        "operators": {name: str(path) for name, path in made.tokens.items()},
    }  # fmt: skip

    def show(out: Console) -> None:
        out.print(Text.assemble(("✓ ", "green"), f"home {made.home.root} ", badge(world.value)))
        for name, path in made.tokens.items():
            out.print(f"  [dim]token of {name}[/]  {path}", soft_wrap=True)
        out.print(
            f"  [yellow]![/] {made.home.kek.name}, secrets.db and state.db belong together: back them up together, "
            f"and never with {made.home.kek.name} in the same place as the others."
        )
        out.print(f"  [dim]next[/] {face.command('run')}", soft_wrap=True)

    face.answer(document, show)


def run(
    face: Face,
    port: Port = None,
    api_port: Annotated[int | None, typer.Option("--api-port", min=0, max=65535, help="0 is any.")] = None,
    gateway_host: Annotated[
        str,
        typer.Option(
            "--gateway-host", help="Address the gateway listens on; beyond loopback name --allowed-host."
        ),
    ] = "127.0.0.1",
    allowed_host: Annotated[
        list[str] | None, typer.Option("--allowed-host", help="A host name bots call the gateway by.")
    ] = None,
    paper_upstream: Annotated[
        str | None, typer.Option("--paper-upstream", help="Paper homes: use this paper exchange, start none.")
    ] = None,
    gateway_socket: Annotated[
        Path | None, typer.Option("--gateway-socket", help="A Unix socket to listen on as well.")
    ] = None,
) -> None:
    """Run everything on this home: broker, gateway, and in a paper home the paper exchange."""
    home = face.home()
    logs.configure()
    options = Options(api_port, port, gateway_host, tuple(allowed_host or ()), paper_upstream, gateway_socket)

    def ready(broker: Broker) -> None:
        where = broker.running
        document = {"pid": where.pid, "api": where.api, "gateway": where.gateway, "home": str(home.root)}

        def show(out: Console) -> None:
            out.print(
                Text.assemble(
                    badge(home.environment.value), "  ", ("Portcullis runs", "bold"),
                    f"   gateway {where.gateway}   API {where.api}",
                )
            )  # fmt: skip
            out.print(f"[dim]see how it fares: {face.command('status')}   Ctrl-C ends it[/]", soft_wrap=True)

        face.answer(document, show)

    code = run_process(home, options, ready)
    if code:
        raise typer.Exit(code)


def demo(face: Face, port: Port = None) -> None:
    """Try it on a paper exchange of your own: one bot, one policy, one command that cuts it off.

    With --json: exactly one line on stdout when ready, then it stays up until SIGTERM.
    """
    if face.given_home is None and settings.VARIABLE not in os.environ:
        face.given_home = _DEMO_HOME.expanduser()
    home = demo_home(face.root)
    logs.configure(logs.QUIET)
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
            face.err.print(f"[bold red]✗[/] {ready.broker.fallen.result()}")
            return FAILED
        if not face.as_json:
            face.out.print("\n[dim]ending: requests in flight first …[/]")
    return 0


def paper(
    face: Face,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 is any.")] = 8702,
    seed: Annotated[int, typer.Option("--seed", help="Of its prices and books.")] = 1,
    admin_token_file: Annotated[
        Path | None, typer.Option("--admin-token-file", help="Made where there is none.")
    ] = None,
    state: Annotated[Path | None, typer.Option("--state", help="File it goes on from.")] = None,
) -> None:
    """Run the paper exchange alone: Binance spot as bots see it. Prints one line of JSON when ready."""
    token_file = admin_token_file or face.root / "paper-admin.token"
    if not token_file.exists():
        settings.private_directory(token_file.parent)
        write_private(token_file, secrets.token_urlsafe(32) + "\n")
    face.err.print(Text.assemble(badge("paper"), f"  admin token in {token_file}"))
    arguments = ["--port", str(port), "--seed", str(seed), "--admin-token-file", str(token_file)]
    if state is not None:
        arguments += ["--state", str(state)]
    os.execv(sys.executable, [sys.executable, "-m", "clients.paper", *arguments])  # noqa: S606 - no shell


def _mode(given: str | None) -> Mode:
    said = given or _ask("solo or team", "--mode", "solo")
    for mode in get_args(Mode):
        if said == mode:
            return "solo" if said == "solo" else "team"
    raise SettingsError("--mode", "is solo or team")


def _team() -> list[str]:
    return _ask("names of the first two operators", "--operator", "").replace(",", " ").split()


def _ask(question: str, option: str, default: str) -> str:
    """Ask at a terminal; a script is told which option answers."""
    if not sys.stdin.isatty():
        raise Stopped(f"{option} is missing.", step=f"Say it: {question}.", reason="malformed")
    return str(typer.prompt(question, default=default or None, err=True)).strip()
