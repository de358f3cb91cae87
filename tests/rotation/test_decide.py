"""Every state meets every event: it is listed and leads to where the table says, or it is our own bug and raises."""

from dataclasses import replace
from datetime import timedelta

import pytest

from rotation.decide import decide
from rotation.state import (
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
    Retirement,
    RollBack,
    Rotation,
    State,
    Tick,
)
from rotation.steps import RUNBOOKS
from tests.rotation.world import BEGAN, World, planned

ASKED = {
    State.PREPARING: Effect(Do.PREPARE, 2), State.CREATING: Effect(Do.CREATE, 2),
    State.RECONCILING: Effect(Do.FIND, 2), State.VERIFYING: Effect(Do.VERIFY, 2), State.CANARY: Effect(Do.CANARY, 2),
    State.CUTTING_OVER: Effect(Do.MOVE, 2), State.DRAINING: Effect(Do.DRAIN, 1),
    State.ROLLING_BACK: Effect(Do.MOVE_BACK, 1), State.DRAINING_NEW: Effect(Do.DRAIN, 2),
    State.RETIRING_OLD: Effect(Do.ENTOMB, 1), State.DISCARDING_NEW: Effect(Do.ENTOMB, 2),
    State.HALTING: Effect(Do.ENTOMB, 1),
}  # fmt: skip
REPLIES = {f"reply-{answer.value}": Reply(answer, "why", key_id="N1", has_private=True) for answer in Answer}
EVENTS: dict[str, Event] = REPLIES | {
    "tick": Tick(), "restarted": Restarted(), "rollback": RollBack("asked"), "resume": Resume(), "pause": Pause(),
    "answered": Answered("N1"), "incident": Incident((1,), "leak"),
}  # fmt: skip
STAY = "stays"

S = State
TABLE: dict[State, dict[str, State | str]] = {
    S.PLANNED: {"tick": S.PREPARING},
    S.PREPARING: {"reply-ok": S.CREATING, "reply-refused": S.ABANDONED, "reply-unknown": STAY, "reply-retry": STAY},
    S.CREATING: {
        "reply-ok": S.VERIFYING, "reply-refused": S.ABANDONED, "reply-unknown": S.RECONCILING, "restarted": S.RECONCILING, "reply-retry": STAY,
    },
    S.RECONCILING: {"reply-ok": S.VERIFYING, "reply-refused": S.STALLED, "reply-unknown": STAY, "reply-retry": STAY},
    S.VERIFYING: {
        "reply-ok": S.CANARY, "reply-refused": S.DISCARDING_NEW, "reply-unknown": STAY, "reply-retry": STAY,
    },
    S.CANARY: {
        "reply-ok": S.CUTTING_OVER, "reply-refused": S.DRAINING_NEW, "reply-unknown": STAY, "reply-retry": STAY,
    },
    S.CUTTING_OVER: {"reply-ok": S.DRAINING, "reply-refused": S.STALLED, "reply-unknown": STAY, "reply-retry": STAY},
    S.DRAINING: {
        "reply-ok": S.RETIRING_OLD, "reply-refused": STAY, "reply-unknown": STAY, "reply-retry": STAY,
        "rollback": S.ROLLING_BACK,
    },
    S.ROLLING_BACK: {
        "reply-ok": S.DRAINING_NEW, "reply-refused": S.STALLED, "reply-unknown": STAY, "reply-retry": STAY,
    },
    S.DRAINING_NEW: {
        "reply-ok": S.DISCARDING_NEW, "reply-refused": STAY, "reply-unknown": STAY, "reply-retry": STAY,
    },
    S.RETIRING_OLD: {"reply-ok": S.DONE, "reply-refused": STAY, "reply-unknown": STAY, "reply-retry": STAY},
    S.DISCARDING_NEW: {"reply-ok": S.ABANDONED, "reply-refused": STAY, "reply-unknown": STAY, "reply-retry": STAY},
    S.STALLED: {"resume": S.DRAINING, "rollback": S.ROLLING_BACK},
    S.HALTING: {"reply-ok": S.HALTED, "reply-refused": STAY, "reply-unknown": STAY, "reply-retry": STAY},
    S.DONE: {}, S.ABANDONED: {}, S.HALTED: {},
}  # fmt: skip
PAUSES = {S.PLANNED, S.PREPARING, S.VERIFYING, S.CANARY, S.DRAINING, S.DRAINING_NEW}


