"""Reconciling calls a key dead by what was seen twice beside its refusal, and never by a refusal alone."""

import itertools
import json
from dataclasses import replace

import pytest

from broker.db import meta
from broker.model import Stage
from broker.service import Service
from broker.service.reconcile_facts import Finding, Listing, Looked
from broker.service.reconcile_named import LASTS_US, NAMED, SETTLES_US, Seen, judge, witnesses
from broker.steady import Moment

NOW = Moment("here", 10**12, 10**15)
GONE = Looked("main/trade/1", Stage.PREVIOUS, Finding.UNDECIDED, "the exchange says unknown_key", NAMED)
OTHER = Looked("main/trade/2", Stage.CURRENT, Finding.ALIVE)
WAYS = {"main": ("binance", "out"), "near": ("binance", "out"), "far": ("binance", "direct")}
LACKS = Listing("master", ("main/trade/1 (REAL...) lives on record, and the exchange does not list it",))


def aged(service: Service, by_us: int = SETTLES_US) -> None:
    """Let what was seen at the last comparison be a settling time ago."""
    with service.desk.database.write() as connection:
        known = json.loads(meta.get(connection, "reconcile_named") or "{}")
        for one in known.values():
            one["at"]["boot_us"] -= by_us
            one["at"]["wall_us"] -= by_us
        meta.put(connection, "reconcile_named", json.dumps(known))


def later(us: int, base: str = "here") -> Moment:
    return Moment(base, NOW.boot_us + us, NOW.wall_us + us)


