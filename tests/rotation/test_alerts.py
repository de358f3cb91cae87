"""What is wrong is told once, together, again after a while, and when it is right again. Real HTTP, real Apprise."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import apprise
import pytest

from broker.db import tables as t
from broker.errors import Conflict, Malformed, NotFound
from broker.service import Service
from broker.service.alerts import SCHEMES
from clients.secret import Secret
from clients.venue import Environment
from portcullis.cli.alerts import SHAPES
from portcullis.foundation import found, opened
from portcullis.upkeep import Upkeep
from rotation.alerts import sending, telling
from rotation.alerts.answers import Answer
from rotation.alerts.sending import Message
from rotation.alerts.telling import AGAIN_US, BEAT_US, CATCH_UP_US, TOGETHER_US, Telling
from tests.places import database_document
from tests.rotation.alerting import TOKEN, Clock, becomes, home_with_a_key, phone, planned, unknown

pytestmark = pytest.mark.sockets


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with home_with_a_key(tmp_path) as service:
        yield service


@pytest.fixture(autouse=True)
def slow_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message is sent by a process of its own, which begins late on a busy machine: looks wait for it here."""
    for module, name in ((telling, "WAIT_S"), (telling, "REST_S"), (sending, "_START_S")):
        monkeypatch.setattr(module, name, 120.0)


@pytest.fixture
def waits_little(slow_processes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where something hangs on purpose, looks wait for it as long as they do anywhere."""
    del slow_processes
    monkeypatch.setattr(telling, "WAIT_S", 10.0)
    monkeypatch.setattr(telling, "REST_S", 5.0)


@pytest.fixture
def clock(service: Service) -> Clock:
    return Clock(service.desk.clock.now_us())


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
        clock.us -= 200 * 86_400_000_000
        telling.look()
        assert here.beats == 3, "a clock that was set back is no death"


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
        service.alerts.add("phone", "webhook", Secret("json://hooks.invalid/"))
        assert said() == []


@pytest.mark.usefixtures("waits_little")
def test_a_channel_that_hangs_keeps_nothing_from_the_others_nor_a_heartbeat(
    service: Service, clock: Clock
) -> None:
    """Channels are told beside one another: each has its time, and none waits for another's."""
    told, beaten, free = threading.Event(), threading.Event(), threading.Event()

    def send(address: str, message: Message) -> Answer:
        if "hangs" in address:
            free.wait(60)
        else:
            told.set()
        return message.taken

    with phone() as here:
        for number in range(3):
            service.alerts.add(f"a-{number}", "webhook", Secret(f"json://127.0.0.1:{here.port}/hangs"))
        service.alerts.add("phone", "webhook", here.address)
        service.alerts.add("switch", "heartbeat", Secret(f"http://127.0.0.1:{here.port}/beat"))
        telling = Telling(service, clock, send)
        unknown(service, clock, "A" * 64)
        telling.look()
        clock.us += max(TOGETHER_US, BEAT_US)
        here.beats = 0
        looking = threading.Thread(target=telling.look, daemon=True)
        looking.start()
        try:
            assert told.wait(60)
            for _ in range(6000):
                if here.beats:
                    beaten.set()
                    break
                looking.join(0.01)
            assert beaten.is_set()
            looking.join(60)
            assert not looking.is_alive(), (
                "the others hang all the while, and the next look does not wait for them"
            )
            unknown(service, clock, "A" * 64, "B" * 64)
            clock.us += TOGETHER_US
            told.clear()
            telling.look()
            clock.us += TOGETHER_US
            telling.look()
            assert told.wait(60), "what is new is told to who takes it"
        finally:
            free.set()
            looking.join(60)


@pytest.mark.usefixtures("waits_little")
def test_a_channel_that_was_busy_is_told_what_stands_as_soon_as_it_is_free(
    service: Service, clock: Clock
) -> None:
    """One that is slow and takes its message in the end did not fail: nobody told it what came meanwhile."""
    began, free, slow, quick = threading.Event(), threading.Event(), list[str](), list[str]()

    def send(address: str, message: Message) -> Answer:
        if "slow" not in address:
            quick.append(message.text)
            return message.taken
        slow.append(message.text)
        began.set()
        free.wait(60)
        return message.taken

    service.alerts.add("slow", "webhook", Secret("json://127.0.0.1:9/slow"))
    service.alerts.add("phone", "webhook", Secret("json://127.0.0.1:9/phone"))
    telling = Telling(service, clock, send)
    unknown(service, clock, "A" * 64)
    telling.look()
    clock.us += TOGETHER_US
    telling.look()
    assert began.wait(60)
    unknown(service, clock, "A" * 64, "B" * 64)
    for _ in range(2):
        telling.look()
        clock.us += TOGETHER_US
    assert (len(slow), len(quick)) == (1, 2)
    free.set()
    for _ in range(600):
        telling.look()
        if len(slow) > 1:
            break
        began.wait(0.05)
        time.sleep(0.05)
    assert "B" * 64 in slow[1]
