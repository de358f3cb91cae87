"""Where no key is written: what is ours by any name, what is no file of its own, what cannot be edited without a loss."""

import errno
import os
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.destination import FileSettings, Kind
from broker.files import forms
from broker.files.ours import Ours
from broker.files.place import Unfit, spot
from broker.model import KeyRef
from clients.secret import Secret
from clients.venue import KeyType, Slot
from rotation.destinations.files import FilePlace
from rotation.destinations.parcel import NotDelivered, Parcel
from tests.broker.files.rights import as_everybody, mounted

NAMES = ("API_KEY", "API_SECRET")
JSON_NAMES = ("/exchange/key", "/exchange/secret")


def refusal(path: str | Path, ours: Ours | None = None) -> str:
    """Return why nothing is written there; empty where it may be."""
    try:
        with spot(str(path), ours or Ours()) as place:
            place.read()
            place.rehearse()
    except Unfit as fault:
        return str(fault)
    return ""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    root = tmp_path / "home"
    (root / "spool" / "deep").mkdir(parents=True)
    for name in ("kek", "operator.token", "spool/deep/log"):
        (root / name).write_text("ours\n")
    return root


def _itself(home: Path, _: Path) -> str:
    return str(home / "kek")


def _new_name(home: Path, _: Path) -> str:
    return str(home / "bot.env")


def _deep(home: Path, _: Path) -> str:
    return str(home / "spool" / "deep" / "x")


def _linked_directory(home: Path, beside: Path) -> str:
    (beside / "way").symlink_to(home)
    return str(beside / "way" / "kek")


def _linked_deep(home: Path, beside: Path) -> str:
    (beside / "way").symlink_to(home / "spool")
    return str(beside / "way" / "deep" / "new.env")


def _link(home: Path, beside: Path) -> str:
    (beside / "bot.env").symlink_to(home / "kek")
    return str(beside / "bot.env")


def _hard_link(home: Path, beside: Path) -> str:
    os.link(home / "kek", beside / "bot.env")
    return str(beside / "bot.env")


def _by_process(home: Path, _: Path) -> str:
    return f"/proc/self/root{home}/kek"


def _by_working_directory(home: Path, beside: Path) -> str:
    (beside / "way").symlink_to("/proc/self/root")
    return f"{beside}/way{home}/kek"


