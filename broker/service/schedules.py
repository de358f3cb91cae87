"""When keys are rotated: chosen by operators, worked out by the rotator."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from broker import maintenance
from broker.db import schedules as store
from broker.errors import Malformed, Problem
from broker.model import Schedule
from broker.service.audit import Audit
from broker.service.desk import Desk, missing
from clients.venue import Slot

SHORTEST, LONGEST = timedelta(days=1), timedelta(days=365)
"""Shorter wears out the venue's budget for key calls; a key that lives longer than a year is forgotten."""


_BETWEEN = f"is between {SHORTEST.days} and {LONGEST.days} days"


def interval(days: float) -> timedelta:
    """Return an interval of so many days.

    Raises:
        Malformed: It is too short or too long, or no number at all.
    """
    if not SHORTEST.days <= days <= LONGEST.days:
        raise Malformed("bad_schedule", (Problem("interval_days", _BETWEEN),))
    return timedelta(days=days)


class Schedules:
    """Use cases on schedules."""

    def __init__(self, desk: Desk, audit: Audit) -> None:
        self._desk, self._audit = desk, audit

    def list(self) -> tuple[Schedule, ...]:
        """List all, those that are due soonest first."""
        with self._desk.database.read() as connection:
            found = store.every(connection)
        return tuple(
            sorted(found, key=lambda one: (one.next_at is None, one.next_at, one.account, one.slot.value))
        )

    def change(
        self, account: str, slot: Slot, *, interval_for: timedelta | None = None, windows: str | None = None,
        zone: str | None = None, paused: bool | None = None,
    ) -> Schedule:  # fmt: skip
        """Change what is named; the jitter that was drawn keeps its share of the interval.

        Raises:
            Malformed: A field cannot be used.
            NotFound: Nothing of that account and slot is rotated.
        """
        problems = tuple(_problems(interval_for, windows, zone))
        if problems:
            raise Malformed("bad_schedule", problems)
        with self._desk.database.write() as connection:
            known = store.get(connection, account, slot)
            if known is None:
                raise missing("schedule", f"{account}/{slot.value}")
            changed = replace(
                known,
                interval_for=interval_for or known.interval_for,
                jitter_for=known.jitter_for * ((interval_for or known.interval_for) / known.interval_for),
                windows=known.windows if windows is None else windows,
                zone=known.zone if zone is None else zone,
                paused=known.paused if paused is None else paused,
            )
            store.change(connection, changed)
            self._audit.record(
                connection,
                "schedule.change",
                f"account:{account}",
                {
                    "slot": slot.value,
                    "interval_days": changed.interval_for.days,
                    "windows": changed.windows,
                    "zone": changed.zone,
                    "paused": changed.paused,
                },
            )
        return changed


def _problems(interval_for: timedelta | None, windows: str | None, zone: str | None) -> Iterator[Problem]:
    """Yield what is wrong with what is to be changed; what stays is not judged again."""
    if interval_for is not None and not SHORTEST <= interval_for <= LONGEST:
        yield Problem("interval_days", _BETWEEN)
    for name, text, check in (("windows", windows, maintenance.check), ("zone", zone, maintenance.zone_of)):
        try:
            if text is not None:
                check(text)
        except ValueError as fault:
            yield Problem(name, str(fault))
