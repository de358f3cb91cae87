"""Files at paths that people name: never written into, never replaced, read by their owner only."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.files.named import NotWritten, create, created, put


def test_a_new_file_is_read_by_its_owner_only(tmp_path: Path) -> None:
    create(tmp_path / "token", "secret\n")
    assert (tmp_path / "token").read_text() == "secret\n"
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600


def _file(path: Path) -> None:
    path.write_text("precious")


def _link(path: Path) -> None:
    (path.parent / "target").write_text("precious")
    path.symlink_to(path.parent / "target")


def _dangling(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


def _directory(path: Path) -> None:
    path.mkdir()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("there", [_file, _link, _dangling, _directory, _pipe])
@pytest.mark.parametrize("how", ["create", "put"])
def test_what_is_there_is_never_written_into(there: Callable[[Path], None], how: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    there(path)
    before = {one.name: one.lstat().st_ino for one in tmp_path.iterdir()}
    with pytest.raises(NotWritten):
        create(path, "x") if how == "create" else put(path, b"x", replaces=lambda data: data == b"ours")
    assert {one.name: one.lstat().st_ino for one in tmp_path.iterdir()} == before
    for one in tmp_path.iterdir():
        if one.is_file() and not one.is_symlink():
            assert one.read_text() == "precious"


def test_a_name_is_free_again_when_the_work_fails(tmp_path: Path) -> None:
    def work() -> None:
        with created(tmp_path / "out") as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert list(tmp_path.iterdir()) == []


def test_what_somebody_put_in_the_place_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "out"

    def work() -> None:
        with created(path):
            path.unlink()
            path.write_text("theirs")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert path.read_text() == "theirs"


def test_a_file_of_ours_is_written_again_whole(tmp_path: Path) -> None:
    path = tmp_path / "out"
    put(path, b"ours 1", replaces=lambda data: data.startswith(b"ours"))
    path.chmod(0o644)
    put(path, b"ours 2", replaces=lambda data: data.startswith(b"ours"))
    assert path.read_bytes() == b"ours 2"
    assert path.stat().st_mode & 0o777 == 0o644, "a calendar that others read stays readable"
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("where", ["nowhere/out", "file/out"])
def test_a_directory_that_is_none_is_a_no(where: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotWritten):
        create(tmp_path / where, "x")


@pytest.mark.parametrize("where", ["", "paper"])
@pytest.mark.parametrize("name", ["state.db-journal", "secrets.db-wal", "calls.db-shm", "backup.pcb"])
def test_nothing_a_person_names_is_made_in_a_home(where: str, name: str, tmp_path: Path) -> None:
    """A backup named `state.db-journal` in a running home made every answer of its database fail."""
    for one in ("home.json", "state.db"):
        (tmp_path / one).touch()
    (tmp_path / "paper").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    for directory in (tmp_path / where, tmp_path / "link" / where):
        with pytest.raises(NotWritten, match="home of Portcullis"):
            create(directory / name, "x")
        with pytest.raises(NotWritten, match="home of Portcullis"):
            put(directory / name, b"x", replaces=lambda _: True)
        assert not (directory / name).exists()