WAYS: list[Callable[[Path, Path], str]] = [
    _itself, _new_name, _deep, _linked_directory, _linked_deep, _link, _hard_link, _by_process, _by_working_directory,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_nothing_of_ours_is_written_whatever_it_is_called(
    way: Callable[[Path, Path], str], home: Path, tmp_path: Path
) -> None:
    """A key must not land among our own files: they would be destroyed, or read out to a bot."""
    beside = tmp_path / "beside"
    beside.mkdir()
    path = way(home, beside)
    assert refusal(path, Ours((home,)))
    with pytest.raises(NotDelivered):
        FilePlace(Kind.DOTENV, FileSettings(path, *NAMES), Ours((home,))).deliver(parcel())
    assert (home / "kek").read_text() == "ours\n"
    assert sorted(one.name for one in home.iterdir()) == ["kek", "operator.token", "spool"]


@pytest.mark.parametrize(
    "path", ["{h}/../home/kek", "{h}//kek", "{h}/./kek", "kek", "", "/", "//etc/x", "{h}/a\n"]
)
def test_a_path_has_one_spelling(path: str, home: Path) -> None:
    assert "whole path" in refusal(path.format(h=home))


def test_a_home_of_anybody_is_known_by_its_look(home: Path) -> None:
    """A second Portcullis on this host is not told to us; its home is refused all the same."""
    assert refusal(home / "bot.env") == ""
    (home / "home.json").write_text("{}")
    assert "belongs to Portcullis" in refusal(home / "bot.env")
    assert "belongs to Portcullis" in refusal(home / "spool" / "deep" / "bot.env")


def test_single_files_are_ours_before_they_are_there(tmp_path: Path) -> None:
    """The file of a Vault's secret id, which is filled later; in another case, too."""
    ours = Ours(files=(tmp_path / "secret-id",))
    assert "belongs to Portcullis" in refusal(tmp_path / "secret-id", ours)
    assert "belongs to Portcullis" in refusal(tmp_path / "Secret-ID", ours)
    assert refusal(tmp_path / "bot.env", ours) == ""


@pytest.mark.parametrize(
    "module", ["broker.files.place", "portcullis.run", "clients.secret", "rotation.plan"]
)
def test_the_program_itself_is_ours(module: str) -> None:
    __import__(module)
    file = Path(str(sys.modules[module].__file__))
    for path in (file, file.with_name("new.env"), Path(sys.prefix) / "bin" / "python"):
        assert "belongs to Portcullis" in refusal(path) or "link" in refusal(path)


# --- what is no file of its own ---------------------------------------------------------------


def test_only_a_file_takes_a_key_and_nothing_is_opened_to_find_out(tmp_path: Path) -> None:
    """A pipe would hold the look up, a device would do something."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for name in ("pipe", "directory", "socket"):
            assert refusal(tmp_path / name), name
    for path in ("/dev/null", "/proc/self/environ", "/sys/kernel/x"):
        assert refusal(path), path


def test_a_second_name_is_refused_even_where_it_is_not_ours(tmp_path: Path) -> None:
    """A rename gives one of the names a new file, and the other keeps the old key."""
    (tmp_path / "a").write_text("")
    os.link(tmp_path / "a", tmp_path / "b")
    assert "hard link" in refusal(tmp_path / "a")


def test_a_directory_that_lets_nobody_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with as_everybody():
        assert "cannot be replaced" in refusal(tmp_path / "bot.env")
    tmp_path.chmod(0o700)
    assert refusal(tmp_path / "bot.env") == ""


LOOK = """
from broker.files.ours import Ours; from broker.files.place import Unfit, spot; from pathlib import Path
try:
    with spot({path!r}, Ours((Path({home!r}),))) as place: place.read(); place.rehearse()
except Unfit as fault: print(fault)
"""


def test_a_file_that_is_mounted_by_itself_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """A container's single-file mount cannot be renamed onto; that is told when it is named."""
    (tmp_path / "real").write_text("API_KEY=old\n")
    (tmp_path / "bot.env").write_text("")
    said = mounted(
        tmp_path / "real", tmp_path / "bot.env", LOOK.format(path=str(tmp_path / "bot.env"), home="/nowhere")
    )
    assert "mount the directory" in said


def test_another_mount_than_the_directory_s_is_told_by_what_the_system_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same where nobody can mount: what the system says of the two open files is what counts."""
    (tmp_path / "bot.env").write_text("API_KEY=old\n")

    def mount_of(fd: int) -> str:
        return f"mnt_id:\t{1 if stat.S_ISDIR(os.fstat(fd).st_mode) else 2}"

    assert refusal(tmp_path / "bot.env") == ""
    monkeypatch.setattr("broker.files.mounts.mount_of", mount_of)
    assert "mount the directory" in refusal(tmp_path / "bot.env")


def test_a_directory_of_ours_that_is_bound_elsewhere_is_still_ours(home: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for part in (home, home / "spool" / "deep"):
        path = str(tmp_path / "elsewhere" / "bot.env")
        assert "belongs to Portcullis" in mounted(
            part, tmp_path / "elsewhere", LOOK.format(path=path, home=str(home))
        )


def test_a_file_of_ours_that_is_bound_elsewhere_is_still_ours(home: Path, tmp_path: Path) -> None:
    (tmp_path / "bot.env").touch()
    look = LOOK.format(path=str(tmp_path / "bot.env"), home=str(home))
    assert "belongs to Portcullis" in mounted(home / "kek", tmp_path / "bot.env", look)


# --- what stays behind ------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["rename", "fsync", "fchmod"])
def test_no_failure_leaves_a_second_file_with_the_secret(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bind mount that says busy, a disk that is full: the old file stays, and nothing beside it."""
    path = tmp_path / "bot.env"
    path.write_text("API_KEY=old\n")

    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(f"broker.files.place.os.{call}", broken)
    with pytest.raises(NotDelivered, match="cannot be written"):
        FilePlace(Kind.DOTENV, FileSettings(str(path), *NAMES)).deliver(parcel())
    assert [one.name for one in tmp_path.iterdir()] == ["bot.env"]
    assert path.read_text() == "API_KEY=old\n"


def test_what_a_crash_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    """Between the writing and the rename a process may die; its file holds a key."""
    path = tmp_path / "bot.env"
    (tmp_path / ".bot.env.portcullis").write_text("API_SECRET=planted-secret\n")
    place = FilePlace(Kind.DOTENV, FileSettings(str(path), *NAMES))
    assert place.clean()
    assert list(tmp_path.iterdir()) == []
    assert not place.clean()


def test_a_directory_that_is_swapped_after_the_look_gets_nothing(tmp_path: Path, home: Path) -> None:
    """What was opened is what is written: who turns the directory into a link of ours meanwhile gains nothing."""
    here, aside = tmp_path / "bots", tmp_path / "aside"
    here.mkdir()
    with spot(str(here / "bot.env"), Ours((home,))) as place:
        here.rename(aside)
        here.symlink_to(home)
        place.replace("API_KEY=new\n", None, lambda: None)
    assert not (home / "bot.env").exists()
    assert (aside / "bot.env").read_text() == "API_KEY=new\n"


# --- what cannot be edited without a loss -----------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"exchange": {} // mine\n}', "not JSON"),
        ('{"exchange": {}, /* mine */ "a": 1}', "not JSON"),
        ('{"a": 1,}', "not JSON"),
        ("[]", "no JSON object"),
        ('"text"', "no JSON object"),
        ('{"a": 1, "a": 2}', "twice"),
        ('{"exchange": {"b": {"c": 1, "c": 1}}}', "twice"),
        ('{"exchange": "text"}', "no object"),
        ('{"exchange": {"key": {"id": 1}}}', "something else than text"),
        ('{"exchange": {"secret": ["x"]}}', "something else than text"),
        ('{"a": 0.1234567890123456789012}', "digits"),
        ('{"a": NaN}', "NaN"),
        ('{"a": "\\ud800"}', "text that is none"),
        ("[" * 100_000, "JSON"),
    ],
)  # fmt: skip
def test_a_json_file_that_would_lose_something_is_unfit(text: str, said: str) -> None:
    with pytest.raises(Unfit, match=said):
        forms.check(Kind.JSON, text, JSON_NAMES)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"exchange": {"key": null}}', '{"a": 1.10, "b": 1e3, "c": 12345678901234567890}']
)
def test_a_json_file_that_loses_nothing_is_fit(text: str) -> None:
    forms.check(Kind.JSON, text, JSON_NAMES)


