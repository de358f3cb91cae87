"""The few shapes that answers have on a screen: tables, facts, instants, amounts."""

from datetime import UTC, datetime
from decimal import Decimal

from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

_FOLDED = 14
_SHORT = 16
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def table(*columns: str, fold: tuple[str, ...] = ()) -> Table:
    """Return an empty table with quiet lines; cells stay on one line, but those of the columns to fold."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
    for name in columns:
        folds = name in fold
        made.add_column(
            name,
            overflow="fold" if folds else "ellipsis",
            no_wrap=not folds,
            min_width=_FOLDED if folds else None,
        )
    return made


def facts(*pairs: tuple[str, RenderableType | None]) -> Table:
    """Return named facts, one a line; absent ones are left out."""
    made = Table(box=None, show_header=False, pad_edge=False)
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        if value is not None and value != "":
            made.add_row(name, escape(value) if isinstance(value, str) else value)
    return made


def when(text: str | None, now: datetime | None = None) -> str:
    """Say an instant as people do: `14:03:12 (2 min ago)`, with the date where it was not today."""
    if text is None:
        return ""
    at = datetime.fromisoformat(text).astimezone(UTC)
    ago = ((now or datetime.now(UTC)) - at).total_seconds()
    shape = "%H:%M:%S" if ago < _DAY else "%Y-%m-%d %H:%M"
    return f"{at.strftime(shape)} UTC ({_ago(ago)})"


def ago(text: str, now: datetime | None = None) -> str:
    """Say how long ago an instant was."""
    return _ago(((now or datetime.now(UTC)) - datetime.fromisoformat(text)).total_seconds())


def _ago(seconds: float) -> str:
    if seconds < _MINUTE:
        return f"{max(0, int(seconds))} s ago"
    if seconds < _HOUR:
        return f"{int(seconds / _MINUTE)} min ago"
    if seconds < _DAY:
        return f"{int(seconds / _HOUR)} h ago"
    return f"{int(seconds / _DAY)} days ago"


def micros(value: int | None) -> str:
    """Say microseconds as milliseconds; a dash where nothing was measured."""
    return "-" if value is None or value < 0 else f"{value / 1000:.2f} ms"


def amount(text: str | None) -> str:
    """Say an amount without the zeros that only a machine needs."""
    if not text:
        return ""
    number = Decimal(text)
    return f"{number.quantize(Decimal('0.01')) if number >= 1 else number.normalize():,f}"


def short(key_id: str) -> str:
    """Say a key id by its first and last characters; whole ones are for `show` and JSON."""
    return key_id if len(key_id) <= _SHORT else f"{key_id[:8]}…{key_id[-4:]}"


def yes(value: bool | None, *, good: bool = True) -> str:
    """Say a truth, in red where it is the dangerous one; `unknown` where nobody asked."""
    if value is None:
        return "[yellow]unknown[/]"
    word = "yes" if value else "no"
    return word if value is good else f"[bold red]{word}[/]"