def standing_in(state: State) -> Rotation:
    """Return a rotation that stands in a state, with what belongs to it."""
    known = replace(planned(World()), state=state, asked=ASKED.get(state), new_key_id="N1", has_private=True)
    match state:
        case S.RETIRING_OLD | S.HALTING:
            known = replace(known, retirement=Retirement(1))
        case S.DISCARDING_NEW:
            known = replace(known, retirement=Retirement(2))
        case S.STALLED:
            known = replace(known, stalled_from=S.DRAINING, reason="late", runbook="RB-09")
    return replace(known, halt=Halt((1,), (1,), looked=True)) if state is S.HALTING else known


def expected(state: State, name: str) -> State | str | None:
    """Say what the table has for a pair; None where it is listed nowhere."""
    listed = TABLE[state].get(name)
    if listed is not None:
        return listed
    if name in {"tick", "restarted"}:
        return STAY
    if name == "incident":
        return STAY if state in TERMINAL or state is S.HALTING else S.HALTING
    return STAY if name == "pause" and state in PAUSES else None


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("state", list(State))
def test_every_state_and_event_is_as_in_the_table(state: State, name: str) -> None:
    rotation, event = standing_in(state), EVENTS[name]
    if name == "tick" and state in ASKED:
        rotation = replace(rotation, asked=None)
    wanted = expected(state, name)
    if wanted is None:
        with pytest.raises(IllegalTransition):
            decide(rotation, event, BEGAN)
        return
    step = decide(rotation, event, BEGAN)
    assert step.rotation.state is (state if wanted == STAY else wanted)
    assert step.effect is None or step.rotation.asked == step.effect, (
        "an effect is on record before it is done"
    )
    if step.rotation.state in TERMINAL:
        assert step.effect is None


@pytest.mark.parametrize("state", [state for state in State if state not in TERMINAL])
def test_every_open_state_can_reach_halted(state: State) -> None:
    """5: an incident takes over whatever is open."""
    halted = decide(standing_in(state), Incident((1,), "leak"), BEGAN).rotation
    assert halted.state is State.HALTING


def test_what_stalls_names_its_runbook() -> None:
    late = replace(standing_in(State.DRAINING), deadline_at=BEGAN)
    step = decide(late, Reply(Answer.REFUSED, "local may use it for up to 9 s"), BEGAN)
    assert (step.rotation.state, step.rotation.runbook) == (State.STALLED, RUNBOOKS[State.DRAINING])
    assert "local may use it" in step.rotation.reason


def test_a_deadline_counts_on_its_instant_and_not_before() -> None:
    late = replace(standing_in(State.DRAINING), deadline_at=BEGAN)
    before = decide(late, Reply(Answer.REFUSED, "held"), BEGAN - timedelta(microseconds=1))
    assert before.rotation.state is State.DRAINING


def test_paused_it_stands_still_until_it_is_resumed() -> None:
    paused = decide(standing_in(State.VERIFYING), Pause(), BEGAN).rotation
    assert decide(paused, Tick(), BEGAN + timedelta(days=9)).effect is None
    resumed = decide(paused, Resume(), BEGAN).rotation
    assert decide(resumed, Tick(), BEGAN).effect == Effect(Do.VERIFY, 2)


def test_a_naive_time_is_the_callers_bug() -> None:
    with pytest.raises(ValueError, match="aware"):
        decide(standing_in(State.PLANNED), Tick(), BEGAN.replace(tzinfo=None))
