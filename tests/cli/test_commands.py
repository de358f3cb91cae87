"""Commands without a broker: what they say, how they end, and that secrets are never arguments."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from broker.service.desk import missing
from portcullis.cli.app import app
from portcullis.settings import open_home


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


@pytest.fixture
def home(tmp_path: Path, runner: CliRunner) -> Path:
    root = tmp_path / "home"
    done = runner.invoke(app, ["--home", str(root), "init", "--environment", "paper", "--mode", "solo"])
    assert done.exit_code == 0, done.output
    return root


def test_init_makes_a_home_and_says_what_comes_next(tmp_path: Path, runner: CliRunner) -> None:
    root = tmp_path / "home"
    done = runner.invoke(app, ["init", "--home", str(root), "--environment", "live", "--mode", "solo"])
    assert done.exit_code == 0
    assert "LIVE" in done.stdout
    assert "run" in done.stdout
    assert open_home(root).environment.value == "live"
    assert (root / "operator.token").read_text().strip() not in done.output


def test_init_in_json_names_the_token_files(tmp_path: Path, runner: CliRunner) -> None:
    root = tmp_path / "home"
    arguments = ["--json", "--home", str(root), "init", "--environment", "paper", "--mode", "team"]
    done = runner.invoke(app, [*arguments, "--operator", "ann", "--operator", "bob"])
    assert set(json.loads(done.stdout)["operators"]) == {"ann", "bob"}


def test_a_script_that_says_too_little_is_told_which_option(tmp_path: Path, runner: CliRunner) -> None:
    done = runner.invoke(app, ["--home", str(tmp_path / "home"), "init", "--environment", "paper"])
    assert done.exit_code == 1
    assert "--mode is missing" in done.stderr


def test_a_team_of_one_is_refused(tmp_path: Path, runner: CliRunner) -> None:
    arguments = ["init", "--environment", "paper", "--mode", "team", "--operator", "ann"]
    done = runner.invoke(app, ["--home", str(tmp_path / "home"), *arguments])
    assert done.exit_code == 1
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["calls"],
        ["cuts"],
        ["cut", "--consumer", "bot", "--reason", "x"],
        ["halt", "--everything", "--reason", "x"],
        ["thaw", "cut_1", "--reason", "x"],
        ["account", "list"],
        ["egress", "list"],
        ["key", "list"],
        ["manager", "list"],
        ["consumer", "list"],
        ["grant", "list"],
        ["operator", "list"],
    ],
)
def test_where_nothing_runs_it_says_so_and_how_to_start_it(
    home: Path, runner: CliRunner, arguments: list[str]
) -> None:
    done = runner.invoke(app, ["--home", str(home), *arguments])
    assert done.exit_code == 1
    assert "does not run" in done.stderr
    assert f"--home {home} run" in done.stderr.replace("\n", "")
    assert done.stdout == ""
    answered = runner.invoke(app, ["--home", str(home), *arguments, "--json"])
    assert answered.exit_code == 1
    assert json.loads(answered.stdout)["error"]["reason"] == "not_running"


@pytest.mark.parametrize(
    "arguments",
    [
        ["cut", "--consumer", "bot"],
        ["grant", "create"],
        ["nonsense"],
        ["consumer", "snippet", "bot", "--for", "turtle"],
        ["key", "import", "--account", "a", "--secret", "s3cr3t"],
        ["demo", "--port", "70000"],
    ],
)
def test_what_is_not_understood_ends_with_2(home: Path, runner: CliRunner, arguments: list[str]) -> None:
    assert runner.invoke(app, ["--home", str(home), *arguments]).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cut", "--reason", "x"], "Nothing was named"),
        (["cut", "--reason", "x", "--everything", "--consumer", "a"], "name nothing beside it"),
        (["grant", "create", "--consumer", "a", "--account", "b"], "--policy FILE or --like"),
        (["policy", "check", "/nowhere/policy.toml"], "/nowhere/policy.toml"),
        (["policy", "diff", "-"], "--grant GRANT or --old FILE"),
        (["key", "show", "main"], "ACCOUNT/SLOT/VERSION"),
        (["egress", "create", "--name", "a", "--proxy", "nowhere"], "HOST:PORT"),
        (
            ["rotation", "answer", "rot_1", "--key-id", "abc", "--deleted"],
            "--deleted says that a key is gone",
        ),
        (["rotation", "resume", "rot_1", "--discard", "--onward"], "--discard and --onward"),
        *(
            (
                ["checkout", "open", "--grant", "g", "--holder", "h", "--reason", "r", f"--hours={hours}"],
                "--hours:",
            )
            for hours in ("nan", "inf", "-inf", "0", "-1", "721", "0.0001")
        ),
    ],
)
def test_a_command_that_cannot_be_carried_out_says_what_to_do(
    home: Path, runner: CliRunner, arguments: list[str], said: str
) -> None:
    done = runner.invoke(app, ["--home", str(home), *arguments])
    assert done.exit_code == 1
    assert said in " ".join(done.stderr.split())


def test_a_home_that_is_none_is_said_in_one_sentence(tmp_path: Path, runner: CliRunner) -> None:
    done = runner.invoke(app, ["--home", str(tmp_path / "nothing"), "status"])
    assert done.exit_code == 1
    assert "is no home yet" in done.stderr
    assert "Traceback" not in done.output


def test_no_option_takes_a_secret_and_every_command_takes_home_and_json() -> None:
    """Secrets come from a prompt, stdin or a file: options about them name files or flags."""

    def walk(command: object, path: str) -> None:
        inner = getattr(command, "commands", None)
        if inner:
            for name, one in inner.items():
                walk(one, f"{path} {name}")
            return
        options = {option for one in command.params for option in one.opts}  # type: ignore[attr-defined]
        assert {"--home", "--json"} <= options, path
        for option in options:
            if any(word in option for word in ("secret", "password", "token")):
                assert option.endswith("-file"), (path, option)

    walk(get_command(app), "portcullis")
    assert isinstance(app, typer.Typer)


def test_the_command_line_loads_nothing_that_a_cut_does_not_need() -> None:
    """A cut at 3 a.m. does not wait for a database library to be imported."""
    code = "import sys, portcullis.cli.app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for heavy in ("fastapi", "sqlalchemy", "alembic", "uvicorn", "cryptography", "uvloop"):
        assert heavy not in loaded.split()


@pytest.mark.parametrize(
    "kind",
    [
        "grant",
        "account",
        "consumer",
        "egress",
        "rotation",
        "schedule",
        "manager",
        "destination",
        "checkout",
        "channel",
    ],
)
def test_a_name_that_is_not_known_points_at_the_list_of_its_kind(kind: str) -> None:
    """The command exists, and shows things of that kind."""
    _, text, _ = str(missing(kind, "x")).split("`")
    group, command = text.removeprefix("portcullis ").split(" ")
    found = get_command(app)
    assert isinstance(found, TyperGroup)
    listed = found.commands[group]
    assert isinstance(listed, TyperGroup)
    assert command in listed.commands
    assert group in {kind, f"{kind}s", "alerts"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"path": "/srv/s3cr3t",\n "key_id": }', "line 2, column 12"),
        ("[1]", "holds no JSON object"),
        (None, "No such file"),
    ],
)
def test_settings_that_are_no_json_are_told_by_their_place_and_never_quoted(
    home: Path, runner: CliRunner, tmp_path: Path, text: str | None, said: str
) -> None:
    file = tmp_path / "settings.json"
    if text is not None:
        file.write_text(text)
    arguments = [
        "destination",
        "create",
        "tax",
        "--account",
        "a",
        "--kind",
        "dotenv",
        "--settings",
        str(file),
    ]
    done = runner.invoke(app, ["--home", str(home), *arguments])
    assert done.exit_code == 1
    assert said in " ".join(done.stderr.split())
    assert "s3cr3t" not in done.output
