"""`portcullis destination` and `portcullis checkout`: real keys outside gateways."""

import math
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.text import Text

from clients.venue import Slot
from portcullis.cli import deaths, rotation_answers
from portcullis.cli.client import connect
from portcullis.cli.face import Face, Stopped, command
from portcullis.cli.inputs import options_named, read_json, secret_text
from portcullis.cli.tables import ago, clean, hanging, said, table, when

app = typer.Typer(help="Who holds a real key outside a gateway, and gets each new one.", no_args_is_help=True)
checkouts = typer.Typer(help="Real keys handed out; the end of each is a rotation.", no_args_is_help=True)
_LONGEST_H = 720
"""30 days, as the API's."""

_OPTIONS = {
    "ttl_s": "--hours", "patience_s": "--patience", "secret": "--secret-file", "kind": "--kind", "slot": "--slot",
    "settings": "--settings", "holder": "--holder", "reason": "--reason", "grant": "--grant",
    "account": "--account", "name": "NAME",
}  # fmt: skip
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept.")]


@command(app, "create", opens=True)
def create(
    face: Face,
    name: Annotated[str, typer.Argument(help="A name of yours.")],
    account: Annotated[str, typer.Option("--account", help="Whose key it gets.")],
    kind: Annotated[str, typer.Option("--kind", help="dotenv, json, kubernetes, webhook or manual.")],
    settings: Annotated[
        Path, typer.Option("--settings", help="JSON file; docs/guides/destinations.md has one of each kind.")
    ],
    slot: Annotated[Slot, typer.Option("--slot", help="trade or read.")] = Slot.TRADE,
    secret_file: Annotated[
        Path | None,
        typer.Option("--secret-file", help="What signs a webhook's messages, or a cluster's token."),
    ] = None,
    patience: Annotated[
        int,
        typer.Option(
            "--patience", min=1, max=720, help="Hours an old key is kept alive for it before you are paged."
        ),
    ] = 24,
) -> None:
    """Name a place that gets each new key; it gets its first with the next rotation."""
    document = read_json(settings, "--settings")
    body: dict[str, Any] = {
        "name": name, "account": account, "slot": slot.value, "kind": kind, "settings": document,
        "patience_s": patience * 3600,
    }  # fmt: skip
    if secret_file is not None:
        body["secret"] = secret_text("secret", secret_file).reveal()
    with options_named(_OPTIONS):
        made = connect(face).post(rotation_answers.Destination, "destinations", body)

    def show(out: Console) -> None:
        what = said("{} gets each new key of {}/{}: {}", made.name, made.account, made.slot, made.where)
        out.print(hanging("[green]✓[/]", what, 0))
        start = f"rotation start --account {made.account} --slot {made.slot} --wait"
        out.print(said("  [dim]next[/] {}", face.command(start)), soft_wrap=True)

    face.answer(made, show)


@command(app, "list")
def list_(face: Face) -> None:
    """List destinations."""
    rows = list(connect(face).pages(rotation_answers.Destination, "destinations"))

    def show(out: Console) -> None:
        if not rows:
            out.print(
                "no destinations: real keys are in the secret store and in gateways' memory, nowhere else"
            )
            return
        listed = table("destination", "key", "kind", "where", "patience", fold=("where",))
        for row in rows:
            listed.add_row(
                said("[bold]{}[/]", row.name), f"{row.account}/{row.slot}", row.kind, row.where,
                f"{row.patience_s // 3600} h",
            )  # fmt: skip
        out.print(listed)

    face.answer({"items": rows}, show)


@command(app, "remove", closes=True)
def remove(face: Face, name: Annotated[str, typer.Argument(help="Which.")]) -> None:
    """Send it no keys any more. What it holds works until its key is rotated."""
    done = connect(face).post(rotation_answers.Destination, f"destinations/{quote(name, safe='')}/remove")

    def show(out: Console) -> None:
        what = said("{} gets no keys any more; the one it holds works until it is rotated", name)
        out.print(hanging("[green]✓[/]", what, 0))
        start = f"rotation start --account {done.account} --slot {done.slot}"
        out.print(said("  [dim]next[/] {}", face.command(start)), soft_wrap=True)

    face.answer(done, show)


@command(app, "confirm")
def confirm(
    face: Face,
    name: Annotated[str, typer.Argument(help="Which.")],
    rotation: Annotated[str, typer.Option("--rotation", help="In which rotation: rot_...")],
) -> None:
    """Say that you gave a tool its new key, and that it works there."""
    path = f"destinations/{quote(name, safe='')}/confirm"
    done = connect(face).post(rotation_answers.ConfirmedDelivery, path, {"rotation": rotation})

    def show(out: Console) -> None:
        since = "" if done.delivered_at is None else f", shown at {when(done.delivered_at)}"
        what = said("{} ({}) has the key {}{}: by your word", name, done.where, done.key, since)
        out.print(hanging("[green]✓[/]", what, 0))
        out.print(said("  [dim]next[/] {}", face.command("rotation watch " + rotation)), soft_wrap=True)

    face.answer(done, show)