@pytest.mark.parametrize(
    "text",
    [
        "exchange: binance\n",
        "-----BEGIN PRIVATE KEY-----\nMC4\n",
        "A=1\npt_0123456789\n",
        '{"a": 1}',
        "[section]\nA=1\n",
        "source other\n",
    ],
)
def test_a_file_that_is_no_dotenv_file_is_unfit(text: str) -> None:
    """A token file, a key in PEM, a YAML or an INI file would only get lines at their end."""
    with pytest.raises(Unfit):
        forms.check(Kind.DOTENV, text, NAMES)


@pytest.mark.parametrize(
    "text", ["", "# mine\n\nA=1\nexport B='x\ny'\n", "export A\nB=2", "A=1\r\nB=2\r\n", "A=`x\ny`\n# end"]
)
def test_a_dotenv_file_is_fit(text: str) -> None:
    forms.check(Kind.DOTENV, text, NAMES)


@pytest.mark.parametrize("data", ["\ufeffA=1\n".encode(), b"A=\xff\n", b"A=1\0\n", b"A" * (1024 * 1024 + 1)])
def test_what_is_no_plain_text_is_unfit(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "bot.env").write_bytes(data)
    assert refusal(tmp_path / "bot.env")


def parcel() -> Parcel:
    ref = KeyRef("main", Slot.TRADE, 2)
    return Parcel("rot_1", ref, "binance", "KEY2", KeyType.ED25519, Secret("planted-secret"), lambda: None)


@pytest.mark.parametrize("name", [".env.portcullis", "..env.portcullis", ".portcullis"])
def test_a_name_that_replacements_are_written_under_is_unfit(name: str, tmp_path: Path) -> None:
    """A delivery to `.env` removed the file of a destination that was called `.env.portcullis`."""
    with pytest.raises(Unfit, match="replacement of ours"), spot(str(tmp_path / name), Ours()):
        pass
