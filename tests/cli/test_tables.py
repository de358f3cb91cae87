"""Lists, instants and prose on screens of every width: whatever is printed is printed whole."""

from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console
from rich.text import Text

from portcullis.cli.tables import hanging, said, table, when

NOW = datetime(2026, 11, 28, 23, 10, tzinfo=UTC)
ROTATION = "rot_ddc5618f804e4cfc6b49"


def printed(width: int, what: object) -> str:
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(what)
    return capture.get()


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_width_costs_a_character_of_an_id(width: int) -> None:
    listed = table("checkout", "key", "holder", "ends with", fold=("holder", "ends with"))
    listed.add_row(
        "out_0123456789",
        "demo/trade/1",
        said("{} [dim]{}[/]", "Ann", "the tax report of last year"),
        said("[red]{}[/]", ROTATION),
    )
    text = printed(width, listed)
    for word in ("out_0123456789", "demo/trade/1", ROTATION, "ends with"):
        assert word in text
    for word in ["the", "tax", "report", "of", "last", "year"]:
        assert word in text
    assert all(len(line.rstrip()) <= width for line in text.splitlines())


def test_a_screen_that_is_wide_enough_has_a_row_a_thing() -> None:
    listed = table("key", "what", fold=("what",))
    listed.add_row("a/trade/1", "one")
    listed.add_row("b/trade/1", "two")
    assert [line.split() for line in printed(40, listed).splitlines()[2:]] == [
        ["a/trade/1", "one"],
        ["b/trade/1", "two"],
    ]


def test_an_empty_list_can_be_printed() -> None:
    assert "key" in printed(40, table("key", "what", fold=("what",)))


def test_prose_is_wrapped_between_words_and_hangs_from_its_mark() -> None:
    lines = printed(30, hanging("1.", "open the page and make a self-generated key")).splitlines()
    assert [line.rstrip() for line in lines] == ["  1. open the page and make a", "     self-generated key"]


@pytest.mark.parametrize(
    ("apart", "said"),
    [
        (timedelta(seconds=-30), "23:09:30 UTC (30 s ago)"),
        (timedelta(), "23:10:00 UTC (0 s ago)"),
        (timedelta(minutes=40), "23:50:00 UTC (in 40 min)"),
        (timedelta(hours=2), "2026-11-29 01:10 UTC (in 2 h)"),
        (timedelta(days=-3), "2026-11-25 23:10 UTC (3 days ago)"),
    ],
)
def test_an_instant_says_its_day_where_that_is_not_today_and_what_is_to_come(
    apart: timedelta, said: str
) -> None:
    assert when((NOW + apart).isoformat(), NOW) == said


def test_what_others_wrote_is_shown_and_never_obeyed() -> None:
    """Neither our markup nor the terminal's own commands pass through a name or a reason."""
    hostile = "[/x] [bold]\x1b[31m\u202e \\"
    for what in (said("[red]{}[/] is {}", hostile, hostile), hanging("!", hostile), row_of(hostile)):
        text = printed(120, what)
        assert "[/x] [bold]" in text
        assert not {"\x1b", "\u202e"} & set(text)


def row_of(text: str) -> object:
    listed = table("what")
    listed.add_row(text)
    return listed


def test_a_part_keeps_the_looks_of_its_place() -> None:
    made = said("[bold]{}[/] and {}", "one", Text("two", "red"))
    assert made.plain == "one and two"
    assert {(span.start, span.end, str(span.style)) for span in made.spans} >= {(0, 3, "bold")}
