"""`portcullis schedule`: when which key is rotated next, and why then."""

import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from icalendar import Calendar, Event
from rich.console import Console
from rich.markup import escape

from clients.venue import Slot
from portcullis.cli.client import connect
from portcullis.cli.face import Face, Stopped, command
from portcullis.cli.tables import table

app = typer.Typer(help="When keys are rotated.", no_args_is_help=True)


@command(app, "show")
def show_(
    face: Face,
    ical: Annotated[
        Path | None, typer.Option("--ical", help="Write the dates as iCalendar to this file; - is stdout.")
    ] = None,
) -> None:
    """Show the next dates, soonest first."""
    rows = sorted(connect(face).pages("schedules"), key=lambda row: (row["next_at"] is None, row["next_at"]))
    if ical is not None:
        data = calendar(rows).to_ical()
        if str(ical) == "-":
            sys.stdout.buffer.write(data)
        else:
            ical.write_bytes(data)
            face.err.print(f"[green]✓[/] {ical}")
        return

    def show(out: Console) -> None:
        if not rows:
            out.print(f"no keys in use yet; import one: {face.command('key import')}")
            return
        listed = table("key", "next", "every", "why then", fold=("why then",))
        for row in rows:
            windows = f" [dim]({row['windows']} {row['zone']})[/]" if row["windows"] else ""
            listed.add_row(
                f"[bold]{row['account']}[/]/{row['slot']}", _next(row), f"{row['interval_days']:g} d",
                escape(row["why"]) + windows,
            )  # fmt: skip
        out.print(listed)

    face.answer({"items": rows}, show)


@command(app, "set")
def set_(
    face: Face,
    account: Annotated[str, typer.Argument(help="The account.")],
    slot: Annotated[Slot, typer.Option("--slot")] = Slot.TRADE,
    interval: Annotated[
        str | None, typer.Option("--interval", help="As 90d; between 1 and 365 days.")
    ] = None,
    window: Annotated[
        list[str] | None,
        typer.Option("--window", help="As 'Sat,Sun 02:00-06:00' or 'daily 02:00-06:00'; may be repeated."),
    ] = None,
    any_time: Annotated[bool, typer.Option("--any-time", help="No maintenance windows.")] = False,
    zone: Annotated[
        str | None, typer.Option("--zone", help="Time zone of the windows, as Europe/Berlin.")
    ] = None,
    paused: Annotated[
        bool | None, typer.Option("--pause/--go-on", help="Rotate it by hand only, or by itself again.")
    ] = None,
) -> None:
    """Change when an account's key is rotated; what is left out stays."""
    body: dict[str, Any] = {}
    if interval is not None:
        body["interval_days"] = _days(interval)
    if window or any_time:
        body["windows"] = "" if any_time else "; ".join(window or ())
    if zone is not None:
        body["zone"] = zone
    if paused is not None:
        body["paused"] = paused
    if not body:
        raise Stopped(
            "Nothing to change was named.", step=face.command("schedule set --help"), reason="malformed"
        )
    done = connect(face).put(f"schedules/{account}/{slot.value}", body)

    def show(out: Console) -> None:
        windows = f"in {done['windows']} {done['zone']}" if done["windows"] else "at any time"
        state = "paused: it is rotated by hand only" if done["paused"] else windows
        out.print(f"[green]✓[/] {account}/{slot.value}: every {done['interval_days']:g} days, {state}")
        out.print(f"  [dim]next[/] {face.command('schedule show')} in a few seconds", soft_wrap=True)

    face.answer(done, show)


def calendar(rows: list[dict[str, Any]]) -> Calendar:
    """Return the next dates as iCalendar; an entry keeps its id from one writing to the next."""
    made = Calendar()
    made.add("prodid", "-//portcullis//schedule//EN")
    made.add("version", "2.0")
    for row in rows:
        if row["next_at"] is None:
            continue
        event = Event()
        at = datetime.fromisoformat(row["next_at"])
        event.add("uid", f"{row['account']}-{row['slot']}@portcullis")
        event.add("dtstamp", at)
        event.add("dtstart", at)
        event.add("dtend", at + timedelta(minutes=30))
        event.add("summary", f"Key rotation: {row['account']}/{row['slot']}")
        event.add("description", row["why"])
        made.add_component(event)
    return made


def _next(row: dict[str, Any]) -> str:
    if row["next_at"] is None:
        return "[yellow]paused[/]" if row["paused"] else "-"
    at = datetime.fromisoformat(row["next_at"])
    days = (at - datetime.now(at.tzinfo)).total_seconds() / 86400
    if days < 0:
        return f"[bold red]{at:%Y-%m-%d %H:%M} overdue[/]"
    return f"{at:%Y-%m-%d %H:%M} UTC (in {days:.0f} d)"


def _days(text: str) -> float:
    number = text.strip().removesuffix("d").strip()
    try:
        return float(number)
    except ValueError:
        raise Stopped(
            f"--interval: {text[:20]!r} is no number of days; write it as 90d.", reason="malformed"
        ) from None
