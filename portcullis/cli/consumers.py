"""`portcullis consumer`: bots and third-party tools, and what to paste into them."""

from enum import StrEnum
from typing import Annotated
from urllib.parse import quote

import typer
from rich.console import Console
from rich.text import Text

from portcullis.cli import access_answers
from portcullis.cli.client import Api, connect
from portcullis.cli.face import Face, Stopped, command
from portcullis.cli.reached import BRIDGE, UNREACHED, from_container
from portcullis.cli.tables import facts, said, short, table, when
from portcullis.recipes import RECIPES, Place
from portcullis.running import Running

app = typer.Typer(help="Bots and tools that trade through the gateway.", no_args_is_help=True)

_NOT_KNOWN = "http://GATEWAY:PORT"


class Library(StrEnum):
    """Exchange libraries with a recipe."""

    CCXT = "ccxt"
    CCXT_ASYNC = "ccxt-async"
    PYTHON_BINANCE = "python-binance"
    BINANCE_SDK_SPOT = "binance-sdk-spot"
    BINANCE_CONNECTOR = "binance-connector"
    FREQTRADE = "freqtrade"
    CURL = "curl"


class Origin(StrEnum):
    """Where the bot runs."""

    HOST = "host"
    DOCKER = "docker"


@command(app, "create")
def create(
    face: Face,
    name: Annotated[str, typer.Option("--name", help="Lower case letters, digits, dot, dash, underscore.")],
    note: Annotated[str, typer.Option("--note", help="What it is, and who to call about it.")] = "",
) -> None:
    """Name a bot. It may do nothing until it has a grant."""
    made = connect(face).post(access_answers.Consumer, "consumers", {"name": name, "note": note})

    def show(out: Console) -> None:
        out.print(said("[green]✓[/] consumer [bold]{}[/] created; it may do nothing yet", made.name))
        step = face.command(f"grant create --consumer {made.name} --account ACCOUNT --policy FILE")
        out.print(said("  [dim]next[/] {}", step), soft_wrap=True)

    face.answer(made, show)


@command(app, "list")
def list_(face: Face) -> None:
    """List consumers."""
    rows = list(connect(face).pages(access_answers.Consumer, "consumers"))

    def show(out: Console) -> None:
        if not rows:
            out.print(
                said("no consumers yet; {}", face.command("consumer create --name NAME")), soft_wrap=True
            )
            return
        listed = table("consumer", "since", "note", fold=("note",))
        for row in rows:
            listed.add_row(said("[bold]{}[/]", row.name), when(row.created_at), row.note)
        out.print(listed)

    face.answer({"items": rows}, show)


@command(app, "show")
def show_one(face: Face, name: Annotated[str, typer.Argument(help="The consumer.")]) -> None:
    """Show one consumer with its grants."""
    api = connect(face)
    found = api.get(access_answers.Consumer, f"consumers/{quote(name, safe='')}")
    grants = list(api.pages(access_answers.Grant, "grants", consumer=name))

    def show(out: Console) -> None:
        out.print(facts(("consumer", found.name), ("since", when(found.created_at)), ("note", found.note)))
        listed = table("grant", "account", "key id", "state")
        for row in grants:
            listed.add_row(row.id, row.account, short(row.key_id), grant_state(row))
        out.print(listed if grants else "it has no grant: it may do nothing")

    face.answer(found.document | {"grants": grants}, show)


@command(app, "snippet")
def snippet(
    face: Face,
    name: Annotated[str, typer.Argument(help="The consumer.")],
    library: Annotated[Library, typer.Option("--for", help="The bot's exchange library.")],
    origin: Annotated[Origin, typer.Option("--from", help="Where the bot runs.")] = Origin.HOST,
    grant: Annotated[str | None, typer.Option("--grant", help="Which grant, if it has several.")] = None,
) -> None:
    """Print what to paste into the bot. The secret is not known here: it was shown once."""
    api = connect(face)
    chosen = _grant_of(api, face, name, grant)
    here = from_container(api.running) if origin is Origin.DOCKER else api.running.gateway
    place = Place(_NOT_KNOWN if api.elsewhere else here, chosen.key_id)
    text = RECIPES[library.value](place)

    def show(out: Console) -> None:
        out.print(text, markup=False, soft_wrap=True, end="")
        if api.elsewhere:
            face.err.print(
                f"[dim]Where its gateway listens is not known here: put that in the place of {_NOT_KNOWN}.[/]",
                soft_wrap=True,
            )
        else:
            _how_it_is_reached(face, api.running, origin)

    document = {
        "consumer": name,
        "grant": chosen.id,
        "for": library.value,
        "base_url": place.base,
        "text": text,
    }
    face.answer(document, show)


def _how_it_is_reached(face: Face, running: Running, origin: Origin) -> None:
    """Say what a container needs to reach the gateway by the address that was printed."""
    elsewhere = running.gateway_elsewhere
    if origin is Origin.HOST:
        if elsewhere:
            what = "[dim]For a bot in a container, or on another host, {} (--from docker).[/]"
            face.err.print(said(what, elsewhere), soft_wrap=True)
        return
    add = f"--add-host {UNREACHED}:host-gateway"
    if not elsewhere:
        face.err.print(
            "[dim]The gateway listens on loopback. For containers start it so that they reach it:[/]"
        )
        command = f"run --gateway-host {BRIDGE} --allowed-host {UNREACHED} --allowed-host {BRIDGE}"
        face.err.print("  " + face.command(command), soft_wrap=True, markup=False)
        more = f"and start the container with {add}, or use --network host and no --from."
        face.err.print(said("[dim]{}[/]", more), soft_wrap=True)
    elif f"//{UNREACHED}:" in elsewhere:
        face.err.print(said("[dim]Start the container with {}[/]", add), soft_wrap=True)


def grant_state(grant: access_answers.Grant) -> Text:
    """Say whether a grant still counts."""
    return Text("active", "green") if grant.revoked_at is None else Text("revoked", "red")


def _grant_of(api: Api, face: Face, consumer: str, wanted: str | None) -> access_answers.Grant:
    """Return the one grant a snippet is about."""
    rows = list(api.pages(access_answers.Grant, "grants", consumer=consumer))
    found = [row for row in rows if row.revoked_at is None]
    if wanted is not None:
        found = [row for row in found if row.id == wanted]
    if not rows:
        api.get(access_answers.Consumer, f"consumers/{consumer}")  # a name that is nobody's is told as that
    if not found:
        raise Stopped(
            f"{consumer} has no such standing grant: there is no virtual key to paste."
            if wanted
            else f"{consumer} has no standing grant: there is no virtual key to paste.",
            step=face.command(f"grant create --consumer {consumer} --account ACCOUNT --policy FILE"),
            reason="no_grant",
        )
    if len(found) > 1:
        listed = ", ".join(f"{row.id} ({row.account})" for row in found)
        raise Stopped(
            f"{consumer} has several grants: {listed}.", step="Say which with --grant.", reason="which_grant"
        )
    return found[0]
