"""Orders that were recorded before the record said of which list they are: nobody said it, until somebody does."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import select

from broker.calllog import Answered, parse, write_line
from broker.db import calls, fills
from broker.db import log_tables as t
from broker.db.database import Database
from broker.db.weighing import Fill, Whose
from broker.listed import NOT_SAID
from tests.places import database_at

SALE = Fill("main", "BTCUSDT", "8", "me", "BTC", "SELL", Decimal(0), Decimal(2))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = database_at(tmp_path)
    found.upgrade()
    yield found
    found.close()


def listed(database: Database) -> list[str | None]:
    with database.log.read() as connection:
        return list(connection.execute(select(t.FILLS.c.listed).order_by(t.FILLS.c.order_id)).scalars())


def test_of_orders_from_before_nobody_said_it(database: Database) -> None:
    with database.log.write() as connection:
        fills.note(connection, [SALE, replace(SALE, order_id="9", listed="7/0")])
        connection.exec_driver_sql("DROP INDEX ix_fills_listed")
        connection.exec_driver_sql("ALTER TABLE fills DROP COLUMN listed")
        connection.exec_driver_sql("UPDATE alembic_version_log SET version_num = '0008'")
    database.upgrade()
    assert listed(database) == [NOT_SAID, NOT_SAID]
    with database.log.write() as connection:
        fills.note(connection, [replace(SALE, order_id="10")])
    assert listed(database) == [None, NOT_SAID, NOT_SAID]


def test_who_says_it_is_believed_although_nothing_else_is_new(database: Database) -> None:
    for told, kept in (
        (NOT_SAID, NOT_SAID),
        ("7", "7"),
        (NOT_SAID, "7"),
        ("7/0", "7/0"),
        ("7", "7/0"),
        ("", "7/0"),
    ):
        with database.log.write() as connection:
            fills.note(connection, [replace(SALE, listed=told)])
        assert listed(database) == [kept]
    with database.log.write() as connection:
        fills.note(connection, [replace(SALE, executed=Decimal(1), open=Decimal(1), listed="7")])
        fills.note(connection, [replace(SALE, order_id="9", listed="7/0")])
    with database.log.read() as connection:
        buys = replace(SALE, side="BUY", order_id="1", executed=Decimal(5), open=Decimal(0))
        found = fills.stake(connection, "main", Whose(frozenset(["me"])), "BTCUSDT", "BTC", [buys])
    assert (found.own, found.sure) == (3, True), "one was sold, and one is offered"


@pytest.mark.parametrize(
    ("lists", "kept"),
    [
        (None, [NOT_SAID, NOT_SAID]),
        ((), [None, None]),
        ((("BTCUSDT", "8", "7/0"),), ["7/0", None]),
    ],
)
def test_a_line_says_of_which_list_orders_are(
    database: Database, lists: tuple[tuple[str, str, str], ...] | None, kept: list[str | None]
) -> None:
    line = Answered(
        2, 1, 1, 200, None, 1, "done", (), (), "main", "me", (("BTCUSDT", "#8", "a"), ("BTCUSDT", "#9", "b")),
        tuple(("main", "BTCUSDT", number, "BTC", "SELL", "0", "2") for number in ("8", "9")), lists=lists,
    )  # fmt: skip
    read = parse(write_line(line))
    assert read == line
    assert read is not None
    with database.log.write() as connection:
        calls.add_lines(connection, "edge", "b00t", [read])
    assert listed(database) == kept
