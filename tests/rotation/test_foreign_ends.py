"""Loops over what is foreign have an end in all, and one that fails as nobody foresaw is told and stops no other."""

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.db import asks as ask_store
from broker.db import checkouts as checkout_store
from broker.db import destinations as destination_store
from broker.db.checkouts import Checkout
from broker.errors import Conflict, NotFound, StoreUnavailable
from broker.model import KeyVersion, Stage
from broker.service import Service
from broker.service.rotations import Wish
from clients.errors import VenueRefused
from clients.secret import Secret
from clients.venue import Slot
from portcullis.upkeep import Upkeep
from rotation import planner as planning
from rotation import returned as returning
from rotation import sweeper
from rotation.alerts.answers import Answer
from rotation.alerts.telling import Telling
from rotation.asks import Asks
from rotation.destinations import rounds
from rotation.destinations.delivery import Deliveries
from rotation.destinations.errands import Errands
from rotation.destinations.files import FilePlace
from rotation.destinations.parcel import Parcel
from rotation.fence import Fence
from rotation.journal import Journal
from rotation.schedule import Rotator
from rotation.sweeper import Sweeper
from rotation.venues import Venues
from tests.rotation.alerting import TOKEN, Clock, home_with_a_key
from tests.rotation.place import Unfenced
from tests.rotation.test_planner import account, planner, schedule
from tests.rotation.test_planner import service as fleet
from tests.strangers import ends

__all__ = ["fleet"]

PLANTED = "planted-secret-in-a-text"
PATIENCE_S = 60.0


@contextmanager
def held() -> Iterator[threading.Event]:
    free = threading.Event()
    try:
        yield free
    finally:
        free.set()


class Slotted:
    """A home whose trade key is brought to many files, each of which has said that it holds it."""

    def __init__(self, service: Service, directory: Path, many: int) -> None:
        self.service, self.directory = service, directory
        (self.key,) = [one for one in service.keys.list() if one.stage is Stage.CURRENT]
        self.fence: Fence = Unfenced(service.desk.database, "rot_1", 1)
        self.work = Deliveries(service, service.desk.clock.now_us)
        for number in range(many):
            (directory / f"f{number:02}").mkdir()
            where = {"path": str(self.path(number)), "key_id": "API_KEY", "secret": "API_SECRET"}
            service.destinations.create(
                f"f{number:02}", account=self.key.ref.account, slot=Slot.TRADE, kind="dotenv", settings=where
            )
        self.until_nothing_is_waited_for()

    def path(self, number: int) -> Path:
        return self.directory / f"f{number:02}" / ".env"

    def bring(self) -> str:
        return self.work.bring(self.fence, self.key, venue="binance")

    def until_nothing_is_waited_for(self) -> None:
        ends_s = time.monotonic() + PATIENCE_S
        while waited := self.bring():
            assert time.monotonic() < ends_s, waited


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with home_with_a_key(tmp_path) as service:
        service.mirror.merge()
        yield service


