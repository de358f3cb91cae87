"""A cut that no store has taken as its broker ends is closed by the next start, before anything is served."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from broker.db import cuts as cut_store
from broker.errors import NotFound, StoreUnavailable
from broker.gate import Mode
from broker.model import EVERYTHING
from broker.service import Service
from broker.service import mirror as mirror_module
from broker.service import unrecorded as unrecorded_module
from broker.service.making import Made
from clients.venue import Environment
from portcullis.foundation import found, opened
from portcullis.settings import Home
from portcullis.upkeep import Upkeep
from tests.broker.test_no_threads import none_left
from tests.places import database_document

SCOPE = "account:main"
Way = Callable[[Service], Made]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = found(tmp_path / "home", Environment.PAPER, "solo", database=database_document(tmp_path)).home
    with opened(made) as service:
        service.accounts.create_egress("out", addresses=("127.0.0.7",))
        service.accounts.create(
            SCOPE.partition(":")[2], venue="binance", egress="out", upstream="http://127.0.0.1:9"
        )
    return made


@contextmanager
def no_store(service: Service) -> Iterator[None]:
    """Let no store take a cut."""

    def away(*_: object, **__: object) -> Any:
        raise StoreUnavailable("away", "away on purpose")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service.cuts.closing, "_write", away)
        patch.setattr(service.mirror, "note", away)
        yield


def no_write(*_: object, **__: object) -> Any:
    raise StoreUnavailable("away", "away on purpose")


def begun(service: Service, *targets: str) -> Made:
    return service.cuts.closing.begin(
        targets=targets or (SCOPE,), mode=Mode.CLOSED, reason="leak", actor="me"
    )


def at_a_stop(service: Service) -> Made:
    with no_store(service):
        made = begun(service)
        service.close()
        no_more(service)
    return made


def no_more(service: Service) -> None:
    """The process is gone: it tries nothing again."""
    making = service.cuts.closing._making
    with making._called:
        making._fresh.clear()
        making._failed.clear()
        making._standing.clear()


def at_a_stop_without_threads(service: Service) -> Made:
    with no_store(service), none_left():
        made = begun(service)
        service.close()
        no_more(service)
    return made


def without_threads_and_killed(service: Service) -> Made:
    with no_store(service), none_left():
        made = begun(service)
        with suppress(RuntimeError):
            service.cuts.closing.note(made)
    return made


def killed_after_a_failed_try(service: Service) -> Made:
    with no_store(service):
        made = begun(service)
        left(made, service)
    return made


def left(made: Made, service: Service) -> None:
    """Wait until a cut lies in the home."""
    waiting = threading.Event()
    while not service.cuts.closing.is_kept(made.noted.id):
        waiting.wait(0.01)


def files(home: Home) -> list[Path]:
    return sorted(home.cuts.iterdir()) if home.cuts.is_dir() else []


def holding(service: Service) -> list[tuple[tuple[str, ...], str, str]]:
    return [(one.scopes, one.reason, one.actor) for one in service.cuts.list(open_only=True).items]


@pytest.mark.parametrize(
    "way", [at_a_stop, at_a_stop_without_threads, without_threads_and_killed, killed_after_a_failed_try]
)
def test_a_cut_that_neither_store_has_taken_holds_after_the_next_start(home: Home, way: Way) -> None:
    """With neither thread nor database it was lost, and bots traded again; the log said so."""
    with last_life(home) as service:
        made = way(service)
    assert len(files(home)) == 1
    with opened(home) as after:
        assert not after.mirror.serves
        after.mirror.merge()
        assert after.mirror.serves
        assert holding(after) == [((SCOPE,), "leak", "me")]
        assert after.cuts.get(made.noted.id).on_record
        assert after.desk.secrets.mirror.read(made.noted.id) is not None
        assert any(one.entry.action == "cut.adopt" for one in after.audit.list().items)
    assert files(home) == []


@contextmanager
def last_life(home: Home) -> Iterator[Service]:
    """Open a home for a life that ends within, in its own way: nothing of it is put on record after that."""
    with opened(home) as service:
        yield service
        no_more(service)
        service.close()


def test_a_cut_that_came_on_record_or_was_thawed_or_taken_back_leaves_nothing(home: Home) -> None:
    with opened(home) as service:
        with no_store(service):
            kept, thawed, wrong = begun(service), begun(service), begun(service, "consumer:nobody")
            for made in (kept, thawed, wrong):
                left(made, service)
        assert len(files(home)) == 3
        service.cuts.thaw(thawed.noted.id, reason="a mistake", actor="me")
        service.cuts.closing.hurry()
        assert kept.settled.result(60)
        with pytest.raises(NotFound):
            wrong.settled.result(60)
        assert not thawed.settled.result(60)
    assert files(home) == []
    with opened(home) as after:
        after.mirror.merge()
        assert [one.id for one in after.cuts.list(open_only=True).items] == [kept.noted.id]


def test_a_cut_that_was_put_on_record_by_somebody_else_and_thawed_is_not_made_again(home: Home) -> None:
    with last_life(home) as service:
        made = at_a_stop(service)
    (path,) = files(home)
    text = path.read_bytes()
    with opened(home) as after:
        after.mirror.merge()
        after.cuts.thaw(made.noted.id, reason="all is well", actor="me")
    path.write_bytes(text)  # as if it could not be deleted
    with opened(home) as after:
        after.mirror.merge()
        assert holding(after) == []
    assert files(home) == []


@pytest.mark.parametrize("what", ["empty", "no JSON", "another version", "another cut", "a link"])
def test_what_cannot_be_read_closes_everything_until_somebody_thaws_it(home: Home, what: str) -> None:
    home.cuts.mkdir()
    path = home.cuts / "cut_0123.cut"
    text = {
        "empty": "",
        "no JSON": "{",
        "another version": '{"version":2}',
        "another cut": '{"version":1,',
    }.get(what)
    if text is None:
        path.symlink_to(home.root / "home.json")
    else:
        path.write_text(text)
    for start in range(3):
        with opened(home) as service:
            service.mirror.merge()
            found = service.cuts.list(open_only=True).items
            assert [one.scopes for one in found] == ([(EVERYTHING,)] if start == 0 else [])
            if start == 0:
                assert "cannot be read" in found[0].reason
                service.cuts.thaw(found[0].id, reason="looked at", actor="me")
    assert files(home) == []


def test_nothing_is_served_where_it_cannot_be_seen_what_was_left(home: Home) -> None:
    home.cuts.write_text("no directory")
    with opened(home) as service:
        with pytest.raises(StoreUnavailable, match="cannot be read"):
            service.mirror.merge()
        assert not service.mirror.serves
        home.cuts.unlink()
        service.mirror.merge()
        assert service.mirror.serves


def test_nothing_is_served_while_the_database_does_not_take_what_was_left(home: Home) -> None:
    with last_life(home) as service:
        at_a_stop(service)
    with opened(home) as service:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("broker.service.adoption._LEFT_WAITS_S", 0.0)
            with service.desk.database.turns.turn(unrecorded_urgency()), _elsewhere(service) as failed:
                assert isinstance(failed, StoreUnavailable)
        assert not service.mirror.serves
        assert len(files(home)) == 1
        service.mirror.merge()
        assert holding(service) == [((SCOPE,), "leak", "me")]


def unrecorded_urgency() -> Any:
    from broker.db.turns import Urgency  # noqa: PLC0415 - named for one test

    return Urgency.SAFETY


@contextmanager
def _elsewhere(service: Service) -> Iterator[BaseException | None]:
    """Merge in another thread, and give what came of it."""
    found: list[BaseException] = []

    def work() -> None:
        try:
            service.mirror.merge()
        except StoreUnavailable as fault:
            found.append(fault)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    yield found[0] if found else None


def test_a_cut_of_another_portcullis_is_left_alone(home: Home, tmp_path: Path) -> None:
    other = found(tmp_path / "other", Environment.PAPER, "solo").home
    with last_life(other) as service:
        made = at_a_stop(service)
    home.cuts.mkdir()
    (path,) = files(other)
    path.rename(home.cuts / path.name)
    with opened(home) as service:
        service.mirror.merge()
        assert holding(service) == []
        with service.desk.database.read() as connection:
            assert cut_store.get(connection, made.noted.id) is None
    assert len(files(home)) == 1


def test_a_disk_without_room_leaves_what_closes_everything(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of a file takes no room, and what is empty was a cut as well."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(unrecorded_module, "_write", full)  # to the end: it is tried again a moment later
    with last_life(home) as service:
        # nor is it put on record as this life ends
        monkeypatch.setattr(service.cuts.closing, "_write", no_write)
        service.desk.database.reserve.keep()
        at_a_stop(service)
    assert not service.desk.database.reserve._size(), "the room that is kept for a cut was given back"
    with opened(home) as after:
        after.mirror.merge()
        assert [one.scopes for one in after.cuts.list(open_only=True).items] == [(EVERYTHING,)]


def test_what_is_in_force_is_in_the_secret_store_before_anything_waits_for_the_database(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file of an earlier life waits for a database that takes nothing; a cut made meanwhile waited behind them."""
    with last_life(home) as service:
        killed_after_a_failed_try(service)
    monkeypatch.setattr(mirror_module, "_LATE_US", -1)
    with opened(home) as service:
        monkeypatch.setattr(service.cuts.closing, "_write", no_write)
        monkeypatch.setattr(service.desk.database, "write", no_write)
        made = begun(service, EVERYTHING)
        assert not service.mirror.has(made.noted.id)
        with pytest.raises(StoreUnavailable, match="away on purpose"):
            service.mirror.merge()
        assert service.mirror.has(made.noted.id)
        assert len(files(home)) >= 1, "what could not be put on record is still there"


def test_upkeep_writes_cuts_down_before_its_parts_wait_for_the_database(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_module, "_LATE_US", -1)
    with opened(home) as service:
        monkeypatch.setattr(service.cuts.closing, "_write", no_write)
        made = begun(service)
        seen: list[bool] = []
        monkeypatch.setattr(
            service.desk.database, "settle", lambda: seen.append(service.mirror.has(made.noted.id))
        )
        monkeypatch.setattr(
            service.operators, "learn", lambda: seen.append(service.mirror.has(made.noted.id))
        )
        Upkeep(service).once()
        assert seen == [True, True]
