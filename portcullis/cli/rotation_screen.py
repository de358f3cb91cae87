"""How a rotation looks: as it goes on, and whole.

Rules:
1. Progress goes to stderr, and is redrawn in place at a terminal; elsewhere each step is one line.
2. Prose is wrapped between words; what is copied (commands, a public key) stays on a line of its own.
3. What is redrawn is cut to the terminal's width, so no command is in it: those are printed above it, once.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from portcullis.cli.face import Face
from portcullis.cli.pages import PAGES
from portcullis.cli.rotation_answers import Delivery, Rotation, RotationWhole, Todo
from portcullis.cli.rotation_words import (
    Way,
    awaited,
    is_held,
    line_words,
    note,
    versions,
    ways_for,
    ways_held,
    ways_on,
    ways_out,
    words,
)
from portcullis.cli.tables import clean, facts, hanging, said, table, when

_LOOK_S = 0.25
_INTERRUPTED = 130
OVER = ("done", "abandoned", "halted")
_THEN = ": portcullis "
"""Behind it, in what a state said last, are commands."""
_DELETES = ("retiring-old", "discarding-new")
"""States in which a person may be asked to delete a key, and may end the rotation instead."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A state that a rotation was in; `seconds` None: it is in it."""

    state: str
    at: datetime
    seconds: float | None


def colour(row: Rotation) -> str:
    """Return the colour of a rotation's state."""
    if row.state == "done":
        return "green"
    if row.state in {"stalled", "halting", "halted"}:
        return "bold red"
    return "yellow" if row.state == "abandoned" or row.paused or row.todo else "cyan"


def steps(found: RotationWhole) -> list[Stage]:
    """Return each state that was entered, when, and how long it lasted in seconds."""
    entered: list[tuple[str, datetime]] = [("planned", found.created_at)]
    for line in found.history:
        if line.state != entered[-1][0]:
            entered.append((line.state, line.at))
    ends = [at for _, at in entered[1:]]
    return [
        Stage(state, at, round((ends[number] - at).total_seconds(), 3) if number < len(ends) else None)
        for number, (state, at) in enumerate(entered)
    ]


def total(found: Rotation) -> float | None:
    """Return how long all of it took in seconds; None while it goes on."""
    return None if found.ended_at is None else round((found.ended_at - found.created_at).total_seconds(), 3)


def summary(found: RotationWhole) -> dict[str, Any]:
    """Return a rotation with the times of its steps, for scripts."""
    listed = [{"state": one.state, "at": one.at.isoformat(), "seconds": one.seconds} for one in steps(found)]
    return found.document | {"steps": listed, "total_s": total(found)}


def follow(
    face: Face, look: Callable[[], RotationWhole], found: RotationWhole, manual: frozenset[str]
) -> RotationWhole:
    """Show how a rotation goes on, until it is over or waits for a person; return it as it is then.

    `manual` names the destinations that a person brings the key to.

    Raises:
        typer.Exit: Somebody does not want to look any longer; the rotation goes on.
    """
    try:
        if face.as_json or not face.err.is_terminal:
            return _follow_in_lines(face, look, found)
        return _follow_in_place(face, look, found, manual)
    except KeyboardInterrupt:
        face.err.print("[yellow]![/] Stopped watching; the rotation goes on by itself.")
        face.err.print(said("  [dim]next[/] {}", face.command("rotation watch " + found.id)), soft_wrap=True)
        raise typer.Exit(_INTERRUPTED) from None


def _follow_in_lines(face: Face, look: Callable[[], RotationWhole], found: RotationWhole) -> RotationWhole:
    shown = 0
    named: set[str] = set()
    while True:
        if not face.as_json:
            made = steps(found)
            for stage in made[shown:]:
                line = f"{_clock(stage.at)}  {stage.state:<15} {words(found, stage.state)}"
                face.err.print(clean(line), markup=False, soft_wrap=True)
            shown = len(made)
            for one in awaited(found):
                if one.destination not in named:
                    waits = clean(f"waits for {_waits(one)}")
                    face.err.print(f"{'':<30}{waits}", markup=False, soft_wrap=True)
                named.add(one.destination)
        if _rests(found):
            return found
        time.sleep(_LOOK_S)
        found = look()


