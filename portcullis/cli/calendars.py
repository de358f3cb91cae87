"""The dates of rotations as iCalendar."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from icalendar import Calendar, Event

from portcullis.cli import rotation_answers

_PRODUCT = "-//portcullis//schedule//EN"


def is_ours(data: bytes) -> bool:
    """Tell whether a file is a calendar that was written here before: that one alone is replaced."""
    return data.startswith(b"BEGIN:VCALENDAR") and _PRODUCT.encode() in data


def calendar(rows: Sequence[rotation_answers.Schedule], now: datetime) -> Calendar:
    """Return the next dates as iCalendar, written `now`; an entry keeps its id from one writing to the next."""
    made = Calendar()
    made.add("prodid", _PRODUCT)
    made.add("version", "2.0")
    for row in rows:
        if row.next_at is None:
            continue
        event = Event()
        event.add("uid", f"{row.account}-{row.slot}@portcullis")
        event.add("dtstamp", now)
        event.add("dtstart", row.next_at)
        event.add("dtend", row.next_at + timedelta(minutes=30))
        event.add("summary", f"Key rotation: {row.account}/{row.slot}")
        event.add("description", row.why)
        made.add_component(event)
    return made
