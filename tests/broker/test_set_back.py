"""What a cut holds, and what is told of it, does not depend on who sets the clock meanwhile."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.authority.starts import Starts
from broker.db import coverage, meta
from broker.db.cutovers import Hold
from broker.gate import Mode
from broker.gate_document import NotedCut
from broker.history import History, Mark, dump_mark
from broker.service import Service, conditions
from broker.service.audit import ITSELF
from broker.service.service import found_home, open_service
from broker.stores.embedded import key as keys
from broker.stores.embedded.store import EmbeddedStore
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyFacts, KeyType, Slot
from tests.broker.test_service import HOUR_US, UPSTREAM, SetClock
from tests.places import database_at

S = 1_000_000
SAFE = KeyFacts(True, True, False, False, True, "42")


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def service(tmp_path: Path, clock: SetClock) -> Iterator[Service]:
    database = database_at(tmp_path)
    database.upgrade()
    found_home(database, Environment.PAPER, "solo")
    store = EmbeddedStore(tmp_path / "secrets.db", keys.fresh())
    made = open_service(database, store, clock)
    made.accounts.create("main", venue="binance", upstream=UPSTREAM)
    yield made
    made.close()
    store.close()
    database.close()


def taken(service: Service, name: str) -> int:
    """Take a key into use; return its number."""
    credential = Credential(name, Secret(f"planted-{name}"), KeyType.HMAC)
    return service.keys.import_key("main", slot=Slot.TRADE, credential=credential, facts=SAFE).ref.version


def noted(clock: SetClock, version: int = 1) -> NotedCut:
    return NotedCut(
        "cut_x", Mode.CLOSED, (f"key-version:main/trade/{version}",), "leak", "me", clock.now_us()
    )


@pytest.mark.parametrize("step", [-1, 1])
def test_a_cut_that_the_database_does_not_take_is_written_down_elsewhere_whoever_sets_the_clock(
    service: Service, clock: SetClock, step: int
) -> None:
    """Set back, it was in one process's memory alone for an hour: a restart opened what it had closed."""
    service.mirror.merge()
    service.desk.close_now(noted(clock))
    clock.ahead_us = step * HOUR_US
    service.mirror.merge()
    assert "cut_x" in service.desk.secrets.mirror.names()


def test_what_was_in_use_as_a_cut_was_made_is_not_known_where_the_clock_was_set_back(
    service: Service, clock: SetClock
) -> None:
    """What took its place since is on record as of an hour before; in doubt the cut covers it."""
    assert taken(service, "A") == 1
    cut = noted(clock)
    clock.ahead_us = -HOUR_US
    assert taken(service, "B") == 2
    found = service.cuts.closing._in_use(cut)
    with service.desk.database.read() as connection:
        assert coverage.heirs(connection, cut.scopes, found) == ("key-version:main/trade/2",)


def test_a_cut_found_in_the_secret_store_covers_what_took_a_keys_place_though_the_trail_says_earlier(
    service: Service, clock: SetClock
) -> None:
    assert taken(service, "A") == 1
    clock.passed_us = 2 * HOUR_US
    service.grants.create_consumer("bot")  # what shows that the clock had been later
    cut = noted(clock)
    clock.ahead_us = -HOUR_US
    assert taken(service, "B") == 2
    with service.desk.database.read() as connection:
        then = coverage.in_use_at(connection, cut.scopes, cut.opened_us)
        assert coverage.heirs(connection, cut.scopes, then) == ("key-version:main/trade/2",)


def test_a_cut_found_in_the_secret_store_covers_what_took_a_keys_place_though_the_clock_had_run_ahead(
    service: Service, clock: SetClock
) -> None:
    """The version in use was taken into use an hour later, says the trail: so it was not in use, and had no heir."""
    assert taken(service, "A") == 1
    clock.passed_us, clock.ahead_us = 2 * HOUR_US, HOUR_US
    assert taken(service, "B") == 2
    clock.passed_us, clock.ahead_us = 2 * HOUR_US + 60 * S, 0
    cut = noted(clock, 2)
    clock.passed_us += 60 * S
    assert taken(service, "C") == 3
    with service.desk.database.read() as connection:
        then = coverage.in_use_at(connection, cut.scopes, cut.opened_us)
        assert coverage.heirs(connection, cut.scopes, then) == ("key-version:main/trade/3",)


