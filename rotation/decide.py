"""What becomes of a rotation when something happens: `decide(rotation, event, now) -> Step`. Pure, and total.

Rules:
1. One function per state. An event that the table (style 7.1) does not list for it is `IllegalTransition`: our bug.
2. Nothing here reads a clock, a store or dice; `now` is passed in, jitter was drawn at planning.
3. `current` is moved only after the new key was verified; the old key is deleted only after every gateway has left it.
   Up to then, and as long as no delete was ever sent, everything can be taken back.
4. What is not safe to repeat is answered UNKNOWN after a restart, and then looked up, never done again blindly.
5. An incident may come at any moment: whatever is open goes to HALTING, and takes along what is in doubt.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from broker.stores.held import EGRESS_LOST
from clients.errors import VENUE_PAUSE
from rotation import retire
from rotation.ending import discard, halt, halting, leave, retire_old, retiring
from rotation.possible import may_give_up, may_pause
from rotation.state import (
    IN_USE,
    KEYS_REFUSED,
    MANAGER_LOST,
    ONCE,
    OUT_OF_BUDGET,
    TERMINAL,
    Answer,
    Answered,
    Do,
    Effect,
    Event,
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
from rotation.steps import ask, end, enter, illegal, later, reply_in, stall, wait

_NO_TRY = frozenset({OUT_OF_BUDGET, VENUE_PAUSE, MANAGER_LOST, EGRESS_LOST, "rate_limited"})
"""We ask too much: who asks on is banned. It is waited for, however long, and no try is counted."""

_SOON, _SELDOM = timedelta(minutes=1), 10


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
            return halt(rotation, event, now)
        case Pause():
            return _pause(rotation, now)
        case Resume() if rotation.paused:
            if event != Resume(has_private=event.has_private):
                raise illegal(rotation, event)
            return _resumed(rotation, now)
        case Restarted():
            return _restarted(rotation, now)
        case Tick() if rotation.over:
            return Step(rotation)
        case Tick() if rotation.paused or now < rotation.due_at:
            return Step(rotation)
        case Reply(Answer.RETRY) if event.code in _NO_TRY and rotation.asked != _deletes(rotation):
            limits = rotation.limits
            pause = limits.budget_for if event.code == OUT_OF_BUDGET else limits.longest_backoff_for
            return wait(replace(rotation, stamp_us=None), now, pause, event.says)
        case RollBack() if (given_up := _given_up(rotation, event.reason, now)) is not None:
            return given_up
    handler = _STATES.get(rotation.state)
    if handler is None:
        raise IllegalTransition(f"{rotation.state}: {type(event).__name__}")
    return handler(rotation, event, now)


def _deletes(rotation: Rotation) -> Effect | None:
    """Return a delete that is under way: `retire` counts those itself."""
    asked = rotation.asked
    return asked if asked is not None and asked.do is Do.DELETE else None


# --- before the key exists --------------------------------------------------------------------


def _planned(rotation: Rotation, event: Event, now: datetime) -> Step:
    if isinstance(event, Tick):
        return enter(rotation, State.PREPARING, now)
    raise illegal(rotation, event)


def _preparing(rotation: Rotation, event: Event, now: datetime) -> Step:
    if isinstance(event, Tick):
        return ask(rotation, Effect(Do.PREPARE, rotation.new))
    reply = reply_in(rotation, event)
    if reply.answer is Answer.OK:
        made = replace(rotation, has_private=reply.has_private, public_key=reply.public_key)
        return enter(made, State.CREATING, now)
    if reply.answer is Answer.REFUSED or rotation.tries >= rotation.limits.tries:
        return end(rotation, State.ABANDONED, reply.reason or "no answer", now)
    return later(rotation, now, reply.reason)


def _creating(rotation: Rotation, event: Event, now: datetime) -> Step:
    if isinstance(event, Tick):
        if rotation.by_hand:
            return ask(rotation, Effect(Do.ASK_CREATE, rotation.new))
        return ask(rotation, Effect(Do.READ_CLOCK))
    if isinstance(event, Answered) and rotation.by_hand and event.key_id:
        known = replace(rotation, new_key_id=event.key_id, has_private=event.has_private)
        return enter(known, State.VERIFYING, now)
    reply = reply_in(rotation, event)
    asked = rotation.asked
    if asked is not None and asked.do is Do.ASK_CREATE:
        return wait(rotation, now, rotation.limits.remind_for, "waits for the operator")
    if asked is not None and asked.do is Do.READ_CLOCK:
        if reply.answer is Answer.OK and reply.venue_us is not None:
            latest_us = rotation.limits.latest_us(reply.venue_us)
            stamped = replace(rotation, stamp_us=reply.venue_us, created_us=latest_us)
            return ask(stamped, Effect(Do.CREATE, rotation.new))
        if rotation.tries >= rotation.limits.tries:
            return end(rotation, State.ABANDONED, reply.reason or "the exchange does not answer", now)
        return later(rotation, now, reply.reason)
    match reply.answer:
        case Answer.OK:
            known = replace(rotation, new_key_id=reply.key_id, has_private=True)
            return enter(known, State.VERIFYING, now)
        case Answer.REFUSED:
            return end(rotation, State.ABANDONED, reply.reason, now)
        case Answer.RETRY if rotation.tries < rotation.limits.tries:
            return later(replace(rotation, stamp_us=None), now, reply.says)
        case Answer.RETRY:
            return end(rotation, State.ABANDONED, reply.says, now)
        case Answer.UNKNOWN:
            doubted = replace(rotation, created_us=reply.venue_us or rotation.created_us)
            return enter(doubted, State.RECONCILING, now, note=reply.reason or "the answer was lost")


def _reconciling(rotation: Rotation, event: Event, now: datetime) -> Step:
    if isinstance(event, Tick):
        return ask(rotation, Effect(Do.FIND, rotation.new))
    reply = reply_in(rotation, event)
    match reply.answer:
        case Answer.OK if reply.key_id is not None:
            return _found(rotation, reply.key_id, now, has_private=reply.has_private)
        case Answer.OK:
            return end(rotation, State.ABANDONED, "no key was made", now)
        case Answer.REFUSED:
            return stall(rotation, reply.reason, now)
        case _ if rotation.tries >= rotation.limits.probes:
            return stall(rotation, reply.reason or "whether a key was made cannot be told", now)
        case _:
            return later(rotation, now, reply.reason)


def _found(rotation: Rotation, key_id: str, now: datetime, *, has_private: bool) -> Step:
    known = replace(rotation, new_key_id=key_id, has_private=has_private)
    if has_private:
        return enter(known, State.VERIFYING, now)
    return discard(known, "it was made, but its secret was lost", now)


def _verifying(rotation: Rotation, event: Event, now: datetime) -> Step:
    if isinstance(event, Tick):
        return ask(rotation, Effect(Do.VERIFY, rotation.new))
    reply = reply_in(rotation, event)
    if reply.answer is Answer.OK:
        entered = replace(rotation, deadline_at=now + rotation.limits.canary_for)
        return enter(entered, State.CANARY, now, keep_deadline=True)
    if reply.answer is Answer.REFUSED or rotation.tries >= rotation.limits.tries:
        return discard(rotation, f"not as ordered: {reply.reason}", now)
    return later(rotation, now, reply.reason)


# --- the cutover ------------------------------------------------------------------------------


def _canary(rotation: Rotation, event: Event, now: datetime) -> Step:
    if isinstance(event, Tick):
        return ask(rotation, Effect(Do.CANARY, rotation.new))
    reply = reply_in(rotation, event)
    if reply.answer is Answer.OK:
        return enter(rotation, State.CUTTING_OVER, now, note=reply.reason)
    late = rotation.deadline_at is not None and now >= rotation.deadline_at
    if reply.answer is Answer.REFUSED or late:
        return _enter_draining_new(rotation, f"no gateway could use it: {reply.reason or 'no answer'}", now)
    return wait(rotation, now, rotation.limits.poll_for, reply.reason)


def _cutting_over(rotation: Rotation, event: Event, now: datetime) -> Step:
    if isinstance(event, Tick):
        return ask(replace(rotation, may_be_current=True), Effect(Do.MOVE, rotation.new))
    reply = reply_in(rotation, event)
    if reply.answer is Answer.OK:
        moved = replace(rotation, deadline_at=now + rotation.limits.drain_for)
        return enter(moved, State.DRAINING, now, keep_deadline=True)
    if reply.answer is Answer.REFUSED or rotation.tries >= rotation.limits.tries:
        return stall(rotation, reply.reason or "the database does not answer", now)
    return later(rotation, now, reply.reason)


def _draining(rotation: Rotation, event: Event, now: datetime) -> Step:
    if isinstance(event, Tick):
        return ask(rotation, Effect(Do.DRAIN, rotation.old))
    reply, limits = reply_in(rotation, event), rotation.limits
    if reply.answer is Answer.REFUSED and reply.reason.startswith(KEYS_REFUSED):
        return _roll_back(rotation, reply.reason, now)
    if reply.answer is Answer.OK:
        if reply.reason == IN_USE and now < rotation.entered_at + limits.watch_for:
            return wait(
                rotation, now, limits.poll_for, "every gateway has left the old key; bots use the new one"
            )
        return retire_old(rotation, now)
    if rotation.deadline_at is not None and now >= rotation.deadline_at:
        return stall(rotation, reply.reason or "somebody still uses the old key", now)
    return wait(rotation, now, _poll(rotation, now), reply.reason)


def _poll(rotation: Rotation, now: datetime) -> timedelta:
    """Look often at first; who takes hours is not looked at every second."""
    return rotation.limits.poll_for * (1 if now < rotation.entered_at + _SOON else _SELDOM)


def _given_up(rotation: Rotation, reason: str, now: datetime) -> Step | None:
    """Give the new key up, however far it is; None where that cannot be done now."""
    if not may_give_up(rotation):
        return None
    going = replace(rotation, paused=False)
    match rotation.state:
        case State.VERIFYING:
            return discard(going, reason, now)
        case State.CANARY:
            return _enter_draining_new(going, reason, now)
        case State.DRAINING:
            return _roll_back(going, reason, now)
        case State.STALLED:
            return _roll_back(_unstalled(going), reason, now)
        case _:  # nothing was asked of the exchange yet
            return end(going, State.ABANDONED, reason, now)


def _roll_back(rotation: Rotation, reason: str, now: datetime) -> Step:
    back = replace(rotation, reason=reason, retirement=None)
    return enter(back, State.ROLLING_BACK, now, note=f"rolls back: {reason}")


def _rolling_back(rotation: Rotation, event: Event, now: datetime) -> Step:
    if isinstance(event, Tick):
        return ask(rotation, Effect(Do.MOVE_BACK, rotation.old))
    reply = reply_in(rotation, event)
    if reply.answer is Answer.OK:
        return _enter_draining_new(replace(rotation, may_be_current=False), rotation.reason, now)
    if reply.answer is Answer.REFUSED or rotation.tries >= rotation.limits.tries:
        return stall(rotation, reply.reason or "the database does not answer", now)
    return later(rotation, now, reply.reason)


def _enter_draining_new(rotation: Rotation, reason: str, now: datetime) -> Step:
    waiting = replace(rotation, reason=reason, deadline_at=now + rotation.limits.drain_for)
    return enter(waiting, State.DRAINING_NEW, now, keep_deadline=True, note=reason)


def _draining_new(rotation: Rotation, event: Event, now: datetime) -> Step:
    if isinstance(event, Tick):
        return ask(rotation, Effect(Do.DRAIN, rotation.new))
    reply = reply_in(rotation, event)
    if reply.answer is Answer.OK:
        return discard(rotation, rotation.reason, now)
    if rotation.deadline_at is not None and now >= rotation.deadline_at:
        return stall(rotation, reply.reason or "somebody still uses the new key", now)
    return wait(rotation, now, _poll(rotation, now), reply.reason)


# --- standing still ---------------------------------------------------------------------------


def _stalled(rotation: Rotation, event: Event, now: datetime) -> Step:
    origin = rotation.stalled_from
    if isinstance(event, Tick):
        return wait(rotation, now, rotation.limits.remind_for, rotation.reason)
    if not isinstance(event, Resume) or origin is None or not _belongs(event, origin):
        raise illegal(rotation, event)
    fresh = _unstalled(rotation)
    if event.key_id is not None:
        if event.key_id:
            return _found(fresh, event.key_id, now, has_private=event.has_private)
        return end(fresh, State.ABANDONED, "the operator looked: no key was made", now)
    if event.onward:
        going = replace(fresh, deadline_at=now + rotation.limits.drain_for)
        return enter(going, State.DRAINING, now, keep_deadline=True, note="goes on with the new key")
    if event.leave:
        return leave(replace(fresh, state=origin), now)
    if event.discard:  # whether it was moved is not known: it is moved back
        return _roll_back(fresh, "the operator gives the new key up", now)
    if fresh.retirement is not None and origin in {State.RETIRING_OLD, State.DISCARDING_NEW}:
        fresh = replace(fresh, retirement=retire.again(fresh.retirement).retirement)
    if origin in {State.DRAINING, State.DRAINING_NEW}:
        fresh = replace(fresh, deadline_at=now + rotation.limits.drain_for)
    return enter(fresh, origin, now, keep_deadline=True, note="resumed")


def _belongs(event: Resume, origin: State) -> bool:
    """Tell whether what is said with a resume is an answer to what stalled."""
    asked = (
        (event.key_id is not None, (State.RECONCILING,)), (event.discard, (State.CUTTING_OVER,)),
        (event.onward, (State.ROLLING_BACK,)), (event.leave, (State.RETIRING_OLD, State.DISCARDING_NEW)),
    )  # fmt: skip
    return all(origin in states for said, states in asked if said)


def _unstalled(rotation: Rotation) -> Rotation:
    return replace(rotation, stalled_from=None, reason="", runbook="", deadline_at=None)


def _pause(rotation: Rotation, now: datetime) -> Step:
    if not may_pause(rotation):
        raise illegal(rotation, Pause())
    return Step(replace(rotation, paused=True, asked=None, entered_at=now), None, "paused")


def _resumed(rotation: Rotation, now: datetime) -> Step:
    waits = {State.CANARY: rotation.limits.canary_for}.get(rotation.state, rotation.limits.drain_for)
    fresh = replace(rotation, paused=False, deadline_at=now + waits)
    return enter(fresh, rotation.state, now, keep_deadline=rotation.deadline_at is not None, note="resumed")


def _restarted(rotation: Rotation, now: datetime) -> Step:
    """Go on where somebody else was cut off."""
    if rotation.over or rotation.asked is None:
        return Step(rotation)
    if rotation.asked.do in ONCE:
        return decide(rotation, Reply(Answer.UNKNOWN, "cut off"), now)
    return ask(rotation, rotation.asked)


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
    State.RETIRING_OLD: retiring,
    State.DISCARDING_NEW: retiring,
    State.STALLED: _stalled,
    State.HALTING: halting,
}

assert set(_STATES) | TERMINAL == set(State)  # noqa: S101 - every state has its function
