"""How a key ends: retired, discarded, or taken by an incident. Pure; `decide` sends the states that end a key here.

An incident may come at any moment: it names versions that have to die, and takes along what is in doubt. A create
that may have made a key is looked up first; a retirement that was begun is finished; the new version goes too, unless
it may be the one in use.
"""

from dataclasses import replace
from datetime import datetime

from rotation import retire
from rotation.possible import leaves_dead, may_leave
from rotation.state import (
    Answer,
    Answered,
    Do,
    Effect,
    Event,
    Halt,
    IllegalTransition,
    Incident,
    Resume,
    Rotation,
    State,
    Step,
    Tick,
)
from rotation.steps import ask, end, enter, illegal, later, reply_in, stall, wait

LEFT = "the operator ends it"
"""How the reason of one begins that was ended with the key that was to go as it is."""

_OFTEN, _SELDOM = 120, 12
"""A key that a person is to delete is probed often for so many times, then that much more seldom."""


def retire_old(rotation: Rotation, now: datetime) -> Step:
    """Begin to retire the old version; there is none where this was a first key."""
    if rotation.old is None:
        return end(rotation, State.DONE, "a first key", now)
    onward = retire.begin(rotation.old, by_hand=rotation.by_hand)
    return enter(replace(rotation, retirement=onward.retirement), State.RETIRING_OLD, now)


def discard(rotation: Rotation, reason: str, now: datetime) -> Step:
    """Begin to retire the new version."""
    onward = retire.begin(rotation.new, by_hand=rotation.by_hand)
    fresh = replace(rotation, retirement=onward.retirement, reason=reason)
    return enter(fresh, State.DISCARDING_NEW, now, note=reason)


def retiring(rotation: Rotation, event: Event, now: datetime) -> Step:
    """Retire the old version, discard the new, or one of an incident's: RETIRING_OLD, DISCARDING_NEW, HALTING."""
    retirement = rotation.retirement
    if retirement is None:
        raise IllegalTransition(f"{rotation.state}: nothing to retire")
    if isinstance(event, Tick):
        return ask(rotation, retire.effect_of(retirement))
    if isinstance(event, Answered) and retirement.by_hand and not event.key_id:
        said = replace(retirement, stated=True, absent_since=None, absent_how="")
        fresh = replace(rotation, retirement=said, due_at=now, asked=None)
        return Step(fresh, None, "the operator says that it is deleted; it is probed")
    if (
        isinstance(event, Resume)
        and event == Resume(has_private=event.has_private, leave=True)
        and may_leave(rotation)
    ):
        return leave(rotation, now)
    reply = reply_in(rotation, event)
    asked = rotation.asked
    assert asked is not None  # noqa: S101 - `decide` refuses an answer to nothing
    match retire.step(retirement, asked.do, reply, rotation.limits, now):
        case retire.Onward(going, effect, pauses):
            stamped = replace(rotation, retirement=going, stamp_us=reply.venue_us or rotation.stamp_us)
            if not pauses:
                return ask(stamped, effect)
            if going.by_hand and asked.do is not Do.ENTOMB:
                pause = rotation.limits.by_hand_for * (1 if going.probes < _OFTEN else _SELDOM)
                return wait(stamped, now, pause, "")
            return later(stamped, now, reply.says)
        case retire.Stuck(stuck, reason):
            if rotation.state is not State.HALTING:
                return stall(replace(rotation, retirement=stuck), reason, now)
            # it pages, and goes on: an incident does not stand still
            return later(replace(rotation, retirement=retire.again(stuck).retirement), now, reason)
        case retire.Dead(done):
            return _dead(replace(rotation, retirement=done), done.proof, now)


def leave(rotation: Rotation, now: datetime) -> Step:
    """End it with the key that was to go as it is: nothing is called dead that is not, and its slot is free."""
    goes, retirement = version_that_goes(rotation), rotation.retirement
    says = "may live on"
    if retirement is not None and leaves_dead(rotation):
        dead = "counts as deleted" if retire.is_stated(retirement.proof) else "is dead"
        says = f"{dead}, and its tombstone is not written, or its secret not destroyed"
    return end(rotation, State.ABANDONED, f"{LEFT}: version {goes} {says}", now)


def version_that_goes(rotation: Rotation) -> int:
    """Return the version that is retired or discarded."""
    if rotation.retirement is not None:
        return rotation.retirement.version
    retires = (rotation.stalled_from or rotation.state) is State.RETIRING_OLD
    return rotation.old if retires and rotation.old is not None else rotation.new


