"""Whose an asset is costs the same however many orders were placed, and is what all of them together say."""

import random
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select

from broker.calllog import progress
from broker.db import fills
from broker.db import log_tables as t
from broker.db.database import Database
from broker.db.weighing import BUY, SELL, Fill, Whose, weigh
from tests.places import database_at

WHOSE = Whose(frozenset(["one", "late"]), frozenset(["gone"]), {"old": "two"})
GRANTS = ("one", "late", "gone", "old", "two", "three")
PAIRS = ("BTCUSDT", "BTCEUR")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = database_at(tmp_path)
    found.upgrade()
    yield found
    found.close()


def told(chance: random.Random, number: int, executed: Decimal | None = None) -> Fill:
    """Tell of an order: whose, in which pair and on which side follows from its number."""
    left = chance.choice(["0", "0.00000000", "0E-8", "0.5", "-0.25", "1E-8"])
    listed = ("", f"{number % 30}", f"{number % 30}/0", f"{number % 30}/1", "?")[number // 30 % 5]
    return Fill(
        "main", PAIRS[number % 2], str(number), GRANTS[number % 6], "BTC", BUY if number % 5 else SELL,
        Decimal(chance.choice([0, chance.randrange(1_000)])) / 1000 if executed is None else executed, Decimal(left),
        number, listed,
    )  # fmt: skip


def on_record(database: Database) -> dict[tuple[str, str], Fill]:
    with database.log.read() as connection:
        return {
            (fill.symbol, fill.order_id): fill
            for fill in map(fills._fill, connection.execute(select(t.FILLS)))
        }


def asked(database: Database, recent: tuple[Fill, ...] = (), replaces: str = "") -> Any:
    with database.log.read() as connection:
        return fills.stake(connection, "main", WHOSE, "BTCUSDT", "BTC", recent, replaces)


@pytest.mark.parametrize("seed", range(12))
def test_sums_and_open_orders_say_what_every_order_says(database: Database, seed: int) -> None:
    """Whatever comes, late, twice, or known to the gateway alone."""
    chance = random.Random(seed)  # noqa: S311 - a test
    for _ in range(30):
        with database.log.write() as connection:
            fills.note(
                connection, [told(chance, chance.randrange(1, 40)) for _ in range(chance.randrange(6))]
            )
    recent = tuple(told(chance, chance.randrange(1, 60)) for _ in range(10))
    everything = on_record(database)
    for fill in recent:
        known = everything.get((fill.symbol, fill.order_id))
        if known is None or progress(fill.executed, fill.open) > progress(known.executed, known.open):
            everything[fill.symbol, fill.order_id] = fill
    for replaces in ("", *(str(number) for number in range(1, 60))):
        assert asked(database, recent, replaces) == weigh(everything.values(), WHOSE, "BTCUSDT", replaces)


def test_closed_orders_are_not_read_however_many_there_are(database: Database) -> None:
    """A bot's 2,000 orders were read for each exit that it asked for, and their reading kept the log behind."""
    chance = random.Random(1)  # noqa: S311 - a test
    closed = [told(chance, number) for number in range(1, 2_000)]
    with database.log.write() as connection:
        fills.note(connection, [Fill(*one[:7], Decimal(0), 1) for one in map(_values, closed)])
        fills.note(connection, [told(chance, 2_001, Decimal(1))])
    read = list[int]()
    steps = list[str]()

    def counted(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        del cursor
        raw = connection.connection.cursor()
        read.append(len(raw.execute(statement, parameters).fetchall()))
        steps.extend(
            str(row) for row in raw.execute("EXPLAIN QUERY PLAN " + statement, parameters).fetchall()
        )

    with database.log.read() as connection:
        event.listen(connection, "before_cursor_execute", counted)
        fills.stake(connection, "main", WHOSE, "BTCUSDT", "BTC")
        fills.resting(connection, "main", "BTC")
        fills.pairs_of(connection, "main", "BTC")
    assert read
    assert max(read) <= 2 * len(GRANTS) * len(PAIRS)
    assert not [step for step in steps if "SCAN fills" in step], steps


def test_open_orders_are_named_in_turn_each_once_whatever_is_told_of_others_meanwhile(
    database: Database,
) -> None:
    chance = random.Random(3)  # noqa: S311 - a test
    orders = [
        Fill(
            "main", pair, str(number), "one", "BTC", BUY, Decimal(0), Decimal(1), told_us=chance.randrange(5)
        )
        for number in range(200)
        for pair in ("BTCEUR", "BTCUSDT")
    ]
    with database.log.write() as connection:
        fills.note(connection, orders)
    named, after = list[tuple[str, str]](), ""
    with database.log.read() as connection:
        assert len(fills.resting(connection, "main", "BTC")) == fills.MOST_RESTING
        for odd in ("x", ":", "-1:A:1", "9" * 40, "²", "1" * 5_000):
            assert fills.resting_after(connection, "main", "BTC", odd)[0]
    while True:
        with database.log.read() as connection:
            found, after = fills.resting_after(connection, "main", "BTC", after)
        named += [(symbol, order) for _, symbol, order, _ in found]
        with database.log.write() as connection:  # one that was named is told of again, and executes
            known = next(one for one in orders if (one.symbol, one.order_id) == named[0])
            fills.note(connection, [replace(known, executed=Decimal(len(named)), told_us=0)])
        if not after:
            break
    assert len(named) == len(set(named)) == 400


def _values(fill: Fill) -> tuple[Any, ...]:
    return (fill.account, fill.symbol, fill.order_id, fill.grant, fill.base, fill.side, fill.executed)


def test_orders_of_before_are_added_up_when_the_store_is_upgraded(tmp_path: Path) -> None:
    database = database_at(tmp_path)
    database.upgrade(log_to="0004")
    rows = [
        {"account": "main", "symbol": "BTCUSDT", "order_id": str(number), "grant": "one", "base": "BTC",
         "side": side, "executed": executed, "open": left, "told_us": 1}
        for number, (side, executed, left) in enumerate(
            [(BUY, "3", "0.00000000"), (BUY, "1E-8", "0"), (SELL, "1.5", "0E-8"), (SELL, "0.25", "0.75")]
        )
    ]  # fmt: skip
    with database.log.write() as connection:
        connection.execute(t.FILLS.insert(), rows)
    database.upgrade()
    found = asked(database)
    assert found.own == Decimal("3.00000001") - Decimal("1.75") - Decimal("0.75")
    with database.log.read() as connection:
        assert [row[2] for row in fills.resting(connection, "main", "BTC")] == ["3"]
    database.close()
