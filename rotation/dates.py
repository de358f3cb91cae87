"""When a key is to be rotated next, and why then. Pure.

1. Every interval, counted from the key's making, earlier by a jitter that was drawn once: not all keys on one day.
2. A venue that takes a key's rights away by itself sets a deadline; we are done a margin before it.
3. Then the first maintenance window from there. A deadline that comes before the next window is met in the last window
   before it, and where there is none outside of any: a window is a wish, the venue's deadline is not.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from broker.maintenance import Windows
from broker.model import Schedule

MARGIN = timedelta(days=3)
"""Before a venue's deadline: time for a human where the first tries fail. Our caution."""


@dataclass(frozen=True, slots=True)
class Due:
    """When, and why then in a few words."""

    at: datetime
    why: str


def next_due(
    schedule: Schedule, windows: Windows, born_at: datetime, ends_at: datetime | None, now: datetime
) -> Due:
    """Work out when a key is rotated next.

    Args:
        schedule: What operators chose.
        windows: Its windows, read.
        born_at: When the key in use was made.
        ends_at: When the venue takes its rights away; None where it does not.
        now: Aware UTC.
    """
    wanted = born_at + schedule.interval_for - schedule.jitter_for
    why = f"every {schedule.interval_for.days} days"
    last = None if ends_at is None else ends_at - MARGIN
    if last is not None and last < wanted:
        wanted, why = last, f"the exchange ends this key on {ends_at:%Y-%m-%d}"
    if not windows.windows:
        return Due(wanted, why)
    first = windows.first(max(wanted, now) if wanted < now else wanted)
    if last is None or first <= last:
        return Due(first, f"{why}, in a maintenance window")
    before = windows.last_start(last)
    if before is not None and before >= max(born_at, now):
        return Due(before, f"{why}, in the last window before that")
    return Due(max(wanted, min(last, first)), f"{why}, and no window comes before that")
