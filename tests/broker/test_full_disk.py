"""A cut on a full disk finds the room that is kept for it; what else cannot be written is told as what it is."""

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from broker.db import cuts as cut_store
from broker.db import faults, reserve
from broker.db.database import Database
from broker.db.reserve import NAME, Reserve
from broker.errors import StoreUnavailable
from broker.gate import Mode
from broker.service import Service
from broker.service.service import found_home, open_service
from broker.stores.embedded import key as keys
from broker.stores.embedded.store import EmbeddedStore
from clients.secret import Secret
from clients.venue import Environment
from portcullis import foundation
from portcullis.settings import SettingsError
from portcullis.upkeep import Upkeep
from tests.gateway.world import WallClock
from tests.places import secrets_at


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    database = Database(tmp_path / "state.db")
    database.upgrade()
    found_home(database, Environment.PAPER, "solo")
    keys.to_file(tmp_path / "kek", keys.fresh())
    store = secrets_at(tmp_path)
    yield open_service(database, store, WallClock())
    store.close()
    database.close()


class Disk:
    """A disk that is full while nobody gives room back, or for so many tries more."""

    def __init__(self, service: Service, real: Any, more: int = 0) -> None:
        self._path = Path(str(service.desk.database.reserve._path))
        self._real, self._more = real, more

    def add(self, *args: Any) -> None:
        if self._path.exists() or self._more:
            self._more -= not self._path.exists()
            fault = sqlite3.OperationalError("database or disk is full")
            fault.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise sa.exc.OperationalError("INSERT", None, fault)
        self._real(*args)


@pytest.mark.parametrize("quicker", [0, 2])
@pytest.mark.parametrize("mode", [Mode.CLOSED, Mode.HALT])
def test_a_cut_takes_the_room_that_is_kept_for_it(
    service: Service, monkeypatch: pytest.MonkeyPatch, quicker: int, mode: Mode
) -> None:
    """Others write, too: the room may be gone before the cut comes again."""
    database = service.desk.database
    database.reserve.keep()
    disk = Disk(service, cut_store.add, quicker)
    monkeypatch.setattr(cut_store, "add", disk.add)
    cut, change = service.cuts.close(targets=("everything",), mode=mode, reason="x", actor="me")
    assert [one.mode for one in change.gates] == [mode]
    assert [one.id for one in service.cuts.list(open_only=True).items] == [cut.id]


