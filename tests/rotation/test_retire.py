"""A key is dead when that was proven, and not a moment before."""

from dataclasses import replace
from datetime import timedelta

import pytest

from rotation import retire
from rotation.retire import (
    ABSENT,
    BLIND,
    GONE,
    LISTED,
    NAMED,
    NAMED_ALONE,
    NO_LIST,
    STATED,
    UNASKED,
    UNNAMED,
    Dead,
    Onward,
    Stuck,
)
from rotation.state import Answer, Do, Limits, Phase, Reply, Retirement
from tests.rotation.world import BEGAN

LIMITS = Limits(settling_for=timedelta(seconds=10))
PROBING = Retirement(1, phase=Phase.PROBING, deletes=1, deleted_at=BEGAN)
SETTLED = LIMITS.window_for + LIMITS.settling_for
MOMENT = timedelta(microseconds=1)


def probed(known: Retirement, reply: Reply, after: timedelta) -> retire.Outcome:
    return retire.step(known, Do.PROBE, reply, LIMITS, BEGAN + after)


def is_proven(outcome: retire.Outcome) -> bool:
    return isinstance(outcome, Onward) and outcome.retirement.phase is Phase.ENTOMBING


@pytest.mark.parametrize(
    ("after", "proven"),
    [(timedelta(0), False), (LIMITS.settling_for - MOMENT, False), (LIMITS.settling_for, True)],
)
def test_absence_is_proof_in_two_lists_a_settling_time_apart(after: timedelta, proven: bool) -> None:
    first = probed(PROBING, Reply(Answer.UNKNOWN, ABSENT), SETTLED)
    assert isinstance(first, Onward)
    assert not is_proven(first)
    second = probed(first.retirement, Reply(Answer.UNKNOWN, ABSENT), SETTLED + after)
    assert is_proven(second) is proven


@pytest.mark.parametrize(
    ("reason", "known"), [(ABSENT, PROBING), (UNNAMED, replace(PROBING, by_hand=True, stated=True))]
)
@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1)])
def test_our_clock_that_is_put_right_between_two_looks_proves_nothing(
    reason: str, known: Retirement, jump: timedelta
) -> None:
    """A second passed at the exchange, whatever our clock says; and then its settling time, whatever that says."""

    def seen(after: timedelta) -> Reply:
        return Reply(Answer.UNKNOWN, reason, seen_us=round((BEGAN + after).timestamp() * 1_000_000))

    first = probed(known, seen(SETTLED), SETTLED)
    assert isinstance(first, Onward)
    second = probed(first.retirement, seen(SETTLED + timedelta(seconds=1)), SETTLED + jump)
    assert isinstance(second, Onward)
    assert not is_proven(second)
    assert is_proven(probed(second.retirement, seen(SETTLED + LIMITS.settling_for), SETTLED + jump))


def test_the_proof_says_what_was_seen_where_and_when() -> None:
    first = probed(PROBING, Reply(Answer.UNKNOWN, ABSENT, proof="/sapi -2008, /api -2015 at T1"), SETTLED)
    assert isinstance(first, Onward)
    assert first.retirement.seen == "/sapi -2008, /api -2015 at T1", "shown while nothing is proven"
    last = Reply(Answer.UNKNOWN, ABSENT, proof="/sapi -2008, /api -2015 at T2")
    second = probed(first.retirement, last, SETTLED + LIMITS.settling_for)
    assert isinstance(second, Onward)
    assert second.retirement.proof == (
        f"absent from two lists a settling time apart. First seen so at {BEGAN + SETTLED:%Y-%m-%d %H:%M:%S}Z, "
        "then: /sapi -2008, /api -2015 at T2"
    )


def test_a_key_that_is_listed_in_between_begins_anew() -> None:
    first = probed(PROBING, Reply(Answer.UNKNOWN, ABSENT), timedelta(0))
    assert isinstance(first, Onward)
    listed = probed(first.retirement, Reply(Answer.UNKNOWN, LISTED), timedelta(seconds=1))
    assert isinstance(listed, Onward)
    again = probed(listed.retirement, Reply(Answer.UNKNOWN, ABSENT), timedelta(seconds=11))
    assert not is_proven(again)


@pytest.mark.parametrize("reason", ["timed_out", "rate_limited", UNNAMED, ""])
def test_silence_and_refusals_without_a_name_prove_nothing(reason: str) -> None:
    known = PROBING
    for seconds in range(LIMITS.probes):
        outcome = probed(known, Reply(Answer.UNKNOWN, reason), timedelta(seconds=seconds))
        assert isinstance(outcome, Onward)
        assert not is_proven(outcome)
        known = outcome.retirement
    assert isinstance(probed(known, Reply(Answer.UNKNOWN, reason), timedelta(hours=1)), Stuck)


def test_an_operators_word_counts_only_while_the_key_is_refused_and_is_no_proof() -> None:
    said = replace(PROBING, by_hand=True, stated=True)
    first = probed(said, Reply(Answer.UNKNOWN, UNNAMED), timedelta(0))
    assert isinstance(first, Onward)
    second = probed(first.retirement, Reply(Answer.UNKNOWN, UNNAMED), LIMITS.settling_for)
    assert isinstance(second, Onward)
    assert second.retirement.proof.startswith(STATED)
    alive = probed(said, Reply(Answer.REFUSED, "alive"), SETTLED)
    assert isinstance(alive, Onward)
    assert not is_proven(alive)


