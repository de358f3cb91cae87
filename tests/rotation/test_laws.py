"""The invariants of style 7.2, with a venue that loses, lies and lags, kills anywhere, and incidents at any moment."""

import itertools
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.secret import Secret
from clients.venue import KeyType
from rotation import decide as machine
from rotation import retire
from rotation.decide import decide
from rotation.state import Answer, Do, Effect, Event, Phase, Reply, Rotation, State, Step
from rotation.steps import ask
from tests.rotation.world import Decide, Fate, World, planned, run

FATES = st.lists(st.sampled_from(Fate), max_size=40)
LAGS = st.sampled_from([timedelta(0), timedelta(seconds=3), timedelta(seconds=9)])


def in_use(world: World, rotation: Rotation) -> None:
    """1: outside an incident `current` names a version that the venue accepts."""
    if not world.incident:
        assert world.key_of[world.current] in world.working(), "the key in use does not work"
    assert "Secret" not in repr(rotation)


def ended_well(world: World, rotation: Rotation, named: tuple[int, ...] = (1,)) -> None:
    """3: one live key, and none the record does not know."""
    known = {world.key_of[1], *([rotation.new_key_id] if rotation.new_key_id else [])}
    assert world.working() <= known, "a key the record does not know"
    if rotation.state is State.HALTED:
        dead = {world.key_of[version] for version in named if version in world.key_of}
        assert not dead & world.working(), "an incident's key lives"
        assert rotation.may_be_current or rotation.new_key_id not in world.working()
        gone = {world.key_of[version] for version in world.deletes}
        assert not gone & world.working(), "a retirement that was begun was not finished"
    else:
        assert world.working() == {world.key_of[world.current]}, "not one live key"
    for version in world.tombs:
        assert world.key_of[version] not in world.working()


@pytest.mark.parametrize("key_type", [KeyType.ED25519, KeyType.HMAC])
@settings(max_examples=400, deadline=None)
@given(fates=FATES, lag=LAGS, labels=st.booleans(), bad=st.booleans(), back=st.integers(0, 60))
def test_whatever_fails_one_key_lives_and_every_key_is_known(
    key_type: KeyType, fates: list[Fate], lag: timedelta, labels: bool, bad: bool, back: int
) -> None:
    world = World(labels=labels, lag=lag, bad=bad)
    done = run(world, planned(world, key_type=key_type), list(fates), decide, roll_back_at=back, watch=in_use)
    assert done.rotation.state in {State.DONE, State.ABANDONED}
    ended_well(world, done.rotation)
    if done.rotation.state is State.DONE:
        assert world.tombs >= {1}
        assert not bad


@settings(max_examples=600, deadline=None)
@given(
    fates=FATES, lag=LAGS, at=st.integers(0, 80), probing=st.booleans(), labels=st.booleans(), alone=st.booleans(),
    named=st.sampled_from([(1,), (2,), (1, 2), ()]), back=st.integers(0, 80),
)  # fmt: skip
def test_an_incident_at_any_moment_ends_halted_with_its_keys_dead(
    fates: list[Fate],
    lag: timedelta,
    at: int,
    probing: bool,
    labels: bool,
    alone: bool,
    named: tuple[int, ...],
    back: int,
) -> None:
    """Whichever versions it names, also where the rotation was stalled or is being taken back."""
    world = World(lag=lag, probing=probing, labels=labels, alone=alone)
    done = run(
        world, planned(world), list(fates), decide, incident_at=at, named=named, roll_back_at=back, watch=in_use
    )  # fmt: skip
    if not world.incident:
        assert done.rotation.over
        return
    assert done.rotation.state is State.HALTED
    ended_well(world, done.rotation, named)


@settings(max_examples=400, deadline=None)
@given(
    fates=FATES,
    at=st.integers(0, 60),
    version=st.sampled_from([1, 2]),
    bad=st.booleans(),
    back=st.integers(0, 60),
)
def test_whenever_a_secret_is_lost_a_key_is_left_that_works_and_whose_secret_is_kept(
    fates: list[Fate], at: int, version: int, bad: bool, back: int
) -> None:
    """Where the other was deleted before, or no key was made, nothing can be done for it."""
    world, looks, sent = World(bad=bad), itertools.count(), list[bool]()

    def loses(known: World, _: Rotation) -> None:
        if next(looks) == at and version in known.private:
            known.lost.add(version)
            sent.append(bool(known.deletes))

    done = run(world, planned(world), list(fates), decide, roll_back_at=back, watch=loses)
    if world.deletes and not any(sent):
        assert world.kept(), "every secret that is left belongs to a dead key"
        if done.rotation.state is State.DONE:
            assert world.key_of[world.current] in world.kept()


def test_without_faults_it_takes_the_straight_way() -> None:
    world = World()
    done = run(world, planned(world), [], decide, watch=in_use)
    assert done.states == [
        State.PLANNED, State.PREPARING, State.CREATING, State.VERIFYING, State.CANARY, State.CUTTING_OVER,
        State.DRAINING, State.RETIRING_OLD, State.DONE,
    ]  # fmt: skip
    assert world.deletes == [1]


