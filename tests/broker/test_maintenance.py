"""Maintenance windows are read as people write them, and hold on the nights the clocks change."""

from datetime import UTC, datetime

import pytest

from broker.maintenance import check, parse


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("windows", "zone", "now", "holds"),
    [
        ("", "UTC", "2026-11-24T12:00", True),
        ("Sat,Sun 02:00-06:00", "UTC", "2026-11-28T01:59:59", False),
        ("Sat,Sun 02:00-06:00", "UTC", "2026-11-28T02:00", True),
        ("Sat,Sun 02:00-06:00", "UTC", "2026-11-28T05:59:59", True),
        ("Sat,Sun 02:00-06:00", "UTC", "2026-11-28T06:00", False),
        ("Sat,Sun 02:00-06:00", "UTC", "2026-11-27T03:00", False),
        ("daily 23:00-01:00", "UTC", "2026-11-24T00:30", True),
        ("Wed 23:00-01:00", "UTC", "2026-11-26T00:30", True),
        ("Wed 23:00-01:00", "UTC", "2026-11-25T00:30", False),
        ("daily 02:00-03:00", "Europe/Berlin", "2026-11-24T01:30", True),
        ("daily 02:00-03:00", "Europe/Berlin", "2026-11-24T02:30", False),
        ("Mon 02:00-03:00; tue 04:00-05:00", "UTC", "2026-11-24T04:30", True),
    ],
)
def test_an_instant_is_inside_or_outside(windows: str, zone: str, now: str, holds: bool) -> None:
    assert parse(windows, zone).holds(utc(now)) is holds


def test_the_first_instant_is_now_inside_and_the_next_beginning_outside() -> None:
    windows = parse("Sat,Sun 02:00-06:00", "Europe/Berlin")
    assert windows.first(utc("2026-11-24T12:00")) == utc("2026-11-28T01:00")
    assert windows.first(utc("2026-11-28T03:00")) == utc("2026-11-28T03:00")
    assert windows.first(utc("2026-11-29T05:00")) == utc("2026-12-05T01:00")
    assert windows.last_start(utc("2026-12-01T00:00")) == utc("2026-11-29T01:00")


def test_the_night_the_clocks_change_has_its_window() -> None:
    windows = parse("Sun 02:00-04:00", "Europe/Berlin")
    assert windows.first(utc("2027-03-27T12:00")) == utc("2027-03-28T01:00"), (
        "02:00 does not exist that night"
    )
    assert windows.holds(utc("2027-03-28T01:30"))
    assert not windows.holds(utc("2027-03-28T02:00"))
    assert windows.holds(utc("2026-10-25T02:30")), "and in autumn it is an hour longer"


@pytest.mark.parametrize(
    ("windows", "zone", "word"),
    [
        ("Sat 2-3", "UTC", "is no window"),
        ("Nil 02:00-03:00", "UTC", "days are Mon to Sun"),
        ("Sat 25:00-26:00", "UTC", "times 00:00"),
        ("Sat 02:00-02:00", "UTC", "leave windows out"),
        ("Sat 02:00-03:00", "Mars/Olympus", "is no time zone"),
        ("Sat 02:00-03:00", "../etc/passwd", "is no time zone"),
        ("Sat 02:00-03:00", "", "is no time zone"),
    ],
)
def test_what_is_no_window_says_how_it_is_written(windows: str, zone: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        parse(windows, zone)


@pytest.mark.parametrize("text", ["", "Sat 02:00-03:00", "saturday,Sun 02:00-03:00; daily 04:00-05:00;"])
def test_what_people_mean_is_taken(text: str) -> None:
    """Days by their short or whole names, and no window for any time."""
    check(text)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (";;", "names no window"),
        (" ", "names no window"),
        ("Monkey 02:00-03:00", "days are Mon to Sun"),
        ("Mon,Sunny 02:00-03:00", "days are Mon to Sun"),
        ("daily,Sat 02:00-03:00", "days are Mon to Sun"),
        ("Sat 2-3", "is no window"),
    ],
)
def test_what_nobody_can_have_meant_is_refused(text: str, word: str) -> None:
    """A slip must not open a window that was not wanted."""
    with pytest.raises(ValueError, match=word):
        check(text)


@pytest.mark.parametrize("text", [";;", "Monkey 02:00-03:00"])
def test_what_was_stored_before_is_read_on(text: str) -> None:
    """One old schedule does not stop the others from being worked out."""
    parse(text, "UTC")
