"""Closed orders of long ago go, what may still matter stays, and what was bought and sold counts as before."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from broker.budget import WINDOW_US
from broker.calllog import Answered, Ask, SentLine
from broker.db import Connection, calls, fills, slices
from broker.db import log_tables as t
from broker.db import retention as store
from broker.db.database import Database
from broker.db.weighing import Fill, Whose
from broker.policy_facts import Stake
from broker.service.call_seal import CallSeal
from broker.service.retention import AT_ONCE, EVERY_US, KEPT_US, Retention
from tests.places import database_at

DAY_US = 24 * 3600 * 1_000_000
OLD_US, NOW_US = 1, KEPT_US + 2 * DAY_US
OWN = Whose(frozenset(["one"]))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = database_at(tmp_path)
    found.upgrade()
    yield found
    found.close()


class Desk:
    """As much of a desk as this needs, at an instant that tests move."""

    def __init__(self, database: Database, now_us: int = NOW_US) -> None:
        self.database, self.now = database, now_us
        self.clock = self

    def now_us(self) -> int:
        return self.now


def tidied(database: Database, times: int = 1) -> None:
    retention = Retention(Desk(database), CallSeal(Desk(database)))  # type: ignore[arg-type]
    for _ in range(times):
        retention.tidy()


def ask(seq: int, names: Iterable[str], side: str = "BUY", grant: str = "one") -> Ask:
    sent: list[SentLine] = [(name, side, "1", "", True) for name in names]
    return Ask(
        seq, OLD_US, grant, "bot", "main", "key", "POST", "order", "place", "BTCUSDT", side, None, (), None,
        "allow", None, 0, (), "peer", False, tuple(sent), (OLD_US, OLD_US),
    )  # fmt: skip


def answer(
    of: int, own: Iterable[tuple[str, str]], told: Iterable[tuple[str, str, str, str]], at_us: int = OLD_US,
    grant: str = "one",
) -> Answered:  # fmt: skip
    """Say which ids and names an ask's orders have; and of these: id, side, what it executed and still may."""
    return Answered(
        of + 100_000, of, at_us, 200, None, 1, "done", (), (), "main", grant,
        tuple(("BTCUSDT", known_as, name) for known_as, name in own),
        fills=tuple(("main", "BTCUSDT", number, "BTC", side, executed, left) for number, side, executed, left in told),
    )  # fmt: skip


def put(database: Database, *lines: Ask | Answered) -> None:
    with database.log.write() as connection:
        calls.add_lines(connection, "local", "boot", lines)


def closed(
    seq: int, number: str, side: str = "BUY", executed: str = "1", left: str = "0", at_us: int = OLD_US
) -> tuple[Ask, Answered]:
    name = f"n{number}"
    return ask(seq, [name], side), answer(
        seq, [(f"#{number}", name)], [(number, side, executed, left)], at_us
    )


def rows(database: Database) -> dict[str, set[str]]:
    """Return the orders that are on record, by table."""
    with database.log.read() as connection:
        return {
            "orders": set(connection.execute(select(t.ORDERS.c.name)).scalars()),
            "sent": {str(one) for one in connection.execute(select(t.SENT_ORDERS.c.known_as)).scalars()},
            "fills": set(connection.execute(select(t.FILLS.c.order_id)).scalars()),
        }


NOTHING: dict[str, set[str]] = {"orders": set(), "sent": set(), "fills": set()}


def stake(database: Database, recent: Iterable[Fill] = (), replaces: str = "") -> Stake:
    with database.log.read() as connection:
        return fills.stake(connection, "main", OWN, "BTCUSDT", "BTC", recent, replaces)


def test_a_closed_order_of_long_ago_goes_and_what_it_executed_counts_on(database: Database) -> None:
    put(database, *closed(1, "7", executed="3"), *closed(2, "8", "SELL"), *closed(3, "9", executed="0"))
    before = stake(database)
    assert before.own == 2
    tidied(database)
    assert rows(database) == NOTHING
    assert stake(database) == before
    put(database, *closed(4, "10", executed="0.5", at_us=NOW_US))
    assert stake(database).own == Decimal("2.5")


def test_what_was_added_up_is_added_to(database: Database) -> None:
    put(database, *closed(1, "7", executed="3"))
    tidied(database)
    put(database, *closed(2, "8", executed="0.00000001"))
    tidied(database)
    assert rows(database) == NOTHING
    assert stake(database).own == Decimal("3.00000001")


STAYS: dict[str, tuple[Ask | Answered, ...]] = {
    "told of lately": closed(1, "7", at_us=NOW_US - KEPT_US + 1),
    "open": closed(1, "7", left="0.5"),
    "never told of": (ask(1, ["n7"]), answer(1, [("#7", "n7")], [])),
}


@pytest.mark.parametrize("lines", STAYS.values(), ids=STAYS)
def test_what_may_still_matter_stays(database: Database, lines: tuple[Ask | Answered, ...]) -> None:
    put(database, *lines)
    before = rows(database)
    assert before["orders"] == {"#7"}
    tidied(database, 3)
    assert rows(database) == before