@command(app, "key", opens=True)
def key(
    face: Face, name: Annotated[str, typer.Argument(help="A manual destination.")], reason: Reason
) -> None:
    """Show the key that you paste into a tool, this once."""
    path = f"destinations/{quote(name, safe='')}/key"
    done = connect(face).post(rotation_answers.HandedOut, path, {"reason": reason})
    face.answer(done, lambda out: _key(out, done))


@command(checkouts, "open", opens=True)
def open_(
    face: Face,
    grant: Annotated[str, typer.Option("--grant", help="Whose policy allows it: [checkout] max_seconds.")],
    hours: Annotated[float, typer.Option("--hours", help="For how long; its end is a rotation.")],
    holder: Annotated[str, typer.Option("--holder", help="Who gets it.")],
    reason: Reason,
) -> None:
    """Hand out the real key behind a grant, this once. It heeds no gateway and no policy until it is rotated."""
    body = {"grant": grant, "ttl_s": _seconds(hours), "holder": holder, "reason": reason}
    with options_named(_OPTIONS):
        done = connect(face).post(rotation_answers.HandedOut, "checkouts", body)

    def show(out: Console) -> None:
        _key(out, done)
        if done.checkout is None:
            out.print(said("  [dim]next[/] {}", face.command("checkout list")), soft_wrap=True)
            return
        out.print(f"  its key is rotated at {when(done.checkout.ends_at)}; earlier by:")
        close = face.command("checkout close " + done.checkout.id)
        out.print(said("  [dim]next[/] {}", close), soft_wrap=True)

    face.answer(done, show)


@command(checkouts, "close", closes=True)
def close(face: Face, checkout: Annotated[str, typer.Argument(help="As listed: out_...")]) -> None:
    """End a checkout: its key is rotated now. It is dead when that rotation says so, not before."""
    done = connect(face).post(rotation_answers.Checkout, f"checkouts/{quote(checkout, safe='')}/close")

    def show(out: Console) -> None:
        what = said("{} ends: {} is rotated; until that is done the key still works", checkout, done.key)
        out.print(hanging("[green]✓[/]", what, 0))
        out.print(said("  [dim]next[/] {}", face.command("checkout list")), soft_wrap=True)

    face.answer(done, show)


@command(checkouts, "list")
def list_checkouts(face: Face) -> None:
    """List keys that were handed out, and what ended them."""
    rows = sorted(
        connect(face).pages(rotation_answers.Checkout, "checkouts"),
        key=lambda row: row.opened_at,
        reverse=True,
    )

    def show(out: Console) -> None:
        if not rows:
            out.print("no key was ever handed out")
            return
        listed = table("checkout", "key", "holder", "opened", "ends with", fold=("holder", "ends with"))
        for row in rows:
            holder = said("{} [dim]{}[/]", row.holder, row.reason)
            listed.add_row(row.id, row.key, holder, ago(row.opened_at), _ends(row))
        out.print(listed)

    face.answer({"items": rows}, show)


def _seconds(hours: float) -> int:
    """Return hours as seconds.

    Raises:
        Stopped: It is no time that a key can be handed out for.
    """
    if not math.isfinite(hours) or not 0 < hours <= _LONGEST_H or round(hours * 3600) < 1:
        raise Stopped(
            f"--hours: {hours:g} is no time to hand a key out for; it is more than 0, and at most {_LONGEST_H}.",
            step="For 15 minutes: --hours 0.25.", reason="malformed",
        )  # fmt: skip
    return round(hours * 3600)


def _ends(row: rotation_answers.Checkout) -> Text:
    """Say what ends a checkout, or that it has ended."""
    if row.dead_at is not None:
        return Text("dead", "green")
    if row.death is None:
        return Text("not on record: delete it at the exchange", "red")
    if row.death in deaths.NOT_PROVEN:
        return Text(deaths.NOT_PROVEN[row.death], "yellow")
    if row.rotation:
        return said("[yellow]{}[/]", row.rotation)
    return Text(when(row.ends_at)) if row.closed_at is None else Text("a rotation, soon", "yellow")


def _key(out: Console, done: rotation_answers.HandedOut) -> None:
    out.print(said("[bold red]A real key of {}[/], shown this once:", done.key))
    out.print(said("  key id  {}", done.venue_key_id), soft_wrap=True)
    secret = done.secret or "not shown again; open another one"
    first, *others = secret.replace("\r\n", "\n").strip("\n").split("\n")
    if not others:
        out.print(said("  secret  {}", first), soft_wrap=True)
        return
    out.print("  secret, as the lines that follow:")
    for line in (first, *others):  # as they are pasted: a PEM is no PEM on one line, nor further in
        out.print(Text(clean(line)), soft_wrap=True)
