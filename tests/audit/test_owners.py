"""Whose order is whose in the broker's record: by the venue's id; names lead to what was sent under them."""

import sqlite3
from itertools import permutations
from pathlib import Path

import pytest

from broker.calllog import Answered, Ask, parse, write_line
from broker.service import Service
from broker.service.calls import Claim
from tests.gateway.world import running_world

LEG = ("x", "BUY", "0.01", "59000", True)


def ask(
    seq: int, grant: str, *, name: str = "x", endpoint: str = "spot.order.place", sent: bool = True
) -> str:
    leg = ((name, *LEG[1:]),) if sent else ()
    return write_line(
        Ask(
            seq, seq, grant, "c", "main", "k", "POST", endpoint, "place", "BTCUSDT", "BUY", "1", (name,), None, "allow",
            None, 0, (), "peer", False, leg, (seq, seq + 2) if sent else (0, 0),
        )
    )  # fmt: skip


def answer(
    of: int, grant: str, number: int | None, *, outcome: str = "done", name: str = "x", old: bool = False
) -> str:
    own = () if number is None or old else (("BTCUSDT", f"#{number}", name),)
    orders = () if number is None else (("BTCUSDT", str(number), name, False),)
    line = Answered(
        of + 1,
        of,
        of + 1,
        200,
        None,
        5,
        outcome,
        orders,
        (),
        "main" if own else "",
        grant if own else "",
        own,
    )
    return write_line(line)


def owner(service: Service, name: str) -> str | None:
    return service.calls.whose("main", "BTCUSDT", name).grant


def test_lines_of_an_older_gateway_are_read() -> None:
    for line in (ask(1, "a", sent=False), answer(1, "a", 7, old=True)):
        found = parse(line.replace(',"o":[],"w":[0,0]', "").replace(',"a":"","g":"","w":[]', ""))
        assert found is not None


async def test_lines_in_any_order_from_two_gateways_name_the_same_owners(tmp_path: Path) -> None:
    """Answers may come before asks, twice, or from a second gateway in between."""
    async with running_world(tmp_path) as world:
        for number, order in enumerate(permutations(range(4))):
            base = 100 * number
            mine, theirs = f"x{number}", base + 2
            lines = [
                ("one", ask(1, "a", name=mine)), ("one", answer(1, "a", base + 1, name=mine)),
                ("two", ask(1, "b", name=mine)), ("two", answer(1, "b", theirs, name=mine)),
            ]  # fmt: skip
            for place in (*order, *order):
                gateway, line = lines[place]
                world.service.calls.ingest(gateway, f"{gateway}{number}", [line])
            assert owner(world.service, f"#{base + 1}") == "a"
            assert owner(world.service, f"#{theirs}") == "b"


async def test_who_only_asked_owns_nothing_and_what_was_refused_leaves_nothing(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        service = world.service
        service.calls.ingest("one", "b1", [ask(1, "a"), answer(1, "a", 1)])
        service.calls.ingest("two", "b2", [ask(5, "b"), ask(7, "b")])
        found = service.calls.whose("main", "BTCUSDT", "x")
        assert found.grant == "a"
        assert found.claims == tuple(Claim("b", *("x", seq, seq + 2), *LEG[1:], "b2") for seq in (7, 5))
        service.calls.ingest("two", "b2", [answer(5, "b", None, outcome="refused")])
        service.calls.ingest("two", "b2", [answer(7, "b", None, outcome="unknown")])
        service.calls.ingest("two", "b2", [ask(5, "b")])
        assert [one.sent_us for one in service.calls.whose("main", "BTCUSDT", "x").claims] == [7]
        assert owner(service, "#1") == "a"


@pytest.mark.parametrize(("endpoint", "known"), [("spot.order.place", "a"), ("spot.order.test", None)])
async def test_orders_of_an_older_gateways_spool_are_owned(
    tmp_path: Path, endpoint: str, known: str | None
) -> None:
    async with running_world(tmp_path) as world:
        lines = [ask(1, "a", endpoint=endpoint, sent=False), answer(1, "a", 9, old=True)]
        world.service.calls.ingest("one", "b1", lines)
        assert owner(world.service, "#9") == known


async def test_lists_and_orders_are_named_apart(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        lines = [
            ask(1, "a", name="@L"),
            answer(1, "a", None, name="@L"),
            ask(3, "b", name="L"),
            answer(3, "b", 8, name="L"),
        ]
        world.service.calls.ingest("one", "b1", lines)
        assert owner(world.service, "L") == "b"
        found = world.service.calls.whose("main", "BTCUSDT", "@L")
        assert (found.grant, [one.grant for one in found.claims]) == (None, ["a"])
        assert owner(world.service, "%8") is None


def test_names_of_before_become_what_was_sent(tmp_path: Path) -> None:
    """An upgrade keeps ids as owners, and names as what leads to them."""
    from tests.places import database_at  # noqa: PLC0415 - made only here

    database = database_at(tmp_path)
    database.upgrade()
    path = next(path for path in tmp_path.rglob("*.db") if "calls" in path.name)
    with sqlite3.connect(path) as store:
        store.execute("DROP TABLE sent_orders")
        store.execute("UPDATE alembic_version_log SET version_num = '0001'")
        for name in ("#1", "%2", "x"):
            store.execute("INSERT INTO orders VALUES ('main', 'BTCUSDT', ?, 'a', 5)", (name,))
    store.close()
    database.upgrade()
    with sqlite3.connect(path) as store:
        assert store.execute("SELECT name FROM orders ORDER BY name").fetchall() == [("#1",), ("%2",)]
        assert store.execute('SELECT name, "grant", sent_us FROM sent_orders').fetchall() == [("x", "a", 5)]
    store.close()
    database.close()
