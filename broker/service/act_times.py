"""When what was announced may be done, who is here for long enough to confirm it, and until when a home is young.

What lets somebody do more is over late, not early, whoever sets a clock: see `openings`, rule 5.
"""

import json
from typing import Any

from broker.db import Connection, meta
from broker.steady import Moment, Span, long_left_us

DELAY_US = 600_000_000
FIRST_HOUR_US = 3_600_000_000
DAY_US = 24 * FIRST_HOUR_US
FOUNDED = "founded_us"
FOUNDED_ON = "founded_on"
"""The base that it was counted on, and how far the wall clock was ahead of that."""

_MOST_SIGHTINGS = 8


def facts(now: Moment) -> dict[str, str]:
    """Return the facts that say when a home was founded."""
    return {FOUNDED: str(now.wall_us), FOUNDED_ON: json.dumps([now.base, now.wall_us - now.boot_us])}


def founded_at(connection: Connection) -> Moment:
    """Return when the home was founded; one of an older program says no base."""
    wall_us = int(meta.get(connection, FOUNDED) or 0)
    base, skew_us = json.loads(meta.get(connection, FOUNDED_ON) or '["", 0]')
    return Moment(base, wall_us - skew_us, wall_us)


def began(one: Span) -> Moment:
    """Return when a span began."""
    wall_us = one.until_us - one.length_us
    return Moment(one.base, wall_us - one.skew_us, wall_us)


def is_first_hour(founded: Moment, at: Moment) -> bool:
    """Tell whether a moment lies in the first hour of a home: by each clock that can tell."""
    ages = [at.wall_us - founded.wall_us]
    if at.base and at.base == founded.base:
        ages.append(at.boot_us - founded.boot_us)
    return all(0 <= age <= FIRST_HOUR_US for age in ages)


def is_over(one: Span, now: Moment) -> bool:
    """Tell whether a day is over, by both clocks; one that an older program began is by the wall clock."""
    return (long_left_us(one, now) if one.base else one.until_us - now.wall_us) <= 0


def seen(row: Any) -> dict[str, list[int]]:
    """Return when which host saw an act first, by its boot clock and its wall clock."""
    found = json.loads(row.sightings or "{}")
    return found if isinstance(found, dict) else {}


def sightings(before: dict[str, list[int]], now: Moment) -> str:
    """Write down that an act was seen here, too."""
    kept = list(before.items())[1 - _MOST_SIGHTINGS :]
    return json.dumps(dict(kept) | {now.base: [now.boot_us, now.wall_us]})


def _waited_us(row: Any, now: Moment) -> int:
    """Return for how long an act has surely been announced, as this host saw it."""
    found = seen(row).get(now.base)
    return 0 if found is None else Moment(now.base, *found).elapsed_us(now)


def left_us(row: Any, now: Moment) -> int:
    """Return how much is left of the ten minutes; nothing once a second person confirmed it."""
    return 0 if row.confirmed_by is not None else DELAY_US - _waited_us(row, now)


def is_too_old(row: Any, now: Moment) -> bool:
    """Tell whether an act's day is over, by either clock."""
    found = seen(row).get(now.base)
    ages = [now.wall_us - int(row.created_us), *([] if found is None else [now.boot_us - found[0]])]
    return max(ages) > DAY_US
