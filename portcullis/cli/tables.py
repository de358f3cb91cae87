"""The few shapes that answers have on a screen: prose, tables, facts, instants, amounts.

Rules:
1. Only we write markup. What others wrote (names, reasons, what an exchange said) goes through `said`, a cell of a
   table, or `facts`: it is shown, and never obeyed, by us or by the terminal.
2. No screen fails on what it is given: an amount that is none, an instant of another age, is shown as it is.
"""

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from broker import spelled

_FOLDED = 14
"""Characters that prose is not squeezed below."""

_BETWEEN = 3
_SHORT = 16
_LARGEST = Decimal(10) ** 24
"""Beyond it an amount is shown as it came: sums of that size are somebody's mistake."""
_PRIVATE = 0xE000
"""First of the characters that stand for parts of a sentence while its markup is read; nobody writes them."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def clean(text: str) -> str:
    """Return text without what a terminal would obey."""
    return spelled.shown(text)


def styled(text: str, style: str = "") -> Text:
    """Return text of others with looks of ours."""
    return Text(clean(text), style)


def said(template: str, *parts: object) -> Text:
    """Return markup of ours, with text of others where it says `{}`; a `Text` among it keeps its own looks."""
    marks = {chr(_PRIVATE + number): part for number, part in enumerate(parts)}
    whole = Text.from_markup(template.format(*marks))
    ends = [at for at, one in enumerate(whole.plain) if one in marks]
    made = Text()
    for piece in whole.divide(sorted({edge for at in ends for edge in (at, at + 1)})):
        if piece.plain not in marks:
            made.append_text(piece)
            continue
        part = marks[piece.plain]
        shown = part.copy() if isinstance(part, Text) else Text(clean(str(part)))
        for span in piece.spans:
            shown.stylize_before(span.style)
        made.append_text(shown)
    return made


class Listing:
    """A list of things, a row each; where the screen is too narrow for the rows, a block each, one fact a line.

    Nothing is ever left out: an id that lost a character cannot be copied.
    """

    def __init__(self, columns: tuple[str, ...], fold: tuple[str, ...], least: int) -> None:
        self._columns, self._fold, self._least = columns, fold, least
        self._rows: list[list[Text]] = []

    def add_row(self, *cells: str | Text) -> None:
        """Add one; text is shown as it is, what has looks is a `Text`."""
        self._rows.append([Text(clean(cell)) if isinstance(cell, str) else cell for cell in cells])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it as wide as the screen lets it be."""
        widths = self._widths(options.max_width)
        if widths is not None:
            yield self._table(widths)
            return
        for row in self._rows:
            yield Text("", "bold").append_text(row[0])
            yield Padding(self._block(row), (0, 0, 0, 2), expand=False)

    def _widths(self, screen: int) -> list[int] | None:
        """Share the screen out; None where a row does not fit whole."""
        cells = list(zip(*self._rows, strict=True)) or [()] * len(self._columns)
        wanted, needed = [], []
        for name, column in zip(self._columns, cells, strict=True):
            widest = max(cell_len(name), *(cell.cell_len for cell in column), 0)
            word = max(
                cell_len(part) for part in ("", *name.split(), *(p for c in column for p in c.plain.split()))
            )
            wanted.append(widest)
            needed.append(min(widest, max(word, self._least)) if name in self._fold else widest)
        spare = screen - sum(needed) - _BETWEEN * (len(needed) - 1)
        if spare < 0:
            return None
        for number in sorted(range(len(needed)), key=lambda one: wanted[one] - needed[one]):
            growing = sum(1 for one in range(len(needed)) if wanted[one] > needed[one])
            more = min(wanted[number] - needed[number], spare // max(1, growing))
            needed[number], wanted[number], spare = needed[number] + more, needed[number] + more, spare - more
        return needed

    def _table(self, widths: list[int]) -> Table:
        made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
        for name, width in zip(self._columns, widths, strict=True):
            made.add_column(name, width=width, overflow="fold", no_wrap=name not in self._fold)
        for row in self._rows:
            made.add_row(*row)
        return made

    def _block(self, row: list[Text]) -> Table:
        named = [(name, cell) for name, cell in zip(self._columns[1:], row[1:], strict=True) if cell.plain]
        return facts(*named)


def table(*columns: str, fold: tuple[str, ...] = (), least: int = _FOLDED) -> Listing:
    """Return an empty list with quiet lines; cells stay on one line, but those of the columns to fold.

    Those are squeezed down to their longest word, and not below `least` characters.
    """
    return Listing(columns, fold, least)


def hanging(mark: RenderableType, text: RenderableType, indent: int = 2) -> RenderableType:
    """Return prose behind a mark of ours: it is wrapped between words, and further lines begin where it began."""
    made = Table.grid(padding=(0, 1))
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    made.add_row(mark, Text(clean(text)) if isinstance(text, str) else text)
    return Padding(made, (0, 0, 0, indent), expand=False)


def facts(*pairs: tuple[str, RenderableType | None]) -> Table:
    """Return named facts, one a line; absent ones are left out."""
    made = Table(box=None, show_header=False, pad_edge=False)
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        if value is not None and value != "":
            made.add_row(name, Text(clean(value)) if isinstance(value, str) else value)
    return made


def when(instant: datetime | str | None, now: datetime | None = None) -> str:
    """Say an instant as people do: `14:03:12 UTC (2 min ago)`, with the date where that is not today's."""
    if instant is None:
        return ""
    at, now = _utc(instant), (now or datetime.now(UTC)).astimezone(UTC)
    shape = "%H:%M:%S" if at.date() == now.date() else "%Y-%m-%d %H:%M"
    return f"{at.strftime(shape)} UTC ({_ago((now - at).total_seconds())})"


def ago(instant: datetime | str, now: datetime | None = None) -> str:
    """Say how long ago an instant was, or in how long it will be."""
    return _ago(((now or datetime.now(UTC)) - _utc(instant)).total_seconds())


def _utc(instant: datetime | str) -> datetime:
    at = datetime.fromisoformat(instant) if isinstance(instant, str) else instant
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _ago(seconds: float) -> str:
    return f"in {_long(-seconds)}" if seconds <= -1 else f"{_long(seconds)} ago"


def _long(seconds: float) -> str:
    if seconds < _MINUTE:
        return f"{max(0, int(seconds))} s"
    if seconds < _HOUR:
        return f"{int(seconds / _MINUTE)} min"
    if seconds < _DAY:
        return f"{int(seconds / _HOUR)} h"
    return f"{int(seconds / _DAY)} days"


def micros(value: int | None) -> str:
    """Say microseconds as milliseconds; a dash where nothing was measured."""
    return "-" if value is None or value < 0 else f"{value / 1000:.2f} ms"


def amount(text: str | None) -> str:
    """Say an amount without the zeros that only a machine needs."""
    if not text:
        return ""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    if not number.is_finite() or abs(number) >= _LARGEST:
        return text
    return f"{number.quantize(Decimal('0.01')) if number >= 1 else number.normalize():,f}"


def short(key_id: str) -> str:
    """Say a key id by its first and last characters; whole ones are for `show` and JSON."""
    return key_id if len(key_id) <= _SHORT else f"{key_id[:8]}..{key_id[-4:]}"


def yes(value: bool | None, *, good: bool = True) -> Text:
    """Say a truth, in red where it is the dangerous one; `unknown` where nobody asked."""
    if value is None:
        return Text("unknown", "yellow")
    return Text("yes" if value else "no", "" if value is good else "bold red")
