"""`portcullis schedule`: when which key is rotated next, and why then."""

import math
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.text import Text

from broker.files.named import NotWritten, put
from clients.venue import Slot
from portcullis.cli import rotation_answers
from portcullis.cli.client import connect
from portcullis.cli.face import Face, Stopped, command
from portcullis.cli.tables import said, table

app = typer.Typer(help="When keys are rotated.", no_args_is_help=True)
_OPTIONS = {"interval_days": "--interval", "windows": "--window", "zone": "--zone"}


@command(app, "show")
def show_(
    face: Face,
    ical: Annotated[
        Path | None, typer.Option("--ical", help="Write the dates as iCalendar to this file; - is stdout.")
    ] = None,
) -> None:
    """Show the next dates, soonest first."""
    if face.as_json and str(ical) == "-":
        raise Stopped(
            "--ical - and --json would both be written to stdout.", step="Name a file: --ical FILE --json",
            reason="malformed",
        )  # fmt: skip
    rows = sorted(connect(face).pages(rotation_answers.Schedule, "schedules"), key=_soonest)
    if ical is not None:
        _write(face, ical, rows)
        return

    def show(out: Console) -> None:
        if not rows:
            out.print(
                said("no keys in use yet; import one: {}", face.command("key import --account ACCOUNT")),
                soft_wrap=True,
            )
            return
        listed = table("key", "next", "every", "why then", fold=("why then",))
        for row in rows:
            windows = f" ({row.windows} {row.zone})" if row.windows else ""
            listed.add_row(
                said("[bold]{}[/]/{}", row.account, row.slot), _next(row), f"{row.interval_days:g} d",
                said("{}[dim]{}[/]", row.why, windows),
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
    if window and any_time:
        raise Stopped("--window and --any-time exclude each other: name one.", reason="malformed")
    if window and not all(one.strip() for one in window):
        raise Stopped("--window is empty.", step="For no windows at all say --any-time", reason="malformed")
    if window or any_time:
        body["windows"] = "; ".join(window or ())
    if zone is not None:
        body["zone"] = zone
    if paused is not None:
        body["paused"] = paused
    if not body:
        raise Stopped(
            "Nothing to change was named.", step=face.command("schedule set --help"), reason="malformed"
        )
    done = _put(face, f"schedules/{quote(account, safe='')}/{slot.value}", body)

    def show(out: Console) -> None:
        windows = f"in {done.windows} {done.zone}" if done.windows else "at any time"
        state = "paused: it is rotated by hand only" if done.paused else windows
        days = f"{done.interval_days:g}"
        out.print(said("[green]✓[/] {}/{}: every {} days, {}", account, slot.value, days, state))
        out.print(said("  [dim]next[/] {} in a few seconds", face.command("schedule show")), soft_wrap=True)

    face.answer(done, show)


def _put(face: Face, path: str, body: dict[str, Any]) -> rotation_answers.Schedule:
    """Write a change; what is wrong with it is said by the options that people typed."""
    try:
        return connect(face).put(rotation_answers.Schedule, path, body)
    except Stopped as stopped:
        if not stopped.errors:
            raise
        errors = tuple((_OPTIONS.get(name, name), text) for name, text in stopped.errors)
        what = "; ".join(f"{name} {text}" for name, text in errors)
        raise Stopped(what, stopped.state, stopped.step, reason=stopped.reason, errors=errors) from None


def _write(face: Face, file: Path, rows: Sequence[rotation_answers.Schedule]) -> None:
    """Write the dates as iCalendar, and say which keys have none."""
    from portcullis.cli.calendars import calendar, is_ours  # noqa: PLC0415 - a third of every command's start

    data = calendar(rows, datetime.now(UTC)).to_ical()
    if str(file) == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        try:
            put(file, data, replaces=is_ours)
        except NotWritten as fault:
            raise Stopped(
                f"{file} {fault}.", step="Name a file in a directory of yours.", reason="file"
            ) from None
        document = {"file": str(file), "items": list(rows)}
        face.answer(document, lambda out: out.print(said("[green]✓[/] {}", file)))
    for row in rows:
        if row.next_at is None and not face.as_json:
            why = "paused" if row.paused else row.why or "no date yet"
            what = said("[yellow]not in it:[/] {}/{}: {}", row.account, row.slot, why)
            face.err.print(what, soft_wrap=True)


def _next(row: rotation_answers.Schedule) -> Text:
    if row.next_at is None:
        return Text("paused", "yellow") if row.paused else Text("-")
    at = row.next_at.astimezone(UTC)
    days = (at - datetime.now(UTC)).total_seconds() / 86400
    if days < 0:
        return Text(f"{at:%Y-%m-%d %H:%M} overdue", "bold red")
    return Text(f"{at:%Y-%m-%d %H:%M} UTC (in {days:.0f} d)")


def _soonest(row: rotation_answers.Schedule) -> tuple[bool, datetime]:
    return row.next_at is None, row.next_at or datetime.max.replace(tzinfo=UTC)


def _days(text: str) -> float:
    try:
        days = float(text.strip().removesuffix("d").strip())
    except ValueError:
        days = math.nan
    if not math.isfinite(days):
        raise Stopped(f"--interval: {text[:20]!r} is no number of days; write it as 90d.", reason="malformed")
    return days
