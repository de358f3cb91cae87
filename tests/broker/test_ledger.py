"""The budget ledger: what comes back of slices, once, whichever way it is told."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from broker import budget
from broker.budget import SLICE_LIFE_US, WINDOW_US, Limit, Parts, Slice
from broker.calllog import Answered, Ask
from broker.db import Connection, calls, slices
from tests.places import database_at

GATEWAY, BOOT = "local", "boot"
HOUR_US = 3_600_000_000


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Connection]:
    database = database_at(tmp_path)
    database.upgrade()
    with database.log.write() as connection:
        yield connection
    database.close()


def lend(log: Connection, name: str = "s", amount: int = 100, at_us: int = 0) -> None:
    loan = Slice(name, Decimal(amount), at_us, grant="grt", account="main", consumer="bot", asset="USDT")
    slices.lend(log, loan, GATEWAY, BOOT)


def used(log: Connection, now_us: int) -> Decimal:
    return budget.used(slices.slices(log, "grt", now_us - WINDOW_US), now_us)


def asked(seq: int, reserved: Parts) -> Ask:
    return Ask(
        seq, 1, "grt", "bot", "main", "key", "POST", "order", "place", "BTCUSDT", "BUY", "1", (), None, "allow",
        None, 0, reserved, "peer", False,
    )  # fmt: skip


def answered(seq: int, of: int, released: Parts) -> Answered:
    return Answered(seq, of, 1, 200, None, 1, "done", (), released)


def part(amount: int) -> Parts:
    return (("s", Decimal(amount)),)


def test_what_a_boot_gave_back_itself_is_not_given_back_again_by_its_calls(log: Connection) -> None:
    """Its word that it closed the slice was lost; that it released 30 of 40 later was heard, and is in its lines too."""
    lend(log)
    calls.add_lines(log, GATEWAY, BOOT, [asked(1, part(40)), answered(2, 1, part(30))])
    slices.give_back(log, GATEWAY, part(30), None)
    slices.close_boot(log, GATEWAY, BOOT, 1)
    assert used(log, 1) == 10


@pytest.mark.parametrize("first", ["close", "release"])
def test_a_close_and_a_release_add_up_in_any_order(log: Connection, first: str) -> None:
    lend(log)
    told: list[tuple[Parts, int | None]] = [(part(60), 1), (part(15), None)]
    for parts, closed_us in told if first == "close" else reversed(told):
        slices.give_back(log, GATEWAY, parts, closed_us)
    assert used(log, 1) == 25
    slices.give_back(log, GATEWAY, part(60), 2)
    slices.close_boot(log, GATEWAY, BOOT, 3)
    assert used(log, 1) == 25, "closed once"


@pytest.mark.parametrize("amount", ["100", "100.50", "1E+2"])
def test_a_slice_that_came_back_whole_is_not_read_again_and_one_that_was_spent_from_is(
    log: Connection, amount: str
) -> None:
    """A day of cuts and thaws leaves thousands of them, and each loan reads what counts."""
    for number in range(20):
        loan = Slice(
            f"s{number}", Decimal(amount), 0, grant="grt", account="main", consumer="bot", asset="USDT"
        )
        slices.lend(log, loan, GATEWAY, BOOT)
        spent = Decimal("0.01") if number == 7 else Decimal(0)
        slices.give_back(log, GATEWAY, ((loan.id, Decimal(amount) - spent),), 1)
    limit = Limit(Decimal(1000), "USDT", frozenset(["grt"]))
    for found in (slices.slices(log, "grt", 0), slices.slices_under(log, [limit], 0)):
        assert [loan.id for loan in found] == ["s7"]
    assert used(log, 2) == Decimal("0.01")
    slices.give_back(log, GATEWAY, (("s7", Decimal("0.01")),), None)
    assert slices.slices(log, "grt", 0) == []


def test_where_lines_are_lost_only_what_was_given_back_counts_as_back(log: Connection) -> None:
    lend(log)
    slices.give_back(log, GATEWAY, part(30), None)
    slices.close_boot(log, GATEWAY, BOOT, 1, whole=False)
    assert used(log, 1) == 70


def test_nobody_closes_a_slice_of_another_gateway(log: Connection) -> None:
    lend(log)
    slices.give_back(log, "other", part(100), 1)
    slices.close_boot(log, "other", BOOT, 1)
    assert used(log, 1) == 100


def test_a_slice_whose_gateway_never_comes_back_stops_counting_after_its_life_and_a_window(
    log: Connection,
) -> None:
    lend(log)
    end_us = SLICE_LIFE_US + WINDOW_US
    assert used(log, end_us - 1) == 100
    assert used(log, end_us) == 0


@pytest.mark.parametrize("way", ["close", "boot"])
def test_a_slice_that_comes_back_late_takes_no_further_window(log: Connection, way: str) -> None:
    """It cannot have been spent after its life, whenever its gateway is heard of."""
    lend(log)
    calls.add_lines(log, GATEWAY, BOOT, [asked(1, part(40))])
    late_us = 20 * HOUR_US
    if way == "close":
        slices.give_back(log, GATEWAY, part(60), late_us)
    else:
        slices.close_boot(log, GATEWAY, BOOT, late_us)
    assert used(log, late_us) == 40
    assert used(log, SLICE_LIFE_US + WINDOW_US - 1) == 40
    assert used(log, SLICE_LIFE_US + WINDOW_US) == 0
