"""One process at a time holds a home's seat; who lost it does nothing, whoever lives is not pushed off it."""

import json
from dataclasses import replace

import pytest

from broker import seat as seats
from broker.seat import DEAD_S, Place, Seat, Seating

HERE, THERE = Place("m1", "b1", "11"), Place("m2", "b2", "22")
THEIRS = Seat(4, THERE, "host b, home /h, process 7", 10)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def wanting(clock: Clock | None = None) -> Seating:
    return Seating(HERE, "host a", now_s=clock or Clock())


@pytest.mark.parametrize("free", [None, replace(THEIRS, left=True), replace(THEIRS, place=HERE)])
def test_it_is_taken_at_once_where_nobody_holds_it_or_only_we_could(free: Seat | None) -> None:
    one = wanting()
    taken = one.look(free)
    assert taken is not None
    assert (taken.number, taken.place, taken.left) == (5 if free else 1, HERE, False)
    assert (one.number, one.usurped) == (taken.number, "")


@pytest.mark.parametrize(
    "near", [Place("m1", "b0", "11"), Place("m1", "b1", "12"), Place("m0", "b1", "11"), Place()]
)
def test_of_a_holder_elsewhere_the_beats_are_watched(near: Place) -> None:
    """Another boot, file or machine may be a clone that runs: its clock is not asked, ours is."""
    clock = Clock()
    one = wanting(clock)
    held = replace(THEIRS, place=near)
    assert one.look(held) is None
    assert one.usurped
    clock.now_s = DEAD_S - 0.1
    assert one.look(held) is None
    assert not one.lives
    clock.now_s = DEAD_S
    taken = one.look(held)
    assert taken is not None
    assert taken.number == 5


def test_one_that_beats_lives_and_is_left_alone_and_the_other_is_told_what_runs_where() -> None:
    clock = Clock()
    one = wanting(clock)
    for beat in range(100):
        assert one.look(replace(THEIRS, beat=beat)) is None
        clock.now_s += DEAD_S / 2
    assert one.lives
    assert "host b, home /h, process 7" in one.usurped
    assert "end it there" in one.usurped


def test_the_holder_beats_and_is_over_when_somebody_took_it_or_it_is_gone() -> None:
    one = wanting()
    mine = one.look(None)
    assert mine is not None
    again = one.look(mine)
    assert again == replace(mine, beat=1)
    one.peek(again)
    assert one.usurped == ""
    for other in (Seat(2, THERE, "host b"), Seat(2, HERE, "host a"), Seat(1, THERE, "of the same number")):
        assert one.look(other) is None
        assert one.usurped
        assert one.lives
        one.look(mine)
        assert one.usurped == ""


@pytest.mark.parametrize("found", [None, Seat(3, HERE, "host a before", 70), Seat(4, THERE, "host b, once")])
def test_a_seat_that_went_back_is_written_anew_by_its_holder_and_waited_for_by_its_child(
    found: Seat | None,
) -> None:
    """Its database was put back: of two that think they hold it the higher number stays."""
    one = wanting()
    assert one.look(replace(THEIRS, left=True)) is not None
    again = one.look(found)
    assert again is not None
    assert (again.number, again.place) == (5, HERE)
    child = Seating(HERE, number=5)
    assert child.look(found) is None
    assert "went back" in child.usurped
    child.look(again)
    assert child.usurped == ""
    child.look(replace(again, number=6))
    assert child.usurped


def test_who_works_under_a_seat_keeps_to_its_number_and_never_beats() -> None:
    child = Seating(THERE, number=4)
    assert child.look(THEIRS) is None
    assert child.usurped == ""
    child.look(replace(THEIRS, number=5))
    assert "runs this home" in child.usurped


@pytest.mark.parametrize(
    ("seat", "may"),
    [
        (None, True), (replace(THEIRS, left=True), True), (THEIRS, False), (replace(THEIRS, place=HERE), True),
        (replace(THEIRS, place=Place("m1", "before the reboot", "11")), True),
        (replace(THEIRS, place=Place("", "b1", "11")), True), (replace(THEIRS, place=Place("m2", "b1", "11")), False),
    ],
)  # fmt: skip
def test_a_command_in_place_goes_where_the_homes_own_seat_is_or_nobodys(seat: Seat | None, may: bool) -> None:
    one = Seating(HERE)
    assert one.look(seat) is None
    assert (one.usurped == "") is may


def test_it_is_left_by_its_holder_only() -> None:
    one = wanting()
    mine = one.look(None)
    assert mine is not None
    left = one.ended(mine)
    assert left is not None
    assert left.left
    assert one.ended(replace(mine, number=9)) is None
    assert one.ended(None) is None
    assert Seating(HERE, number=1).ended(mine) is None


def test_it_reads_as_it_was_written() -> None:
    assert seats.load(json.dumps(seats.dump(THEIRS))) == THEIRS
    assert seats.load(seats.dump(THEIRS)) == THEIRS
    assert seats.load(None) is None


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "7", '"x"', '{"number": true}', json.dumps({**seats.dump(THEIRS), "beat": "1"}),
     json.dumps({**seats.dump(THEIRS), "place": 1}), json.dumps({**seats.dump(THEIRS), "number": 1.5})],
)  # fmt: skip
def test_one_that_cannot_be_understood_is_no_free_seat(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be understood"):
        seats.load(text)


ON_A, ON_B = Place("m1", "b1", "11", "2049", "77"), Place("m1", "b1", "11", "64768", "88")


def test_the_same_inode_on_another_disk_is_another_home() -> None:
    """Two file systems number their files alike: a living holder's seat was taken at once, as that of a dead one."""
    clock = Clock()
    one = Seating(ON_A, "host a", now_s=clock)
    held = replace(THEIRS, place=ON_B)
    assert one.look(held) is None
    assert one.usurped
    assert one.look(replace(held, beat=11)) is None
    assert one.lives
    assert not ON_A.is_home_of(ON_B)
    command = Seating(ON_A)
    command.look(held)
    assert command.usurped, "nor does a command work there"


@pytest.mark.parametrize(
    "other",
    [
        replace(ON_A, boot="b2", device="64768"),  # devices are numbered anew at each boot
        replace(ON_A, boot="b2", device="64768", disk="88"),
        replace(ON_A, device="64768"),  # and where one is mounted anew
        replace(ON_A, device="", disk=""),  # as an older program wrote it down
    ],
)
def test_a_home_is_not_taken_for_a_copy_because_its_disk_was_mounted_anew(other: Place) -> None:
    assert ON_A.is_home_of(other)
    assert other.is_home_of(ON_A)


def test_a_place_of_an_older_program_is_read() -> None:
    old = {
        "number": 4,
        "place": {"machine": "m1", "boot": "b1", "file": "11"},
        "who": "x",
        "beat": 1,
        "left": False,
    }
    seat = seats.load(json.dumps(old))
    assert seat is not None
    assert seat.place.is_home_of(ON_A)
    assert seats.load(json.dumps(seats.dump(replace(seat, place=ON_A)))) == replace(seat, place=ON_A)
