"""Request weight as a gateway counts it: by the venue's minute, and never by an answer that speaks of another one."""

import pytest

from broker.gateway.limits import (
    MINUTE_US,
    MOST_ASKERS,
    MOST_IN_PAUSE,
    UNSURE_US,
    Need,
    OrderRate,
    Permit,
    WeightMeter,
)
from broker.policy_document import Rate

S = 1_000_000
LATE = MINUTE_US - S // 10


def free(meter: WeightMeter, now_us: int) -> int:
    """Return how much weight reads may still use in this minute."""
    weight = 0
    while meter.read_pause_s("ip", weight + 1, now_us) is None:
        weight += 1
    return weight


def test_reads_stop_at_eight_tenths_and_begin_anew_with_the_minute() -> None:
    meter = WeightMeter()
    assert free(meter, 0) == 4800
    meter.spend("ip", 4000, 5 * S)
    assert free(meter, 5 * S) == 800
    assert meter.read_pause_s("ip", 801, 5 * S) == 56
    assert free(meter, MINUTE_US - 1) == 800
    assert free(meter, MINUTE_US) == 4800


def test_others_behind_the_address_count_as_the_venue_says() -> None:
    meter = WeightMeter()
    meter.spend("ip", 100, 5 * S)
    meter.told(3000, 5 * S, 6 * S)
    assert free(meter, 6 * S) == 1800
    meter.told(50, 6 * S, 7 * S)
    assert free(meter, 7 * S) == 1800, "an answer that was overtaken takes nothing back"


@pytest.mark.parametrize(
    ("sent_us", "came_us"),
    [
        (LATE, MINUTE_US + 1),
        (LATE, MINUTE_US + 2 * S),
        (MINUTE_US, MINUTE_US + S // 10),
        (MINUTE_US + UNSURE_US - 1, MINUTE_US + 3 * S),
    ],
)
def test_an_answer_of_the_last_minute_stops_nobody_in_this_one(sent_us: int, came_us: int) -> None:
    """Asked just before it began, or so soon after that clocks may disagree: bots would be refused for a minute."""
    meter = WeightMeter()
    meter.spend("ip", 10, MINUTE_US)
    meter.told(4700, sent_us, came_us)
    assert free(meter, came_us) == 4790
    meter.told(4700, MINUTE_US + UNSURE_US, came_us + S)
    assert free(meter, came_us + S) == 100


def test_a_narrower_rate_counts_the_orders_that_were_placed_before_it() -> None:
    placed = OrderRate()
    for at in range(5):
        placed.take(1, at * S)
    assert placed.free(None, 1, 5 * S)
    assert placed.free(Rate(6, 60), 1, 5 * S)
    assert not placed.free(Rate(6, 60), 2, 5 * S)
    assert not placed.free(Rate(1, 60), 1, 5 * S)
    assert not placed.free(Rate(1, 1), 2, 600 * S)
    assert not placed.free(Rate(5, 60), 1, 60 * S - 1)
    assert placed.free(Rate(5, 60), 1, 60 * S)


def test_facts_of_exits_are_asked_for_in_a_pause_by_and_by() -> None:
    meter = WeightMeter()
    meter.refused(418, 600.0, 10 * S)

    def asked(at: int) -> int:
        count = 0
        while isinstance(meter.admit(Need.EXIT, "ip", 20, at), Permit):
            count += 1
        return count

    assert asked(11 * S) == MOST_IN_PAUSE
    assert asked(11 * S) == 0
    assert asked(12 * S) == 1
    assert asked(17 * S) == 5
    assert asked(500 * S) == MOST_IN_PAUSE
    assert isinstance(meter.admit(Need.EXIT, "ip", 20, 611 * S), Permit)
    assert meter.pause(Need.EXIT, "ip", 1, 501 * S) is None


@pytest.mark.parametrize("questions", [("/account:a",), ("/account:a", "/order:a", "/depth:")])
def test_who_asks_again_and_again_in_a_pause_leaves_others_the_facts_of_their_exits(
    questions: tuple[str, ...],
) -> None:
    """A bot that sells what is not there, over and over, kept a bot of another account from being judged at all."""
    meter = WeightMeter()
    meter.refused(418, 600.0, 0)
    for tenth in range(1, 3_000):
        now_us = tenth * 100_000
        for question in questions:
            meter.admit(Need.EXIT, "ip", 20, now_us, question)
        if tenth % 100 == 0:  # every ten seconds somebody else wants to leave
            needs = ("/account:b", "/order:b", "/price:")
            found = [meter.admit(Need.EXIT, "ip", 20, now_us, need) for need in needs]
            assert all(isinstance(one, Permit) for one in found)


def test_what_passes_in_a_pause_for_one_key_is_the_same_in_all_whatever_it_asks() -> None:
    meter = WeightMeter()
    meter.refused(418, 600.0, 0)
    passed = [meter.admit(Need.EXIT, "ip", 20, at * 1_000, f"/account:{at}", "a") for at in range(60_000)]
    assert sum(isinstance(one, Permit) for one in passed) <= MOST_IN_PAUSE + 60


@pytest.mark.parametrize("first", ["429", "418", "a used up minute"])
def test_what_one_keys_exits_ask_in_a_pause_is_not_taken_off_anothers(first: str) -> None:
    meter = WeightMeter()
    if first.isdigit():
        meter.refused(int(first), 600.0, 0)
    else:
        meter.spend("ip", 6000, 0)

    def asked(whose: str, now_us: int) -> int:
        found = (meter.admit(Need.EXIT, "ip", 4, now_us, "/price:", whose) for _ in range(200))
        return sum(isinstance(one, Permit) for one in found)

    for number in range(5):
        assert asked(f"key{number}", 1000) == MOST_IN_PAUSE // 2, "one question may be asked again by half"
        assert not meter.leaves_room("ip", 4, 1000, f"key{number}")
    assert meter.leaves_room("ip", 4, 1000, "another")
    assert isinstance(meter.admit(Need.EXIT, "ip", 4, 1000, "/depth:", "key0"), Permit), "of its other half"


def test_of_whom_a_pause_remembers_what_they_asked_has_an_end_and_who_goes_on_is_not_forgotten() -> None:
    meter = WeightMeter()
    meter.refused(418, 600.0, 0)
    passed = 0
    for number in range(3 * MOST_ASKERS):
        meter.admit(Need.EXIT, "ip", 4, 1000, f"/order:{number}", f"key{number}")
        passed += isinstance(meter.admit(Need.EXIT, "ip", 4, 1000, f"/order:{number}", "greedy"), Permit)
    assert passed == MOST_IN_PAUSE
    assert len(meter._trickles) <= MOST_ASKERS