@pytest.mark.parametrize(("after", "again"), [(SETTLED - MOMENT, False), (SETTLED, True)])
def test_one_that_lives_on_is_deleted_again_once_the_delete_can_take_effect_no_more(
    after: timedelta, again: bool
) -> None:
    outcome = probed(PROBING, Reply(Answer.REFUSED, "alive"), after)
    assert isinstance(outcome, Onward)
    assert (outcome.retirement.phase is Phase.DELETING) is again


@pytest.mark.parametrize(
    "reply", [Reply(Answer.OK), Reply(Answer.REFUSED, GONE), Reply(Answer.UNKNOWN, "lost")]
)
def test_whatever_a_delete_is_answered_the_key_is_probed(reply: Reply) -> None:
    outcome = retire.step(Retirement(1, deletes=1), Do.DELETE, reply, LIMITS, BEGAN)
    assert isinstance(outcome, Onward)
    assert outcome.effect.do is Do.PROBE


def test_it_is_called_dead_after_its_tombstone_is_written() -> None:
    proven = replace(PROBING, phase=Phase.ENTOMBING, proof="refused by name")
    assert isinstance(retire.step(proven, Do.ENTOMB, Reply(Answer.OK), LIMITS, BEGAN), Dead)
    again = retire.step(proven, Do.ENTOMB, Reply(Answer.RETRY, "store"), LIMITS, BEGAN)
    assert isinstance(again, Onward)


@pytest.mark.parametrize(
    ("reason", "stated", "words"),
    [
        (NAMED, False, retire.TWICE_NAMED), (NAMED, True, retire.TWICE_NAMED),
        (NAMED_ALONE, True, retire.STATED_ALONE), (UNASKED, True, retire.STATED_UNASKED),
        (UNNAMED, True, STATED),
    ],
)  # fmt: skip
def test_what_is_seen_once_is_no_proof_and_what_is_seen_twice_says_what_it_is_worth(
    reason: str, stated: bool, words: str
) -> None:
    known = replace(PROBING, by_hand=True, stated=stated)
    first = probed(known, Reply(Answer.UNKNOWN, reason), SETTLED)
    assert isinstance(first, Onward)
    assert not is_proven(first)
    soon = probed(first.retirement, Reply(Answer.UNKNOWN, reason), SETTLED + LIMITS.settling_for - MOMENT)
    assert not is_proven(soon)
    last = probed(first.retirement, Reply(Answer.UNKNOWN, reason), SETTLED + LIMITS.settling_for)
    assert isinstance(last, Onward)
    assert is_proven(last)
    assert last.retirement.proof.startswith(words)


@pytest.mark.parametrize("answer", list(Answer))
@pytest.mark.parametrize(
    ("reason", "stated"),
    [(NAMED_ALONE, False), (UNASKED, False), (UNNAMED, False), (BLIND, True), (NO_LIST, True), ("", True)],
)
def test_a_refusal_by_name_that_nothing_is_compared_with_is_never_proof(
    answer: Answer, reason: str, stated: bool
) -> None:
    """Whatever a probe answers it with: no one look is believed, and none of these ever."""
    known = replace(PROBING, by_hand=True, stated=stated)
    for hours in range(100):
        outcome = probed(known, Reply(answer, reason), timedelta(hours=hours))
        assert isinstance(outcome, Onward)
        assert not is_proven(outcome)
        known = outcome.retirement


@pytest.mark.parametrize(("first", "then"), [(NAMED, UNNAMED), (UNNAMED, NAMED), (NAMED_ALONE, NAMED)])
def test_two_signs_of_two_kinds_are_not_one_sign_twice(first: str, then: str) -> None:
    said = replace(PROBING, by_hand=True, stated=True)
    one = probed(said, Reply(Answer.UNKNOWN, first), SETTLED)
    assert isinstance(one, Onward)
    two = probed(one.retirement, Reply(Answer.UNKNOWN, then), SETTLED + LIMITS.settling_for)
    assert isinstance(two, Onward)
    assert not is_proven(two)
    assert is_proven(probed(two.retirement, Reply(Answer.UNKNOWN, then), SETTLED + 2 * LIMITS.settling_for))


@pytest.mark.parametrize("reason", ["unknown_key", "key_refused", "no_account: it is gone"])
def test_a_no_to_what_a_probe_needs_is_no_word_that_the_key_lives(reason: str) -> None:
    """A manager key that is refused its list: the key was deleted, and is not deleted eight times for that."""
    outcome = probed(PROBING, Reply(Answer.REFUSED, reason), SETTLED)
    assert isinstance(outcome, Onward)
    assert outcome.retirement.phase is Phase.PROBING


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply(Answer.OK), True), (Reply(Answer.UNKNOWN, "timed_out"), False),
        (Reply(Answer.REFUSED, retire.GONE), False),
    ],
)  # fmt: skip
def test_that_a_key_was_deleted_is_said_by_a_plain_answer_alone(reply: Reply, *, told: bool) -> None:
    """In a ban the manager key itself is refused by name: that reads like a word on the key."""
    outcome = retire.step(Retirement(1, deletes=1), Do.DELETE, reply, LIMITS, BEGAN)
    assert isinstance(outcome, Onward)
    assert outcome.retirement.phase is Phase.PROBING
    assert outcome.retirement.told is told
