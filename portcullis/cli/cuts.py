"""`portcullis cut`, `halt`, `thaw`: pull the plug, and put it back.

`cut` lets nothing pass. `halt` lets pass reads, cancels and exits. Several cuts may hold one gate: each needs
its own thaw. The answer says where the cut is durable, which gateways have it in force, and what was on its way to
the exchange by then, in figures.
"""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from broker import spelled
from portcullis.cli import lacks, mistyped, oversight_answers
from portcullis.cli.client import Api, connect
from portcullis.cli.face import Face, Stopped, command
from portcullis.cli.grants import show_gateways
from portcullis.cli.inputs import as_text
from portcullis.cli.tables import clean, hanging, said, styled, table, when

Consumers = Annotated[
    list[str] | None, typer.Option("--consumer", help="A bot; may be repeated, as all of these.")
]
Accounts = Annotated[list[str] | None, typer.Option("--account", help="An account.")]
Venues = Annotated[list[str] | None, typer.Option("--venue", help="An exchange.")]
Grants = Annotated[list[str] | None, typer.Option("--grant", help="A grant.")]
Gateways = Annotated[list[str] | None, typer.Option("--gateway", help="A gateway.")]
Keys = Annotated[
    list[str] | None, typer.Option("--key", help="A key version, and what replaces it: ACCOUNT/SLOT/VERSION.")
]
_MODES = {"cut": "closed", "halt": "halt"}
Everything = Annotated[bool, typer.Option("--everything", help="All of it.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept.")]
CutReason = Annotated[
    str | None, typer.Option("--reason", help="Why; it is kept. Needed.", show_default=False)
]
"""Looked for together with all else that a cut may lack, not before it."""


def register(app: typer.Typer) -> None:
    """Put the commands onto the root."""
    command(app, "cut", closes=True, cls=mistyped.CutCommand)(cut)
    command(app, "halt", closes=True, cls=mistyped.CutCommand)(halt)
    command(app, "thaw", opens=True, cls=mistyped.ThawCommand)(thaw)
    command(app, "cuts")(list_)


def cut(
    face: Face,
    reason: CutReason = None,
    consumer: Consumers = None,
    account: Accounts = None,
    venue: Venues = None,
    grant: Grants = None,
    gateway: Gateways = None,
    key: Keys = None,
    everything: Everything = False,
) -> None:
    """Cut off: nothing in scope is served any more, at once, until it is thawed."""
    _close(face, "cut", _named(consumer, account, venue, grant, gateway, key), reason, everything=everything)


def halt(
    face: Face,
    reason: CutReason = None,
    consumer: Consumers = None,
    account: Accounts = None,
    venue: Venues = None,
    grant: Grants = None,
    gateway: Gateways = None,
    key: Keys = None,
    everything: Everything = False,
) -> None:
    """Halt: only reads, cancels and exits pass, until it is thawed."""
    _close(face, "halt", _named(consumer, account, venue, grant, gateway, key), reason, everything=everything)


def thaw(
    face: Face,
    reason: Reason,
    cut_id: Annotated[str | None, typer.Argument(metavar="[CUT]", help="Its id, as listed.")] = None,
    consumer: Consumers = None,
    account: Accounts = None,
    venue: Venues = None,
    grant: Grants = None,
    gateway: Gateways = None,
    key: Keys = None,
    everything: Everything = False,
) -> None:
    """Undo one cut or halt, by its id, or by its targets where exactly one has them. Others stay."""
    api = connect(face)
    if cut_id is None:
        rows = list(api.pages(oversight_answers.Cut, "cuts", open=True))
        named = _named(consumer, account, venue, grant, gateway, key)
        if not (everything or named):
            raise _which(rows, face)
        if everything and named:
            raise Stopped("--everything is all of it: name nothing beside it.", reason="malformed")
        cut_id = _the_one(rows, named or ["everything"], face)
    elif not (cut_id.startswith(mistyped.CUT_ID) or _is_open(api, cut_id)):
        raise mistyped.no_cut(face, cut_id, reason)
    body = {"cut": cut_id, "reason": as_text(face, reason)}
    done = api.post(oversight_answers.Thawed, "thaws", body)

    def show(out: Console) -> None:
        out.print(said("[green]✓[/] {} is thawed: {}", done.cut, ", ".join(done.targets)))
        show_gateways(out, done.gateways)
        for held in done.still_closed:
            targets = ", ".join(held.targets)
            out.print(said("  [yellow]still {}[/] {} by {}: {}", held.mode, targets, held.id, held.reason))
            undo = face.command(spelled.thaw(held.id))
            out.print(said("    [dim]undo[/] {}", undo), soft_wrap=True)
        for note in done.notes:
            face.step(out, "[yellow]![/]", note, 2)

    face.answer(done, show)


