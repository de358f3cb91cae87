"""Each thing that is wrong is read off the record: what it is called, what is said of it, and the next step."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from broker.db import asks, checkouts, destinations
from broker.db import rotations as rotation_store
from broker.db import schedules as schedule_store
from broker.db import tables as t
from broker.db.alerts import Alert
from broker.db.checkouts import Checkout
from broker.db.destinations import Delivery
from broker.db.log_tables import CALLS
from broker.errors import NotGranted
from broker.gate import Mode
from broker.model import KeyRef, Schedule
from broker.service import Service
from broker.service.rotations import Wish
from clients.secret import Secret
from clients.venue import Credential, KeyFacts, KeyType, Slot
from rotation.alerts.conditions import conditions
from rotation.journal import Journal, microseconds
from rotation.plan import draw_up
from rotation.state import State
from tests.rotation.alerting import Clock, becomes, home_with_a_key, planned

pytestmark = pytest.mark.sockets


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with home_with_a_key(tmp_path) as service:
        yield service


@pytest.fixture
def clock(service: Service) -> Clock:
    return Clock(service.desk.clock.now_us())


def kinds(service: Service, clock: Clock, after: timedelta = timedelta(0)) -> dict[str, str]:
    now = service.desk.clock.now() + after
    assert clock() > 0
    return {one.kind: one.says for one in conditions(service, now)}


def test_all_is_well(service: Service, clock: Clock) -> None:
    assert kinds(service, clock) == {}


def test_each_thing_that_is_wrong_is_found_in_the_record(service: Service, clock: Clock) -> None:
    now = service.desk.clock.now()
    planned = draw_up(service, "main", Slot.TRADE, "asked", now)
    Journal(service.desk.database, service.audit, "one").plan(planned)
    with service.desk.database.write() as connection:
        connection.execute(
            t.ROTATIONS.update().values(state="stalled", reason="two gateways are silent", runbook="RB-09")
        )
    assert kinds(service, clock) == {
        "stalled": "the rotation of main/trade stands still: two gateways are silent"
    }
    with service.desk.database.write() as connection:
        connection.execute(t.ROTATIONS.update().values(state="creating", todo='{"title": "make a key"}'))
    assert kinds(service, clock) == {"waits": "a person is waited for: make a key"}
    with service.desk.database.write() as connection:
        connection.execute(t.ROTATIONS.update().values(state="done", open_slot=None, ended_us=1))
        schedule_store.add(connection, Schedule("main", Slot.TRADE, timedelta(days=90), timedelta(0)))
        schedule_store.work_out(connection, "main", Slot.TRADE, microseconds(now), "every 90 days")
    assert kinds(service, clock, timedelta(hours=23)) == {}
    assert "overdue" in kinds(service, clock, timedelta(hours=25))


@pytest.mark.parametrize(
    ("stands", "version"),
    [
        ({"state": "draining"}, 2),
        ({"state": "draining-new"}, 1),
        ({"state": "stalled"}, 2),
        ({"state": "canary"}, None),
    ],
)
def test_a_tool_that_a_person_gives_its_key_is_an_alert_with_both_commands(
    service: Service, stands: dict[str, object], version: int | None
) -> None:
    """While a rotation waits for a person to paste a key, they are told which, where, and the two commands."""
    made = replace(
        draw_up(service, "main", Slot.TRADE, "asked", service.desk.clock.now()), stalled_from=State.DRAINING
    )
    Journal(service.desk.database, service.audit, "one").plan(made)
    service.destinations.create(
        "tax-tool", account="main", slot=Slot.TRADE, kind="manual", settings={"what": "the tax tool"}
    )
    becomes(service, made.id, **stands)
    with service.desk.database.write() as connection:
        for number in (1, 2):
            destinations.save(connection, Delivery(made.id, "tax-tool", number, says="a person pastes it"))

    def waits() -> list[Alert]:
        return [one for one in conditions(service, service.desk.clock.now()) if one.kind == "waits"]

    if version is None:
        assert waits() == []
        return
    (one,) = waits()
    assert one.says == f"a person is waited for: paste main/trade/{version} into the tax tool"
    assert "portcullis destination key tax-tool" in one.step
    assert f"portcullis destination confirm tax-tool --rotation {made.id}" in one.step
    with service.desk.database.write() as connection:
        destinations.save(connection, Delivery(made.id, "tax-tool", version, delivered_us=1))
    (one,) = waits()
    assert one.step == f"portcullis destination confirm tax-tool --rotation {made.id}", "it was shown"
    with service.desk.database.write() as connection:
        destinations.save(connection, Delivery(made.id, "tax-tool", version, confirmed_us=1))
    assert waits() == []


@pytest.mark.parametrize("mode", [Mode.CLOSED, Mode.HALT])
@pytest.mark.parametrize("target", ["everything", "account:main", "consumer:tax-tool"])
def test_under_a_cut_a_person_is_told_what_can_be_done_under_it(
    service: Service, target: str, mode: Mode
) -> None:
    """The key was to be pasted, and shown to nobody while the cut stood."""
    made = draw_up(service, "main", Slot.TRADE, "asked", service.desk.clock.now())
    Journal(service.desk.database, service.audit, "one").plan(made)
    service.grants.create_consumer("tax-tool")
    service.destinations.create(
        "tax-tool", account="main", slot=Slot.TRADE, kind="manual", settings={"what": "the tax tool"}
    )
    becomes(service, made.id, state="draining")
    with service.desk.database.write() as connection:
        destinations.save(connection, Delivery(made.id, "tax-tool", 2))

    def told() -> Alert:
        (one,) = (one for one in conditions(service, service.desk.clock.now()) if one.kind == "waits")
        return one

    service.mirror.merge()
    assert "destination key" in told().step
    cut, _ = service.cuts.close(targets=(target,), mode=mode, reason="leak", actor="me")
    waive = f"portcullis rotation waive {made.id} --destination tax-tool --reason WHY"
    assert told().step == f"portcullis cuts, then {waive}"
    assert "no key goes there before a thaw" in told().says
    with pytest.raises(NotGranted):
        service.checkouts.paste("tax-tool", "rotation")
    service.cuts.thaw(cut.id, reason="over", actor="me")
    assert "destination key" in told().step


def test_a_rotation_that_does_not_come_on_is_told_after_half_an_hour(service: Service, clock: Clock) -> None:
    """One that no person is asked about and that stays in a state is slow, unless it is paused."""
    rotation = planned(service)
    becomes(service, rotation, state="creating")
    assert kinds(service, clock, timedelta(minutes=29)) == {}
    with service.desk.database.write() as connection:
        line = {"at_us": 1, "event": "Reply", "was": "creating", "state": "creating", "effect": ""}
        rotation_store.add_step(connection, rotation, line | {"note": "rate_limited"})
    said = kinds(service, clock, timedelta(minutes=31))
    assert said == {
        "slow": "the rotation of main/trade has been creating for more than half an hour: rate_limited"
    }
    becomes(service, rotation, todo='{"title": "make a key"}')
    assert set(kinds(service, clock, timedelta(minutes=31))) == {"waits"}
    becomes(service, rotation, todo="", paused=True)
    assert kinds(service, clock, timedelta(minutes=31)) == {}


def ends(service: Service, rotation: str, state: str) -> None:
    now_us = microseconds(service.desk.clock.now())
    becomes(service, rotation, state=state, open_slot=None, ended_us=now_us, reason="the store is full")


def test_a_rotation_that_was_given_up_is_told_for_a_day(service: Service, clock: Clock) -> None:
    """That a key was not rotated is heard of, until it is, or a day is over."""
    ends(service, planned(service), "abandoned")
    words = "the rotation of main/trade was given up, no new key is in use: the store is full"
    assert kinds(service, clock) == {"given-up": words}
    assert kinds(service, clock, timedelta(hours=23))
    assert kinds(service, clock, timedelta(hours=25)) == {}
    ends(service, planned(service), "done")
    assert kinds(service, clock) == {}


def test_a_key_that_was_imported_after_a_rotation_was_given_up_ends_the_alert(
    service: Service, clock: Clock
) -> None:
    """A newer key in use by another way is as good as a rotation."""
    ends(service, planned(service), "abandoned")
    key = Credential("NEW", Secret("planted-real-secret"), KeyType.HMAC)
    service.keys.import_key(
        "main", slot=Slot.TRADE, credential=key, facts=KeyFacts(True, True, False, False, True, "42")
    )
    assert kinds(service, clock) == {}


@pytest.mark.parametrize(
    ("wish", "body", "outcome", "told"),
    [
        (Wish.ROLL_BACK, {"reason": "it is slow"}, "", False),
        (Wish.RESUME, {"discard": True}, "", False),
        (Wish.RESUME, {}, "", True),
        (Wish.ROLL_BACK, {"reason": "it is slow"}, "not_now: it is creating", True),
    ],
)
def test_what_a_person_gave_up_is_not_told_to_them(
    service: Service, clock: Clock, wish: Wish, body: dict[str, object], outcome: str, told: bool
) -> None:
    """Who took a rotation back, and was heard, knows that the key is the old one."""
    rotation = planned(service)
    ask = service.rotations.ask(rotation, wish, body)
    with service.desk.database.write() as connection:
        asks.finish(connection, ask.id, 1, outcome)
    ends(service, rotation, "abandoned")
    assert bool(kinds(service, clock)) is told


def test_a_key_that_the_venue_ends_soon_and_orders_that_are_refused(service: Service, clock: Clock) -> None:
    with service.desk.database.write() as connection:
        connection.execute(t.KEY_VERSIONS.update().values(ip_restricted=False))
    assert kinds(service, clock, timedelta(days=22)) == {}
    assert "the exchange ends main/trade/1" in kinds(service, clock, timedelta(days=24))["expiring"]
    with service.desk.database.write() as connection:
        connection.execute(t.KEY_VERSIONS.update().values(ip_restricted=True))
    with service.desk.database.log.write() as connection:
        for seq in range(5):
            connection.execute(
                CALLS.insert().values(
                    gateway="local", boot="b", seq=seq, at_us=clock(), grant="g", consumer="bot", account="main",
                    key="main/trade/1", method="POST", endpoint="spot.order.place", action="place", client_ids="[]",
                    decision="deny", reason="cap", source="127.0.0.1", leaving=False, reserved="[]", released="[]",
                    status=400,
                )
            )  # fmt: skip
    assert "orders of bot" in kinds(service, clock)["refused-orders"]
    assert "for cap" in kinds(service, clock)["refused-orders"]
    with service.desk.database.log.write() as connection:
        connection.execute(CALLS.update().values(reason="revoked"))
    assert "replaced or revoked" in kinds(service, clock)["refused-orders"]
    with service.desk.database.log.write() as connection:  # as of a virtual key that nobody knows
        connection.execute(CALLS.update().values(consumer="", grant="", account="", reason="unknown_key"))
    (one,) = [one for one in conditions(service, service.desk.clock.now()) if one.kind == "refused-orders"]
    assert "orders of  " not in one.says
    assert "none of this home" in one.says
    assert one.step == "portcullis calls --decision deny"
    assert "refused-orders" not in kinds(service, clock, timedelta(minutes=16))


def test_a_key_that_left_and_is_not_dead_in_time(service: Service, clock: Clock) -> None:
    now = service.desk.clock.now()
    out = Checkout("out_1", "g", KeyRef("main", Slot.TRADE, 1), "owner", "Ann", "tax", now, now)
    with service.desk.database.write() as connection:
        checkouts.add(connection, out, microseconds(now), microseconds(now))
    assert kinds(service, clock, timedelta(minutes=59)) == {}
    assert "left with Ann" in kinds(service, clock, timedelta(minutes=61))["checkout"]
