"""The home directory: private, unchanging, and plain-spoken about what is wrong with it."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from broker.errors import StoreUnavailable
from clients.venue import Environment
from portcullis import settings
from portcullis.cli import client
from portcullis.foundation import found, opened
from portcullis.running import Running, find, find_started, held, tell
from portcullis.settings import Home, SettingsError, locate, open_home, prepare, write_private
from portcullis.vault_settings import VaultDocument
from tests.cli.consoles import PIPE, run_on


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = prepare(tmp_path / "home", Environment.PAPER, "solo", api_port=0, gateway_port=0)
    settings.found(made)
    return made


def test_a_home_is_named_by_option_then_variable_then_default(tmp_path: Path) -> None:
    environ = {"PORTCULLIS_HOME": str(tmp_path / "variable")}
    assert locate(tmp_path / "option", environ) == tmp_path / "option"
    assert locate(None, environ) == tmp_path / "variable"
    assert locate(None, {}) == Path.home() / ".local" / "share" / "portcullis"


def test_a_home_opens_as_it_was_made(home: Home) -> None:
    assert open_home(home.root) == home


def test_a_home_is_never_made_over_another(home: Home) -> None:
    with pytest.raises(SettingsError, match="is a home already"):
        prepare(home.root, Environment.LIVE, "solo")
    assert open_home(home.root).environment is Environment.PAPER


def test_a_home_is_never_made_among_other_files(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(SettingsError, match="not an empty directory"):
        prepare(tmp_path, Environment.PAPER, "solo")


def test_no_home_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"portcullis --home .* init"):
        open_home(tmp_path)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"environment": "mars"}, "environment"),
        ({"api_port": "8701"}, "api_port"),
        ({"gateway_port": 70000}, "gateway_port"),
        ({"mode": "crowd"}, "mode"),
        ({"colour": "red"}, "colour"),
        ({"version": 2}, "version"),
    ],
)
def test_a_field_that_cannot_be_used_is_named_with_its_file(
    home: Home, change: dict[str, object], field: str
) -> None:
    path = home.root / "home.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SettingsError) as caught:
        open_home(home.root)
    assert caught.value.field == field
    assert str(path) in caught.value.message


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_a_file_that_is_no_settings_is_refused(home: Home, text: str) -> None:
    (home.root / "home.json").write_text(text)
    with pytest.raises(SettingsError):
        open_home(home.root)


@pytest.mark.parametrize("name", [".", "kek", "operator.token", "secrets.db", "state.db", "calls.db"])
def test_a_home_that_others_may_read_is_refused_with_the_remedy(home: Home, name: str) -> None:
    path = home.root / name
    if name != ".":
        path.touch(mode=0o600)
    path.chmod(path.stat().st_mode | 0o040)
    with pytest.raises(SettingsError, match=r"chmod [67]00"):
        open_home(home.root)


def test_a_private_file_is_replaced_whole_and_stays_private(tmp_path: Path) -> None:
    path = tmp_path / "token"
    write_private(path, "one")
    write_private(path, "two")
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


# --- one at a time ----------------------------------------------------------------------------


def test_nobody_runs_on_a_fresh_home(home: Home) -> None:
    assert find(home) is None


def test_who_runs_is_found_and_a_second_is_refused_by_name(home: Home) -> None:
    running = Running(4711, 1, 2, 3, "http://127.0.0.1:4")
    with held(home):
        tell(home, running)
        assert find(home) == running
        with pytest.raises(SettingsError, match="process 4711 runs on"), held(home):
            pass
        assert find(home) == running
    assert find(home) is None


def test_a_stale_file_counts_for_nothing(home: Home) -> None:
    tell(home, Running(1, 1, 2, 3))
    assert find(home) is None
    with held(home):
        assert find(home) is None


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_on_a_full_disk_who_runs_is_told_in_the_room_of_who_ran_before(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held(home):
        tell(home, Running(4711, 1, 2, 3))
        left = home.running.read_text()
    home.running.write_text(left)  # as kill -9 leaves it
    monkeypatch.setattr("portcullis.running.write_private", full)
    with held(home):
        assert find(home) is None, "not yet: what is there is of the last one"
        tell(home, Running(4712, 5, 6, 7, "http://127.0.0.1:4"))
        assert find(home) == Running(4712, 5, 6, 7, "http://127.0.0.1:4")
        tell(home, Running(4712, 5, 6, 8))
        assert find(home) == Running(4712, 5, 6, 8)
    assert find(home) is None
    with held(home), pytest.raises(OSError, match="No space"):
        tell(home, Running(4713, 1, 2, 3))


# --- founding ---------------------------------------------------------------------------------


def test_a_founded_home_opens_with_its_operators(tmp_path: Path) -> None:
    made = found(tmp_path / "home", Environment.TESTNET, "team", operators=["ann", "bob"])
    assert set(made.tokens) == {"ann", "bob"}
    assert made.tokens["ann"] == made.home.operator_token
    with opened(open_home(made.home.root)) as service:
        assert {one.name for one in service.operators.list()} == {"ann", "bob"}
        assert service.desk.home.environment is Environment.TESTNET


def test_an_environment_changed_by_hand_is_refused(tmp_path: Path) -> None:
    home = found(tmp_path / "home", Environment.PAPER, "solo").home
    path = home.root / "home.json"
    path.write_text(path.read_text().replace("paper", "live"))
    with pytest.raises(SettingsError, match="never changes"), opened(open_home(home.root)):
        pass


@pytest.mark.parametrize("lost", ["kek", "state.db", "secrets.db", "calls.db"])
def test_a_home_that_lost_a_part_is_not_opened_as_if_nothing_were_missing(tmp_path: Path, lost: str) -> None:
    home = found(tmp_path / "home", Environment.PAPER, "solo").home
    (home.root / lost).unlink()
    with pytest.raises((SettingsError, StoreUnavailable)), opened(open_home(home.root)):
        pass
    assert not (home.root / lost).exists() or lost == "kek"


def test_an_operator_who_cannot_be_named_leaves_no_home_behind(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--operator"):
        found(tmp_path / "home", Environment.PAPER, "solo", operators=["Not A Name"])
    assert not (tmp_path / "home").exists()


def test_a_wrapped_secret_id_serves_one_process_and_the_rotator_has_its_own() -> None:
    own = {"method": "approle", "role_id": "r", "secret_id_file": "/a"}
    for auth, file in (
        (own, "/a"),
        (own | {"wrapped": True, "rotator_secret_id_file": "/b"}, "/b"),
        (own | {"rotator_secret_id_file": "/b"}, "/b"),
    ):
        found = VaultDocument.model_validate({"addresses": ["https://v:8200"], "auth": auth}).of_rotator()
        assert found is not None
        assert found.auth.method == "approle"
        assert str(found.auth.secret_id_file) == file
    alone = {"addresses": ["https://v:8200"], "auth": own | {"wrapped": True}}
    assert VaultDocument.model_validate(alone).of_rotator() is None


def test_a_command_waits_for_a_broker_that_starts_and_for_nobody_else(home: Home) -> None:
    """`run &` and the next line of the README: Portcullis does not run on it."""
    assert find_started(home, within_s=60) is None, "nobody starts, so nobody is waited for"
    runs = Running(4711, 1, 2, 3)
    with held(home), ThreadPoolExecutor(1) as starter:
        assert find_started(home, within_s=0) is None
        waits = starter.submit(find_started, home, 60)
        tell(home, runs)
        assert waits.result(60) == runs


def test_who_holds_a_home_and_does_not_listen_is_not_told_as_nobody(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bots may trade: "no bot of this home can trade" was said of it."""
    monkeypatch.setattr(client, "find_started", lambda _, **__: None)
    arguments = ["--home", str(home.root), "cuts"]
    with held(home):
        said = run_on(PIPE, arguments)
    assert said.code == 1
    assert "No bot of this home can trade" not in said.plain
    assert "its bots may trade" in " ".join(said.plain.split())
    assert "No bot of this home can trade" in " ".join(run_on(PIPE, arguments).plain.split())
