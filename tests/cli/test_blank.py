"""What is typed, but empty: told by its name. A variable that is empty is as if it were not set."""

import io
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from broker.errors import StoreUnavailable
from broker.stores.embedded import key
from clients.venue import Environment
from portcullis.cli import processes, session, way
from portcullis.cli.app import app
from portcullis.database_settings import DatabaseDocument
from portcullis.foundation import found
from portcullis.settings import SettingsError, locate, state_directory
from portcullis.stores import postgres_of

BLANK = ["", " ", "\t\n", "\u00a0"]


def commands(group: Any, *above: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, one in group.commands.items():
        if hasattr(one, "commands"):
            yield from commands(one, *above, name)
        else:
            yield (*above, name), one


def groups(group: Any, *above: str) -> Iterator[tuple[str, ...]]:
    yield above
    for name, one in group.commands.items():
        if hasattr(one, "commands"):
            yield from groups(one, *above, name)


def test_no_help_names_a_kind_of_value_beside_a_switch() -> None:
    """`--json <bool>` is typed as `--json true`, which is refused."""
    whole = typer.main.get_group(app)
    runner = CliRunner()
    for path in (*groups(whole), *(path for path, _ in commands(whole))):
        shown = runner.invoke(app, [*path, "--help"])
        assert shown.exit_code == 0, path
        assert "<bool>" not in shown.output, path


def test_no_option_and_no_argument_takes_an_empty_value() -> None:
    """`--home "$X"` with nothing in X meant the directory one stood in, `--gateway-host ""` every address."""
    tried = 0
    for path, one in commands(typer.main.get_group(app)):
        for parameter in one.params:
            if parameter.name == "note" or getattr(parameter, "is_flag", False):
                continue
            for text in BLANK:
                typed = [text] if parameter.param_type_name == "argument" else [parameter.opts[0], text]
                with pytest.raises(typer.BadParameter, match="empty") as raised:
                    one.make_context(path[-1], typed)
                assert raised.value.param is parameter
                tried += 1
    assert tried > 1000


def test_nor_does_what_stands_before_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["--home", "", "status"])
    assert (done.exit_code, "--home" in done.output, "empty" in done.output) == (2, True, True)


@pytest.mark.parametrize("text", BLANK)
@pytest.mark.parametrize(
    "variable",
    ["PORTCULLIS_TOKEN", "PORTCULLIS_TOKEN_FILE", "PORTCULLIS_ADDR", "PORTCULLIS_CACERT", "PORTCULLIS_HOME"],
)
def test_a_variable_that_is_empty_is_as_if_it_were_not_set(
    variable: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cut was refused for it: scripts, units and containers set variables that hold nothing."""
    monkeypatch.setenv("HOME", str(tmp_path))
    made = found(tmp_path / ".local" / "share" / "portcullis", Environment.PAPER, "solo")
    typed = ["cut", "--everything", "--reason", "leak", "--json"]
    monkeypatch.delenv(variable, raising=False)
    bare = CliRunner().invoke(app, typed).stdout
    assert json.loads(bare)["error"]["reason"] == "not_running", "it looked for the broker of the home"
    monkeypatch.setenv(variable, text)
    assert CliRunner().invoke(app, typed).stdout == bare
    assert (way.named(), way.is_plain(), locate(None)) == (None, False, made.home.root)
    assert session.best_of(made.home).source is session.From.HOME


def test_an_empty_token_is_no_token_beside_a_file_that_holds_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = found(tmp_path / "home", Environment.PAPER, "solo")
    monkeypatch.setenv("PORTCULLIS_TOKEN_FILE", str(made.home.operator_token))
    named = session.best_of(made.home)
    monkeypatch.setenv("PORTCULLIS_TOKEN", "")
    assert session.best_of(made.home) == named


@pytest.mark.parametrize("text", BLANK)
def test_the_demo_of_an_empty_variable_has_the_home_of_a_demo(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took the home of the real bots."""
    asked: list[Path] = []

    def stop(root: Path) -> None:
        asked.append(root)
        raise SettingsError("--home", "far enough")

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PORTCULLIS_HOME", text)
    monkeypatch.setattr(processes, "demo_home", stop)
    assert CliRunner().invoke(app, ["demo"]).exit_code == 1
    assert asked == [tmp_path / ".local" / "share" / "portcullis-demo"]


def test_an_empty_home_directory_is_as_the_system_has_it() -> None:
    """The empty one was the root directory."""
    environ = dict(os.environ, HOME="") | {"PORTCULLIS_HOME": ""}
    typed = [sys.executable, "-m", "portcullis", "--home", "~/no/such/home", "status", "--json"]
    done = subprocess.run(typed, env=environ, capture_output=True, text=True, check=False)
    assert f"{pwd.getpwuid(os.getuid()).pw_dir}/no/such/home" in done.stdout


@pytest.mark.parametrize("text", ["pcls_op_a pcls_op_b", "pcls_op_\u00e9", "pcls_op_a\nX: y", "p" * 201])
def test_what_cannot_be_a_token_is_told_before_it_is_sent(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = found(tmp_path / "home", Environment.PAPER, "solo")
    monkeypatch.setenv("PORTCULLIS_TOKEN", text)
    with pytest.raises(session.Stopped, match=r"\$PORTCULLIS_TOKEN holds no token"):
        session.token_of(made.home)


@pytest.mark.parametrize("text", ["", "\n", "  \n\n"])
def test_an_empty_file_of_a_token_is_told_wherever_it_is_named(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the variable, by the option, as the home's own; and the password of a PostgreSQL."""
    made = found(tmp_path / "home", Environment.PAPER, "solo")
    empty = tmp_path / "empty"
    empty.write_text(text)
    with pytest.raises(session.Stopped, match="holds no token"):
        session.read_token(empty, "--token-file")
    with pytest.raises(SettingsError, match="is empty"):
        postgres_of(DatabaseDocument(hosts=["127.0.0.1:5432"], ssl_mode="disable", password_file=empty))
    made.home.operator_token.write_text(text)
    with pytest.raises(session.Stopped, match="not logged in"):
        session.token_of(made.home)
    monkeypatch.setenv("PORTCULLIS_TOKEN_FILE", str(empty))
    with pytest.raises(session.Stopped, match=r"\$PORTCULLIS_TOKEN_FILE"):
        session.token_of(made.home)


def test_a_code_that_is_empty_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTCULLIS_CODE", " ")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(session.Stopped, match="why"):
        session.one_time_code("why")


def test_an_empty_key_of_the_store_is_none() -> None:
    with pytest.raises(StoreUnavailable, match=r"\$KEK"):
        key.from_environment({"KEK": " "}, "KEK")


@pytest.mark.parametrize("text", ["", "  ", "relative/path"])
def test_a_state_directory_that_is_no_whole_path_counts_as_none(text: str) -> None:
    """The XDG specification says so; a relative one lay in whatever directory one stood in."""
    assert state_directory({"XDG_STATE_HOME": text}) == state_directory({})
