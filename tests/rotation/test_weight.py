"""The rotator uses what the bots behind an address leave of a minute, and never what they need."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from broker.link.frames import Trouble
from clients.errors import VenueUnavailable
from clients.secret import Secret
from clients.venue import Credential, KeyType
from clients.venues.binance.weights import A_MINUTE
from rotation.budget import Budgets, Haste
from rotation.state import OUT_OF_BUDGET
from rotation.venues import Venues
from rotation.weight import MINUTE_US, Weight
from tests.rotation.place import running_place

FOR_READS = 4800
"""Where a gateway stops its bots' reads: eight tenths."""


def used_up(weight: Weight, now_us: int) -> int:
    ours = 0
    while weight.left(now_us) >= 1:
        weight.spend(1, now_us)
        ours += 1
    return ours


END = MINUTE_US - 1
"""The last instant of the first minute."""


@pytest.mark.parametrize(
    ("others", "ours"),
    [(0, 1500), (1000, 1500), (2700, 1500), (2701, 1499), (3320, 880), (4000, 200), (4199, 120), (6000, 120)],
)
def test_what_bots_used_in_the_last_minute_they_need_in_this(others: int, ours: int) -> None:
    weight = Weight(A_MINUTE)
    weight.told(others, END)
    assert used_up(weight, MINUTE_US) == ours


def test_what_was_told_early_is_drawn_out_to_the_whole_minute() -> None:
    """We stop asking once our share is spent: what bots use until the end nobody tells us."""
    weight = Weight(A_MINUTE)
    weight.told(1107, MINUTE_US // 3)
    assert used_up(weight, MINUTE_US) == 879


def test_little_is_used_while_nothing_is_known() -> None:
    weight = Weight(A_MINUTE)
    assert used_up(weight, 0) == 600
    assert used_up(weight, MINUTE_US) == 600, "no answer told of the minute before"
    weight.told(weight.own, 2 * MINUTE_US - 1)
    assert used_up(weight, 2 * MINUTE_US) == 1500
    assert used_up(weight, 4 * MINUTE_US) == 600, "the last minute we know of is long ago"


def test_an_answer_as_the_minute_begins_may_speak_of_the_last() -> None:
    weight = Weight(A_MINUTE)
    weight.told(0, END)
    weight.told(4000, MINUTE_US + 999_999)
    assert used_up(weight, MINUTE_US + 2_000_000) == 1500


def test_our_own_use_is_not_taken_for_a_bot() -> None:
    weight = Weight(A_MINUTE)
    weight.spend(500, 0)
    weight.told(500, END)
    assert used_up(weight, MINUTE_US) == 1500


def test_who_comes_within_a_minute_is_left_room_at_once() -> None:
    weight = Weight(A_MINUTE)
    weight.told(0, END)
    weight.spend(100, MINUTE_US)
    weight.told(2100, MINUTE_US + MINUTE_US // 2)
    assert weight.left(MINUTE_US + MINUTE_US // 2) == 100
    assert weight.left(2 * MINUTE_US - 1) == 100
    assert weight.left(2 * MINUTE_US) == 200


@given(some.integers(0, FOR_READS), some.integers(6, 59), some.integers(0, 59))
def test_bots_that_go_on_as_they_did_are_not_refused_for_our_sake(
    a_minute: int, told_at: int, asked_at: int
) -> None:
    """Whenever in a minute we were told last, and whenever in the next we ask."""
    weight = Weight(A_MINUTE)
    weight.told(a_minute * told_at // 60, MINUTE_US * told_at // 60)
    ours = used_up(weight, MINUTE_US)
    weight.told(ours + a_minute * asked_at // 60, MINUTE_US + MINUTE_US * asked_at // 60)
    ours += used_up(weight, MINUTE_US + MINUTE_US * asked_at // 60)
    assert ours + a_minute <= FOR_READS or ours <= A_MINUTE // 50


def test_what_is_urgent_is_counted_and_never_held_up() -> None:
    budgets = Budgets(clock_us=lambda: 0)
    budgets.weigh("out", "binance", 600, A_MINUTE, haste=Haste.ORDINARY)
    with pytest.raises(VenueUnavailable) as caught:
        budgets.weigh("out", "binance", 1, A_MINUTE, haste=Haste.ORDINARY)
    assert caught.value.reason == OUT_OF_BUDGET
    budgets.weigh("elsewhere", "binance", 1, A_MINUTE, haste=Haste.ORDINARY)
    budgets.weigh("out", "binance", 5000, A_MINUTE, haste=Haste.URGENT)


@pytest.mark.sockets
async def test_what_the_exchange_says_is_used_is_heard(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        service, minute = here.world.service, [0]
        budgets = Budgets(clock_us=lambda: minute[0] * MINUTE_US + 59_000_000)
        venues, account = Venues(service, budgets), service.accounts.get("main")
        key = next(one for one in here.living() if one.key_id == here.old_key)
        assert key.secret is not None
        credential = Credential(key.key_id, Secret(key.secret.reveal()), KeyType.HMAC)

        def look() -> None:
            with venues.probe(account) as probe:
                probe.restrictions(credential)

        for _ in range(48):  # 80 each: the bots of this address have been busy
            assert (await here.bot.call("GET", "/api/v3/openOrders")).status == 200
        await asyncio.to_thread(look)
        minute[0] = 1
        looks = 0
        while looks < 600 // 21:
            try:
                await asyncio.to_thread(look)
            except VenueUnavailable:
                break
            looks += 1
        assert 120 // 21 <= looks <= 360 // 21


@pytest.mark.sockets
async def test_a_ban_that_bots_met_stops_the_rotator_too_but_no_incident(tmp_path: Path) -> None:
    """One address: what the gateway was told counts for whoever asks behind the same egress."""
    async with running_place(tmp_path) as here:
        service = here.world.service
        venues, account = Venues(service), service.accounts.get("main")
        until_us = service.desk.clock.now_us() + 600_000_000
        service.reports.of_gateway("local", (), (Trouble("venue-banned", account.egress, "", until_us),))
        before = len(here.world.asked())
        with pytest.raises(VenueUnavailable, match="venue_pause"), venues.probe(account):
            pass
        assert len(here.world.asked()) == before
        with venues.probe(account, haste=Haste.URGENT):
            pass
        service.reports.of_gateway("local", (), ())
        with venues.probe(account):
            pass
