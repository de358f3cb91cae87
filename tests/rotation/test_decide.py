"""Every state meets every event: it is listed and leads to where the table says, or it is our own bug and raises."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from rotation.decide import decide
from rotation.possible import commands
from rotation.retire import ABSENT, GONE, LISTED, NOT_DELETED, UNNAMED
from rotation.state import (
    IN_USE,
    KEYS_REFUSED,
    OUT_OF_BUDGET,
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
    Phase,
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
    S.PLANNED: {"tick": S.PREPARING, "rollback": S.ABANDONED},
    S.PREPARING: {
        "reply-ok": S.CREATING, "reply-refused": S.ABANDONED, "reply-unknown": STAY, "reply-retry": STAY,
        "rollback": S.ABANDONED,
    },
    S.CREATING: {
        "reply-ok": S.VERIFYING, "reply-refused": S.ABANDONED, "reply-unknown": S.RECONCILING, "restarted": S.RECONCILING, "reply-retry": STAY,
    },
    S.RECONCILING: {"reply-ok": S.VERIFYING, "reply-refused": S.STALLED, "reply-unknown": STAY, "reply-retry": STAY},
    S.VERIFYING: {
        "reply-ok": S.CANARY, "reply-refused": S.DISCARDING_NEW, "reply-unknown": STAY, "reply-retry": STAY,
        "rollback": S.DISCARDING_NEW,
    },
    S.CANARY: {
        "reply-ok": S.CUTTING_OVER, "reply-refused": S.DRAINING_NEW, "reply-unknown": STAY, "reply-retry": STAY,
        "rollback": S.DRAINING_NEW,
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


@pytest.mark.parametrize("state", [S.CANARY, S.DRAINING, S.DRAINING_NEW])
def test_a_pause_does_not_take_a_deadline_away(state: State) -> None:
    """What was resumed stalls, or is given up, when its time is over; it never waits for ever."""
    known = replace(standing_in(state), asked=None, deadline_at=BEGAN + timedelta(seconds=1))
    paused = decide(known, Pause(), BEGAN).rotation
    resumed = decide(paused, Resume(), BEGAN + timedelta(hours=1)).rotation
    assert resumed.deadline_at is not None
    assert resumed.deadline_at > BEGAN + timedelta(hours=1)
    asked = decide(resumed, Tick(), resumed.deadline_at).rotation
    late = decide(asked, Reply(Answer.UNKNOWN, "nobody answers"), resumed.deadline_at).rotation
    assert late.state in {S.STALLED, S.DRAINING_NEW} - {state}


def test_a_paused_one_that_is_given_up_goes_on() -> None:
    paused = decide(standing_in(S.DRAINING), Pause(), BEGAN).rotation
    back = decide(paused, RollBack("asked"), BEGAN).rotation
    assert (back.state, back.paused) == (S.ROLLING_BACK, False)
    assert decide(back, Tick(), BEGAN).effect == Effect(Do.MOVE_BACK, 1)


def test_a_key_a_person_is_to_make_can_be_given_up_and_one_in_flight_cannot() -> None:
    waits = replace(standing_in(S.CREATING), by_hand=True, asked=None, new_key_id=None)
    assert decide(waits, RollBack("the wrong account"), BEGAN).rotation.state is S.ABANDONED
    with pytest.raises(IllegalTransition):
        decide(replace(waits, by_hand=False, asked=Effect(Do.CREATE, 2)), RollBack("asked"), BEGAN)


def test_where_the_old_key_cannot_be_taken_back_the_new_one_can_be_kept() -> None:
    asked = replace(standing_in(S.ROLLING_BACK), may_be_current=True)
    stalled = decide(asked, Reply(Answer.REFUSED, "the exchange does not serve the old key"), BEGAN).rotation
    assert (stalled.state, stalled.runbook) == (S.STALLED, RUNBOOKS[S.ROLLING_BACK])
    onward = decide(stalled, Resume(onward=True), BEGAN).rotation
    assert (onward.state, onward.may_be_current) == (S.DRAINING, True)
    assert onward.deadline_at is not None


def test_an_incident_finishes_a_retirement_that_was_begun_and_stalled() -> None:
    stuck = replace(
        standing_in(S.STALLED), stalled_from=S.RETIRING_OLD, runbook="RB-10", retirement=Retirement(1, deletes=3),
        may_be_current=True,
    )  # fmt: skip
    halted = decide(stuck, Incident((), "another key leaked"), BEGAN).rotation
    assert halted.halt is not None
    assert halted.halt.left == (1,)
    assert halted.retirement == stuck.retirement, "it goes on where it stood"


def test_a_delete_that_was_cut_off_is_probed_and_not_sent_again() -> None:
    cut_off = replace(standing_in(S.RETIRING_OLD), asked=Effect(Do.DELETE, 1), stamp_us=7)
    assert decide(cut_off, Restarted(), BEGAN).effect == Effect(Do.PROBE, 1)


# --- everything that can stand, with everything that can happen --------------------------------

RETIRES = (Do.READ_CLOCK, Do.DELETE, Do.ASK_DELETE, Do.PROBE, Do.ENTOMB)
MAY_ASK: dict[State, tuple[Do, ...]] = {state: (effect.do,) for state, effect in ASKED.items()} | {
    S.CREATING: (Do.READ_CLOCK, Do.CREATE, Do.ASK_CREATE),
    S.RETIRING_OLD: RETIRES, S.DISCARDING_NEW: RETIRES, S.HALTING: (*RETIRES, Do.FIND),
}  # fmt: skip
REASONS = ("why", IN_USE, OUT_OF_BUDGET, KEYS_REFUSED, GONE, ABSENT, LISTED, UNNAMED, NOT_DELETED)
HAPPENS: list[Event] = [
    *(Reply(answer, reason, key_id="N1", venue_us=7) for answer in Answer for reason in REASONS),
    *(Reply(answer, reason) for answer in Answer for reason in REASONS),
    *(
        Tick(),
        Restarted(),
        RollBack("asked"),
        Pause(),
        Resume(),
        Resume("N1"),
        Resume(""),
        Resume(discard=True),
    ),
    *(
        Resume(onward=True),
        Resume(leave=True),
        Answered("N1"),
        Answered(),
        Incident((1,), "leak"),
        Incident((1, 2), "leaks"),
    ),
]


def everything_that_can_stand() -> Iterator[Rotation]:
    for state, by_hand in itertools.product(State, (False, True)):
        known = replace(standing_in(state), by_hand=by_hand)
        if known.retirement is not None:
            known = replace(known, retirement=replace(known.retirement, by_hand=by_hand))
            for phase in (Phase.PROBING, Phase.ENTOMBING):
                yield replace(known, asked=None, retirement=replace(known.retirement, phase=phase))
        if state is S.STALLED:
            yield from (replace(known, stalled_from=origin) for origin in RUNBOOKS)
            yield replace(known, stalled_from=S.RETIRING_OLD, retirement=Retirement(1, by_hand))
            yield replace(
                known, stalled_from=S.RETIRING_OLD, retirement=Retirement(1, by_hand, deleted_at=BEGAN)
            )
            continue
        for do in (*MAY_ASK.get(state, ()), None):
            one = replace(known, asked=None if do is None else Effect(do, 1))
            if do is Do.FIND and state is S.HALTING:
                one = replace(one, halt=Halt((1,), (1,), looked=False), retirement=None)
            yield one
            if state in PAUSES and do is None:
                yield replace(one, paused=True)


def test_whatever_happens_wherever_it_stands_is_decided_or_our_own_bug() -> None:
    """And every step keeps what the runner counts on."""
    decided = 0
    for rotation, event in itertools.product(everything_that_can_stand(), HAPPENS):
        try:
            step = decide(rotation, event, BEGAN)
        except IllegalTransition:
            assert not isinstance(event, (Tick, Restarted, Incident)), (rotation.state, event)
            continue
        decided += 1
        after = step.rotation
        assert step.effect is None or after.asked == step.effect, (rotation.state, event)
        assert (after.state is S.STALLED) == (after.stalled_from is not None), (rotation.state, event)
        assert after.state is not S.STALLED or after.runbook
        assert after.state not in TERMINAL or (step.effect is None and after.deadline_at is None)
        assert not (after.paused and step.effect), "what stands still asks for nothing"
        if isinstance(event, (RollBack, Answered, Resume)) and not rotation.over:
            assert not after.paused, "who is told to go on does not stand still"
    assert decided > 1000


def test_what_is_said_to_be_possible_is_and_nothing_else() -> None:
    words: list[tuple[str, Event]] = [
        ("rollback", RollBack("asked")), ("pause", Pause()), ("--discard", Resume(discard=True)),
        ("--onward", Resume(onward=True)), ("--no-key", Resume("")), ("--deleted", Answered()),
        ("--leave", Resume(leave=True)),
    ]  # fmt: skip
    for rotation, (word, event) in itertools.product(everything_that_can_stand(), words):
        if rotation.over:
            continue
        try:
            decide(rotation, event, BEGAN)
        except IllegalTransition:
            takes = False
        else:
            takes = True
        if word == "--no-key" and rotation.state is S.HALTING:
            continue  # an incident asks for itself
        assert takes == any(word in one for one in commands(rotation)), (rotation.state, rotation.asked, word)


def test_a_naive_time_is_the_callers_bug() -> None:
    with pytest.raises(ValueError, match="aware"):
        decide(standing_in(State.PLANNED), Tick(), BEGAN.replace(tzinfo=None))
