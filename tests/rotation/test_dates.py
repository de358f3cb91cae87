"""When a key is due: its interval, the venue's deadline if that is sooner, inside a window if there is one."""

from datetime import UTC, datetime, timedelta

import pytest

from broker.maintenance import parse
from broker.model import Schedule
from clients.venue import Slot
from rotation.dates import MARGIN, next_due

BORN = datetime(2026, 9, 1, 12, tzinfo=UTC)  # a Tuesday
NOW = datetime(2026, 9, 2, tzinfo=UTC)
DAY = timedelta(days=1)


def due(
    windows: str = "", ends: timedelta | None = None, jitter: timedelta = timedelta(0), now: datetime = NOW
) -> tuple[datetime, str]:
    schedule = Schedule("main", Slot.TRADE, 90 * DAY, jitter, windows)
    found = next_due(schedule, parse(windows, "UTC"), BORN, None if ends is None else BORN + ends, now)
    return found.at, found.why


def test_it_is_the_interval_less_the_jitter() -> None:
    assert due() == (BORN + 90 * DAY, "every 90 days")
    assert due(jitter=5 * DAY)[0] == BORN + 85 * DAY


def test_a_deadline_of_the_venue_comes_first_with_a_margin() -> None:
    at, why = due(ends=30 * DAY)
    assert at == BORN + 30 * DAY - MARGIN
    assert why == "the exchange ends this key on 2026-10-01"
    assert due(ends=300 * DAY)[0] == BORN + 90 * DAY


def test_a_window_is_waited_for() -> None:
    at, why = due("Sat 02:00-06:00")
    assert (BORN + 90 * DAY).weekday() == 0
    assert at == datetime(2026, 12, 5, 2, tzinfo=UTC)
    assert why == "every 90 days, in a maintenance window"


def test_the_last_window_before_a_deadline_is_taken() -> None:
    at, why = due("Sat 02:00-06:00", ends=30 * DAY)
    last = BORN + 30 * DAY - MARGIN
    assert last - 7 * DAY < at <= last
    assert (at.weekday(), at.hour) == (5, 2)
    assert "last window before that" in why


def test_a_deadline_with_no_window_before_it_is_met_outside_of_any() -> None:
    at, why = due("Sat 02:00-06:00", ends=MARGIN + DAY)
    assert at == BORN + DAY
    assert "no window comes before" in why


@pytest.mark.parametrize("windows", ["", "Sat 02:00-06:00"])
def test_one_that_is_overdue_is_due_now_or_in_the_next_window(windows: str) -> None:
    now = BORN + 200 * DAY  # a Saturday, noon
    at, _ = due(windows, now=now)
    assert at == (BORN + 90 * DAY if not windows else now + timedelta(days=0) + _to_saturday(now))


def _to_saturday(now: datetime) -> timedelta:
    begins = parse("Sat 02:00-06:00", "UTC").first(now)
    assert begins >= now
    return begins - now


def test_in_a_window_an_overdue_key_is_due_at_once() -> None:
    inside = datetime(2027, 3, 6, 3, tzinfo=UTC)
    assert inside.weekday() == 5
    assert due("Sat 02:00-06:00", now=inside)[0] == inside
