"""Whatever a restore finds, what is printed leads out: a small model does what the steps say, and everything opens."""

import itertools
from dataclasses import replace

import pytest

from broker.model import Stage
from broker.service import again
from broker.service.reconcile_facts import (
    Facts,
    Finding,
    Listing,
    Looked,
    OpenCut,
    OpenRotation,
    Step,
    is_missing,
)
from broker.service.reconcile_steps import blocking, opening

KEY = "main/trade/1"
OWN = OpenCut("cut_1", "portcullis", "restored", own=True)
ROUNDS = 8

FINDINGS = (
    (Finding.ALIVE, ""), (Finding.DEAD, "unknown_key"), (Finding.CHANGED, ""), (Finding.PENDING, ""),
    (Finding.UNDECIDED, "key_refused"), (Finding.UNDECIDED, "timed_out"), (Finding.UNDECIDED, "not_connected"),
    (Finding.UNDECIDED, "no_secret"), (Finding.UNDECIDED, "no_egress"), (Finding.UNDECIDED, "store_sealed"),
)  # fmt: skip
STAGES = (Stage.CURRENT, Stage.PREVIOUS, Stage.PENDING)
LISTINGS = (
    None, Listing("master"), Listing("master", ("an unknown key",)), Listing("master", ("no list",), "unknown_key"),
    Listing("master", ("no list",), "key_refused"), Listing("master", ("no list",), "rate_limited"),
    Listing("master", (f"{KEY} (k6zb...fyk6) is on record, and the exchange does not list it",)),
    Listing("master", there=frozenset({KEY})), Listing("master", foreign="it is perhaps another sub-account's"),
)  # fmt: skip
ROTATIONS = ((), (OpenRotation("rot_1", "main", "trade", waits_for_a_person=True),))


def done(facts: Facts, step: Step, which: int) -> Facts:
    """Do what one of a step's commands says, as a person would, and as far as it can help."""
    command = step.commands[which % len(step.commands)]
    words = command.split()
    if "--deleted" in words:
        return deleted_there(facts, words[-1])
    if "--confirm" in words:
        return replace(facts, confirmed=facts.confirmed | {words[-1]})
    if "--old-host-off" in words:
        return replace(facts, old_host=False)
    if words[1:3] in (["key", "import"], ["rotation", "start"]):
        aged = tuple(
            replace(one, stage=Stage.PREVIOUS) if one.stage is Stage.CURRENT else one for one in facts.looked
        )
        version = max(int(one.key.rsplit("/", 1)[1]) for one in aged) + 1
        return replace(facts, looked=(*aged, Looked(f"main/trade/{version}", Stage.CURRENT, Finding.ALIVE)))
    if words[1:3] == ["rotation", "show"]:
        return replace(facts, rotations=())
    if words[1:3] == ["account", "release"]:
        return replace(facts, listed={}, confirmed=facts.confirmed - {words[-1]})
    if words[1] in {"manager", "account"}:
        return replace(facts, listed={"main": Listing("new")})
    assert words[1:] == ["reconcile"], command
    mended = tuple(
        replace(one, finding=Finding.ALIVE, reason="")
        if one.key not in facts.deleted and (
            one.finding is Finding.CHANGED
            or (one.finding is Finding.UNDECIDED and one.reason not in {"no_secret", "no_egress"})
        )
        else one
        for one in facts.looked
    )  # fmt: skip
    listed = {
        name: Listing(
            one.manager, tuple(word for word in one.odd if KEY in facts.deleted and is_missing(KEY, word)),
            there=one.there, foreign=one.foreign,
        )
        for name, one in facts.listed.items()
    }  # fmt: skip
    return replace(facts, looked=mended, listed=listed, said_deleted=facts.deleted)


def deleted_there(facts: Facts, key: str) -> Facts:
    """Delete a key at the exchange, and say so: it is refused by name from then on, and in no list."""
    looked = tuple(
        replace(one, finding=Finding.UNDECIDED, reason="unknown_key")
        if one.key == key and one.is_served
        else one
        for one in facts.looked
    )
    lacks = f"{key} (k6zb...fyk6) is on record, and the exchange does not list it"
    listed = {
        name: replace(one, odd=(*one.odd, lacks), there=one.there - {key}) if key in one.there else one
        for name, one in facts.listed.items()
    }
    return replace(facts, looked=looked, listed=listed, said_deleted=facts.said_deleted | {key})


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("finding", "reason"), FINDINGS)
def test_every_state_has_a_way_out_whichever_command_is_chosen(
    stage: Stage, finding: Finding, reason: str
) -> None:
    """No circle: a step always names a command, and doing it changes what stands in the way until nothing does."""
    for listing, rotations, old_host, unused, which in itertools.product(
        LISTINGS, ROTATIONS, (False, True), (frozenset[str](), frozenset({"main"})), range(5)
    ):
        facts = Facts(
            looked=(Looked(KEY, stage, finding, "as it is", reason),),
            listed={} if listing is None else {"main": listing}, rotations=rotations, cuts=(OWN,), old_host=old_host,
            unused=unused,
        )  # fmt: skip
        seen = []
        for _ in range(ROUNDS):
            steps = blocking(facts)
            if not steps:
                break
            assert all(step.commands and step.what and step.do for step in steps)
            seen.append([step.said for step in steps])
            for step in steps:
                facts = done(facts, step, which)
        else:
            raise AssertionError(seen)
        assert opening(facts)[0].commands[0].startswith("portcullis thaw cut_1")


