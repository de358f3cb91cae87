"""A cut on a full disk finds the room that is kept for it; what else cannot be written is told as what it is."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from broker.db import cuts as cut_store
from broker.db import reserve
from broker.db.database import Database
from broker.db.reserve import NAME, Reserve
from broker.gate import Mode
from broker.service import Service
from broker.service.service import found_home, open_service
from broker.stores.embedded import key as keys
from clients.venue import Environment
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
