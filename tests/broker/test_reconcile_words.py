"""A word that a key is deleted counts where nothing belies it."""

from dataclasses import replace

import pytest

from broker.model import Stage
from broker.service.reconcile_facts import Facts, Finding, Listing, Looked, OpenRotation, given_up
from broker.service.reconcile_held import held
from broker.service.reconcile_steps import blocking, is_compared

KEY, NEW = "main/trade/1", "main/trade/2"
LACKS = f"{KEY} (k6zb...fyk6) is on record, and the exchange does not list it"


def said(finding: Finding, reason: str = "", stage: Stage = Stage.PREVIOUS) -> Facts:
    return Facts(
        looked=(Looked(KEY, stage, finding, "", reason),),
        said_deleted=frozenset({KEY}),
        confirmed=frozenset({"main"}),
    )


@pytest.mark.parametrize("stage", [Stage.CURRENT, Stage.PREVIOUS, Stage.PENDING])
@pytest.mark.parametrize("finding", [Finding.ALIVE, Finding.CHANGED])
def test_a_key_that_is_served_is_not_deleted_whoever_says_so(finding: Finding, stage: Stage) -> None:
    facts = said(finding, stage=stage)
    assert facts.belied == {KEY}
    assert facts.deleted == frozenset()
    assert f"{KEY} is said to be deleted, and the exchange has it" in blocking(facts)[0].what
    assert given_up(replace(facts, unused=frozenset({"main"}))) == frozenset()
    assert is_compared(facts), "the exchange has answered: a person goes on by hand"


@pytest.mark.parametrize("reason", ["key_refused", "timed_out", "unknown_key"])
def test_a_key_that_its_manager_keys_list_has_is_not_deleted(reason: str) -> None:
    """Refused from here, by its addresses: who looked it up took it for another."""
    facts = replace(
        said(Finding.UNDECIDED, reason), listed={"main": Listing("master", there=frozenset({KEY}))}
    )
    assert facts.belied == {KEY}
    assert any(KEY in one.what for one in blocking(facts))


@pytest.mark.parametrize(
    "listing",
    [
        Listing("master", (LACKS,)),
        Listing("master", ("its keys cannot be listed",), "timed_out"),
        Listing("master", foreign="the exchange lists no sub-account x@example.com under master any more"),
        Listing("master", foreign="the exchange lists near/trade/1 here", there=frozenset({"near/trade/1"})),
    ],
)
def test_a_list_that_does_not_have_it_belies_nothing(listing: Listing) -> None:
    facts = replace(said(Finding.UNDECIDED, "unknown_key"), listed={"main": listing})
    assert facts.belied == frozenset()
    assert facts.deleted == {KEY}
    assert not any(KEY in one.what for one in blocking(facts)), "by the word it is what it should be"


def test_a_key_that_is_dead_on_record_and_listed_is_not_confirmed_by_a_word() -> None:
    lives = f"{KEY} is dead on record, and the exchange lists it: k6zb...fyk6 lives. Delete it there"
    facts = Facts(
        listed={"main": Listing("master", (lives,), there=frozenset({KEY}))}, said_deleted=frozenset({KEY})
    )
    assert facts.belied == {KEY}
    assert facts.deleted == frozenset()
    assert replace(facts, listed={"main": Listing("master")}).deleted == {KEY}


def test_a_held_rotation_goes_by_what_the_exchange_serves() -> None:
    """It was told that the new key does not live, and the way back was printed: the old one would have been served on."""
    facts = Facts(
        looked=(Looked(KEY, Stage.PREVIOUS, Finding.ALIVE), Looked(NEW, Stage.CURRENT, Finding.ALIVE)),
        said_deleted=frozenset({NEW}),
        confirmed=frozenset({"main"}),
        rotations=(OpenRotation("rot_1", "main", "trade", False, "restored", "draining", KEY, NEW),),
    )
    (step,) = held(facts)
    assert "does not live" not in step.do
    assert "you say" not in step.what


@pytest.mark.parametrize("reason", ["no_secret", "destroyed", "tampered", "vault_deleted"])
def test_an_account_that_was_given_up_needs_no_fresh_key_where_its_secret_is_lost(reason: str) -> None:
    facts = Facts(
        looked=(Looked(KEY, Stage.CURRENT, Finding.UNDECIDED, "gone", reason),),
        confirmed=frozenset({"main"}),
        unused=frozenset({"main"}),
    )
    (step,) = blocking(facts)
    assert f"portcullis reconcile --deleted {KEY}" in step.commands
    assert "gateways that hold it trade on" not in step.do, "nobody has a grant on it"
    assert blocking(replace(facts, said_deleted=frozenset({KEY}))) == ()