def test_who_cuts_a_version_that_was_replaced_long_ago_cuts_no_other(
    service: Service, clock: SetClock
) -> None:
    """Where no clock was set back nothing is in doubt."""
    assert taken(service, "A") == 1
    clock.passed_us = HOUR_US
    assert taken(service, "B") == 2
    clock.passed_us = 2 * HOUR_US
    cut = noted(clock, 1)
    clock.passed_us = 3 * HOUR_US
    assert taken(service, "C") == 3
    with service.desk.database.read() as connection:
        then = coverage.in_use_at(connection, cut.scopes, cut.opened_us)
        assert coverage.heirs(connection, cut.scopes, then) == ()


@pytest.mark.parametrize("step", [-1, 1])
def test_who_may_serve_on_and_cannot_be_told_is_named_whoever_sets_the_clock(step: int) -> None:
    """A cut's answer said that nobody was out of reach."""
    clock: Any = SetClock()
    starts = Starts(SimpleNamespace(clock=clock), {})  # type: ignore[arg-type]
    starts.hold([Hold("elsewhere", "b" * 16, "main/trade/1", clock.now_us() + 60 * S)])
    starts.remember()
    clock.ahead_us = step * HOUR_US
    ((name, seconds),) = starts.out_of_reach()
    assert (name, 30 < seconds <= 60) == ("elsewhere", True)
    starts.hold([])
    assert starts.out_of_reach(), "as the last history had it"
    clock.passed_us += 61 * S
    assert starts.out_of_reach() == ()


def test_a_gateway_that_knows_a_higher_generation_closes_everything_once(service: Service) -> None:
    """Only a restore raises ours: each time that gateway came back another closing was made, for a person to thaw."""
    home = service.desk.home
    service.continuity.beat()

    def told(generation: int, by: str) -> bool:
        mark = dump_mark(Mark(History(generation, 3, "", "w"), 7, "d"))
        return service.continuity.is_told(home.instance, mark, by)

    def closings() -> int:
        return len([one for one in service.cuts.list(open_only=True).items if one.actor == ITSELF])

    assert told(2, "gateway a")
    assert not told(2, "gateway a")
    assert not told(2, "gateway b")
    assert closings() == 1
    assert told(3, "gateway b"), "another generation is news"
    assert (closings(), told(3, "gateway a"), told(2, "gateway a")) == (2, False, False)
    assert not told(10**9, "gateway a"), "nobody restored that often"
    same = dump_mark(Mark(History(home.generation, 99, "", "w"), 7, "d"))
    assert service.continuity.is_told(home.instance, same, "gateway c"), "what went back is told all the same"


@pytest.mark.parametrize("step", [-1, 1])
def test_a_rotator_that_looks_is_not_called_silent_and_one_that_does_not_is_whoever_sets_the_clock(
    service: Service, clock: SetClock, step: int
) -> None:
    """Set back, a dead one was missed for an hour; set forward, a living one was called silent."""

    def looks() -> None:
        with service.desk.database.write() as connection:
            meta.put(connection, conditions.LOOKED, str(clock.now_us()))

    def silent() -> bool:
        return "rotator-silent" in {one.kind for one in service.conditions.look()}

    looks()
    clock.passed_us += S
    assert not silent()
    clock.ahead_us = step * HOUR_US
    assert not silent()
    looks()
    clock.passed_us += conditions._SILENT_US - S
    assert not silent()
    clock.ahead_us = -step * HOUR_US
    clock.passed_us += 2 * S
    assert silent()
    looks()
    assert not silent()
