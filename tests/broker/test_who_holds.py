"""Which key a destination may hold is told by the order in which keys were brought to it, not by any clock."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker.db import destinations as store
from broker.db import tables as t
from broker.db.database import Database
from broker.db.destinations import Delivery
from broker.destination import Destination, Kind, ManualSettings
from broker.service import Service
from broker.service.service import found_home, open_service
from broker.stores.embedded import key as keys
from broker.stores.embedded.store import EmbeddedStore
from clients.venue import Environment, Slot
from tests.gateway.world import WallClock
from tests.places import database_at

NOW, HOUR = 10**15, 3_600_000_000
AHEAD = 300_000_000
"""How far ahead the next try of a delivery lies at the most."""

Brought = Callable[..., None]
Lacking = Callable[[int], bool]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = database_at(tmp_path)
    found.upgrade()
    egress = {"name": "direct", "addresses": "[]", "way": "direct", "created_us": NOW}
    account = {
        "name": "main",
        "venue": "binance",
        "environment": "paper",
        "egress": "direct",
        "created_us": NOW,
    }
    with found.write() as connection:
        if not connection.execute(t.EGRESS.select()).first():
            connection.execute(t.EGRESS.insert().values(**egress))
        connection.execute(t.ACCOUNTS.insert().values(**account))
        tool = Destination("env", "main", Slot.TRADE, Kind.MANUAL, ManualSettings("a tool"), 60, NOW)
        store.add(connection, tool)
    yield found
    found.close()


@pytest.fixture
def brought(database: Database) -> Brought:
    """Write that a version was brought, or is to be: when it was confirmed, or when it is tried again."""

    def save(
        rotation: str, version: int, confirmed: int | None = None, again: int = NOW, waived: str | None = None
    ) -> None:
        one = Delivery(rotation, "env", version, 1, again, None, confirmed, waived)
        with database.write() as connection:
            store.save(connection, one)

    return save


@pytest.fixture
def lacks(database: Database) -> Lacking:
    """Tell whether the destination may hold another version."""

    def asked(version: int) -> bool:
        with database.read() as connection:
            return store.lacking(connection, "main", Slot.TRADE, version) == ["env"]

    return asked


@pytest.mark.parametrize("at_us", [NOW - HOUR, NOW, NOW + HOUR], ids=["set back", "stands", "set forward"])
@pytest.mark.parametrize("confirmed", [False, True], ids=["perhaps brought", "brought"])
def test_a_key_that_was_brought_last_may_be_held_whatever_the_clock_says(
    brought: Brought, lacks: Lacking, at_us: int, *, confirmed: bool
) -> None:
    """Set back between the two, the clock said that the one in use had come last: the other one was deleted."""
    brought("rot_one", 1, NOW)
    assert not lacks(1)
    brought("rot_two", 2, at_us if confirmed else None, again=at_us)
    assert lacks(1)
    assert lacks(2) is not confirmed
    brought("rot_two", 1, at_us - 1)
    assert not lacks(1), "and it is held once it was brought again"
    assert lacks(2)


def test_who_was_waived_before_its_next_try_may_hold_what_was_brought_before_that(
    brought: Brought, lacks: Lacking
) -> None:
    brought("rot_one", 1, None, again=NOW + AHEAD, waived="ann")
    assert not lacks(1), "nobody waits for it"
    brought("rot_two", 2, NOW + 1)
    assert lacks(1)


def test_a_try_that_lies_ahead_hides_no_later_word(brought: Brought, lacks: Lacking) -> None:
    """What was taken back within minutes of a failed try was said to hold the other key for good."""
    brought("rot_one", 2, None, again=NOW + AHEAD)
    brought("rot_one", 1, NOW + 1)
    assert not lacks(1)


@pytest.mark.parametrize("last", [1, 2])
def test_a_file_that_is_looked_at_again_counts_as_of_then(
    brought: Brought, lacks: Lacking, last: int
) -> None:
    brought("rot_one", 1, NOW)
    brought("rot_two", 2, NOW)
    brought(("rot_one", "rot_two")[last - 1], last, NOW)
    assert not lacks(last)
    assert lacks(3 - last)


def test_what_was_written_before_there_were_turns_counts_as_late_as_it_may_have_come(
    database: Database, brought: Brought, lacks: Lacking
) -> None:
    brought("rot_one", 1, NOW)
    brought("rot_two", 2, None, again=NOW - 1)
    brought("rot_three", 3, None, again=NOW - 1, waived="ann")
    with database.write() as connection:
        connection.execute(t.DELIVERIES.update().values(turn=0))
    assert not lacks(1)
    assert lacks(3), "when it was waived nobody knows"
    with database.write() as connection:
        connection.execute(t.DELIVERIES.update().where(t.DELIVERIES.c.version == 2).values(next_us=NOW))
    assert lacks(1)
    brought("rot_one", 1, NOW - HOUR)
    assert not lacks(1)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    database = database_at(tmp_path)
    database.upgrade()
    found_home(database, Environment.PAPER, "solo")
    secrets = EmbeddedStore(tmp_path / "secrets.db", keys.fresh())
    yield open_service(database, secrets, WallClock())
    secrets.close()
    database.close()


def test_a_persons_word_is_taken_of_the_key_that_they_were_told_of_last(service: Service) -> None:
    """Taken back, a rotation waits for the old key; the failed try of the new one lay ahead, and got the word."""
    service.accounts.create("main", venue="binance", upstream="http://127.0.0.1:1")
    service.destinations.create(
        "env", account="main", slot=Slot.TRADE, kind="manual", settings={"what": "tool"}
    )
    now_us = service.desk.clock.now_us()
    with service.desk.database.write() as connection:
        store.save(connection, Delivery("rot_one", "env", 2, 1, now_us + AHEAD))
        store.save(connection, Delivery("rot_one", "env", 1, 1, now_us, delivered_us=now_us))
    _, done = service.destinations.confirm("env", "rot_one")
    assert done.version == 1
    with service.desk.database.read() as connection:
        assert store.lacking(connection, "main", Slot.TRADE, 1) == []