def list_(
    face: Face,
    every: Annotated[bool, typer.Option("--all", help="Thawed ones too.")] = False,
) -> None:
    """List cuts and halts that are in force."""
    rows = list(connect(face).pages(oversight_answers.Cut, "cuts", open=None if every else True))

    def show(out: Console) -> None:
        if not rows:
            out.print("[green]nothing is cut or halted[/]")
            return
        listed = table("cut", "mode", "targets", "since", "by", "reason", fold=("targets", "reason"))
        for row in rows:
            style = "red" if row.mode == "closed" else "yellow"
            state = styled(row.mode, style) if row.thawed_at is None else Text("thawed", "dim")
            if not row.on_record:
                state.append("\nNOT on record", "red")
            targets = Text("\n".join(clean(one) for one in row.targets))
            listed.add_row(row.id, state, targets, when(row.opened_at), row.operator, row.reason)
        out.print(listed)

    face.answer({"items": rows}, show)


def _close(face: Face, verb: str, named: list[str], reason: str | None, *, everything: bool) -> None:
    lacks.refuse(face, verb, named, reason, everything=everything)
    targets, why = ["everything"] if everything else named, as_text(face, reason or "")
    body = {"targets": targets, "mode": _MODES[verb], "reason": why}
    api = connect(face)
    try:
        with api.watched():
            done = api.post(oversight_answers.MadeCut, "cuts", body)
    except Stopped as stopped:
        raise lacks.told(face, verb, api, stopped, targets, why) from None

    def show(out: Console) -> None:
        how = "cut off" if verb == "cut" else "halted: only reads, cancels and exits pass"
        out.print(said("[bold red]■[/] {} [bold]{}[/]   [dim]{}[/]", ", ".join(done.targets), how, done.id))
        out.print(said("  durable in {}", " and ".join(done.durable) or "nothing yet"))
        show_gateways(out, done.gateways)
        out.print(on_their_way(done.on_their_way))
        for note in done.notes:
            face.step(out, "[yellow]![/]", note, 2)
        undo = face.command(spelled.thaw(done.id))
        out.print(said("  [dim]undo[/] {}", undo), soft_wrap=True)

    face.answer(done, show)


def on_their_way(flying: oversight_answers.OnTheirWay | None) -> RenderableType:
    """Say in words what had left for the exchange before a gate closed."""
    if flying is None:
        return hanging("[yellow]![/]", "How many requests were on their way to the exchange is not known.")
    count, unanswered, last_ms = flying.requests, flying.unanswered, flying.last_answer_after_ms
    if not count:
        return "  no request was on its way to the exchange"
    one = count == 1
    text = "1 request was already on its" if one else f"{count} requests were already on their"
    text += " way to the exchange when the gate closed"
    if unanswered:
        text += f"; {unanswered} of them {'has' if unanswered == 1 else 'have'} no answer yet"
    elif last_ms is not None:
        text += f"; {'it' if one else 'the last'} was answered {last_ms / 1000:.1f} s later"
    return hanging("[yellow]![/]", f"{text}. {'It' if one else 'They'} cannot be called back.")


def _is_open(api: Api, name: str) -> bool:
    """Tell whether a cut of that name is in force: who wrote one into the secret store called it what they liked."""
    return any(row.id == name for row in api.pages(oversight_answers.Cut, "cuts", open=True))


def _named(
    consumer: list[str] | None,
    account: list[str] | None,
    venue: list[str] | None,
    grant: list[str] | None,
    gateway: list[str] | None,
    key: list[str] | None,
) -> list[str]:
    """Return what was named, as scopes."""
    return [
        f"{kind}:{ref}"
        for kind, refs in (
            ("consumer", consumer), ("account", account), ("venue", venue), ("grant", grant),
            ("gateway", gateway), ("key-version", key),
        )
        for ref in refs or ()
    ]  # fmt: skip


def _which(rows: Sequence[oversight_answers.Cut], face: Face) -> Stopped:
    """Return what to say where a thaw names nothing: what could be meant."""
    if not rows:
        return Stopped("Nothing is cut or halted, so there is nothing to thaw.", reason="no_such_cut")
    held = "; ".join(f"{row.id} holds {', '.join(row.targets)}" for row in rows)
    return Stopped(
        f"Which cut is to be thawed was not said. In force: {held}.", "What was closed stays closed.",
        f"Thaw one by its id: {face.command(spelled.thaw(rows[0].id))}", reason="which_cut",
    )  # fmt: skip


def _the_one(rows: Sequence[oversight_answers.Cut], targets: list[str], face: Face) -> str:
    found = [row for row in rows if set(row.targets) == set(targets)]
    if not found:
        raise Stopped(
            f"No open cut or halt has exactly these targets: {', '.join(targets)}.",
            step=f"See what is in force: {face.command('cuts')}",
            reason="no_such_cut",
        )
    if len(found) > 1:
        listed = ", ".join(row.id for row in found)
        raise Stopped(
            f"Several hold them: {listed}. Each needs its own thaw.",
            step=f"Thaw one by its id: {face.command('thaw CUT --reason WHY')}",
            reason="which_cut",
        )
    return found[0].id