@pytest.mark.usefixtures("errands_hang")
def test_many_files_that_are_slow_to_say_it_once_more_share_one_turn(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second for each made a turn as long as there were files: past a claim, another rotator had begun beside it."""
    monkeypatch.setattr(rounds, "_FRESH_US", 0)
    many = Slotted(service, tmp_path, 15)
    with held() as free:
        confirm = FilePlace.confirm

        def slow(place: FilePlace, parcel: Parcel) -> str:
            free.wait(PATIENCE_S)
            return confirm(place, parcel)

        monkeypatch.setattr(FilePlace, "confirm", slow)
        began_s = time.monotonic()
        waited = str(ends(many.bring))
        assert time.monotonic() - began_s < 14, "each alone is waited for a second"
        assert waited.count("does not answer yet") == 15
        free.set()
        many.until_nothing_is_waited_for()


def test_more_slow_files_than_can_be_looked_at_at_once_are_all_looked_at_in_the_end(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What answered in an earlier turn counts in the next: else a round of many would never end."""
    monkeypatch.setattr(rounds, "_FRESH_US", 0)
    many, looked = Slotted(service, tmp_path, 20), list[str]()
    monkeypatch.setattr(rounds, "WAIT_S", 0.2)
    confirm = FilePlace.confirm

    def slow(place: FilePlace, parcel: Parcel) -> str:
        looked.append(place._path)
        time.sleep(0.5)  # a disk that takes longer than a turn waits
        return confirm(place, parcel)

    monkeypatch.setattr(FilePlace, "confirm", slow)
    many.until_nothing_is_waited_for()
    assert len(looked) == len(set(looked)) == 20, "each once"


def test_a_file_that_fails_unforeseen_as_it_is_looked_at_once_more_is_told_and_stops_no_other(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rounds, "_FRESH_US", 0)
    many, looked = Slotted(service, tmp_path, 3), set[str]()

    def fails(place: FilePlace, _: Parcel) -> str:
        looked.add(place._path)
        if place._path == str(many.path(0)):
            raise LookupError(PLANTED)
        return ""

    monkeypatch.setattr(FilePlace, "confirm", fails)
    assert many.bring() == "f00: failed unforeseen (LookupError)"
    assert looked == {str(many.path(number)) for number in range(3)}
    assert "the destination f00 failed unforeseen: LookupError" in _critical(caplog)
    monkeypatch.undo()
    many.until_nothing_is_waited_for()


def test_of_many_the_one_that_was_written_over_gets_its_key_again(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "_FRESH_US", 0)
    many = Slotted(service, tmp_path, 18)
    right = many.path(17).read_text()
    many.path(17).write_text("API_KEY=old\nAPI_SECRET=old\n")
    many.until_nothing_is_waited_for()
    assert many.path(17).read_text() == right
    with service.desk.database.read() as connection:
        found = [
            destination_store.delivery(connection, "rot_1", f"f{number:02}", many.key.ref.version)
            for number in range(18)
        ]
    assert all(one.confirmed_us is not None for one in found)


def test_what_fails_unforeseen_while_a_start_cleans_is_told(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A file with a key may still lie there, and nobody heard of it."""
    many = Slotted(service, tmp_path, 2)

    def fails(place: FilePlace) -> bool:
        if place._path == str(many.path(0)):
            raise OSError(5, PLANTED)
        return False

    monkeypatch.setattr(FilePlace, "clean", fails)
    assert many.work.clean() == (0, ("f00",))
    assert "cleaning f00 failed unforeseen: OSError" in _critical(caplog)


def test_a_channel_that_fails_unforeseen_is_shown_and_told_again(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """It was in the log alone: `alerts list` called it well, and what it missed was never told to it."""

    def fails(*_: object) -> Answer:
        raise LookupError(PLANTED)

    service.alerts.add("phone", "webhook", Secret(f"json://127.0.0.1:9/{TOKEN}"))
    telling = Telling(service, Clock(service.desk.clock.now_us()), fails)
    assert telling.test("phone") == "it failed unforeseen (LookupError)"
    (channel,) = service.alerts.channels()
    assert channel.failed == "it failed unforeseen (LookupError)"
    assert PLANTED not in caplog.text


class Begun(int):
    """When a round began; as somebody asks how long ago that is, another worker begins one."""

    def __rsub__(self, now_us: int) -> int:
        self.meanwhile()
        return now_us - int(self)

    meanwhile: Callable[[], None]


def test_rounds_of_several_workers_do_not_disturb_each_other(service: Service) -> None:
    now_us = service.desk.clock.now_us()
    both = rounds.Rounds(
        service.desk, lambda: now_us, Errands(), lambda _: pytest.fail("nobody goes anywhere")
    )
    first = both._began["rot_1", 2] = Begun(now_us - 1)
    first.meanwhile = lambda: both._began.update({("rot_2", 5): now_us - 3})
    assert both._round("rot_1", 2) == now_us - 1
    first.meanwhile = lambda: None
    assert both._round("rot_2", 5) == now_us - 3


# --- many accounts ----------------------------------------------------------------------------


def test_a_slot_that_cannot_be_planned_as_nobody_foresaw_stops_no_other(
    fleet: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b", "c"):
        account(fleet, name)
    draw_up = planning.draw_up

    def fails(service: Service, name: str, *rest: Any, **more: Any) -> Any:
        if name == "a":
            raise LookupError(PLANTED)
        return draw_up(service, name, *rest, **more)

    monkeypatch.setattr(planning, "draw_up", fails)
    started = planner(fleet).look(datetime.now(UTC) + timedelta(days=100))
    assert {fleet.rotations.get(one).account for one in started} == {"b", "c"}
    assert schedule(fleet, "a").why == "cannot be rotated: it failed unforeseen (LookupError)"
    assert "planning a/trade failed unforeseen: LookupError" in _critical(caplog)


def test_a_slot_whose_day_cannot_be_worked_out_stops_no_other(
    fleet: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b"):
        account(fleet, name)
    ends_at = planning.ends_at

    def fails(key: KeyVersion, venue: str) -> Any:
        if key.ref.account == "a":
            raise LookupError(PLANTED)
        return ends_at(key, venue)

    monkeypatch.setattr(planning, "ends_at", fails)
    started = planner(fleet).look(datetime.now(UTC) + timedelta(days=100))
    assert [fleet.rotations.get(one).account for one in started] == ["b"]
    assert "planning a/trade/1 failed unforeseen: LookupError" in _critical(caplog)


def swept(fleet: Service, monkeypatch: pytest.MonkeyPatch, each: Callable[[str], None]) -> Sweeper:
    """Return a sweeper of which only how it goes through the accounts is looked at."""
    for name in ("a", "b", "c"):
        account(fleet, name)
    monkeypatch.setattr(Sweeper, "_sweep", lambda _self, one, _now: each(one.name))
    return Sweeper(fleet, Venues(fleet), Journal(fleet.desk.database, fleet.audit, "sweep"))


def test_an_account_that_cannot_be_swept_as_nobody_foresaw_stops_no_other_and_comes_last(
    fleet: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen = list[str]()

    def each(name: str) -> None:
        seen.append(name)
        if name == "a":
            raise LookupError(PLANTED)

    work, now = swept(fleet, monkeypatch, each), datetime.now(UTC)
    assert work.sweep(now) == ("a could not be swept: it failed unforeseen (LookupError)",)
    assert seen == ["a", "b", "c"]
    assert "sweeping a failed unforeseen: LookupError" in _critical(caplog)
    work.sweep(now, timedelta(hours=1))
    assert seen == ["a", "b", "c"], "it is not asked again and again"


def test_an_account_whose_manager_key_is_refused_stops_no_other_where_that_cannot_be_written_down(
    fleet: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another sweep of it began meanwhile: the accounts behind it were not looked at, and it came first each time."""
    seen = list[str]()

    def each(name: str) -> None:
        seen.append(name)
        if name == "a":
            raise VenueRefused("binance", "list", "key_refused")

    def overtaken(*_: object, **__: object) -> None:
        raise Conflict("swept_since", "another sweep of it began meanwhile")

    work, now = swept(fleet, monkeypatch, each), datetime.now(UTC)
    monkeypatch.setattr(Sweeper, "_refused", lambda *_: None)
    monkeypatch.setattr(Sweeper, "_note", overtaken)
    (trouble,) = work.sweep(now)
    assert trouble.startswith("a could not be swept")
    assert seen == ["a", "b", "c"]


def test_a_sweep_of_an_exchange_that_is_slow_ends_and_the_rest_comes_first_the_next_time(
    fleet: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[str]()
    work, now = swept(fleet, monkeypatch, seen.append), datetime.now(UTC)
    clock = iter([0.0, 1.0, sweeper.TURN_S, 100.0, 101.0, 102.0, 103.0])

    class Time:
        monotonic = staticmethod(lambda: next(clock))

    monkeypatch.setattr(sweeper, "time", Time)
    (trouble,) = work.sweep(now, timedelta(hours=1))
    assert seen == ["a"]
    assert trouble.startswith("2 accounts wait")
    assert work.sweep(now, timedelta(hours=1)) == ()
    assert seen == ["a", "b", "c"]


def test_a_checkout_that_cannot_be_ended_as_nobody_foresaw_stops_no_other(
    fleet: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two keys are out: the first one's end fails each time, and the other is rotated all the same."""
    at = fleet.desk.clock.now()
    for number, name in enumerate(("a", "b")):
        account(fleet, name)
        (key,) = fleet.keys.list(name)
        out = Checkout(f"chk_{number}", "grt", key.ref, "op", "Ann", "tax", at, at, closed_at=at)
        with fleet.desk.database.write() as connection:
            checkout_store.add(connection, out, 1, 2)
    draw_up = returning.draw_up

    def fails(service: Service, name: str, *rest: Any, **more: Any) -> Any:
        if name == "a":
            raise LookupError(PLANTED)
        return draw_up(service, name, *rest, **more)

    monkeypatch.setattr(returning, "draw_up", fails)
    work = returning.Returned(fleet, Journal(fleet.desk.database, fleet.audit, "plan"))
    (trouble,) = work.look(datetime.now(UTC))
    assert trouble.endswith("cannot be ended: it failed unforeseen (LookupError)")
    assert [one.account for one in fleet.rotations.list().items] == ["b"]
    assert "ending the checkout chk_0 failed unforeseen: LookupError" in _critical(caplog)


def test_an_ask_that_fails_unforeseen_is_answered(
    fleet: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who asked waited for ever, and it was tried again for ever."""
    account(fleet, "a")
    ask = fleet.rotations.start("a", Slot.TRADE)

    def fails(*_: object, **__: object) -> None:
        raise LookupError(PLANTED)

    monkeypatch.setattr("rotation.asks.draw_up", fails)
    work = Asks(
        fleet, Venues(fleet), Journal(fleet.desk.database, fleet.audit, "asks"), "asks", lambda: datetime.now(UTC)
    )  # fmt: skip
    assert work.once()
    found = fleet.rotations.outcome(ask.id).outcome
    assert found is not None
    assert found.startswith("unforeseen: it failed unforeseen (LookupError)")
    assert Wish.START.value in _critical(caplog)


def answered(fleet: Service, many: int) -> None:
    """Let operators have brought so many secrets, in asks that are over."""
    with fleet.desk.database.write() as connection:
        for number in range(many):
            body = json.dumps({"inbox": f"inbox/{number}"})
            ask_store.add(connection, ask_store.Ask(f"ask_{number}", "rot_0", "answer", body, "op", number))
            ask_store.finish(connection, f"ask_{number}", 1, "")


def test_a_secret_that_cannot_be_destroyed_keeps_no_other_in_the_inbox(
    fleet: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that a person deleted in Vault by hand, and that is not destroyed there, was where each start stopped."""
    answered(fleet, 3)
    secrets, real = fleet.desk.secrets, fleet.desk.secrets.read
    for number in range(3):
        secrets.write(f"inbox/{number}", {"secret": Secret("s")}, {})
    asked = list[str]()

    def read(path: str) -> Any:
        asked.append(path)
        if path == "inbox/0":
            raise StoreUnavailable("vault_deleted", "deleted by hand")
        return real(path)

    monkeypatch.setattr(secrets, "read", read)
    work = Asks(
        fleet, Venues(fleet), Journal(fleet.desk.database, fleet.audit, "asks"), "asks", lambda: datetime.now(UTC)
    )  # fmt: skip
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            work.clear()
    assert asked == ["inbox/0", "inbox/1", "inbox/2", "inbox/0"], "what is destroyed is not looked at again"
    for number in (1, 2):
        with pytest.raises(NotFound):
            real(f"inbox/{number}")


def test_a_secret_store_that_is_slow_over_what_lies_in_the_inbox_holds_no_rotators_start(
    fleet: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every ask there ever was that brought a secret is looked at: a broker ends a rotator that is not ready in time."""
    account(fleet, "a")
    answered(fleet, 3)
    asked, begun, real = list[str](), threading.Event(), fleet.desk.secrets.read
    with held() as free:

        def slow(path: str) -> Any:
            if not path.startswith("inbox/"):
                return real(path)  # what the rotation asks meanwhile
            asked.append(path)
            begun.set()
            free.wait(PATIENCE_S)
            raise NotFound("destroyed", "destroyed")

        monkeypatch.setattr(fleet.desk.secrets, "read", slow)
        rotator = Rotator(fleet, "r", lambda: datetime.now(UTC), random.SystemRandom(), workers=1)
        ends(rotator.start)
        assert begun.wait(PATIENCE_S)
        ask = fleet.rotations.start("a", Slot.TRADE)
        ends_s = time.monotonic() + PATIENCE_S
        while fleet.rotations.outcome(ask.id).outcome is None:
            assert time.monotonic() < ends_s, "it answers nobody meanwhile"
            time.sleep(0.02)
        stopping = threading.Thread(target=rotator.stop)
        stopping.start()
        while not rotator._ticks.are_over():
            time.sleep(0.01)
        free.set()
        stopping.join(PATIENCE_S)
        assert not stopping.is_alive()
    assert asked == ["inbox/0"], "who is told to stop looks at no further one"


@pytest.mark.parametrize("part", ["call_seal.seal", "openings.look", "retention.tidy", "calls.keep_time"])
def test_a_part_of_upkeep_that_fails_unforeseen_keeps_no_cut_from_being_merged(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, part: str
) -> None:
    """The mirror of the gates came last: a cut that it alone knew was not taken in for as long as a seal failed."""
    merged = list[str]()

    def fails(**_: object) -> None:
        raise LookupError(PLANTED)

    owner, _, name = part.partition(".")
    monkeypatch.setattr(getattr(service, owner), name, fails)
    monkeypatch.setattr(service.mirror, "merge", lambda: merged.append("merged"))
    Upkeep(service).once()
    assert merged == ["merged"]
    assert "failed unforeseen: LookupError" in _critical(caplog)


def _critical(caplog: pytest.LogCaptureFixture) -> str:
    said = [one.getMessage() for one in caplog.records if one.levelno >= logging.CRITICAL]
    assert PLANTED not in caplog.text
    return "\n".join(said)