def _dead(rotation: Rotation, proof: str, now: datetime) -> Step:
    version = rotation.retirement.version if rotation.retirement else "?"
    note = f"version {version} {'counts as deleted' if retire.is_stated(proof) else 'is dead'}: {proof}"
    match rotation.state:
        case State.RETIRING_OLD:
            return end(replace(rotation, reason=""), State.DONE, note, now)
        case State.DISCARDING_NEW:
            ended = end(rotation, State.ABANDONED, rotation.reason or note, now)
            return Step(ended.rotation, None, f"{rotation.reason}; {note}" if rotation.reason else note)
        case _:
            return _next_halted(rotation, now, note)


def halt(rotation: Rotation, event: Incident, now: datetime) -> Step:
    """Let an incident take a rotation over."""
    if rotation.over:
        return Step(rotation)
    if rotation.state is State.HALTING and rotation.halt is not None:
        known = rotation.halt
        more = tuple(one for one in event.versions if one not in known.versions)
        if not more:
            return Step(rotation)
        wider = replace(known, versions=(*known.versions, *more), left=(*known.left, *more))
        return Step(replace(rotation, halt=wider), None, "the incident grows")
    left = list(event.versions)
    begun = (rotation.stalled_from or rotation.state) is State.RETIRING_OLD
    if begun and rotation.old is not None and rotation.old not in left:
        left.append(rotation.old)
    doubtful = _in_doubt(rotation)
    known_new = rotation.new_key_id is not None
    if not rotation.may_be_current and known_new and rotation.new not in left:
        left.append(rotation.new)
    if not known_new and rotation.new in left:
        left.remove(rotation.new)
    halt = Halt(event.versions, tuple(left), looked=not doubtful)
    fresh = replace(
        rotation,
        halt=halt,
        retirement=rotation.retirement if begun else None,
        reason=event.reason,
        paused=False,
        stalled_from=None,
        runbook="",
    )
    return enter(fresh, State.HALTING, now, note=f"an incident: {event.reason}")


def _in_doubt(rotation: Rotation) -> bool:
    """Tell whether a create may have made a key that we do not know."""
    state = rotation.stalled_from or rotation.state
    return rotation.new_key_id is None and (
        state is State.RECONCILING or (state is State.CREATING and rotation.created_us is not None)
    )


def halting(rotation: Rotation, event: Event, now: datetime) -> Step:
    """Carry an incident on: HALTING."""
    halt = rotation.halt
    if halt is None:
        raise IllegalTransition("halting without an incident")
    if not halt.looked:
        if isinstance(event, Tick):
            return ask(rotation, Effect(Do.FIND, rotation.new))
        if isinstance(event, Resume) and event.key_id is not None:
            return _looked(rotation, event.key_id or None, now)
        reply = reply_in(rotation, event)
        if reply.answer is Answer.OK:
            return _looked(rotation, reply.key_id, now)
        return later(rotation, now, reply.reason or "whether a key was made cannot be told")
    if rotation.retirement is None:
        if isinstance(event, Tick):
            return _next_halted(rotation, now, "")
        raise illegal(rotation, event)
    return retiring(rotation, event, now)


def _looked(rotation: Rotation, key_id: str | None, now: datetime) -> Step:
    halt = rotation.halt
    assert halt is not None  # noqa: S101 - the caller looked
    left = halt.left if key_id is None else (*halt.left, rotation.new)
    known = replace(rotation, new_key_id=key_id, halt=replace(halt, looked=True, left=left), tries=0)
    return _next_halted(known, now, "")


def _next_halted(rotation: Rotation, now: datetime, note: str) -> Step:
    """Retire the next version that the incident wants dead, or end."""
    halt = rotation.halt
    assert halt is not None  # noqa: S101 - the caller looked
    done = rotation.retirement.version if rotation.retirement is not None else None
    left = tuple(one for one in halt.left if one != done)
    if not left:
        return end(replace(rotation, halt=replace(halt, left=())), State.HALTED, rotation.reason or note, now)
    onward = retire.begin(left[0], by_hand=rotation.by_hand)
    fresh = replace(
        rotation, halt=replace(halt, left=left), retirement=onward.retirement, asked=None, due_at=now
    )
    return Step(replace(fresh, tries=0), None, note)
