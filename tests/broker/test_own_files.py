"""A cut whose file is empty or half written is known by its name: it holds what it names, and not everything."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.errors import NotGranted
from broker.gate import Mode
from broker.gate_document import NotedCut
from broker.model import EVERYTHING, new_id
from broker.service import Service, early, unrecorded
from broker.service.adoption import take_in
from portcullis.foundation import opened
from portcullis.settings import Home
from tests.broker.test_early_cuts import WAYS, away, check_out, home

__all__ = ["home"]
TEXTS = pytest.mark.parametrize("text", ["", '{"version": 1, "insta'], ids=["empty", "half"])


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def cut(service: Service) -> str:
    """Cut another consumer; the file of it takes no text, and the record nothing at all."""
    made, _ = service.cuts.close(targets=("consumer:other",), mode=Mode.CLOSED, reason="leak", actor="me")
    assert not made.on_record
    return made.id


def files(home: Home) -> list[Path]:
    return sorted(home.cuts.iterdir())


@TEXTS
@WAYS
def test_our_own_cut_whose_file_cannot_be_read_holds_what_it_names(
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
    way: Callable[[Service], None],
    text: str,
) -> None:
    """A full disk of the home leaves its name alone: every look took it for a cut of everything, beside the real one."""
    with opened(home) as service:
        service.mirror.merge()
        service.grants.create_consumer("other")
        monkeypatch.setattr(unrecorded, "_write", full)
        with monkeypatch.context() as patch:
            patch.setattr(service.cuts.closing, "_write", away)
            name = cut(service)
            (file,) = files(home)
            assert file.name == f"{name}.cut"
            file.write_text(text)
            way(service)
            take_in(service.desk, service.audit)
            assert [one.scopes for one in service.cuts.list(open_only=True).items] == [("consumer:other",)]
            assert files(home) == [file]


@TEXTS
def test_a_file_that_cannot_be_read_of_a_cut_on_record_closes_nothing_more(home: Home, text: str) -> None:
    with opened(home) as service:
        service.mirror.merge()
        service.grants.create_consumer("other")
        made, _ = service.cuts.close(targets=("consumer:other",), mode=Mode.CLOSED, reason="x", actor="me")
        assert made.on_record
        home.cuts.mkdir(exist_ok=True)
        (home.cuts / f"{made.id}.cut").write_text(text)
        check_out(service)
        take_in(service.desk, service.audit)
        assert [one.id for one in service.cuts.list(open_only=True).items] == [made.id]
        assert files(home) == [], "it is on record: nobody has to look at it"


@TEXTS
def test_of_a_cut_that_nobody_knows_it_closes_everything(home: Home, text: str) -> None:
    with opened(home) as service:
        service.mirror.merge()
        home.cuts.mkdir(exist_ok=True)
        (home.cuts / f"{new_id('cut')}.cut").write_text(text)
        with pytest.raises(NotGranted):
            check_out(service)
        take_in(service.desk, service.audit)
        assert [one.scopes for one in service.cuts.list(open_only=True).items] == [(EVERYTHING,)]


def test_nobody_sees_half_a_file(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who let keys go beside us met it while it was written, and refused all of them."""
    noted = NotedCut(new_id("cut"), Mode.CLOSED, ("consumer:other",), "leak", "me", 1)
    with opened(home) as service, opened(home) as other:
        seen = list[Any]()
        write, sync = unrecorded.os.write, unrecorded.os.fsync

        def looked(_: int) -> None:
            seen.append([one.cut for one in early.seen(other.desk)])

        def writing(fd: int, data: bytes) -> int:
            looked(fd)
            done = write(fd, data)
            looked(fd)
            return done

        with monkeypatch.context() as patch:
            patch.setattr(unrecorded.os, "write", writing)
            patch.setattr(unrecorded.os, "fsync", lambda fd: (looked(fd), sync(fd)))
            assert service.desk.unrecorded.keep(noted)
        assert seen[:2] == [[], []]
        assert all(one in ([], [noted]) for one in seen)
        assert [one.cut for one in early.seen(other.desk)] == [noted]


def test_a_file_that_is_whole_is_kept_where_the_disk_is_full_by_now(
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noted = NotedCut(new_id("cut"), Mode.CLOSED, ("consumer:other",), "leak", "me", 1)
    with opened(home) as service:
        kept = service.desk.unrecorded
        with monkeypatch.context() as patch:
            patch.setattr(unrecorded, "_write", full)
            assert not kept.keep(noted)
            assert [one.is_whole for one in kept.found()] == [False]
        assert kept.keep(noted)
        monkeypatch.setattr(unrecorded, "_write", full)
        assert kept.keep(noted)
        assert [one.cut for one in kept.found()] == [noted]
