"""What is wrong is told once, together, again after a while, and when it is right again. Real HTTP, real Apprise."""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import apprise
import pytest

from broker.db import asks, checkouts, destinations, findings
from broker.db import rotations as rotation_store
from broker.db import schedules as schedule_store
from broker.db import tables as t
from broker.db.alerts import Alert
from broker.db.checkouts import Checkout
from broker.db.destinations import Delivery
from broker.db.findings import Finding
from broker.errors import Conflict, Malformed, NotFound
from broker.model import KeyRef, Schedule
from broker.service import Service
from broker.service.alerts import SCHEMES
from broker.service.rotations import Wish
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyFacts, KeyType, Slot
from portcullis.cli.alerts import SHAPES
from portcullis.foundation import found, opened
from portcullis.upkeep import Upkeep
from rotation.alerts.conditions import conditions
from rotation.alerts.telling import AGAIN_US, BEAT_US, CATCH_UP_US, TOGETHER_US, Telling
from rotation.journal import Journal, microseconds
from rotation.plan import draw_up
from rotation.state import State
from tests.places import database_document

pytestmark = pytest.mark.sockets
TOKEN = "planted-token-of-a-channel"


@dataclass
class Phone:
    """Somebody's phone, or a dead man's switch."""

    port: int = 0
    status: int = 200
    got: list[dict[str, str]] = field(default_factory=list)
    beats: int = 0

    @property
    def address(self) -> Secret:
        return Secret(f"json://127.0.0.1:{self.port}/{TOKEN}")

    @property
    def text(self) -> str:
        return "\n".join(one["message"] for one in self.got)