def _follow_in_place(
    face: Face, look: Callable[[], RotationWhole], found: RotationWhole, manual: frozenset[str]
) -> RotationWhole:
    spinner = Spinner("dots", style="cyan")
    named = set[tuple[str, tuple[Way, ...]]]()
    with Live(_progress(found, spinner), console=face.err, transient=True, refresh_per_second=8) as live:
        while not _rests(found):
            for one in awaited(found):
                ways = tuple(ways_for(found, one, manual))
                if ways and (one.destination, ways) not in named:
                    face.err.print(hanging("[yellow]-[/]", f"waits for {_waits(one)}"))
                    _ways(face.err, face, ways)
                named.add((one.destination, ways))
            time.sleep(_LOOK_S)
            found = look()
            live.update(_progress(found, spinner))
    return found


def _rests(found: RotationWhole) -> bool:
    return found.state in OVER or found.state == "stalled" or found.paused or bool(found.todo or found.held)


def _progress(found: RotationWhole, spinner: Spinner) -> RenderableType:
    lines: list[RenderableType] = [said("[bold]{}/{}[/]  [dim]{}[/]", found.account, found.slot, found.id)]
    made = steps(found)
    lines += [
        hanging(
            said("[green]✓[/] {} [dim]{} s[/] ", f"{one.state:<15}", f"{one.seconds or 0:>8.2f}"),
            Text(clean(words(found, one.state)), "dim"),
        )
        for one in made[:-1]
    ]
    state = made[-1].state
    what = ": ".join(filter(None, (words(found, state), note(found))))
    spinner.update(text=Text(f"{clean(state):<15}"))
    lines.append(hanging(spinner, Text(clean(what), "dim")))
    lines += [hanging("[yellow]-[/]", f"waits for {_waits(one)}", 4) for one in awaited(found)]
    return Group(*lines)


def _waits(one: Delivery) -> str:
    return f"{one.destination}: {one.says or 'the key is being brought'}"


def whole(
    out: Console, face: Face, found: RotationWhole, manual: frozenset[str], *, short: bool = False
) -> None:
    """Print one rotation; `short` leaves out what was on the screen already."""
    took = total(found)
    mark, style = {"done": ("✓ ", "bold green"), "abandoned": ("✗ ", "bold yellow")}.get(
        found.state, ("", "bold")
    )
    title = f"{mark}{found.account}/{found.slot}  key version {versions(found)}  {words(found, found.state)}"
    took_s = "" if took is None else f"  {took:.1f} s"
    out.print(said("{}[dim]{}[/]", Text(clean(title), style), took_s))
    state = found.state + (", paused" if found.paused else "")
    out.print(
        facts(
            ("rotation", found.id), ("state", Text(clean(state), style=colour(found))),
            ("since", when(found.entered_at)), ("why", found.why), ("says", found.reason),
            ("runbook", PAGES.get(found.runbook, found.runbook)),
        )
    )  # fmt: skip
    _what_next(out, face, found, manual)
    if short and found.state == "done":
        for one in steps(found)[:-1]:
            out.print(said("  [green]✓[/] {} [dim]{} s[/]", f"{one.state:<15}", f"{one.seconds or 0:>8.2f}"))
        return
    _deliveries(out, found)
    _history(out, found)
    for ask in found.asks:
        became = "not carried out yet" if ask.outcome is None else ask.outcome or "done"
        out.print(hanging(f"[dim]{when(ask.at)}[/]", f"{ask.operator} asked: {ask.what} - {became}"))


