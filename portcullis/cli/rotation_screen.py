"""How a rotation looks: as it goes on, and whole.

Rules:
1. Progress goes to stderr, and is redrawn in place at a terminal; elsewhere each step is one line.
2. Prose is wrapped between words; what is copied (commands, a public key) stays on a line of its own.
"""

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.text import Text

from portcullis.cli.face import Face
from portcullis.cli.rotation_words import (
    PAGES,
    Way,
    awaited,
    line_words,
    note,
    versions,
    ways_for,
    ways_on,
    words,
)
from portcullis.cli.tables import facts, hanging, table, when

_LOOK_S = 0.25
_INTERRUPTED = 130
OVER = ("done", "abandoned", "halted")


def colour(row: dict[str, Any]) -> str:
    """Return the colour of a rotation's state."""
    if row["state"] == "done":
        return "green"
    if row["state"] in {"stalled", "halting", "halted"}:
        return "bold red"
    return "yellow" if row["state"] == "abandoned" or row["paused"] or row["todo"] else "cyan"


def steps(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each state that was entered, when, and how long it lasted in seconds."""
    entered: list[tuple[str, datetime]] = [("planned", _at(found["created_at"]))]
    for line in found["history"]:
        if line["state"] != entered[-1][0]:
            entered.append((line["state"], _at(line["at"])))
    ends = [at for _, at in entered[1:]]
    made = []
    for number, (state, at) in enumerate(entered):
        lasted = (ends[number] - at).total_seconds() if number < len(ends) else None
        made.append(
            {"state": state, "at": at.isoformat(), "seconds": None if lasted is None else round(lasted, 3)}
        )
    return made


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """Return a rotation with the times of its steps, for scripts."""
    end = found["ended_at"]
    total = None if end is None else round((_at(end) - _at(found["created_at"])).total_seconds(), 3)
    return found | {"steps": steps(found), "total_s": total}


def follow(
    face: Face, look: Callable[[], dict[str, Any]], found: dict[str, Any], manual: frozenset[str]
) -> dict[str, Any]:
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
        face.err.print("[yellow]![/] You look no longer; the rotation goes on by itself.")
        face.err.print(f"  [dim]next[/] {face.command('rotation watch ' + found['id'])}", soft_wrap=True)
        raise typer.Exit(_INTERRUPTED) from None


def _follow_in_lines(face: Face, look: Callable[[], dict[str, Any]], found: dict[str, Any]) -> dict[str, Any]:
    said = 0
    named: set[str] = set()
    while True:
        if not face.as_json:
            made = steps(found)
            for one in made[said:]:
                face.err.print(
                    f"{one['at'][11:23]}  {one['state']:<15} {words(found, one['state'])}", soft_wrap=True
                )
            said = len(made)
            for one in awaited(found):
                if one["destination"] not in named:
                    face.err.print(f"{'':<30}waits for {_waits(one)}", markup=False, soft_wrap=True)
                named.add(one["destination"])
        if _rests(found):
            return found
        time.sleep(_LOOK_S)
        found = look()


def _follow_in_place(
    face: Face, look: Callable[[], dict[str, Any]], found: dict[str, Any], manual: frozenset[str]
) -> dict[str, Any]:
    spinner = Spinner("dots", style="cyan")
    with Live(
        _progress(face, found, manual, spinner), console=face.err, transient=True, refresh_per_second=8
    ) as live:
        while not _rests(found):
            time.sleep(_LOOK_S)
            found = look()
            live.update(_progress(face, found, manual, spinner))
    return found


def _rests(found: dict[str, Any]) -> bool:
    return found["state"] in OVER or found["state"] == "stalled" or found["paused"] or bool(found["todo"])


def _progress(face: Face, found: dict[str, Any], manual: frozenset[str], spinner: Spinner) -> RenderableType:
    lines: list[RenderableType] = [
        Text.from_markup(f"[bold]{found['account']}/{found['slot']}[/]  [dim]{found['id']}[/]")
    ]
    made = steps(found)
    lines += [
        hanging(
            f"[green]✓[/] {one['state']:<15} [dim]{one['seconds']:>8.2f} s[/] ",
            Text(words(found, one["state"]), "dim"),
        )
        for one in made[:-1]
    ]
    state = made[-1]["state"]
    said = ": ".join(filter(None, (words(found, state), note(found))))
    spinner.update(text=f"{state:<15}")
    lines.append(hanging(spinner, Text(said, "dim")))
    for one in awaited(found):
        lines.append(hanging("[yellow]…[/]", Text(f"waits for {_waits(one)}"), 4))
        for way in ways_for(found, one, manual):
            lines.append(hanging("", Text(f"{way.what}:", "dim"), 5))
            lines.append(hanging("", Text(face.command(way.command)), 7))
    return Group(*lines)


def _waits(one: dict[str, Any]) -> str:
    return f"{one['destination']}: {one['says'] or 'the key is being brought'}"


def whole(
    out: Console, face: Face, found: dict[str, Any], manual: frozenset[str], *, short: bool = False
) -> None:
    """Print one rotation; `short` leaves out what was on the screen already."""
    total = summary(found)["total_s"]
    mark = {"done": "[bold green]✓", "abandoned": "[bold yellow]✗"}.get(found["state"], "[bold]")
    out.print(
        f"{mark} {found['account']}/{found['slot']}  key version {versions(found)}  {words(found, found['state'])}[/]"
        + (f"  [dim]{total:.1f} s[/]" if total is not None else "")
    )
    state = found["state"] + (", paused" if found["paused"] else "")
    out.print(
        facts(
            ("rotation", found["id"]), ("state", Text(state, style=colour(found))),
            ("since", when(found["entered_at"])), ("why", found["why"]), ("says", found["reason"]),
            ("runbook", PAGES.get(found["runbook"], found["runbook"])),
        )
    )  # fmt: skip
    _what_next(out, face, found, manual)
    if short and found["state"] == "done":
        for one in steps(found)[:-1]:
            out.print(f"  [green]✓[/] {one['state']:<15} [dim]{one['seconds']:>8.2f} s[/]")
        return
    _deliveries(out, found)
    _history(out, found)
    for ask in found["asks"]:
        said = "not taken up yet" if ask["outcome"] is None else ask["outcome"] or "done"
        out.print(
            hanging(f"[dim]{when(ask['at'])}[/]", f"{ask['operator']} asked: {ask['what']} - {escape(said)}")
        )


def _what_next(out: Console, face: Face, found: dict[str, Any], manual: frozenset[str]) -> None:
    """Print what a person has to do, or may."""
    if found["todo"]:
        _todo(out, face, found)
    for one in awaited(found):
        out.print(hanging("[yellow]…[/]", Text(f"waits for {_waits(one)}")))
        _ways(out, face, ways_for(found, one, manual))
    if found["state"] == "stalled":
        page = PAGES.get(found["runbook"], found["runbook"])
        out.print(f"  [dim]next[/] read {page}, then" + (" one of" if len(ways_on(found)) > 1 else ""))
        _ways(out, face, ways_on(found))
    for one in found["beside"]:
        said = "waits for you too: do it in the same sitting" if one["todo"] else one["state"]
        out.print(f"  [bold]{one['account']}/{one['slot']}[/] {said}")
        out.print(f"       {face.command('rotation show ' + one['id'])}", soft_wrap=True)


def _ways(out: Console, face: Face, ways: Iterable[Way]) -> None:
    for way in ways:
        out.print(f"       [dim]{way.what}:[/]")
        out.print(f"         {face.command(way.command)}", soft_wrap=True, markup=False)


def _deliveries(out: Console, found: dict[str, Any]) -> None:
    """Print how far each is; those that are waited for were named above."""
    waiting = awaited(found)
    for one in found["deliveries"]:
        if one in waiting:
            continue
        mark, said = _delivery(one)
        out.print(hanging(mark, f"[bold]{one['destination']}[/] version {one['version']}: {escape(said)}"))


def _delivery(one: dict[str, Any]) -> tuple[str, str]:
    """Return the mark and the words of a delivery that is not waited for."""
    if one["confirmed_at"]:
        return "[green]✓[/]", one["says"] or "has the key"
    if one["waived_by"]:
        why = one["says"].removeprefix("waived").lstrip(": ")
        return "[yellow]-[/]", ": ".join(filter(None, (f"waived by {one['waived_by']}", why)))
    return "[dim]-[/]", "not waited for any more; it had not confirmed"


def _history(out: Console, found: dict[str, Any]) -> None:
    listed = table("at", "state", "what", fold=("what",))
    for line in found["history"]:
        moved = f"[bold]{line['state']}[/]" if line["was"] != line["state"] else f"[dim]{line['state']}[/]"
        listed.add_row(line["at"][11:23], moved, escape(line_words(line)))
    out.print(listed)


def _todo(out: Console, face: Face, found: dict[str, Any]) -> None:
    """Print what a person has to do, numbered."""
    todo = found["todo"]
    out.print(f"\n[bold yellow]You are asked:[/] {escape(todo['title'])}")
    for number, step in enumerate(todo["steps"], 1):
        out.print(hanging(f"[bold]{number}.[/]", Text(step)))
    if todo.get("public_key"):
        out.print(todo["public_key"].rstrip(), style="cyan", soft_wrap=True)
    out.print(f"  [dim]then[/] {face.command(todo['then'])}", soft_wrap=True)
    if found["state"] == "creating":
        give_up = f'rotation rollback {found["id"]} --reason "..."'
        out.print(f"  [dim]or, to give it up:[/] {face.command(give_up)}", soft_wrap=True)
    out.print()


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)
