"""The record says what is due: after downtime nothing is missed, nothing stampedes, and operators are obeyed."""

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from broker.db import accounts as account_store
from broker.db import managers as manager_store
from broker.db import rotations as store
from broker.db import tables as t
from broker.errors import Conflict
from broker.model import Schedule
from broker.service import Service
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyFacts, KeyType, Slot
from portcullis.foundation import found, opened
from rotation.journal import Journal
from rotation.plan import draw_up
from rotation.planner import INTERVAL, MOST_AT_A_VENUE, REST, Planner
from rotation.state import State, Tick
from rotation.steps import end
from tests.places import database_document

UPSTREAM = "http://127.0.0.1:9"
SAFE = KeyFacts(True, True, False, False, True, "42")
LATER = timedelta(days=100)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    home = found(tmp_path / "home", Environment.PAPER, "solo", database=database_document(tmp_path)).home
    with opened(home) as service:
        service.accounts.create_egress("out", addresses=("127.0.0.7",))
        key = Credential("MANAGER", Secret("planted-manager-secret"), KeyType.HMAC)
        draft = service.managers.draft("master", venue="binance", egress="out", upstream=UPSTREAM, key=key)
        service.managers.take(draft, key, SAFE)
        yield service


def account(service: Service, name: str, *, managed: bool = True, bound: bool = True) -> None:
    service.accounts.create(name, venue="binance", egress="out", upstream=UPSTREAM)
    key = Credential(f"KEY-{name}", Secret("planted-real-secret"), KeyType.HMAC)
    facts = replace(SAFE, account_uid=name, ip_restricted=bound)
    service.keys.import_key(name, slot=Slot.TRADE, credential=key, facts=facts, allow_any_address=True)
    if managed:
        with service.desk.database.write() as connection:
            manager_store.assign(connection, name, "master", f"{name}@paper.test")


def planner(service: Service, seed: int = 1) -> Planner:
    journal = Journal(service.desk.database, service.audit, "planner")
    return Planner(service, journal, random.Random(seed))  # noqa: S311 - jitter


def schedule(service: Service, name: str) -> Schedule:
    return next(one for one in service.schedules.list() if one.account == name)


def test_jitter_is_drawn_once_and_kept(service: Service) -> None:
    account(service, "main")
    now = datetime.now(UTC)
    assert planner(service).look(now) == ()
    first = schedule(service, "main")
    assert timedelta(0) <= first.jitter_for <= INTERVAL * 0.1
    assert first.next_at is not None
    assert timedelta(days=80) < first.next_at - now <= INTERVAL
    planner(service, seed=2).look(now)
    assert schedule(service, "main") == first


def test_what_fell_due_while_nobody_looked_is_started_once(service: Service) -> None:
    account(service, "main")
    later = datetime.now(UTC) + LATER
    (started,) = planner(service).look(later)
    assert planner(service).look(later) == ()
    assert service.rotations.get(started).why == "schedule"
    assert schedule(service, "main").why == "is being rotated"


def test_a_fleet_that_is_overdue_does_not_stampede(service: Service) -> None:
    for number in range(7):
        account(service, f"a{number}")
    later, looks = datetime.now(UTC) + LATER, planner(service)
    first = looks.look(later)
    assert len(first) == MOST_AT_A_VENUE
    assert looks.look(later) == ()
    with service.desk.database.write() as connection:
        connection.execute(
            t.ROTATIONS.update()
            .where(t.ROTATIONS.c.id == first[0])
            .values(state="done", open_slot=None, ended_us=1)
        )
    assert len(looks.look(later)) == 1, "one ended, so one more may begin"


def test_a_paused_one_is_left_alone_and_others_are_not(service: Service) -> None:
    account(service, "still")
    account(service, "main")
    looks, later = planner(service), datetime.now(UTC) + LATER
    looks.look(datetime.now(UTC))
    service.schedules.change("still", Slot.TRADE, paused=True)
    (started,) = looks.look(later)
    assert service.rotations.get(started).account == "main"
    assert (schedule(service, "still").next_at, schedule(service, "still").why) == (None, "paused")


def test_one_that_was_given_up_rests_before_it_is_tried_again(service: Service) -> None:
    account(service, "main")
    looks, later = planner(service), datetime.now(UTC) + LATER
    (started,) = looks.look(later)
    journal = Journal(service.desk.database, service.audit, "one")
    claimed = journal.claim(later)
    assert claimed is not None
    step = end(claimed.rotation, State.ABANDONED, "the exchange said no", later)
    journal.save(claimed, step, Tick(), later)
    with service.desk.database.write() as connection:
        row = store.get(connection, started)
        assert row is not None
        pending = next(key for key in account_store.keys(connection, "main") if key.ref.version == 2)
        assert pending.venue_key_id == ""
    assert looks.look(later + REST - timedelta(seconds=1)) == ()
    assert "the exchange said no" in schedule(service, "main").why
    assert len(looks.look(later + REST)) == 1


def test_a_key_without_addresses_is_rotated_before_the_venue_ends_it(service: Service) -> None:
    account(service, "loose", bound=False)
    now = datetime.now(UTC)
    planner(service).look(now)
    found = schedule(service, "loose")
    assert found.next_at is not None
    assert timedelta(days=26) < found.next_at - now <= timedelta(days=27)
    assert "the exchange ends this key" in found.why


def test_what_cannot_be_rotated_says_why_in_the_schedule(service: Service) -> None:
    service.accounts.create("odd", venue="binance", upstream=UPSTREAM)
    key = Credential("KEY-odd", Secret("planted-real-secret"), KeyType.HMAC)
    service.keys.import_key("odd", slot=Slot.TRADE, credential=key, facts=SAFE)
    assert planner(service).look(datetime.now(UTC) + LATER) == ()
    assert schedule(service, "odd").why.startswith("cannot be rotated: ")


def test_a_changed_interval_keeps_the_share_of_its_jitter(service: Service) -> None:
    account(service, "main")
    planner(service).look(datetime.now(UTC))
    before = schedule(service, "main")
    after = service.schedules.change("main", Slot.TRADE, interval_for=timedelta(days=30))
    assert after.jitter_for / after.interval_for == pytest.approx(before.jitter_for / before.interval_for)


def test_an_account_keeps_its_sub_account_while_a_key_of_its_is_rotated(service: Service) -> None:
    """What was made, or deleted, is looked up in a list: that of another sub-account has no such key, and proves it."""
    service.accounts.create("fresh", venue="binance", egress="out", upstream=UPSTREAM)
    service.managers.assign("fresh", "master", "one@paper.test", lambda: ())
    planned = draw_up(service, "fresh", Slot.TRADE, "asked", datetime.now(UTC))
    journal = Journal(service.desk.database, service.audit, "asked")
    journal.plan(planned)
    with pytest.raises(Conflict, match=f"{planned.id} rotates fresh/trade in one@paper.test"):
        service.managers.assign("fresh", "master", "two@paper.test", lambda: ())
    assert service.accounts.get("fresh").subaccount == "one@paper.test"
    service.managers.assign("fresh", "master", "one@paper.test", lambda: ())
    claimed = journal.claim_one(planned.id, datetime.now(UTC))
    assert claimed is not None
    ended = end(claimed.rotation, State.ABANDONED, "given up", datetime.now(UTC))
    journal.save(claimed, ended, Tick(), datetime.now(UTC))
    service.managers.assign("fresh", "master", "two@paper.test", lambda: ())
    assert service.accounts.get("fresh").subaccount == "two@paper.test"
