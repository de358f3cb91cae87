"""How a rotation looks: as it goes on, and whole.

Rules:
1. Progress goes to stderr, and is redrawn in place at a terminal; elsewhere each step is one line.
2. What it says of the old key is what was proven, not what was asked for.
"""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.text import Text

from portcullis.cli.face import Face
from portcullis.cli.tables import facts, table, when

_LOOK_S = 0.25
OVER = ("done", "abandoned", "halted")
WORDS = {
    "planned": "planned",
    "preparing": "manager key and store are tried, the pair is made",
    "creating": "the new key is made at the exchange",
    "reconciling": "the answer was lost: the exchange is asked whether a key was made",
    "verifying": "the new key is read back and compared",
    "canary": "one gateway tries the new key",
    "cutting-over": "the new key becomes the current one",
    "draining": "gateways leave the old key",
    "rolling-back": "the old key is taken back",
    "draining-new": "gateways leave the new key",
    "retiring-old": "the old key is deleted and probed until it is dead",
    "discarding-new": "the new key is deleted and probed until it is dead",
    "stalled": "it waits for you",
    "halting": "an incident retires keys",
    "halted": "an incident took it over",
    "done": "the old key is proven dead",
    "abandoned": "given up: the old key stays in use",
}


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


def follow(face: Face, look: Callable[[], dict[str, Any]], found: dict[str, Any]) -> dict[str, Any]:
    """Show how a rotation goes on, until it is over or waits for a person; return it as it is then."""
    if face.as_json or not face.err.is_terminal:
        said = 0
        while True:
            if not face.as_json:
                made = steps(found)
                for one in made[said:]:
                    face.err.print(f"{one['at'][11:23]}  {one['state']:<15} {WORDS[one['state']]}")
                said = len(made)
            if _rests(found):
                return found
            time.sleep(_LOOK_S)
            found = look()
    with Live(_progress(found), console=face.err, transient=True, refresh_per_second=8) as live:
        while not _rests(found):
            time.sleep(_LOOK_S)
            found = look()
            live.update(_progress(found))
    return found


def _rests(found: dict[str, Any]) -> bool:
    return found["state"] in OVER or found["state"] == "stalled" or found["paused"] or bool(found["todo"])


def _progress(found: dict[str, Any]) -> RenderableType:
    lines: list[RenderableType] = [
        Text.from_markup(f"[bold]{found['account']}/{found['slot']}[/]  [dim]{found['id']}[/]")
    ]
    made = steps(found)
    lines += [
        Text.from_markup(
            f"  [green]✓[/] {one['state']:<15} [dim]{one['seconds']:>8.2f} s  {WORDS[one['state']]}[/]"
        )
        for one in made[:-1]
    ]
    last = made[-1]
    note = found["history"][-1]["note"] if found["history"] else ""
    words = f"{last['state']:<15} [dim]{WORDS[last['state']]}{f': {escape(note)}' if note else ''}[/]"
    lines.append(Spinner("dots", Text.from_markup(words), style="cyan"))
    return Group(*lines)


def whole(out: Console, face: Face, found: dict[str, Any], *, short: bool = False) -> None:
    """Print one rotation; `short` leaves out what was on the screen already."""
    total = summary(found)["total_s"]
    mark = {"done": "[bold green]✓", "abandoned": "[bold yellow]✗"}.get(found["state"], "[bold]")
    key = f"{found['old_version'] or 'none'} → {found['new_version']}"
    out.print(
        f"{mark} {found['account']}/{found['slot']}  key version {key}  {WORDS[found['state']]}[/]"
        + (f"  [dim]{total:.1f} s[/]" if total is not None else "")
    )
    out.print(
        facts(
            ("rotation", found["id"]),
            ("state", Text(found["state"] + (", paused" if found["paused"] else ""), style=colour(found))),
            ("since", when(found["entered_at"])),
            ("why", found["why"]),
            ("says", found["reason"]),
            ("runbook", found["runbook"]),
        )
    )
    if found["todo"]:
        _todo(out, face, found)
    elif found["state"] == "stalled":
        out.print(f"  [dim]next[/] read docs/runbooks/{found['runbook']}.md, then")
        out.print(f"       {face.command('rotation resume ' + found['id'])}", soft_wrap=True)
    for one in found["beside"]:
        said = "waits for you too: do it in the same sitting" if one["todo"] else one["state"]
        out.print(f"  [bold]{one['account']}/{one['slot']}[/] {said}")
        out.print(f"       {face.command('rotation show ' + one['id'])}", soft_wrap=True)
    if short and found["state"] == "done":
        for one in steps(found)[:-1]:
            out.print(f"  [green]✓[/] {one['state']:<15} [dim]{one['seconds']:>8.2f} s[/]")
        return
    for one in found["deliveries"]:
        mark = (
            "[green]✓[/]" if one["confirmed_at"] else "[yellow]-[/]" if one["waived_by"] else "[yellow]…[/]"
        )
        said = f"waived by {one['waived_by']}" if one["waived_by"] else one["says"] or "has the key"
        out.print(
            f"  {mark} [bold]{one['destination']}[/] version {one['version']}: {escape(said)}", soft_wrap=True
        )
    listed = table("at", "state", "what", fold=("what",))
    for line in found["history"]:
        moved = f"[bold]{line['state']}[/]" if line["was"] != line["state"] else f"[dim]{line['state']}[/]"
        said = f"asks to {line['effect']}" if line["effect"] else line["event"].split(" ", 1)[0].lower()
        listed.add_row(line["at"][11:23], moved, escape(": ".join(filter(None, (said, line["note"])))))
    out.print(listed)
    for ask in found["asks"]:
        said = "not taken up yet" if ask["outcome"] is None else ask["outcome"] or "done"
        out.print(f"  [dim]{when(ask['at'])}[/] {ask['operator']} asked: {ask['what']} - {escape(said)}")


def _todo(out: Console, face: Face, found: dict[str, Any]) -> None:
    """Print what a person has to do, numbered."""
    todo = found["todo"]
    out.print(f"\n[bold yellow]You are asked:[/] {escape(todo['title'])}")
    for number, step in enumerate(todo["steps"], 1):
        out.print(f"  [bold]{number}.[/] {escape(step)}", soft_wrap=True)
    if todo.get("public_key"):
        out.print(todo["public_key"].rstrip(), style="cyan", soft_wrap=True)
    out.print(f"  [dim]then[/] {face.command(todo['then'])}\n", soft_wrap=True)


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)