def _what_next(out: Console, face: Face, found: RotationWhole, manual: frozenset[str]) -> None:
    """Print what a person has to do, or may."""
    if is_held(found):
        held = (
            f"held: {found.held}. Make and delete no key for it. First see portcullis reconcile, then one of"
        )
        out.print(hanging("[bold yellow]![/]", held))
        _ways(out, face, ways_held(found))
    elif found.paused and found.ended_at is None:
        out.print(hanging("[yellow]-[/]", "paused: nothing is done before you say one of"))
        _ways(out, face, ways_out(found))
    if found.todo is not None:
        _todo(out, face, found, found.todo)
    for one in awaited(found):
        out.print(hanging("[yellow]-[/]", f"waits for {_waits(one)}"))
        _ways(out, face, ways_for(found, one, manual))
    what, begins, commands = note(found).partition(_THEN)
    if begins and found.ended_at is None:
        out.print(hanging("[bold yellow]![/]", what))
        face.step(out, "[dim]next[/]", f"portcullis {commands}")
    if found.state == "stalled" and not is_held(found):
        page = PAGES.get(found.runbook, found.runbook)
        more = " one of" if len(ways_on(found)) > 1 else ""
        out.print(hanging("[dim]next[/]", f"read {page}, then{more}"))
        _ways(out, face, ways_on(found))
    for other in found.beside:
        state = "waits for you too: do it in the same sitting" if other.todo else other.state
        out.print(said("  [bold]{}/{}[/] {}", other.account, other.slot, state))
        out.print(said("       {}", face.command("rotation show " + other.id)), soft_wrap=True)


def _ways(out: Console, face: Face, ways: Iterable[Way]) -> None:
    for way in ways:
        out.print(hanging("", Text(clean(f"{way.what}:"), "dim"), 6))
        out.print(said("         {}", face.command(way.command)), soft_wrap=True)


def _deliveries(out: Console, found: RotationWhole) -> None:
    """Print how far each is; those that are waited for were named above."""
    waiting = awaited(found)
    for one in found.deliveries:
        if one in waiting:
            continue
        mark, became = _delivery(one)
        out.print(hanging(mark, said("[bold]{}[/] version {}: {}", one.destination, one.version, became)))


def _delivery(one: Delivery) -> tuple[str, str]:
    """Return the mark and the words of a delivery that is not waited for."""
    if one.confirmed_at:
        return "[green]✓[/]", one.says or "has the key"
    if one.waived_by:
        why = one.says.removeprefix("waived").lstrip(": ")
        return "[yellow]-[/]", ": ".join(filter(None, (f"waived by {one.waived_by}", why)))
    return "[dim]-[/]", "not waited for any more; it had not confirmed"


def _history(out: Console, found: RotationWhole) -> None:
    listed = table("at", "state", "what", fold=("what",))
    for line in found.history:
        moved = Text(clean(line.state), "bold" if line.was != line.state else "dim")
        listed.add_row(_clock(line.at), moved, line_words(line))
    out.print(listed)


def _todo(out: Console, face: Face, found: RotationWhole, todo: Todo) -> None:
    """Print what a person has to do, numbered."""
    out.print(said("\n[bold yellow]You are asked:[/] {}", todo.title))
    for number, step in enumerate(todo.steps, 1):
        out.print(hanging(f"[bold]{number}.[/]", step))
    if todo.public_key:
        lines = "\n".join(clean(line) for line in todo.public_key.rstrip().splitlines())
        out.print(Text(lines, "cyan"), soft_wrap=True)
    out.print(said("  [dim]then[/] {}", face.command(todo.then)), soft_wrap=True)
    if found.state == "creating":
        give_up = f'rotation rollback {found.id} --reason "..."'
        out.print(said("  [dim]or, to give it up:[/] {}", face.command(give_up)), soft_wrap=True)
    elif found.state in _DELETES:
        leave = f"rotation resume {found.id} --leave"
        out.print(
            said("  [dim]or, to end it with that key not called dead:[/] {}", face.command(leave)),
            soft_wrap=True,
        )
    out.print()


def _clock(at: datetime) -> str:
    return f"{at.astimezone(UTC):%H:%M:%S.%f}"[:-3]
