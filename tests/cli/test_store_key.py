"""The store's key rotates by command: killed at any step the store opens, and old backups open with the code."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from broker.backup.code import private_key
from broker.errors import Conflict, StoreUnavailable
from broker.stores.embedded import key, keyfile
from broker.stores.embedded.store import EmbeddedStore
from clients.secret import Secret
from clients.venue import Environment
from portcullis import backup, stores
from portcullis.cli.app import app
from portcullis.foundation import found, opened
from portcullis.settings import Home, write_private
from tests.broker.files.rights import mounted
from tests.strangers import ends

STEPS = ("locked", "written", "sealed", "flushed", "overwritten", "renamed", "synced")
PATH, PLANTED = "keys/main/trade/1", "planted-secret"

KILLED = """
import os, signal, sys
from pathlib import Path
from broker.stores.embedded import keyfile

directory, last = Path(sys.argv[1]), sys.argv[2]
store = keyfile.open_store(directory / "secrets.db", directory / "kek", 1)

def step(name):
    if name == last:
        os.kill(os.getpid(), signal.SIGKILL)

keyfile.rotate(store, directory / "kek", 2, step)
"""


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A directory with a store and its key; a secret is in it."""
    key.to_file(tmp_path / "kek", key.fresh())
    store = keyfile.open_store(tmp_path / "secrets.db", tmp_path / "kek", 0)
    store.write(PATH, {"secret": Secret(PLANTED)}, {"account": "main"})
    store.close()
    return tmp_path


def read(directory: Path) -> str:
    store = keyfile.open_store(directory / "secrets.db", directory / "kek", 3)
    try:
        return store.read(PATH)["secret"].reveal()
    finally:
        store.close()


def killed(directory: Path, step: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(directory), step],
        cwd=Path(__file__).parents[2],
        check=False,
        timeout=180,
    )
    assert done.returncode == -signal.SIGKILL


@pytest.mark.process
@pytest.mark.parametrize("step", STEPS)
def test_a_rotation_that_is_killed_at_any_step_leaves_a_store_that_opens(sealed: Path, step: str) -> None:
    """It opens, what was broken off is brought to its end, one key file is left, and the next rotation works."""
    old = (sealed / "kek").read_bytes()
    killed(sealed, step)
    assert read(sealed) == PLANTED
    assert not (sealed / "kek.next").exists()
    assert ((sealed / "kek").read_bytes() == old) is (step in {"locked", "written"})
    store = keyfile.open_store(sealed / "secrets.db", sealed / "kek", 3)
    keyfile.rotate(store, sealed / "kek", 4)
    assert store.key_since_us() == 4
    store.close()
    assert read(sealed) == PLANTED


@pytest.mark.process
@pytest.mark.parametrize("first", ["written", "sealed", "overwritten"])
def test_two_rotations_that_are_killed_one_after_the_other_lose_nothing(sealed: Path, first: str) -> None:
    """The second begins where the first broke off, and dies as well, at each step in its turn."""
    for second in ("written", "sealed", "overwritten"):
        killed(sealed, first)
        killed(sealed, second)
        assert read(sealed) == PLANTED


def test_what_the_old_key_opened_is_gone_from_the_files(sealed: Path) -> None:
    """Neither the store nor its write-ahead log holds the old seal; the old key opens nothing."""
    old = key.from_file(sealed / "kek")
    store = keyfile.open_store(sealed / "secrets.db", sealed / "kek", 3)
    seal = store._connection.execute("SELECT sealed FROM data_key").fetchone()[0]
    assert seal in b"".join(one.read_bytes() for one in sealed.iterdir())
    done = keyfile.rotate(store, sealed / "kek", 4)
    assert (done.old_seal_gone, done.old_key_gone) == (True, True)
    held = b"".join(one.read_bytes() for one in sealed.iterdir())
    assert seal not in held
    assert old.reveal().strip().encode() not in held
    assert not store.opens_with(old)
    store.close()
    with pytest.raises(StoreUnavailable, match="not the one"):
        EmbeddedStore(sealed / "secrets.db", old)


def test_a_half_written_new_key_is_removed_and_never_used(sealed: Path) -> None:
    """A disk that was full, or a kill in the middle of the write."""
    for text in ("", "AAAA", "\xff\xfe"):
        (sealed / "kek.next").write_text(text, encoding="latin-1")
        assert read(sealed) == PLANTED
        assert not (sealed / "kek.next").exists()


