"""A line of the spool is told under its own number, whatever is deleted or gone around it; what is gone is said."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.gateway.others import Earlier, Others
from broker.gateway.parts import Part
from broker.gateway.spool import Spool


def lines(first: int, last: int) -> list[tuple[int, str]]:
    return [(number, f"line {number}") for number in range(first, last + 1)]


def left(directory: Path) -> Earlier:
    """Return what the next start would send."""
    ((earlier,), _) = Others(directory, "none").earlier()
    return earlier


@pytest.mark.parametrize("kept", [2, 3, 4])
@pytest.mark.parametrize("meanwhile", [3, 4, 5, 6, 7, 8])
def test_parts_that_go_while_others_are_read_shift_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int, meanwhile: int
) -> None:
    """They are read in a thread: a whole part was passed over, told as kept under its numbers, and deleted."""
    monkeypatch.setattr("broker.gateway.spool.PART_LINES", 2)
    spool = Spool(tmp_path)
    for number in range(1, 9):
        spool.write(f"line {number}")
    spool.close()
    earlier = left(tmp_path)
    read = earlier._parts._lines

    def reading(part: Part, number: int, most: int) -> Iterator[str]:
        for line in read(part, number, most):
            if line == f"line {meanwhile}":
                earlier.kept(kept)
            yield line

    monkeypatch.setattr(earlier._parts, "_lines", reading)
    assert earlier.batch(kept, 99) == lines(kept + 1, 8)
    assert earlier.whole
    assert earlier.batch(kept, 99) == lines(kept + 1, 8)
    earlier.let_go()


@pytest.mark.parametrize("most", [1, 2, 3, 99])
def test_what_went_with_its_directory_and_is_in_no_memory_is_told_as_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """What there was went under the numbers of what was lost, so nobody heard that anything was."""
    monkeypatch.setattr("broker.gateway.spool.MOST_HELD", 2)
    path = tmp_path / "spool"
    spool = Spool(path)
    for number in range(1, 6):
        spool.write(f"line {number}")
    shutil.rmtree(path)
    spool.look()
    path.mkdir()
    spool.look()
    found = list[tuple[int, str]]()
    while batch := spool.batch(found[-1][0] if found else 0, most):
        found += batch
    assert found == [(1, ""), (2, ""), (3, ""), *lines(4, 5)]
    spool.close()
    assert left(path).batch(3, 99) == lines(4, 5)
