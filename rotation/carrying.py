"""The instants of a rotation, carried over steps of the clock: what waits goes on waiting, no more and no less.

They are wall time, so that people can read them. Each save notes the moment by both clocks of the host; before the
next decision they are moved by as much as the wall clock went further than time did. On another host, or after a
reboot, how long it was is not known: they stay, unless the wall clock is behind the last save. Venue time is nobody's
to move. Pure.
"""

from dataclasses import replace
from datetime import timedelta

from broker.steady import SLEWED_US, Moment
from rotation.state import Rotation


def carried(rotation: Rotation, now: Moment) -> Rotation:
    """Return a rotation with its instants as the wall clock has them now."""
    seen = rotation.seen
    if seen is None:
        return rotation
    by_wall_us = now.wall_us - seen.wall_us
    passed_us = seen.elapsed_us(now) if seen.base == now.base else max(by_wall_us, 0)
    if abs(by_wall_us - passed_us) <= SLEWED_US:
        return rotation
    return _moved(rotation, timedelta(microseconds=by_wall_us - passed_us))


def _moved(rotation: Rotation, by: timedelta) -> Rotation:
    retirement = rotation.retirement
    if retirement is not None and retirement.deleted_at is not None:
        retirement = replace(retirement, deleted_at=retirement.deleted_at + by)
    return replace(
        rotation, entered_at=rotation.entered_at + by, due_at=rotation.due_at + by, retirement=retirement,
        deadline_at=None if rotation.deadline_at is None else rotation.deadline_at + by,
    )  # fmt: skip
