"""Files beside the spool are whole or not written at all, whatever a full disk takes of them."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.gateway.known_pairs import KnownPairs
from broker.gateway.record_mark import RecordMark
from broker.gateway.whole import replace
from broker.link import frames
from clients.venue import SymbolInfo


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file grows beyond so many bytes: the system takes a part of what is written, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_mark_that_fits_by_half_leaves_the_one_before(tmp_path: Path) -> None:
    """It was put in its place torn: the next start knew nothing of how far the record had come."""
    mark = RecordMark(tmp_path)
    mark.keep(frames.Marked("home", "1"))
    with room_for(8):
        mark.keep(frames.Marked("home", "200000000"))
    assert RecordMark(tmp_path).read() == ("home", "1")
    assert [one.name for one in tmp_path.iterdir()] == ["record.mark"]
    mark.keep(frames.Marked("home", "3"))
    assert RecordMark(tmp_path).read() == ("home", "3")


def test_a_mark_that_was_said_first_does_not_replace_one_that_was_said_later(tmp_path: Path) -> None:
    mark = RecordMark(tmp_path)
    first, second = mark.taken(frames.Marked("home", "1")), mark.taken(frames.Marked("home", "2"))
    second()
    first()
    assert RecordMark(tmp_path).read() == ("home", "2")


def test_a_pair_that_was_torn_off_takes_no_other_with_it(tmp_path: Path) -> None:
    """The next line went on where the torn one ended, and both were lost."""
    pairs = KnownPairs(tmp_path)
    pairs.learn("v", SymbolInfo("BTCUSDT", "BTC", "USDT"))
    with room_for((tmp_path / "pairs.jsonl").stat().st_size + 5):
        pairs.learn("v", SymbolInfo("ETHUSDT", "ETH", "USDT"))
    pairs.learn("v", SymbolInfo("BNBUSDT", "BNB", "USDT"))
    assert set(KnownPairs(tmp_path).of("v")) == {"BTCUSDT", "BNBUSDT"}


def test_what_replaces_another_is_on_the_disk_before_it_has_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that dies right after it leaves the old one or the new one, never an empty file of that name."""
    done, sync, rename = list[str](), os.fsync, Path.replace

    def synced(fd: int) -> None:
        done.append("directory" if os.path.isdir(f"/proc/self/fd/{fd}") else "file")  # noqa: PTH112
        sync(fd)

    def renamed(self: Path, target: Path) -> Path:
        done.append("named")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    RecordMark(tmp_path).keep(frames.Marked("home", "1"))
    assert done == ["file", "named", "directory"]
    replace(tmp_path / "other", (b"a",))
    assert done[3:] == done[:3]
