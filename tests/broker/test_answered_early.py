"""In which order a request and what another start tells of it are taken in makes no difference to the record."""

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import delete, func, select
from sqlalchemy.sql.elements import ColumnElement

from broker.calllog import Answered, Ask, SentLine, parse, write_line
from broker.db import Connection, calls, early, old_calls
from broker.db import log_tables as t
from broker.db.database import Database
from tests.places import database_at

Line = Ask | Answered
Came = tuple[str, str, Line]
"""Gateway, boot and line."""

LIST: SentLine = ("@ours", "", "", "", True)
BUYS: SentLine = ("x", "BUY", "0.5", "", True)
SELLS: SentLine = ("y", "SELL", "5", "0.05", True)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = database_at(tmp_path)
    found.upgrade()
    yield found
    found.close()


def ask(seq: int, *sent: SentLine, decision: str = "allow") -> Ask:
    return Ask(
        seq, 1, "one", "bot", "main", "key", "POST", "spot.order.place", "place", "BTCUSDT", "BUY", None, ("x",), None,
        decision, None, 0, (), "", False, sent=sent, window_us=(100, 101), base="BTC",
    )  # fmt: skip


def tells(
    number: int, of: int, *own: tuple[str, str], outcome: str = "done", gateway: str = "", none_placed: bool = False
) -> Answered:  # fmt: skip
    return Answered(
        number, of, 200, 200, None, 1, outcome, (), (), "main", "one",
        tuple(("BTCUSDT", known_as, name) for known_as, name in own), boot="b1", none_placed=none_placed, gateway=gateway,
    )  # fmt: skip


def take(connection: Connection, came: Came) -> None:
    gateway, boot, line = came
    assert parse(write_line(line)) == line
    calls.add_lines(connection, gateway, boot, [line])


def rows(connection: Connection) -> list[tuple[int, str, str | None]]:
    c = t.SENT_ORDERS.c
    query = select(c.seq, c.name, c.known_as).order_by(c.seq, c.name)
    return [(row[0], row[1], row[2]) for row in connection.execute(query)]


def kept(connection: Connection, *where: ColumnElement[bool]) -> int:
    query = select(func.count()).select_from(t.ANSWERED_EARLY).where(*where)
    return int(connection.execute(query).scalar() or 0)


SENT: Came = ("edge", "b1", ask(1, BUYS))
PAIR: Came = ("edge", "b1", ask(1, LIST, BUYS, SELLS))
CASES: dict[str, tuple[list[Came], list[tuple[int, str, str | None]]]] = {
    "found by the next start": ([SENT, ("edge", "b2", tells(1, 1, ("#7", "x")))], [(1, "x", "#7")]),
    "found by another gateway": (
        [SENT, ("local", "b9", tells(1, 1, ("#7", "x"), gateway="edge"))],
        [(1, "x", "#7")],
    ),
    "absent": ([SENT, ("edge", "b2", tells(1, 1, outcome="refused"))], []),
    "absent at another gateway": (
        [SENT, ("local", "b9", tells(1, 1, outcome="refused", gateway="edge"))],
        [],
    ),
    "none was placed": ([SENT, ("edge", "b2", tells(1, 1, none_placed=True))], []),
    "found one after the other": (
        [PAIR, ("edge", "b2", tells(1, 1, ("#7", "x"), ("%3", "@ours"))), ("edge", "b3", tells(1, 1, ("#8", "y")))],
        [(1, "@ours", "%3"), (1, "x", "#7"), (1, "y", "#8")],
    ),
    "found in part": ([PAIR, ("edge", "b2", tells(1, 1, ("#8", "y")))], [
        (1, "@ours", None), (1, "x", None), (1, "y", "#8")
    ]),
    "found by two": (
        [SENT, ("edge", "b2", tells(1, 1, ("#7", "x"))), ("local", "b9", tells(1, 1, ("#7", "x"), gateway="edge"))],
        [(1, "x", "#7")],
    ),
    "another request of that start": (
        [SENT, ("edge", "b2", tells(1, 2, ("#7", "x")))], [(1, "x", None)]
    ),
    "of another gateway": ([SENT, ("other", "b2", tells(1, 1, ("#7", "x")))], [(1, "x", None)]),
}  # fmt: skip


@pytest.mark.parametrize(("came", "there"), CASES.values(), ids=CASES)
def test_in_whichever_order_they_come(
    database: Database, came: list[Came], there: list[tuple[int, str, str | None]]
) -> None:
    for order in permutations(came):
        with database.log.write() as connection:
            for one in order:
                take(connection, one)
            assert rows(connection) == there, order
            assert not kept(connection, t.ANSWERED_EARLY.c.gateway == "edge", t.ANSWERED_EARLY.c.seq == 1)
            for one in order:  # once more
                take(connection, one)
            assert rows(connection) == there, order
            for table in (t.SENT_ORDERS, t.CALLS, t.ORDERS, t.ANSWERED_EARLY):
                connection.execute(delete(table))


def test_those_beside_it_are_as_they_were_sent(database: Database) -> None:
    with database.log.write() as connection:
        take(connection, ("edge", "b2", tells(1, 1, ("#7", "x"))))
        take(connection, ("edge", "b2", tells(2, 3, outcome="refused")))
        lines = [ask(seq, BUYS) for seq in (1, 2, 3, 4)]
        calls.add_lines(connection, "edge", "b1", lines)
        assert rows(connection) == [(1, "x", "#7"), (2, "x", None), (4, "x", None)]
        assert not kept(connection)


def test_of_what_is_there_or_was_nothing_is_kept(database: Database) -> None:
    with database.log.write() as connection:
        take(connection, ("edge", "b1", ask(1, BUYS)))
        old_calls._note(connection, {("edge", "b0"): 9})
        for of, boot in ((1, "b1"), (9, "b0")):
            line = tells(1, of, ("#7", "x"))
            take(connection, ("edge", "b2", replace(line, boot=boot)))
        assert not kept(connection)
        take(connection, ("edge", "b2", replace(tells(1, 10, ("#7", "x")), boot="b0")))
        assert kept(connection) == 1


def test_it_goes_with_its_start_and_with_age(database: Database) -> None:
    with database.log.write() as connection:
        for of in (1, 2, 3):
            take(connection, ("edge", "b2", tells(1, of, ("#7", "x"))))
        assert early.forget(connection, 200, 2) == 0, "200 is when it was told"
        assert early.forget(connection, 201, 2) == 2
        assert kept(connection) == 1
        early.over(connection, "edge", "b2")
        early.over(connection, "local", "b1")
        assert kept(connection) == 1
        early.over(connection, "edge", "b1")
        assert not kept(connection)