def test_a_rotation_that_waits_for_a_person_stands_in_nobodys_way() -> None:
    """Its key is not made yet: there is nothing to compare, and it is said, after the thaw, that it waits."""
    facts = Facts(
        looked=(
            Looked(KEY, Stage.CURRENT, Finding.ALIVE),
            Looked("main/trade/2", Stage.PENDING, Finding.PENDING),
        ),
        rotations=ROTATIONS[1], cuts=(OWN,), confirmed=frozenset({"main"}),
    )  # fmt: skip
    assert blocking(facts) == ()
    assert [step.commands[0].split()[1] for step in opening(facts)] == ["thaw", "rotation"]


def test_every_cut_that_is_open_is_named_own_ones_first() -> None:
    cuts = (
        OpenCut("cut_9", "ann", "leak", own=False), OWN, OpenCut("cut_2", "portcullis", "failover", own=True),
    )  # fmt: skip
    named = [step.commands[0].split()[2] for step in opening(Facts(cuts=cuts))]
    assert named == ["cut_1", "cut_2", "cut_9"]


def test_a_cut_that_stands_in_for_what_was_forgotten_names_that_before_its_thaw() -> None:
    """A thaw alone gave a leaked key back."""
    why = again.reason(
        "its virtual key was reissued (B took the place of A)", "portcullis grant reissue grt_1"
    )
    forgot = OpenCut("cut_3", "portcullis", why, own=False)
    (step,) = opening(Facts(cuts=(forgot,)))
    assert step.commands == ("portcullis grant reissue grt_1", "portcullis thaw cut_3 --reason WHY")
    somebody = OpenCut("cut_4", "ann", why, own=False)
    assert opening(Facts(cuts=(somebody,)))[0].commands == ("portcullis thaw cut_4 --reason WHY",)


def test_a_home_that_was_restored_elsewhere_is_told_to_end() -> None:
    (step,) = blocking(Facts(superseded="generation 3 is in use", cuts=(OWN,)))
    assert "restored elsewhere" in step.what


def test_an_outage_is_never_a_reason_to_call_a_key_dead() -> None:
    """What leads out of an outage is asking again; a word about the key is offered beside it, never put in its place."""
    (step,) = blocking(
        Facts(
            looked=(Looked(KEY, Stage.PREVIOUS, Finding.UNDECIDED, "x", "timed_out"),),
            confirmed=frozenset({"main"}),
        )
    )
    assert step.commands[0] == "portcullis reconcile"


def test_a_key_that_is_refused_and_not_listed_is_said_once_and_as_what_it_is() -> None:
    """Nobody is sent to add addresses to a key that is gone, nor told to "do that" of a fact; a person says it."""
    gone = Listing("master", (f"{KEY} (k6zb...fyk6) is on record, and the exchange does not list it",))
    looked = Looked(KEY, Stage.PREVIOUS, Finding.UNDECIDED, "the exchange says key_refused", "key_refused")
    (step,) = blocking(Facts(looked=(looked,), listed={"main": gone}))
    assert "does not have it either" in step.do
    assert "address" not in step.do
    assert step.commands == (f"portcullis reconcile --deleted {KEY}",)
    for listing in (Listing("master"), Listing("master", ("no list",), "timed_out")):
        facts = Facts(looked=(looked,), listed={"main": listing})
        assert "address" in blocking(facts)[0].do, (
            "that it is gone needs a list that answered and does not have it"
        )
    served = replace(looked, finding=Finding.ALIVE)
    (step,) = blocking(Facts(looked=(served,), listed={"main": gone}))
    assert "does not list it" in step.what, "one that is served, and not listed, still stands in the way"


@pytest.mark.parametrize(
    ("finding", "reason"),
    [(Finding.DEAD, "unknown_key"), (Finding.UNDECIDED, "key_refused")],
)
def test_an_account_that_was_given_up_is_over_with_its_key(finding: Finding, reason: str) -> None:
    """Nothing led out but a new real key, for an account on which nobody had a grant."""
    key = Looked(KEY, Stage.CURRENT, finding, reason=reason)
    facts = Facts(looked=(key,), cuts=(OWN,), confirmed=frozenset({"main"}), unused=frozenset({"main"}))
    (step,) = blocking(facts)
    assert f"portcullis reconcile --deleted {KEY}" in step.commands
    declared = replace(facts, said_deleted=frozenset({KEY}))
    assert blocking(declared) == ()
    assert opening(declared)[0].commands[0].startswith("portcullis thaw cut_1")
    assert blocking(replace(declared, unused=frozenset())) != (), "who has a grant there needs a key"
    served = replace(declared, looked=(replace(key, finding=Finding.CHANGED),))
    assert blocking(served) != (), "the exchange serves it: the word is none"
