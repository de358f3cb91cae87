"""Steps that every state takes: enter another, ask for an effect, wait, stall, end. Pure."""

from dataclasses import replace
from datetime import datetime, timedelta

from rotation.state import Effect, Event, IllegalTransition, Reply, Rotation, State, Step

RUNBOOKS = {
    State.RECONCILING: "RB-07",
    State.CUTTING_OVER: "RB-08",
    State.ROLLING_BACK: "RB-08",
    State.DRAINING: "RB-09",
    State.DRAINING_NEW: "RB-09",
    State.RETIRING_OLD: "RB-10",
    State.DISCARDING_NEW: "RB-10",
}
"""The page a stalled state points at."""


def reply_in(rotation: Rotation, event: Event) -> Reply:
    """Return an event as the reply that it must be here."""
    if not isinstance(event, Reply):
        raise illegal(rotation, event)
    return event


def illegal(rotation: Rotation, event: Event) -> IllegalTransition:
    """Return what is raised where an event cannot happen."""
    return IllegalTransition(f"{rotation.state}: {type(event).__name__} cannot happen")


def enter(
    rotation: Rotation, state: State, now: datetime, *, keep_deadline: bool = False, note: str = ""
) -> Step:
    """Enter a state, to be looked at at once."""
    fresh = replace(
        rotation, state=state, entered_at=now, due_at=now, asked=None, tries=0,
        deadline_at=rotation.deadline_at if keep_deadline else None,
    )  # fmt: skip
    return Step(fresh, None, note)


def ask(rotation: Rotation, effect: Effect) -> Step:
    """Stay, and ask for an effect."""
    return Step(replace(rotation, asked=effect), effect)


def later(rotation: Rotation, now: datetime, note: str) -> Step:
    """Stay, and look again after a pause that grows."""
    limits = rotation.limits
    pause = min(limits.backoff_for * (2 ** min(rotation.tries, 10)), limits.longest_backoff_for)
    return Step(replace(rotation, tries=rotation.tries + 1, asked=None, due_at=now + pause), None, note)


def wait(rotation: Rotation, now: datetime, pause: timedelta, note: str) -> Step:
    """Stay, and look again after a while, however often."""
    return Step(replace(rotation, asked=None, due_at=now + pause), None, note)


def stall(rotation: Rotation, reason: str, now: datetime) -> Step:
    """Stand still, and name the page a human is to read."""
    runbook = RUNBOOKS[rotation.state]
    stalled = replace(rotation, stalled_from=rotation.state, reason=reason, runbook=runbook)
    return enter(stalled, State.STALLED, now, note=f"stalled: {reason} ({runbook})")


def end(rotation: Rotation, state: State, reason: str, now: datetime) -> Step:
    """End, for good."""
    ended = replace(
        rotation, state=state, reason=reason, asked=None, entered_at=now, due_at=now, deadline_at=None
    )
    return Step(ended, None, reason)