@pytest.mark.parametrize(
    ("beside", "listed"),
    [
        ((OTHER,), {"main": LACKS}), ((OTHER,), {}),
        ((replace(OTHER, key="near/trade/1", finding=Finding.CHANGED),), {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("moment", "dead"),
    [
        (later(0), False), (later(SETTLES_US - 1), False), (later(SETTLES_US), True),
        (later(SETTLES_US, "rebooted"), False), (Moment("here", NOW.boot_us + 5, NOW.wall_us + 2 * SETTLES_US), False),
    ],
)  # fmt: skip
def test_two_looks_a_settling_time_apart_prove_it(
    beside: tuple[Looked, ...], listed: dict[str, Listing], moment: Moment, dead: bool
) -> None:
    first, _, kept = judge((GONE, *beside), beside, listed, WAYS, {}, NOW)
    assert first[0].finding is Finding.UNDECIDED
    second, lists, _ = judge((GONE, *beside), beside, listed, WAYS, kept, moment)
    assert (second[0].finding is Finding.DEAD) is dead
    if listed:
        assert (lists["main"].odd == ()) is dead, "what is dead stands in nobody's way"


@pytest.mark.parametrize(
    ("beside", "listed"),
    [
        ((), {}), ((replace(OTHER, finding=Finding.UNDECIDED, reason=NAMED),), {}),
        ((replace(OTHER, key="far/trade/1"),), {}), ((replace(OTHER, key="unheard/trade/1"),), {}),
        ((OTHER,), {"main": Listing("master")}), ((OTHER,), {"main": replace(LACKS, reason="timed_out")}),
        ((OTHER,), {"main": replace(LACKS, odd=(*LACKS.odd, "main/trade/2 (REAL...) is on record, and not listed"))}),
    ],
)  # fmt: skip
def test_a_refusal_by_name_that_nothing_stands_beside_is_never_proof(
    beside: tuple[Looked, ...], listed: dict[str, Listing]
) -> None:
    """Nobody is served, or by another way only; the list has it, or lacks all others too, or could not be had."""
    kept: dict[str, Seen] = {}
    for number in range(5):
        found, lists, kept = judge((GONE, *beside), beside, listed, WAYS, kept, later(number * SETTLES_US))
        assert found[0].finding is Finding.UNDECIDED
        assert lists == listed


@pytest.mark.parametrize(
    "after",
    [
        (), (replace(OTHER, finding=Finding.UNDECIDED, reason=NAMED),),
        (replace(OTHER, finding=Finding.UNDECIDED, reason="timed_out"),),
        (replace(OTHER, key="far/trade/1"),),
    ],
)  # fmt: skip
def test_what_was_served_before_a_key_was_refused_says_nothing_of_it(after: tuple[Looked, ...]) -> None:
    """A ban began in the middle of a comparison, twice, and living keys were called dead."""
    kept: dict[str, Seen] = {}
    for number in range(3):
        found, _, kept = judge((OTHER, GONE), after, {}, WAYS, kept, later(number * SETTLES_US))
        assert found[1].finding is Finding.UNDECIDED
        assert not kept


def test_one_that_was_served_is_asked_again_by_each_way_by_which_one_is_refused() -> None:
    far, near = replace(OTHER, key="far/trade/1"), replace(OTHER, key="near/trade/1")
    assert witnesses((near, GONE, OTHER, far), {}, WAYS) == ("near/trade/1",)
    assert witnesses((GONE, replace(GONE, key="far/trade/2"), OTHER, far), {}, WAYS) == (OTHER.key, far.key)
    assert witnesses((OTHER, far), {}, WAYS) == (), "nothing is refused by name"
    assert witnesses((GONE, OTHER), {"main": LACKS}, WAYS) == (), "a list tells"
    assert witnesses((GONE, OTHER), {}, {}) == ()


def test_what_was_seen_long_ago_begins_anew() -> None:
    _, _, kept = judge((GONE, OTHER), (OTHER,), {}, WAYS, {}, NOW)
    for us, dead in ((LASTS_US + 1, False), (LASTS_US + 1 + SETTLES_US, True)):
        found, _, kept = judge((GONE, OTHER), (OTHER,), {}, WAYS, kept, later(us))
        assert (found[0].finding is Finding.DEAD) is dead


def test_who_compares_once_a_day_has_a_second_look() -> None:
    """A day and a little later: what was seen first was forgotten each time, and nothing was ever decided."""
    _, _, kept = judge((GONE, OTHER), (OTHER,), {}, WAYS, {}, NOW)
    found, _, _ = judge((GONE, OTHER), (OTHER,), {}, WAYS, kept, later(86_400_000_000 + 60_000_000))
    assert found[0].finding is Finding.DEAD


def test_one_that_answers_in_between_begins_anew() -> None:
    _, _, kept = judge((GONE, OTHER), (OTHER,), {}, WAYS, {}, NOW)
    _, _, kept = judge((replace(OTHER, key=GONE.key), OTHER), (), {}, WAYS, kept, later(1))
    found, _, _ = judge((GONE, OTHER), (OTHER,), {}, WAYS, kept, later(SETTLES_US))
    assert found[0].finding is Finding.UNDECIDED


def test_what_is_in_use_on_record_stays_among_what_the_list_lacks() -> None:
    current, lacks = replace(GONE, stage=Stage.CURRENT), replace(LACKS, alike=True)
    _, _, kept = judge((current,), (), {"main": lacks}, WAYS, {}, NOW)
    found, lists, _ = judge((current,), (), {"main": lacks}, WAYS, kept, later(SETTLES_US))
    assert found[0].finding is Finding.DEAD
    assert lists["main"] == lacks


def test_a_label_shows_no_list_to_be_the_accounts() -> None:
    """Another sub-account's list has keys that rotations made, too: in a ban a living key was called dead by it."""
    gone = tuple(
        Looked(key, Stage.CURRENT, Finding.UNDECIDED, "the exchange says unknown_key", NAMED)
        for key in ("main/trade/1", "main/read/1")
    )
    lacks = [f"{one.key} (AAAA...AAAA) is on record, and the exchange does not list it" for one in gone]
    made = "the exchange lists a key of a broken-off rotation: aaaa...aaaa (rot_0123456789abcdef0123). Delete it there"
    for looked, odd in itertools.product((gone, gone[:1]), (lacks, [*lacks, made])):
        listed = {"main": Listing("master", tuple(odd))}
        _, _, kept = judge(looked, (), listed, {}, {}, NOW)
        found, _, _ = judge(looked, (), listed, {}, kept, later(SETTLES_US))
        assert {one.finding for one in found} == {Finding.UNDECIDED}
        assert all("may be another sub-account's" in one.note for one in found)
