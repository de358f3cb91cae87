"""Maintenance windows are read as people write them, and hold on the nights the clocks change."""

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    ("windows", "zone", "begins", "ends"),
    [
        # the clocks go from 02:00 to 03:00 at 01:00 UTC
        ("Sun 02:00-03:00", "Europe/Berlin", "2027-03-28T01:00", "2027-03-28T02:00"),
        ("Sun 02:30-03:00", "Europe/Berlin", "2027-03-28T01:00", "2027-03-28T01:30"),
        ("Sun 02:30-03:30", "Europe/Berlin", "2027-03-28T01:00", "2027-03-28T01:30"),
        ("Sun 02:10-02:20", "Europe/Berlin", "2027-03-28T01:00", "2027-03-28T01:10"),
        ("Sun 01:30-02:30", "Europe/Berlin", "2027-03-28T00:30", "2027-03-28T01:00"),
        ("Sat 23:00-02:30", "Europe/Berlin", "2027-03-27T22:00", "2027-03-28T01:00"),
        ("Sun 03:00-04:00", "Europe/Berlin", "2027-03-28T01:00", "2027-03-28T02:00"),
        ("Sun 02:00-03:00", "America/New_York", "2027-03-14T07:00", "2027-03-14T08:00"),
        # half an hour: from 02:00 to 02:30 at 15:30 UTC the day before
        ("Sun 02:00-02:30", "Australia/Lord_Howe", "2027-10-02T15:30", "2027-10-02T16:00"),
        ("Sun 02:10-02:20", "Australia/Lord_Howe", "2027-10-02T15:30", "2027-10-02T15:40"),
        ("Sun 02:00-03:00", "Australia/Lord_Howe", "2027-10-02T15:30", "2027-10-02T16:00"),
        # at midnight: the day begins at 01:00
        ("Sun 00:00-01:00", "America/Santiago", "2027-09-05T04:00", "2027-09-05T05:00"),
        ("Sat 23:30-00:30", "America/Santiago", "2027-09-05T03:30", "2027-09-05T04:00"),
        ("Fri 00:00-00:30", "Africa/Cairo", "2027-04-29T22:00", "2027-04-29T22:30"),
        # a whole day that never was
        ("Fri 02:00-06:00", "Pacific/Apia", "2011-12-30T10:00", "2011-12-30T14:00"),
    ],
)
def test_a_window_in_the_skipped_part_of_a_night_is_not_lost(
    windows: str, zone: str, begins: str, ends: str
) -> None:
    """Its first instant is inside and its last outside, whatever the clocks did in between."""
    found, start, end = parse(windows, zone), utc(begins), utc(ends)
    assert found.first(start - timedelta(hours=12)) == start
    assert not found.holds(start - timedelta(seconds=1))
    assert found.holds(start)
    assert found.holds(end - timedelta(seconds=1))
    assert not found.holds(end)
    assert found.last_start(end) == start


@pytest.mark.parametrize(
    ("windows", "zone", "night"),
    [
        ("daily 02:10-02:40", "Europe/Berlin", "2026-10-25T00:00"),
        ("daily 02:00-03:00", "Europe/Berlin", "2026-10-25T00:00"),
        ("daily 01:30-01:45", "Australia/Lord_Howe", "2027-04-03T14:30"),
        ("daily 23:10-23:50", "America/Santiago", "2027-04-04T02:00"),
        ("daily 23:50-00:10", "America/Santiago", "2027-04-04T02:00"),
    ],
)
def test_a_window_in_the_doubled_part_of_a_night_is_had_once(windows: str, zone: str, night: str) -> None:
    """Minute by minute through the night there is one stretch, not two."""
    found = parse(windows, zone)
    inside = [found.holds(utc(night) + timedelta(minutes=minute)) for minute in range(-300, 300)]
    begun = [now for before, now in itertools.pairwise(inside) if now and not before]
    assert len(begun) == 1


@given(
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Africa/Cairo", "UTC"]),
    st.integers(0, 365), st.integers(0, 23), st.integers(0, 59), st.integers(1, 1439),
)  # fmt: skip
def test_every_day_of_a_year_has_its_window(
    zone: str, day: int, hour: int, minute: int, minutes: int
) -> None:
    """A daily window is found within a day and an hour of any instant, and never begins twice in one local day."""
    begins = datetime(2027, 1, 1, hour, minute)  # noqa: DTZ001 - a time of day
    text = f"daily {begins:%H:%M}-{begins + timedelta(minutes=minutes):%H:%M}"
    found, now = parse(text, zone), utc("2027-01-01T00:00") + timedelta(days=day)
    first = found.first(now)
    assert first - now <= timedelta(hours=25)
    assert found.holds(first)
    starts = {begin.astimezone(ZoneInfo(zone)).date() for begin, _ in found._spans(now)}
    assert len(starts) >= 9


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
