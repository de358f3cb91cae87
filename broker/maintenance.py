"""Maintenance windows: when in the week something may be done, in the words and the time zone of people. Pure.

    Sat,Sun 02:00-06:00; Wed 23:00-01:00

Rules:
1. Days are Mon to Sun or their whole names, or `daily`; a window that ends before it begins ends on the next day.
2. Times are local: on the night the clocks change a window may be shorter or longer, and is never lost. A time that
   the clocks skip is the instant of the change; a window that lies in the skipped part whole begins then, and is as
   long as ever. Of a time that comes twice the first counts, so that no window is had twice.
3. No window at all means at any time.
4. `check` refuses more than `parse`, which goes on reading what was stored before it was asked.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_NAMES = frozenset(DAYS) | {
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "daily",
}
_WINDOW = re.compile(r"([A-Za-z,]+)\s+([0-2]\d:[0-5]\d)-([0-2]\d:[0-5]\d)")
_ODD = "{!r}: days are Mon to Sun, times 00:00 to 23:59"
_A_WEEK = 8
_A_DAY = timedelta(days=1)
_A_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Window:
    """One window: days of the week from 0 (Monday), local times."""

    days: frozenset[int]
    begins: time
    ends: time

    @property
    def lasts_for(self) -> timedelta:
        """How long it is by the clock."""
        begins, ends = (timedelta(hours=at.hour, minutes=at.minute) for at in (self.begins, self.ends))
        return ends - begins if ends > begins else ends + _A_DAY - begins


@dataclass(frozen=True, slots=True)
class Windows:
    """When something may be done."""

    windows: tuple[Window, ...]
    zone: ZoneInfo

    def holds(self, now: datetime) -> bool:
        """Tell whether it may be done now."""
        return not self.windows or any(begins <= now < ends for begins, ends in self._spans(now))

    def first(self, after: datetime) -> datetime:
        """Return the first instant at or after this one at which it may be done."""
        if self.holds(after):
            return after
        return min(begins for begins, _ in self._spans(after) if begins >= after)

    def last_start(self, before: datetime) -> datetime | None:
        """Return the last beginning of a window at or before this instant; None within no week of it."""
        starts = [
            begins for begins, _ in self._spans(before - timedelta(days=_A_WEEK - 1)) if begins <= before
        ]
        return max(starts, default=None)

    def _spans(self, around: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield every window from the day before, for more than a week."""
        first = around.astimezone(self.zone).date() - _A_DAY
        for number in range(_A_WEEK + 2):
            day = first + number * _A_DAY
            for window in self.windows:
                if day.weekday() not in window.days:
                    continue
                last = day if window.ends > window.begins else day + _A_DAY
                begins = _instant(datetime.combine(day, window.begins, self.zone))
                ends = _instant(datetime.combine(last, window.ends, self.zone))
                yield begins, ends if begins < ends else begins + window.lasts_for


def parse(text: str, zone: str) -> Windows:
    """Read windows as people write them.

    Raises:
        ValueError: With what is wrong, and how it is written.
    """
    return Windows(tuple(_window(part) for part in _parts(text)), zone_of(zone))


def check(text: str) -> None:
    """Refuse windows that nobody can have meant.

    Raises:
        ValueError: With what is wrong, and how it is written.
    """
    parts = _parts(text)
    if text and not parts:
        raise ValueError(
            f"{text[:60]!r} names no window; write one as Sat,Sun 02:00-06:00, or leave windows out for any time"
        )
    for part in parts:
        _window(part)
        days = part.split()[0].lower().split(",")
        if not _NAMES.issuperset(days):
            raise ValueError(_ODD.format(part[:60]))


def zone_of(zone: str) -> ZoneInfo:
    """Return a time zone by its name.

    Raises:
        ValueError: There is none, and how one is written.
    """
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{zone[:40]!r} is no time zone; write it as Europe/Berlin") from None


def _instant(local: datetime) -> datetime:
    """Return a local time as an instant: the first, where it comes twice; that of the change, where it is skipped."""
    first, other = local.replace(fold=0).astimezone(UTC), local.replace(fold=1).astimezone(UTC)
    if other >= first:
        return first
    zone, before, after = local.tzinfo, other, first
    offset = before.astimezone(zone).utcoffset()
    while after - before > _A_SECOND:
        middle = before + (after - before) // 2
        before, after = (middle, after) if middle.astimezone(zone).utcoffset() == offset else (before, middle)
    return after.replace(microsecond=0)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]


def _window(text: str) -> Window:
    found = _WINDOW.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:60]!r} is no window; write it as Sat,Sun 02:00-06:00 or daily 02:00-06:00")
    named, begins, ends = found.groups()
    try:
        days = (
            frozenset(range(7))
            if named.lower() == "daily"
            else frozenset(DAYS.index(day[:3]) for day in named.lower().split(","))
        )
        window = Window(days, time.fromisoformat(begins), time.fromisoformat(ends))
    except ValueError:
        raise ValueError(_ODD.format(text[:60])) from None
    if window.begins == window.ends:
        raise ValueError(f"{text[:60]!r} begins as it ends; for a whole day leave windows out")
    return window
