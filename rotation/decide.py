"""What becomes of a rotation when something happens: `decide(rotation, event, now) -> Step`. Pure, and total.

Rules:
1. One function per state. An event that the table (style 7.1) does not list for it is `IllegalTransition`: our bug.
2. Nothing here reads a clock, a store or dice; `now` is passed in, jitter was drawn at planning.
3. `current` is moved only after the new key was verified; the old key is deleted only after every gateway has left it.
   Up to then everything can be taken back.
4. What is not safe to repeat is answered UNKNOWN after a restart, and then looked up, never done again blindly.
5. An incident may come at any moment: whatever is open goes to HALTING, and takes along what is in doubt.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from rotation import retire
from rotation.state import (
    ONCE,
    TERMINAL,
    Answer,
    Answered,
    Do,
    Effect,
    Event,
    Halt,
    IllegalTransition,
    Incident,
    Pause,
    Reply,
    Restarted,
    Resume,
    RollBack,
    Rotation,
    State,
    Step,
    Tick,
)

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

_MAY_PAUSE = frozenset(
    {State.PLANNED, State.PREPARING, State.VERIFYING, State.CANARY, State.DRAINING, State.DRAINING_NEW}
)
_MAY_ROLL_BACK = frozenset({State.DRAINING})


def decide(rotation: Rotation, event: Event, now: datetime) -> Step:
    """Say what becomes of a rotation.

    Args:
        rotation: As it was saved last.
        event: What happened. A `Reply` answers the effect in `rotation.asked`.
        now: Aware UTC.

    Raises:
        IllegalTransition: The event cannot happen in this state (our bug).
        ValueError: `now` is naive (caller's bug).
    """
    if now.tzinfo is None:
        raise ValueError("time is aware")
    if isinstance(event, Reply) and rotation.asked is None:
        raise IllegalTransition(f"{rotation.state}: an answer to nothing")
    match event:
        case Incident():
            return _halt(rotation, event, now)
        case Pause():
            return _pause(rotation, now)
        case Resume() if rotation.paused:
            return _enter(
                replace(rotation, paused=False, deadline_at=None), rotation.state, now, note="resumed"
            )
        case Restarted():
            return _restarted(rotation, now)
        case Tick() if rotation.over:
            return Step(rotation)
        case Tick() if rotation.paused or now < rotation.due_at:
            return Step(rotation)
        case RollBack() if rotation.state in _MAY_ROLL_BACK:
            return _roll_back(rotation, event.reason, now)
    handler = _STATES.get(rotation.state)
    if handler is None:
        raise IllegalTransition(f"{rotation.state}: {type(event).__name__}")
    return handler(rotation, event, now)


# --- before the key exists --------------------------------------------------------------------


def _planned(rotation: Rotation, event: Event, now: datetime) -> Step:
    if isinstance(event, Tick):
        return _enter(rotation, State.PREPARING, now)
    raise _illegal(rotation, event)


def _preparing(rotation: Rotation, event: Event, now: datetime) -> Step:
    if isinstance(event, Tick):
        return _ask(rotation, Effect(Do.PREPARE, rotation.new))
    reply = _reply(rotation, event)
    if reply.answer is Answer.OK:
        return _enter(replace(rotation, has_private=reply.has_private), State.CREATING, now)
    if reply.answer is Answer.REFUSED or rotation.tries >= rotation.limits.tries:
        return _end(rotation, State.ABANDONED, reply.reason or "no answer", now)
    return _later(rotation, now, reply.reason)


def _creating(rotation: Rotation, event: Event, now: datetime) -> Step:
    if isinstance(event, Tick):
        if rotation.by_hand:
            return _ask(rotation, Effect(Do.ASK_CREATE, rotation.new))
        return _ask(rotation, Effect(Do.READ_CLOCK))
    if isinstance(event, Answered) and rotation.by_hand and event.key_id:
        known = replace(rotation, new_key_id=event.key_id, has_private=event.has_private)
        return _enter(known, State.VERIFYING, now)
    reply = _reply(rotation, event)
    asked = rotation.asked
    if asked is not None and asked.do is Do.ASK_CREATE:
        return _wait(rotation, now, rotation.limits.remind_for, "waits for the operator")
    if asked is not None and asked.do is Do.READ_CLOCK:
        if reply.answer is Answer.OK and reply.venue_us is not None:
            stamped = replace(rotation, stamp_us=reply.venue_us, created_us=reply.venue_us)
            return _ask(stamped, Effect(Do.CREATE, rotation.new))
        if rotation.tries >= rotation.limits.tries:
            return _end(rotation, State.ABANDONED, reply.reason or "the exchange does not answer", now)
        return _later(rotation, now, reply.reason)
    match reply.answer:
        case Answer.OK:
            known = replace(rotation, new_key_id=reply.key_id, has_private=True)
            return _enter(known, State.VERIFYING, now)
        case Answer.REFUSED:
            return _end(rotation, State.ABANDONED, reply.reason, now)
        case Answer.RETRY if rotation.tries < rotation.limits.tries:
            return _later(replace(rotation, stamp_us=None), now, reply.reason)
        case Answer.RETRY:
            return _end(rotation, State.ABANDONED, reply.reason, now)
        case Answer.UNKNOWN:
            return _enter(rotation, State.RECONCILING, now, note=reply.reason or "the answer was lost")


def _reconciling(rotation: Rotation, event: Event, now: datetime) -> Step:
    if isinstance(event, Tick):
        return _ask(rotation, Effect(Do.FIND, rotation.new))
    reply = _reply(rotation, event)
    match reply.answer:
        case Answer.OK if reply.key_id is not None:
            return _found(rotation, reply.key_id, now, has_private=reply.has_private)
        case Answer.OK:
            return _end(rotation, State.ABANDONED, "no key was made", now)
        case Answer.REFUSED:
            return _stall(rotation, reply.reason, now)
        case _ if rotation.tries >= rotation.limits.probes:
            return _stall(rotation, reply.reason or "whether a key was made cannot be told", now)
        case _:
            return _later(rotation, now, reply.reason)


def _found(rotation: Rotation, key_id: str, now: datetime, *, has_private: bool) -> Step:
    known = replace(rotation, new_key_id=key_id, has_private=has_private)
    if has_private:
        return _enter(known, State.VERIFYING, now)
    return _discard(known, "it was made, but its secret was lost", now)


def _verifying(rotation: Rotation, event: Event, now: datetime) -> Step:
    if isinstance(event, Tick):
        return _ask(rotation, Effect(Do.VERIFY, rotation.new))
    reply = _reply(rotation, event)
    if reply.answer is Answer.OK:
        entered = replace(rotation, deadline_at=now + rotation.limits.canary_for)
        return _enter(entered, State.CANARY, now, keep_deadline=True)
    if reply.answer is Answer.REFUSED or rotation.tries >= rotation.limits.tries:
        return _discard(rotation, f"not as ordered: {reply.reason}", now)
    return _later(rotation, now, reply.reason)


# --- the cutover ------------------------------------------------------------------------------


def _canary(rotation: Rotation, event: Event, now: datetime) -> Step:
    if isinstance(event, Tick):
        return _ask(rotation, Effect(Do.CANARY, rotation.new))
    reply = _reply(rotation, event)
    if reply.answer is Answer.OK:
        return _enter(rotation, State.CUTTING_OVER, now, note=reply.reason)
    late = rotation.deadline_at is not None and now >= rotation.deadline_at
    if reply.answer is Answer.REFUSED or late:
        return _enter_draining_new(rotation, f"no gateway could use it: {reply.reason or 'no answer'}", now)
    return _wait(rotation, now, rotation.limits.poll_for, reply.reason)


def _cutting_over(rotation: Rotation, event: Event, now: datetime) -> Step:
    if isinstance(event, Tick):
        return _ask(replace(rotation, may_be_current=True), Effect(Do.MOVE, rotation.new))
    reply = _reply(rotation, event)
    if reply.answer is Answer.OK:
        moved = replace(rotation, deadline_at=now + rotation.limits.drain_for)
        return _enter(moved, State.DRAINING, now, keep_deadline=True)
    if reply.answer is Answer.REFUSED or rotation.tries >= rotation.limits.tries:
        return _stall(rotation, reply.reason or "the database does not answer", now)
    return _later(rotation, now, reply.reason)


def _draining(rotation: Rotation, event: Event, now: datetime) -> Step:
    if isinstance(event, Tick):
        return _ask(rotation, Effect(Do.DRAIN, rotation.old))
    reply = _reply(rotation, event)
    if reply.answer is Answer.OK:
        return _retire_old(rotation, now)
    if rotation.deadline_at is not None and now >= rotation.deadline_at:
        return _stall(rotation, reply.reason or "somebody still uses the old key", now)
    return _wait(rotation, now, rotation.limits.poll_for, reply.reason)


def _roll_back(rotation: Rotation, reason: str, now: datetime) -> Step:
    return _enter(replace(rotation, reason=reason), State.ROLLING_BACK, now, note=f"rolls back: {reason}")


def _rolling_back(rotation: Rotation, event: Event, now: datetime) -> Step:
    if isinstance(event, Tick):
        return _ask(rotation, Effect(Do.MOVE_BACK, rotation.old))
    reply = _reply(rotation, event)
    if reply.answer is Answer.OK:
        return _enter_draining_new(replace(rotation, may_be_current=False), rotation.reason, now)
    if reply.answer is Answer.REFUSED or rotation.tries >= rotation.limits.tries:
        return _stall(rotation, reply.reason or "the database does not answer", now)
    return _later(rotation, now, reply.reason)


def _enter_draining_new(rotation: Rotation, reason: str, now: datetime) -> Step:
    waiting = replace(rotation, reason=reason, deadline_at=now + rotation.limits.drain_for)
    return _enter(waiting, State.DRAINING_NEW, now, keep_deadline=True, note=reason)


def _draining_new(rotation: Rotation, event: Event, now: datetime) -> Step:
    if isinstance(event, Tick):
        return _ask(rotation, Effect(Do.DRAIN, rotation.new))
    reply = _reply(rotation, event)
    if reply.answer is Answer.OK:
        return _discard(rotation, rotation.reason, now)
    if rotation.deadline_at is not None and now >= rotation.deadline_at:
        return _stall(rotation, reply.reason or "somebody still uses the new key", now)
    return _wait(rotation, now, rotation.limits.poll_for, reply.reason)


# --- the end of a key -------------------------------------------------------------------------


def _retire_old(rotation: Rotation, now: datetime) -> Step:
    if rotation.old is None:
        return _end(rotation, State.DONE, "a first key", now)
    onward = retire.begin(rotation.old, by_hand=rotation.by_hand)
    return _enter(replace(rotation, retirement=onward.retirement), State.RETIRING_OLD, now)


def _discard(rotation: Rotation, reason: str, now: datetime) -> Step:
    onward = retire.begin(rotation.new, by_hand=rotation.by_hand)
    fresh = replace(rotation, retirement=onward.retirement, reason=reason)
    return _enter(fresh, State.DISCARDING_NEW, now, note=reason)


def _retiring(rotation: Rotation, event: Event, now: datetime) -> Step:
    """Retire the old version, discard the new, or one of an incident's: RETIRING_OLD, DISCARDING_NEW, HALTING."""
    retirement = rotation.retirement
    if retirement is None:
        raise IllegalTransition(f"{rotation.state}: nothing to retire")
    if isinstance(event, Tick):
        return _ask(rotation, retire.effect_of(retirement))
    if isinstance(event, Answered) and retirement.by_hand:
        fresh = replace(rotation, due_at=now, asked=None)
        return Step(fresh, None, "the operator says that it is deleted; it is probed")
    reply = _reply(rotation, event)
    asked = rotation.asked
    assert asked is not None  # noqa: S101 - `decide` refuses an answer to nothing
    match retire.step(retirement, asked.do, reply, rotation.limits, now):
        case retire.Onward(going, effect, wait):
            stamped = replace(rotation, retirement=going, stamp_us=reply.venue_us or rotation.stamp_us)
            if not wait:
                return _ask(stamped, effect)
            if going.by_hand and asked.do is not Do.ENTOMB:
                return _wait(stamped, now, rotation.limits.by_hand_for, reply.reason)
            return _later(stamped, now, reply.reason)
        case retire.Stuck(stuck, reason):
            if rotation.state is not State.HALTING:
                return _stall(replace(rotation, retirement=stuck), reason, now)
            # it pages, and goes on: an incident does not stand still
            return _later(replace(rotation, retirement=retire.again(stuck).retirement), now, reason)
        case retire.Dead(done):
            return _dead(replace(rotation, retirement=done), done.proof, now)


def _dead(rotation: Rotation, proof: str, now: datetime) -> Step:
    note = f"version {rotation.retirement.version if rotation.retirement else '?'} is dead: {proof}"
    match rotation.state:
        case State.RETIRING_OLD:
            return _end(replace(rotation, reason=""), State.DONE, note, now)
        case State.DISCARDING_NEW:
            return _end(rotation, State.ABANDONED, rotation.reason or note, now)
        case _:
            return _next_halted(rotation, now, note)


# --- standing still ---------------------------------------------------------------------------


def _stalled(rotation: Rotation, event: Event, now: datetime) -> Step:
    origin = rotation.stalled_from
    if isinstance(event, Tick):
        return _wait(rotation, now, rotation.limits.remind_for, rotation.reason)
    if isinstance(event, RollBack) and origin is State.DRAINING:
        return _roll_back(_unstalled(rotation), event.reason, now)
    if not isinstance(event, Resume) or origin is None:
        raise _illegal(rotation, event)
    fresh = _unstalled(rotation)
    if origin is State.RECONCILING and event.key_id is not None:
        if event.key_id:
            return _found(fresh, event.key_id, now, has_private=event.has_private)
        return _end(fresh, State.ABANDONED, "the operator looked: no key was made", now)
    if origin is State.CUTTING_OVER and event.discard:  # whether it was moved is not known: it is moved back
        return _roll_back(fresh, "the operator gives the new key up", now)
    if fresh.retirement is not None and origin in {State.RETIRING_OLD, State.DISCARDING_NEW}:
        fresh = replace(fresh, retirement=retire.again(fresh.retirement).retirement)
    if origin in {State.DRAINING, State.DRAINING_NEW}:
        fresh = replace(fresh, deadline_at=now + rotation.limits.drain_for)
    return _enter(fresh, origin, now, keep_deadline=True, note="resumed")


def _unstalled(rotation: Rotation) -> Rotation:
    return replace(rotation, stalled_from=None, reason="", runbook="", deadline_at=None)


def _pause(rotation: Rotation, now: datetime) -> Step:
    if rotation.state not in _MAY_PAUSE or rotation.paused:
        raise _illegal(rotation, Pause())
    return Step(replace(rotation, paused=True, asked=None, entered_at=now), None, "paused")


def _resumed(rotation: Rotation, now: datetime) -> Step:
    waits = {State.CANARY: rotation.limits.canary_for}.get(rotation.state, rotation.limits.drain_for)
    fresh = replace(rotation, paused=False, deadline_at=now + waits)
    return _enter(fresh, rotation.state, now, keep_deadline=rotation.deadline_at is not None, note="resumed")


def _restarted(rotation: Rotation, now: datetime) -> Step:
    """Go on where somebody else was cut off."""
    if rotation.over or rotation.asked is None:
        return Step(rotation)
    if rotation.asked.do in ONCE:
        return decide(rotation, Reply(Answer.UNKNOWN, "cut off"), now)
    return _ask(rotation, rotation.asked)


# --- an incident ------------------------------------------------------------------------------


def _halt(rotation: Rotation, event: Incident, now: datetime) -> Step:
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
    if rotation.state is State.RETIRING_OLD and rotation.old is not None and rotation.old not in left:
        left.append(rotation.old)
    doubtful = _in_doubt(rotation)
    known_new = rotation.new_key_id is not None
    if not rotation.may_be_current and known_new and rotation.new not in left:
        left.append(rotation.new)
    if not known_new and rotation.new in left:
        left.remove(rotation.new)
    halt = Halt(event.versions, tuple(left), looked=not doubtful)
    begun = rotation.retirement if rotation.state is State.RETIRING_OLD else None
    fresh = replace(
        rotation,
        halt=halt,
        retirement=begun,
        reason=event.reason,
        paused=False,
        stalled_from=None,
        runbook="",
    )
    return _enter(fresh, State.HALTING, now, note=f"an incident: {event.reason}")


def _in_doubt(rotation: Rotation) -> bool:
    """Tell whether a create may have made a key that we do not know."""
    state = rotation.stalled_from or rotation.state
    return rotation.new_key_id is None and (
        state is State.RECONCILING or (state is State.CREATING and rotation.created_us is not None)
    )


def _halting(rotation: Rotation, event: Event, now: datetime) -> Step:
    halt = rotation.halt
    if halt is None:
        raise IllegalTransition("halting without an incident")
    if not halt.looked:
        if isinstance(event, Tick):
            return _ask(rotation, Effect(Do.FIND, rotation.new))
        if isinstance(event, Resume) and event.key_id is not None:
            return _looked(rotation, event.key_id or None, now)
        reply = _reply(rotation, event)
        if reply.answer is Answer.OK:
            return _looked(rotation, reply.key_id, now)
        return _later(rotation, now, reply.reason or "whether a key was made cannot be told")
    if rotation.retirement is None:
        if isinstance(event, Tick):
            return _next_halted(rotation, now, "")
        raise _illegal(rotation, event)
    return _retiring(rotation, event, now)


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
        return _end(
            replace(rotation, halt=replace(halt, left=())), State.HALTED, rotation.reason or note, now
        )
    onward = retire.begin(left[0], by_hand=rotation.by_hand)
    fresh = replace(
        rotation, halt=replace(halt, left=left), retirement=onward.retirement, asked=None, due_at=now
    )
    return Step(replace(fresh, tries=0), None, note)


# --- parts ------------------------------------------------------------------------------------


def _reply(rotation: Rotation, event: Event) -> Reply:
    if not isinstance(event, Reply):
        raise _illegal(rotation, event)
    return event


def _illegal(rotation: Rotation, event: Event) -> IllegalTransition:
    return IllegalTransition(f"{rotation.state}: {type(event).__name__} cannot happen")


def _enter(
    rotation: Rotation, state: State, now: datetime, *, keep_deadline: bool = False, note: str = ""
) -> Step:
    """Enter a state, to be looked at at once."""
    fresh = replace(
        rotation, state=state, entered_at=now, due_at=now, asked=None, tries=0,
        deadline_at=rotation.deadline_at if keep_deadline else None,
    )  # fmt: skip
    return Step(fresh, None, note)


def _ask(rotation: Rotation, effect: Effect) -> Step:
    return Step(replace(rotation, asked=effect), effect)


def _later(rotation: Rotation, now: datetime, note: str) -> Step:
    """Stay, and look again after a pause that grows."""
    limits = rotation.limits
    pause = min(limits.backoff_for * (2 ** min(rotation.tries, 10)), limits.longest_backoff_for)
    return Step(replace(rotation, tries=rotation.tries + 1, asked=None, due_at=now + pause), None, note)


def _wait(rotation: Rotation, now: datetime, pause: timedelta, note: str) -> Step:
    """Stay, and look again after a while, however often."""
    return Step(replace(rotation, asked=None, due_at=now + pause), None, note)


def _stall(rotation: Rotation, reason: str, now: datetime) -> Step:
    runbook = RUNBOOKS[rotation.state]
    stalled = replace(rotation, stalled_from=rotation.state, reason=reason, runbook=runbook)
    return _enter(stalled, State.STALLED, now, note=f"stalled: {reason} ({runbook})")


def _end(rotation: Rotation, state: State, reason: str, now: datetime) -> Step:
    ended = replace(
        rotation, state=state, reason=reason, asked=None, entered_at=now, due_at=now, deadline_at=None
    )
    return Step(ended, None, reason)


_STATES: dict[State, Callable[[Rotation, Event, datetime], Step]] = {
    State.PLANNED: _planned,
    State.PREPARING: _preparing,
    State.CREATING: _creating,
    State.RECONCILING: _reconciling,
    State.VERIFYING: _verifying,
    State.CANARY: _canary,
    State.CUTTING_OVER: _cutting_over,
    State.DRAINING: _draining,
    State.ROLLING_BACK: _rolling_back,
    State.DRAINING_NEW: _draining_new,
    State.RETIRING_OLD: _retiring,
    State.DISCARDING_NEW: _retiring,
    State.STALLED: _stalled,
    State.HALTING: _halting,
}

assert set(_STATES) | TERMINAL == set(State)  # noqa: S101 - every state has its function
