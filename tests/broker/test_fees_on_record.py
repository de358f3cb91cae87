"""A fee that is told later is taken off what an order is on record with; nothing else ever is."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from broker.calllog import is_further
from broker.db import fills
from broker.db.database import Database
from broker.db.weighing import Fill, Whose
from tests.places import database_at


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = database_at(tmp_path)
    found.upgrade()
    yield found
    found.close()


ASKS = Whose(frozenset({"one"}))


def fill(executed: str, left: str = "0", side: str = "BUY") -> Fill:
    return Fill("main", "BTCUSDT", "7", "two", "BTC", side, Decimal(executed), Decimal(left))


def others(database: Database, *recent: Fill) -> Decimal:
    with database.log.read() as connection:
        return fills.stake(connection, "main", ASKS, "BTCUSDT", "BTC", recent).others


def test_a_fee_is_taken_off_the_record_and_its_sums_and_does_not_come_back(database: Database) -> None:
    for told, counts in (("0.1", "0.1"), ("0.0999", "0.0999"), ("0.1", "0.0999")):
        with database.log.write() as connection:
            fills.note(connection, [fill(told)])
        assert others(database) == Decimal(counts)


def test_so_is_one_that_only_the_question_tells(database: Database) -> None:
    with database.log.write() as connection:
        fills.note(connection, [fill("0.1")])
    assert others(database, fill("0.0999")) == Decimal("0.0999")
    assert others(database) == Decimal("0.1")


@pytest.mark.parametrize(
    ("side", "now", "before", "further"),
    [
        ("BUY", ("0.0999", "0"), ("0.1", "0"), True),
        ("BUY", ("0.1", "0"), ("0.0999", "0"), False),
        ("BUY", ("0.1", "0"), ("0.1", "0"), False),
        ("BUY", ("0.05", "0"), ("0.1", "0"), False),
        ("BUY", ("0", "0"), ("0.1", "0"), False),
        ("BUY", ("0.1", "0"), ("0", "0"), True),
        ("BUY", ("0.0999", "0.1"), ("0.1", "0"), False),
        ("SELL", ("0.0999", "0"), ("0.1", "0"), False),
        ("SELL", ("0.1", "0"), ("0.0999", "0"), True),
    ],
)
def test_less_is_later_only_where_a_fee_explains_it(
    side: str, now: tuple[str, str], before: tuple[str, str], *, further: bool
) -> None:
    of, was = (Decimal(now[0]), Decimal(now[1])), (Decimal(before[0]), Decimal(before[1]))
    assert is_further(side, of, was) is further