# --- broken on purpose ------------------------------------------------------------------------


def _blind_retry(rotation: Rotation, event: Event, now: datetime) -> Step:
    """A lost create is asked again."""
    if rotation.state is State.CREATING and isinstance(event, Reply) and event.answer is Answer.UNKNOWN:
        return decide(rotation, replace(event, answer=Answer.RETRY), now)
    return decide(rotation, event, now)


def _buried(rotation: Rotation) -> Step:
    """Call the key dead that is being retired."""
    assert rotation.retirement is not None
    proven = replace(rotation.retirement, phase=Phase.ENTOMBING, proof="accepted")
    return ask(replace(rotation, retirement=proven), Effect(Do.ENTOMB, proven.version))


def _silence_is_death(rotation: Rotation, event: Event, now: datetime) -> Step:
    """'Cannot tell' is read as dead."""
    probed = rotation.asked is not None and rotation.asked.do is Do.PROBE
    if probed and isinstance(event, Reply) and event.answer is Answer.UNKNOWN:
        return _buried(rotation)
    return decide(rotation, event, now)


def _accepted_is_dead(rotation: Rotation, event: Event, now: datetime) -> Step:
    """An accepted delete is read as dead, without a probe."""
    step = decide(rotation, event, now)
    if step.effect is not None and step.effect.do is Do.PROBE:
        return _buried(step.rotation)
    return step


def _no_drain(rotation: Rotation, event: Event, now: datetime) -> Step:
    """Leases are not waited for."""
    drained = rotation.asked is not None and rotation.asked.do is Do.DRAIN
    if drained and isinstance(event, Reply):
        return decide(rotation, Reply(Answer.OK), now)
    return decide(rotation, event, now)


def _hasty(rotation: Rotation, event: Event, now: datetime) -> Step:
    """'Not in the list' is read as 'none was made' before the request's window is over."""
    found = rotation.asked is not None and rotation.asked.do is Do.FIND
    if found and isinstance(event, Reply) and event.reason == "too early to tell":
        return decide(rotation, Reply(Answer.OK), now)
    return decide(rotation, event, now)


def _forgetful(rotation: Rotation, event: Event, now: datetime) -> Step:
    """An incident forgets a create in doubt."""
    step = decide(rotation, event, now)
    halt = step.rotation.halt
    if halt is not None and not halt.looked:
        return Step(replace(step.rotation, halt=replace(halt, looked=True)), None)
    return step


def _careless(rotation: Rotation, event: Event, now: datetime) -> Step:
    """A key that is not as ordered is cut over to."""
    verified = rotation.asked is not None and rotation.asked.do is Do.VERIFY
    if verified and isinstance(event, Reply):
        return decide(rotation, Reply(Answer.OK), now)
    return decide(rotation, event, now)


HARD = [
    [Fate.WELL, Fate.WELL, Fate.LOST], [Fate.WELL, Fate.WELL, Fate.LATE], [Fate.WELL, Fate.WELL, Fate.NOTHING],
    [Fate.WELL, Fate.WELL, Fate.KILLED_AFTER],
    [*[Fate.WELL] * 8, Fate.LIED], [*[Fate.WELL] * 8, Fate.LATE], [*[Fate.WELL] * 9, Fate.NOTHING, Fate.NOTHING],
    *([*[Fate.WELL] * count, Fate.LIED, Fate.NOTHING] for count in range(5, 40)),
    *([*[Fate.WELL] * count, Fate.NOTHING] for count in range(3, 40)),
]  # fmt: skip


def broken(decide_: Decide) -> bool:
    """Tell whether some of the hard cases show that a machine is wrong."""
    for fates in HARD:
        for incident, lag, bad in ((None, 0, False), (8, 0, False), (8, 3, False), (None, 0, True)):
            world = World(lag=timedelta(seconds=lag), bad=bad)
            try:
                done = run(world, planned(world), list(fates), decide_, incident_at=incident, watch=in_use)
                ended_well(world, done.rotation)
                assert not (bad and done.rotation.state is State.DONE), "cut over to a key not as ordered"
            except AssertionError:
                return True
    return False


def test_the_hard_cases_pass_as_it_is() -> None:
    assert not broken(decide)


@pytest.mark.parametrize(
    "variant",
    [_blind_retry, _silence_is_death, _accepted_is_dead, _no_drain, _hasty, _forgetful, _careless],
)
def test_a_machine_that_is_broken_on_purpose_is_caught(variant: Decide) -> None:
    assert broken(variant)


def test_no_value_of_a_rotation_can_hold_a_secret() -> None:
    """6: nothing here is, or has room for, a Secret."""
    for module in (machine, retire):
        assert Secret not in vars(module).values()
    for one in Rotation.__dataclass_fields__.values():
        assert "Secret" not in str(one.type)