def test_what_never_got_an_id_stays_under_its_name(database: Database) -> None:
    """Its answer was lost: it may rest at the venue, and its sender may cancel it by its name."""
    put(database, ask(1, ["lost"]), *closed(2, "8"))
    tidied(database)
    with database.log.read() as connection:
        assert [row.grant for row in calls.sent_as(connection, "main", "BTCUSDT", "lost")] == ["one"]


def test_a_namesake_that_lives_keeps_its_name(database: Database) -> None:
    """One client order id, two orders: only the closed one goes."""
    put(database, ask(1, ["x"]), answer(1, [("#7", "x")], [("7", "BUY", "1", "0")]))
    put(database, ask(2, ["x"], grant="two"), answer(2, [("#8", "x")], [("8", "BUY", "0", "1")], grant="two"))
    tidied(database)
    with database.log.read() as connection:
        assert calls.owner(connection, "main", "BTCUSDT", "#7") is None
        assert calls.owner(connection, "main", "BTCUSDT", "#8") == "two"
        assert [row.known_as for row in calls.sent_as(connection, "main", "BTCUSDT", "x")] == ["#8"]


@pytest.mark.parametrize("left", ["0", "1"])
def test_a_list_goes_with_the_last_of_its_orders(database: Database, left: str) -> None:
    own = [("#7", "a"), ("#8", "b"), ("%5", "@l")]
    put(
        database,
        ask(1, ["@l", "a", "b"], "SELL"),
        answer(1, own, [("7", "SELL", "0", "0"), ("8", "SELL", "0", left)]),
    )
    tidied(database)
    known = rows(database)
    if left == "0":
        assert known == NOTHING
    else:
        assert known["orders"] == {"#8", "%5"}
        assert known["sent"] == {"#8", "%5"}


def test_a_gateway_that_remembers_an_order_of_long_ago_does_not_count_it_twice(database: Database) -> None:
    put(database, *closed(1, "7", executed="3"))
    tidied(database)
    old = Fill("main", "BTCUSDT", "7", "one", "BTC", "BUY", Decimal(3), Decimal(0))
    assert stake(database, [old]).own == 3
    fresh = replace(old, order_id="1000", executed=Decimal(1))
    assert stake(database, [old, fresh]).own == 4


def test_an_answer_that_tells_of_it_once_more_does_not_count_it_twice(database: Database) -> None:
    """A bot reads its old orders."""
    put(database, *closed(1, "7", executed="3"))
    tidied(database)
    put(database, ask(2, []), answer(2, [], [("7", "BUY", "3", "0")], NOW_US))
    assert stake(database).own == 3
    assert rows(database)["fills"] == set()


def test_rows_go_a_few_at_a_time_and_open_ones_are_in_nobodys_way(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = 2 * AT_ONCE
    for seq in range(1, many + 1):
        put(database, *closed(seq, str(seq), left="0" if seq > AT_ONCE + 10 else "1"))
    taken = []
    real = store.forget_orders

    def counted(connection: Connection, places: Any) -> int:
        taken.append(real(connection, places))
        return taken[-1]

    monkeypatch.setattr(store, "forget_orders", counted)
    tidied(database)
    assert sum(taken) == AT_ONCE - 10
    assert max(taken) <= AT_ONCE
    assert len(rows(database)["fills"]) == AT_ONCE + 10


def test_it_looks_once_an_hour_and_goes_on_where_it_did_not_end(database: Database) -> None:
    desk = Desk(database)
    retention = Retention(desk, CallSeal(desk))  # type: ignore[arg-type]
    retention.tidy()
    put(database, *closed(1, "7"))
    retention.tidy()
    assert rows(database)["fills"] == {"7"}, "nothing was there, so the next look is in an hour"
    desk.now += EVERY_US
    retention.tidy()
    assert rows(database) == NOTHING


@pytest.mark.parametrize(
    ("closed_us", "age_us", "stays"),
    [
        (None, 3 * DAY_US, False),
        (None, DAY_US, True),
        (2 * DAY_US, 3 * DAY_US, True),
        (3_600, 4 * DAY_US, False),
    ],
)
def test_a_slice_goes_once_no_window_reaches_it(
    database: Database, closed_us: int | None, age_us: int, stays: bool
) -> None:
    with database.log.write() as connection:
        slices.lend(connection, slices.Slice("s", Decimal(1), 0, grant="grt"), "local", "boot")
        connection.execute(t.SLICES.update().values(closed_us=closed_us))
        store.forget_slices(connection, age_us, AT_ONCE)
        found = connection.execute(select(func.count()).select_from(t.SLICES)).scalar_one()
        counts = slices.slices(connection, "grt", age_us - WINDOW_US)
    assert bool(found) is stays
    assert stays or not counts or closed_us is None