@contextmanager
def phone() -> Iterator[Phone]:
    here = Phone()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if here.status == 200:
                here.got.append(json.loads(body))
            self.send_response(here.status)
            self.end_headers()

        def do_GET(self) -> None:
            here.beats += 1
            self.send_response(here.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    here.port = server.server_port
    try:
        yield here
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Clock:
    us: int

    def __call__(self) -> int:
        return self.us


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    home = found(tmp_path / "home", Environment.PAPER, "solo", database=database_document(tmp_path)).home
    with opened(home) as service:
        service.accounts.create_egress("out", addresses=("127.0.0.7",))
        service.accounts.create("main", venue="binance", egress="out", upstream="http://127.0.0.1:9")
        key = Credential("KEY", Secret("planted-real-secret"), KeyType.HMAC)
        facts = KeyFacts(True, True, False, False, True, "42")
        service.keys.import_key("main", slot=Slot.TRADE, credential=key, facts=facts)
        yield service


@pytest.fixture
def clock(service: Service) -> Clock:
    return Clock(service.desk.clock.now_us())


def unknown(service: Service, clock: Clock, *ids: str) -> None:
    """Let the sweep have found these, and nothing else."""
    with service.desk.database.write() as connection:
        ones = [Finding("main", one, "unknown", f"a key that is not on record: {one}") for one in ids]
        findings.found(connection, "main", ones, clock())


def test_what_comes_together_is_one_message_told_once(service: Service, clock: Clock) -> None:
    with phone() as here:
        service.alerts.add("phone", "webhook", here.address)
        telling = Telling(service, clock)
        unknown(service, clock, "A" * 64, "B" * 64)
        telling.look()
        assert here.got == [], "what comes a moment later belongs to it"
        clock.us += TOGETHER_US
        telling.look()
        (one,) = here.got
        assert "2 to see to" in one["title"]
        assert "PAPER" in one["title"]
        assert "A" * 64 in one["message"]
        assert "next: portcullis sweep show" in one["message"]
        clock.us += AGAIN_US - 1
        telling.look()
        assert len(here.got) == 1
        clock.us += 1
        telling.look()
        assert len(here.got) == 2, "what stands is told again"


def test_that_it_is_right_again_is_told_too(service: Service, clock: Clock) -> None:
    with phone() as here:
        service.alerts.add("phone", "webhook", here.address)
        telling = Telling(service, clock)
        unknown(service, clock, "A" * 64)
        telling.look()
        clock.us += TOGETHER_US
        telling.look()
        unknown(service, clock)
        telling.look()
        assert "right again" in here.got[-1]["message"]
        assert service.alerts.standing() == ()
        unknown(service, clock, "C" * 64)
        telling.look()
        unknown(service, clock)
        telling.look()
        assert len(here.got) == 2, "what nobody was told of ends in silence"


def test_a_channel_that_fails_is_shown_and_tried_again(service: Service, clock: Clock) -> None:
    with phone() as here:
        here.status = 500
        service.alerts.add("phone", "webhook", here.address)
        telling = Telling(service, clock)
        unknown(service, clock, "A" * 64)
        telling.look()
        clock.us += TOGETHER_US
        telling.look()
        assert service.alerts.channels()[0].failed.startswith("it was not taken")
        assert service.alerts.standing()[0].sent_us is None, "nobody was told"
        here.status = 200
        telling.look()
        assert len(here.got) == 1
        assert service.alerts.channels()[0].failed == ""


def test_a_channel_that_failed_while_another_took_it_is_told_once_it_works(
    service: Service, clock: Clock
) -> None:
    """Who missed what somebody else heard of hears of it within a minute, not after four hours."""
    with phone() as here, phone() as there:
        there.status = 500
        service.alerts.add("here", "webhook", here.address)
        service.alerts.add("there", "webhook", there.address)
        telling = Telling(service, clock)
        unknown(service, clock, "A" * 64)
        telling.look()
        clock.us += TOGETHER_US
        telling.look()
        assert (len(here.got), len(there.got)) == (1, 0)
        clock.us += CATCH_UP_US
        telling.look()
        there.status = 200
        clock.us += CATCH_UP_US - 1
        telling.look()
        assert there.got == [], "one that fails is not asked without end"
        clock.us += 1
        telling.look()
        assert "A" * 64 in there.text
        assert service.alerts.channels()[1].failed == ""
        clock.us += CATCH_UP_US
        telling.look()
        assert (len(here.got), len(there.got)) == (1, 1), "nobody is told twice"


def test_a_host_that_is_down_is_not_called_a_wrong_address(service: Service, clock: Clock) -> None:
    """What is said of a channel that failed holds for both."""
    service.alerts.add("phone", "webhook", Secret(f"json://127.0.0.1:9/{TOKEN}"))
    assert Telling(service, clock).test("phone") == (
        "it was not taken: its host does not answer, or its address is wrong"
    )


@pytest.mark.parametrize("kind", list(SCHEMES))
def test_the_address_of_every_kind_is_shown_as_it_begins(kind: str) -> None:
    """Whoever adds a channel sees the shape of an address that is taken."""
    assert SHAPES[kind].startswith(SCHEMES[kind])


@pytest.mark.parametrize("kind", ["discord", "ntfy", "pagerduty", "webhook", "slack", "telegram", "mail"])
def test_the_address_that_is_shown_is_one_that_apprise_reads(kind: str) -> None:
    """A shape that is shown has the parts that Apprise wants of one."""
    shape = SHAPES[kind].split(",")[0]
    for name, value in PARTS.items():
        shape = shape.replace(name, value)
    assert apprise.Apprise().add(shape)


PARTS = {
    "WEBHOOK_ID": "4" * 18, "WEBHOOK_TOKEN": "t" * 68, "INTEGRATION_KEY": "i" * 32, "API_KEY": "k" * 20,
    "USER": "user", "PASSWORD": "word", "HOST": "example.invalid", "PATH": "alerts", "TOPIC": "alerts",
    "TOKEN_A": "T1JJ3T3L2", "TOKEN_B": "A1BRTD4JD", "TOKEN_C": "TIiajkdnlazkcOXrIdevi7FQ",
    "BOT_TOKEN": "123456789:abcdefg_hijklmnop", "CHAT_ID": "12315544", "ADDRESS": "a@example.invalid",
}  # fmt: skip


def test_a_heartbeat_is_asked_every_minute(service: Service, clock: Clock) -> None:
    with phone() as here:
        service.alerts.add("dead-man", "heartbeat", Secret(f"http://127.0.0.1:{here.port}/ping/{TOKEN}"))
        telling = Telling(service, clock)
        for wait_us, beats in ((0, 1), (BEAT_US - 1, 1), (1, 2)):
            clock.us += wait_us
            telling.look()
            assert here.beats == beats
        assert here.got == []


def test_no_address_is_kept_outside_the_store_or_logged(
    service: Service, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with phone() as here:
        here.status = 500
        channel = service.alerts.add("phone", "webhook", here.address)
        assert Telling(service, clock).test("phone")
        assert TOKEN not in caplog.text
        with service.desk.database.read() as connection:
            assert TOKEN not in repr(list(connection.execute(t.ALERT_CHANNELS.select())))
        service.alerts.remove("phone")
        assert service.alerts.channels() == ()
        with pytest.raises(NotFound):
            service.desk.secrets.read(channel.path)


@pytest.mark.parametrize(
    ("kind", "address"),
    [("telegram", "https://example.invalid"), ("pigeon", "x://y"), ("heartbeat", "http://example.invalid/")],
)
def test_an_address_of_another_kind_is_refused(service: Service, kind: str, address: str) -> None:
    with pytest.raises(Malformed):
        service.alerts.add("phone", kind, Secret(address))
    service.alerts.add("known", "mail", Secret("mailtos://a:b@example.invalid?to=c@example.invalid"))
    with pytest.raises(Conflict):
        service.alerts.add("known", "mail", Secret("mailtos://a:b@example.invalid?to=c@example.invalid"))


# --- conditions -------------------------------------------------------------------------------


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


def planned(service: Service) -> str:
    """Put a rotation of main/trade on record."""
    made = draw_up(service, "main", Slot.TRADE, "asked", service.desk.clock.now())
    Journal(service.desk.database, service.audit, "one").plan(made)
    return made.id


def becomes(service: Service, rotation: str, **values: object) -> None:
    """Let a rotation stand otherwise."""
    with service.desk.database.write() as connection:
        connection.execute(t.ROTATIONS.update().where(t.ROTATIONS.c.id == rotation).values(**values))


def test_each_request_to_a_person_is_told_by_itself(service: Service, clock: Clock) -> None:
    """That a key is to be deleted is told although it was told before that one is to be made."""
    rotation = planned(service)
    with phone() as here:
        service.alerts.add("phone", "webhook", here.address)
        telling = Telling(service, clock)
        for state, title in (("creating", "make a key"), ("retiring-old", "delete the key")):
            becomes(service, rotation, state=state, todo=json.dumps({"title": title}))
            telling.look()
            clock.us += TOGETHER_US
            telling.look()
            assert f"- a person is waited for: {title}" in here.got[-1]["message"]
        assert len(here.got) == 2
        clock.us += TOGETHER_US
        telling.look()
        assert len(here.got) == 2, "one that stands is told once"


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
        destinations.save(connection, Delivery(made.id, "tax-tool", version, confirmed_us=1))
    assert waits() == []


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
        for seq in range(5):
            connection.execute(
                t.CALLS.insert().values(
                    gateway="local", boot="b", seq=seq, at_us=clock(), grant="g", consumer="bot", account="main",
                    key="main/trade/1", method="POST", endpoint="spot.order.place", action="place", client_ids="[]",
                    decision="deny", reason="cap", source="127.0.0.1", leaving=False, reserved="[]", released="[]",
                    status=400,
                )
            )  # fmt: skip
    assert "orders of bot" in kinds(service, clock)["refused-orders"]
    assert "refused-orders" not in kinds(service, clock, timedelta(minutes=16))


def test_a_key_that_left_and_is_not_dead_in_time(service: Service, clock: Clock) -> None:
    now = service.desk.clock.now()
    out = Checkout("out_1", "g", KeyRef("main", Slot.TRADE, 1), "owner", "Ann", "tax", now, now)
    with service.desk.database.write() as connection:
        checkouts.add(connection, out, microseconds(now), microseconds(now))
    assert kinds(service, clock, timedelta(minutes=59)) == {}
    assert "left with Ann" in kinds(service, clock, timedelta(minutes=61))["checkout"]


@pytest.mark.parametrize("environment", [Environment.LIVE, Environment.PAPER])
def test_with_real_keys_alerts_that_go_nowhere_are_a_hazard(tmp_path: Path, environment: Environment) -> None:
    home = found(tmp_path / "home", environment, "solo", database=database_document(tmp_path)).home
    with opened(home) as service:
        upkeep = Upkeep(service)

        def said() -> list[str]:
            upkeep.once()
            return [one.what for one in upkeep.hazards() if one.what.startswith("alerts go nowhere")]

        assert len(said()) == (1 if environment is Environment.LIVE else 0)
        service.alerts.add("switch", "heartbeat", Secret("https://example.invalid/ping"))
        assert len(said()) == (1 if environment is Environment.LIVE else 0), "a heartbeat tells of no alert"
        service.alerts.add("phone", "webhook", Secret("json://127.0.0.1:9/"))
        assert said() == []
