"""While an exchange asks to wait all bots' exits together ask little, and each bot's in its turn."""

import pytest

from broker.gateway.limits import MOST_ASKERS, Need, Pause, Permit, WeightMeter
from broker.gateway.turns import AT_ONCE, EACH_SECOND, KEPT_US, TURN, Turns

S = 1_000_000


@pytest.mark.parametrize("bots", [1, 3, 40, 3 * MOST_ASKERS])
def test_however_many_bots_want_to_leave_so_much_is_asked_and_no_more(bots: int) -> None:
    """Each had twenty facts at once, and one a second: a hundred bots asked two thousand times in a ban."""
    meter = WeightMeter()
    meter.refused(418, 6000.0, 0)
    passed = 0
    for tenth in range(1, 300):
        for bot in range(bots) if bots < 100 else range(tenth * 10, tenth * 10 + 10):
            admitted = meter.admit(Need.EXIT, "ip", 4, tenth * S // 10, f"/order:{tenth}", f"key{bot}")
            passed += isinstance(admitted, Permit)
    assert passed <= AT_ONCE + 30 * EACH_SECOND


def test_who_comes_last_has_its_turn_when_it_was_told_whatever_the_others_ask() -> None:
    """Thirty bots ask without end; one wants to leave once."""
    meter = WeightMeter()
    meter.refused(418, 60_000.0, 0)
    now_us = S

    def flood() -> None:
        for bot in range(30):
            meter.admit(Need.EXIT, "ip", 4, now_us, f"/{now_us}", f"key{bot}")

    for _ in range(100):
        flood()
        now_us += S // 10
    told = meter.admit(Need.EXIT, "ip", 4, now_us, "/price:", "quiet")
    assert isinstance(told, Pause)
    assert not told.banned, "that is the exchange's word on something else"
    assert told.seconds <= 31 * TURN // EACH_SECOND + 2
    for _ in range(told.seconds * 10):
        flood()
        now_us += S // 10
    needs = ("/price:", "/account:", "/depth:")
    assert all(isinstance(meter.admit(Need.EXIT, "ip", 4, now_us, need, "quiet"), Permit) for need in needs)


def test_a_flood_by_one_key_has_one_place_in_the_row() -> None:
    turns = Turns()
    for number in range(AT_ONCE):
        assert turns.take(f"key{number % 3}", 0) == 0
    waits = [turns.take("loud", 0) for _ in range(50)]
    assert set(waits) == {2}
    assert turns.take("quiet", 0) == 3
    assert [turns.take("quiet", 3 * S) for _ in range(TURN + 2)] == [0] * (TURN + 1) + [2], (
        "and what is nobody's"
    )


def test_a_turn_that_nobody_takes_goes_on_to_the_next() -> None:
    turns = Turns()
    while not turns.take("first", 0):
        pass
    for number in range(100):
        turns.take(f"gone{number}", 0)
    now_us = told = 0
    while told or not now_us:
        now_us += (told or 1) * S
        told = turns.take("stays", now_us)
        assert now_us < 150 * S


def test_what_is_over_gives_back_and_never_more_than_there_was() -> None:
    turns = Turns()
    assert sum(not turns.take("one", 0) for _ in range(2 * AT_ONCE)) == AT_ONCE
    assert not turns.has_room(0)
    later = 1_000 * S
    assert turns.has_room(later)
    later += 2 * KEPT_US  # whoever stood in the row did not come
    assert sum(not turns.take("two", later) for _ in range(2 * AT_ONCE)) == AT_ONCE


def test_who_asks_too_much_by_itself_is_told_to_ask_again_in_a_second() -> None:
    """It was told to wait for the end of the ban, and its exit with it."""
    meter = WeightMeter()
    meter.refused(418, 6000.0, 0)
    while not isinstance(told := meter.admit(Need.EXIT, "ip", 4, S, "/price:", "a"), Pause):
        pass
    assert told == Pause(1)
    assert isinstance(meter.admit(Need.RISK, "ip", 4, S, "/price:", "a"), Pause)
    assert meter.admit(Need.RISK, "ip", 4, S, "/price:", "a").banned  # type: ignore[union-attr]
