"""The first operators of a team, as a person types them: whatever is no name makes no admin."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from broker.errors import StoreUnavailable
from broker.service.audit import Audit
from broker.service.mirror import Mirror
from portcullis import foundation, settings
from portcullis.cli.app import app
from portcullis.cli.lifecycle import _names
from portcullis.settings import SettingsError


@pytest.mark.parametrize("said", ["ann bob", "ann, bob", " ann,bob "])
def test_two_names_are_two_operators(said: str) -> None:
    assert _names(said) == ["ann", "bob"]


@pytest.mark.parametrize(
    "said", ["ann and bob", "ann lee, bob", "ann", "", "ann ann", "ann & bob", "ann; bob"]
)
def test_what_could_mean_something_else_makes_nobody(said: str) -> None:
    """`ann and bob` made three admins, of whom one was called "and": a third hand for every confirmation."""
    with pytest.raises(SettingsError):
        _names(said)


def init(root: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["--home", str(root), "init", "--environment", "live", *words])


TEAM = ("--mode", "team", "--operator", "ann", "--operator", "bob")


@pytest.mark.parametrize(
    "words",
    [(*TEAM, "--operator", "ann"), (*TEAM, "--operator", "portcullis"), (*TEAM, "--operator", "Bob!")],
    ids=["twice", "the program's own", "none"],
)
def test_a_name_that_cannot_be_one_is_refused_before_anything_is_made(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    """It said "Nothing was changed", and there was a home, of the admins before that name, which no init could mend."""
    root = tmp_path / "home"
    refused = init(root, *words)
    assert refused.exit_code == 1
    assert "Nothing was changed." in refused.output
    assert not root.exists()
    assert init(root, *TEAM).exit_code == 0


@pytest.mark.parametrize("lost", ["operator-bob.token", "operator.token", "home.json", "kek"])
def test_what_breaks_off_is_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    """It was one, of an admin whose token nobody had."""
    root, write = tmp_path / "home", settings.write_private

    def full(path: Path, *given: Any, **more: Any) -> None:
        if path.name == lost:
            raise OSError(28, "No space left on device")
        write(path, *given, **more)

    for module in (settings, foundation):
        monkeypatch.setattr(module, "write_private", full)
    monkeypatch.setattr(foundation.key, "to_file", lambda path, value: full(path, value.reveal()))
    broken = init(root, *TEAM)
    assert broken.exit_code == 1
    assert "No space left on device" in broken.output
    assert "It is no home, and nothing runs on it." in " ".join(broken.output.split())
    assert "Nothing was changed" not in broken.output
    assert not (root / "home.json").exists()
    assert CliRunner().invoke(app, ["--home", str(root), "run"]).exit_code == 1


def test_a_store_that_goes_away_meanwhile_leaves_no_home_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: Mirror) -> None:
        raise StoreUnavailable("vault_sealed", "the Vault is sealed")

    monkeypatch.setattr(Mirror, "merge", away)
    broken = init(tmp_path / "home", *TEAM)
    assert broken.exit_code == 1
    assert "the Vault is sealed" in broken.output
    assert not (tmp_path / "home" / "home.json").exists()


def test_a_home_is_founded_before_it_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first hour, in which a second step is not asked for, is of whole homes."""
    root, seen, founded = tmp_path / "home", list[bool](), Audit.founded

    def noted(audit: Audit) -> None:
        seen.append((root / "home.json").exists())
        founded(audit)

    monkeypatch.setattr(Audit, "founded", noted)
    assert init(root, *TEAM).exit_code == 0
    assert seen == [False]
