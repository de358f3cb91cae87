"""A key that is alone on its account, refused by name, and an empty list: somebody has to be served by the same way."""

from dataclasses import replace

import pytest

from broker.model import Stage
from broker.service.reconcile_facts import Finding, Listing, Looked
from broker.service.reconcile_named import NAMED, SETTLES_US, Seen, judge, witnesses
from broker.steady import Moment

ALONE = Looked("main/trade/1", Stage.CURRENT, Finding.UNDECIDED, "the exchange says unknown_key", NAMED)
MISSING = "{} (AAAAAAAA...AAAA) is on record, and the exchange does not list it"
EMPTY = Listing("master", (MISSING.format(ALONE.key),))
NEAR = Looked("near/trade/1", Stage.CURRENT, Finding.ALIVE)
WAYS = {"main": ("binance", "out"), "near": ("binance", "out"), "far": ("binance", "direct")}
NOT_MADE = Looked("main/trade/2", Stage.PENDING, Finding.PENDING, "not made yet")


def found(looked: tuple[Looked, ...], after: tuple[Looked, ...], listing: Listing) -> Finding:
    """Compare three times, a settling time apart."""
    kept: dict[str, Seen] = {}
    finding = Finding.UNDECIDED
    for turn in range(3):
        us = turn * 2 * SETTLES_US
        (one, *_), _, kept = judge(looked, after, {"main": listing}, WAYS, kept, Moment("b", us, us))
        finding = one.finding
    return finding


@pytest.mark.parametrize("stage", [Stage.CURRENT, Stage.PREVIOUS])
@pytest.mark.parametrize(
    "after",
    [(), (replace(NEAR, key="far/trade/1"),), (replace(NEAR, finding=Finding.UNDECIDED, reason=NAMED),)],
)
def test_a_ban_and_an_empty_list_prove_no_death(after: tuple[Looked, ...], stage: Stage) -> None:
    assert found((replace(ALONE, stage=stage), NEAR), after, EMPTY) is Finding.UNDECIDED


def test_one_that_is_served_by_the_same_way_after_it_shows_that_it_is_dead() -> None:
    assert witnesses((ALONE, NEAR), {"main": EMPTY}, WAYS) == (NEAR.key,)
    assert found((ALONE, NEAR), (NEAR,), EMPTY) is Finding.DEAD


def test_so_does_the_manager_key_that_is_asked_by_the_same_way() -> None:
    alike = replace(EMPTY, alike=True)
    assert witnesses((ALONE, NEAR), {"main": alike}, WAYS) == (), "no other one need be asked"
    assert found((ALONE,), (), alike) is Finding.DEAD


@pytest.mark.parametrize("alike", [True, False])
def test_a_key_that_was_not_made_yet_is_in_no_list(alike: bool) -> None:
    """A fresh key on its way counted as one that the list has, so that an empty one proved a death."""
    both = (*EMPTY.odd, MISSING.format("main/read/1"))
    other = replace(ALONE, key="main/read/1")
    bare = replace(EMPTY, odd=both, alike=alike)
    assert found((ALONE, other, NOT_MADE), (NEAR,), bare) is Finding.UNDECIDED
    assert found((ALONE, NOT_MADE), (), EMPTY) is Finding.UNDECIDED