def test_a_key_that_is_not_the_stores_is_said_and_nothing_is_changed(sealed: Path) -> None:
    """The wrong copy of the file was put there: the rotation refuses, and both files stay as they are."""
    store = keyfile.open_store(sealed / "secrets.db", sealed / "kek", 3)
    right = (sealed / "kek").read_bytes()
    (sealed / "kek").unlink()
    key.to_file(sealed / "kek", key.fresh())
    wrong = (sealed / "kek").read_bytes()
    with pytest.raises(StoreUnavailable, match="nothing was changed"):
        keyfile.rotate(store, sealed / "kek", 4)
    assert (sealed / "kek").read_bytes() == wrong
    assert not (sealed / "kek.next").exists()
    store.close()
    with pytest.raises(StoreUnavailable, match="not the one"):
        read(sealed)
    (sealed / "kek").write_bytes(right)
    assert read(sealed) == PLANTED


def test_a_key_that_is_mounted_by_itself_is_not_rotated(
    sealed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was written over, and the new one could not take its name: what lay outside the container was lost."""
    mounts = sealed / "mounts"
    mounts.write_text(f"1 2 0:1 / / rw - ext4 /dev/a rw\n3 1 0:1 /k {sealed / 'kek'} rw - ext4 /dev/a rw\n")
    monkeypatch.setattr(keyfile, "_MOUNTS", mounts)
    old = (sealed / "kek").read_bytes()
    store = keyfile.open_store(sealed / "secrets.db", sealed / "kek", 3)
    with pytest.raises(StoreUnavailable, match="nothing was changed"):
        keyfile.rotate(store, sealed / "kek", 4)
    store.close()
    assert (sealed / "kek").read_bytes() == old
    assert not (sealed / "kek.next").exists()
    assert read(sealed) == PLANTED


NAMES = (
    "a b",
    "a\tb",
    "a\nb",
    "a\\b",
    "a\\040b",
    "a#b",
    "a\x0bb",
    "a\x85b",
    "a\u2028b",
    "kek\u00e9",
    "a  b ",
)
"""What a list of mounts writes otherwise, what ends a line elsewhere, and what looks like either."""


def listed(path: Path) -> str:
    """Return a list of mounts with this one in it, as the kernel writes it."""
    point = os.fsdecode(os.fsencode(path))
    for byte in "\\ \t\n":
        point = point.replace(byte, f"\\{ord(byte):03o}")
    return f"1 2 0:1 / / rw - ext4 /dev/a rw\n3 1 0:1 /k {point} rw,relatime shared:1 - ext4 /dev/a rw\n"


@pytest.mark.parametrize("name", NAMES)
def test_whatever_the_path_of_a_mounted_key_is_it_is_not_rotated(
    sealed: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A list of mounts is bytes with four of them escaped: a tab in a folder's name hid that nothing can be replaced."""
    home = sealed / name
    home.mkdir()
    for one in ("kek", "secrets.db"):
        (sealed / one).rename(home / one)
    (sealed / "mounts").write_text(listed(home / "kek"), encoding="utf-8", newline="")
    monkeypatch.setattr(keyfile, "_MOUNTS", sealed / "mounts")
    old = (home / "kek").read_bytes()
    store = keyfile.open_store(home / "secrets.db", home / "kek", 3)
    with pytest.raises(StoreUnavailable, match="nothing was changed"):
        keyfile.rotate(store, home / "kek", 4)
    store.close()
    assert (home / "kek").read_bytes() == old
    (sealed / "mounts").write_text(listed(home / "kek2"), encoding="utf-8", newline="")
    store = keyfile.open_store(home / "secrets.db", home / "kek", 3)
    assert keyfile.rotate(store, home / "kek", 4).old_key_gone, "another file's mount is not this one's"
    store.close()


ROTATED = """
import sys; from pathlib import Path; from broker.stores.embedded import keyfile
home = Path({home!r})
try:
    store = keyfile.open_store(home / 'secrets.db', home / 'kek', 3)
    keyfile.rotate(store, home / 'kek', 4)
except Exception as fault: print(type(fault).__name__, fault)
"""


@pytest.mark.process
@pytest.mark.parametrize("name", ["plain", "with a\ttab"])
@pytest.mark.parametrize("left", ["nothing", "written", "sealed", "overwritten"])
def test_a_key_that_is_really_mounted_is_not_rotated_and_what_an_earlier_try_left_is_ended(
    sealed: Path, name: str, left: str
) -> None:
    """What an earlier version had begun ended in a traceback each time, with the key in use beside the file alone."""
    home = sealed / name
    home.mkdir()
    for one in ("kek", "secrets.db"):
        (sealed / one).rename(home / one)
    if left != "nothing":
        killed(home, left)
    outside = sealed / "outside"
    outside.write_bytes((home / "kek").read_bytes())
    outside.chmod(0o600)
    old, pending = outside.read_bytes(), (home / "kek.next").exists() and (home / "kek.next").read_bytes()
    said = mounted(outside, home / "kek", ROTATED.format(home=str(home)))
    assert said.startswith("StoreUnavailable"), said
    assert "mount the directory" in said
    assert not (home / "kek.next").exists()
    in_use = pending if left in {"sealed", "overwritten"} else old
    assert outside.read_bytes() == in_use, "the key in use lies where whoever mounted it finds it"
    (home / "kek").write_bytes(outside.read_bytes())
    assert read(home) == PLANTED


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("step", ["flushed", "filled", "unlinked"])
def test_what_is_ended_in_place_may_be_killed_at_any_step(
    sealed: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    killed(sealed, "overwritten")
    (sealed / "mounts").write_text(listed(sealed / "kek"))
    monkeypatch.setattr(keyfile, "_MOUNTS", sealed / "mounts")
    monkeypatch.setattr(Path, "replace", _busy)
    store = EmbeddedStore(sealed / "secrets.db", key.from_file(sealed / "kek.next"))

    def dies(name: str) -> None:
        if name == step:
            raise Killed

    with pytest.raises(Killed):
        keyfile.rotate(store, sealed / "kek", 4, dies)
    store.close()
    assert read(sealed) == PLANTED
    assert not (sealed / "kek.next").exists()
    assert read(sealed) == PLANTED, "by the file that is mounted"


def _busy(self: Path, to: Path) -> Path:
    raise OSError(16, f"Device or resource busy: {self} {to}")


def _directory(path: Path) -> None:
    path.mkdir()


def _link(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize(("make", "goes"), [(_directory, False), (_link, True), (os.mkfifo, True)])
def test_what_lies_where_the_new_key_is_written_and_is_no_key_holds_nothing_up(
    sealed: Path, make: Callable[[Path], None], goes: bool
) -> None:
    """A pipe there hung the start, and a folder ended the command in a traceback."""
    make(sealed / "kek.next")
    assert ends(lambda: read(sealed)) == PLANTED
    store = keyfile.open_store(sealed / "secrets.db", sealed / "kek", 3)
    if goes:
        assert keyfile.rotate(store, sealed / "kek", 4).old_key_gone
    else:
        with pytest.raises(StoreUnavailable, match="remove it"):
            keyfile.rotate(store, sealed / "kek", 4)
    store.close()
    assert read(sealed) == PLANTED


def test_a_disk_that_is_full_leaves_the_old_key_in_use(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new key cannot be written: it says so, and the store opens."""

    def full(path: Path, _: Secret) -> None:
        path.write_text("AA")
        raise OSError(28, "No space left on device")

    store = keyfile.open_store(sealed / "secrets.db", sealed / "kek", 3)
    monkeypatch.setattr(key, "to_file", full)
    with pytest.raises(StoreUnavailable, match="No space left"):
        keyfile.rotate(store, sealed / "kek", 4)
    store.close()
    assert read(sealed) == PLANTED


def test_a_key_that_cannot_take_the_others_name_is_left_where_it_opens(
    sealed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails after the store was sealed: it says where the key is, opens with it, and is finished later."""

    def fails(self: Path, to: Path) -> Path:
        raise OSError(5, f"Input/output error at {self} {to}")

    store = keyfile.open_store(sealed / "secrets.db", sealed / "kek", 3)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", fails)
        with pytest.raises(StoreUnavailable, match=r"kek\.next"):
            keyfile.rotate(store, sealed / "kek", 4)
        assert read(sealed) == PLANTED
        assert (sealed / "kek.next").exists()
    store.close()
    assert read(sealed) == PLANTED
    assert not (sealed / "kek.next").exists()


def test_one_rotates_at_a_time_and_others_may_open_the_store_meanwhile(sealed: Path) -> None:
    """A second rotation is refused; whoever opens the store between two steps opens it, and takes no key away."""
    store = keyfile.open_store(sealed / "secrets.db", sealed / "kek", 3)
    seen = list[str]()

    def step(name: str) -> None:
        with pytest.raises(Conflict, match="another rotation"):
            keyfile.rotate(store, sealed / "kek", 5)
        assert read(sealed) == PLANTED, name
        seen.append(name)

    keyfile.rotate(store, sealed / "kek", 4, step)
    store.close()
    assert tuple(seen) == STEPS


def test_processes_at_work_go_on_and_new_ones_open_while_it_rotates_again_and_again(sealed: Path) -> None:
    """What was open before reads and writes on; what is opened in the middle never fails."""
    working = keyfile.open_store(sealed / "secrets.db", sealed / "kek", 3)
    over, faults, rounds = threading.Event(), list[BaseException](), list[str]()

    def open_again() -> None:
        while not over.is_set():
            try:
                rounds.append(read(sealed))
            except BaseException as fault:  # noqa: BLE001 - it is what is looked at
                faults.append(fault)
                return

    threads = [threading.Thread(target=open_again) for _ in range(2)]
    for one in threads:
        one.start()
    store = keyfile.open_store(sealed / "secrets.db", sealed / "kek", 3)
    for number in range(12):
        keyfile.rotate(store, sealed / "kek", number)
        working.write(f"keys/main/trade/{number + 2}", {"secret": Secret(str(number))}, {})
        assert working.read(PATH)["secret"].reveal() == PLANTED
    over.set()
    for one in threads:
        one.join(60)
    working.close()
    store.close()
    assert not faults
    assert rounds
    assert read(sealed) == PLANTED


# --- by command -------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return found(tmp_path / "home", Environment.PAPER, "solo").home


def said(home: Home, *words: str) -> dict[str, Any]:
    """Run a command here, and return its answer."""
    done = CliRunner().invoke(app, ["--home", str(home.root), "--json", *words])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_commands_show_and_rotate_and_old_backups_open_with_the_code(home: Home, tmp_path: Path) -> None:
    """Where it lies, how old it is, that it was done is on record; a backup of before is restored whole."""
    before = said(home, "store", "key", "show")
    assert (before["file"], before["age_days"], before["since_is"]) == (str(home.kek), 0, "recorded")
    with opened(home) as service:
        service.desk.secrets.write("virtual/x/1", {"secret": Secret(PLANTED)}, {})
        code = backup.new_code(service)
        backup.make(home, service, tmp_path / "backup")
    old = home.kek.read_text()
    done = said(home, "store", "key", "rotate")
    assert (done["running"], done["old_seal_gone"]) == (False, True)
    assert home.kek.read_text() != old
    after = said(home, "store", "key", "show")
    assert home.kek.read_text().strip() not in json.dumps(after)
    with opened(home) as service:
        assert service.desk.secrets.read("virtual/x/1")["secret"].reveal() == PLANTED
        actions = [one.entry.action for one in service.audit.list().items]
        assert actions[:2] == ["store.key-rotated", "store.key-rotate"]
    content = backup.read_file(tmp_path / "backup", private_key(code))
    restored = tmp_path / "restored"
    backup.restore(content, restored, vault=None, database=None, ports=(0, 0), tell=lambda _: None)
    store = EmbeddedStore(restored / "secrets.db", key.from_file(restored / "kek"))
    assert store.read("virtual/x/1")["secret"].reveal() == PLANTED
    store.close()


def test_a_home_of_before_says_by_what_it_knows_the_age(home: Home) -> None:
    """Stores that were made before the day was written down are shown by the file's date, and that is said."""
    store = stores.embedded_store(home)
    store._connection.execute("DELETE FROM facts")
    assert store.key_since_us() is None
    store.close()
    os.utime(home.kek, (0, 0))
    shown = said(home, "store", "key", "show")
    assert (shown["since"][:4], shown["since_is"]) == ("1970", "of the file")


def test_a_file_of_a_home_that_cannot_be_replaced_leaves_no_second_one_with_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token, or the key of a restored store, mounted as a single file: the rename fails."""
    (tmp_path / "operator.token").write_text("old")
    monkeypatch.setattr(Path, "replace", _busy)
    with pytest.raises(OSError, match="busy"):
        write_private(tmp_path / "operator.token", PLANTED)
    assert [one.name for one in tmp_path.iterdir()] == ["operator.token"]
    assert (tmp_path / "operator.token").read_text() == "old"