def test_on_a_disk_that_stays_full_a_cut_is_in_force_and_says_that_it_is_not_on_record(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as there is room it is."""
    with monkeypatch.context() as full:
        full.setattr(cut_store, "add", Disk(service, cut_store.add, 9_999).add)
        cut, change = service.cuts.close(targets=("everything",), mode=Mode.CLOSED, reason="x", actor="me")
        assert not cut.on_record
        assert change.closing is not None
        made = service.cuts.closing.get(cut.id)
        assert made is not None
        assert "disk is full" in made.fault
        assert service.cuts.list(open_only=True).items == (cut,)
    assert made.settled.result(60)
    (there,) = service.cuts.list(open_only=True).items
    assert (there.id, there.on_record) == (cut.id, True)


def test_the_room_is_laid_aside_where_there_is_plenty_and_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Reserve(tmp_path)
    monkeypatch.setattr(reserve, "_PLENTY", 2**62)
    one.keep()
    assert not (tmp_path / NAME).exists(), "the last room of a disk is for those who need it now"
    monkeypatch.undo()
    for _ in range(2):
        one.keep()
    assert (tmp_path / NAME).stat().st_blocks * 512 >= reserve.SIZE
    assert (tmp_path / NAME).stat().st_mode & 0o077 == 0
    one.free()
    one.free()
    assert not (tmp_path / NAME).exists()
    Reserve(None).keep()
    Reserve(tmp_path / "gone").keep()


def test_a_secret_store_on_a_full_disk_is_away_and_neither_a_start_nor_a_thaw_falls_over(
    service: Service,
) -> None:
    """Its fault was one that nobody foresaw: upkeep died of it, with which a broker begins, and `status` was silent."""
    service.grants.create_consumer("bot")
    cuts = [
        service.cuts.close(targets=("consumer:bot",), mode=Mode.CLOSED, reason="x" * 500, actor="me")[0].id
        for _ in range(20)
    ]
    upkeep, store = Upkeep(service), service.desk.secrets
    assert isinstance(store, EmbeddedStore)
    (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    store._connection.execute(f"PRAGMA max_page_count={pages}")
    for number in range(20):
        with suppress(StoreUnavailable):
            store.write(f"keys/filling/{number}", {"secret": Secret("x" * 200)}, {})
    upkeep.once()
    (told,) = [one.what for one in upkeep.hazards() if one.subject == "cut documents"]
    assert "full" in told
    thawed = set[str]()
    for cut in cuts:
        with suppress(StoreUnavailable):  # it may fit in the place of what was written before
            service.cuts.thaw(cut, reason="y", actor="me")
            thawed.add(cut)
    assert thawed < set(cuts)
    assert {one.id for one in service.cuts.list(open_only=True).items} == set(cuts) - thawed
    store._connection.execute("PRAGMA max_page_count=1000000")


@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMMAP]
)
def test_no_room_for_the_index_of_the_write_ahead_log_is_a_full_disk_too(code: int) -> None:
    """It has to grow while a cut is written, and is made anew at a start: a cut that met that took no room."""
    fault = sqlite3.OperationalError("disk I/O error")
    fault.sqlite_errorcode = code
    told = faults.translated(sa.exc.OperationalError("INSERT", None, fault))
    assert told.reason == faults.DISK_FULL
    assert "disk is full" in str(told)


def test_a_broker_that_could_not_start_takes_half_of_the_room_and_leaves_the_rest_to_a_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a stop in order there is no file left of what SQLite needs, and it makes them anew."""
    home = foundation.found(tmp_path / "home", Environment.PAPER, "solo").home
    kept, real = home.root / NAME, Database.upgrade
    with foundation.opened(home) as service:
        service.desk.database.reserve.keep()

    def upgrade(self: Database, *given: str) -> None:
        if kept.exists() and kept.stat().st_size >= reserve.SIZE:
            raise StoreUnavailable(faults.DISK_FULL, "planted")
        real(self, *given)

    monkeypatch.setattr(Database, "upgrade", upgrade)
    with foundation.opened(home) as service:
        assert kept.stat().st_size == reserve.SIZE // 2
        assert not service.desk.database.reserve.lend(), "once"
        service.desk.database.reserve.keep()
        assert kept.stat().st_size == reserve.SIZE, "there is plenty again"
        monkeypatch.setattr(reserve, "_PLENTY", 2**62)
        service.desk.database.reserve.lend()
        service.desk.database.reserve.free()
        service.desk.database.reserve.keep()
        assert not kept.exists()
    monkeypatch.setattr(Database, "upgrade", full)
    nothing_kept = foundation.opened(home)
    with pytest.raises(SettingsError, match="planted"):
        nothing_kept.__enter__()


def full(*_: object) -> None:
    raise StoreUnavailable(faults.DISK_FULL, "planted")


def test_a_disk_that_is_as_good_as_full_is_told_before_nothing_can_be_written(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that had started with the last of the room said that nothing is wrong."""
    upkeep, kept = Upkeep(service), service.desk.database.reserve

    def told() -> list[str]:
        upkeep.once()
        return [one.step for one in upkeep.hazards() if one.subject == "disk"]

    assert told() == []
    with monkeypatch.context() as patch:
        patch.setattr(reserve, "_PLENTY", 2**62)
        kept.lend()
        assert len(told()) == 1
        kept.free()
        assert len(told()) == 1
    assert told() == [], "there is room again"


def test_a_disk_that_fills_while_the_room_for_a_cut_is_all_there_is_told_too(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That room is laid aside at the start, and only a cut takes it: it told nothing of a disk that filled later."""
    upkeep = Upkeep(service)

    def told() -> list[str]:
        upkeep.once()
        return [one.step for one in upkeep.hazards() if one.subject == "disk"]

    assert told() == []
    with monkeypatch.context() as patch:
        patch.setattr(reserve, "_PLENTY", 2**62)
        assert len(told()) == 1
    assert told() == [], "there is room again"
    with monkeypatch.context() as patch:
        patch.setattr(reserve, "_PLENTY", 2**62)
        patch.setattr(Database, "settle", full)
        assert len(told()) == 1, "nothing can be written there any more"
