"""A cut whose line cannot be read says that nothing was cut, and prints the command that keeps what was right."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from broker import virtual_key
from portcullis.cli import cuts, lacks, mistyped
from portcullis.cli.app import app
from portcullis.cli.face import Stopped, program
from tests.cli.test_meant import Record

PASTED = virtual_key.new_secret()


class Broker(Record):
    """A broker that knows one of each and one cut; it is asked to do nothing."""

    def pages(self, kind: type[Any], path: str, **more: Any) -> Iterator[Any]:
        if path == "cuts":
            yield SimpleNamespace(id="cut_7", targets=["consumer:my-bot"])
            return
        yield from super().pages(kind, path, **more)


@pytest.fixture(autouse=True)
def _broker(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (lacks, cuts, mistyped):
        monkeypatch.setattr(module, "connect", lambda _: Broker())


def told(*typed: str) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(app, [typed[0], "--json", *typed[1:]])
    return done.exit_code, json.loads(done.stdout)["error"]


MY_BOT = "cut --consumer my-bot --reason"


@pytest.mark.parametrize(
    ("typed", "pasted"),
    [
        (["cut", "my-bot", "--reason", "x"], f"{MY_BOT} x"),
        (["cut", "mybot", "--reason", "x"], f"{MY_BOT} x"),
        (["cut", "my-bot"], f"{MY_BOT} WHY"),
        (["cut", "main", "--reason", "x"], "cut --account main --reason x"),
        (["cut", "--consmer", "my-bot", "--reason", "x"], f"{MY_BOT} x"),
        (["cut", "-consumer", "my-bot", "--reason=x y"], f"{MY_BOT} 'x y'"),
        (["cut", "--bot", "my-bot", "--reason", "x"], f"{MY_BOT} x"),
        (["cut", "--consumer", "my-bot", "--reason"], f"{MY_BOT} WHY"),
        (["cut", "--consumer", "--reason", "x", "my-bot"], f"{MY_BOT} x"),
        (["cut", "--consumer", "my-bot", "--reason", "key", "in", "a", "gist"], f"{MY_BOT} 'key in a gist'"),
        (["cut", "--reason", "key", "leaked", "my-bot"], f"{MY_BOT} 'key leaked'"),
        (["cut", "--everythng", "--reason", "x"], "cut --everything --reason x"),
        (["cut", "--all", "--reason", "x"], "cut --everything --reason x"),
        (["cut", "\u2014consumer", "my-bot", "\u2014reason", "x"], f"{MY_BOT} x"),
        (["cut", "\u2013\u2013bot", "my-bot", "\u2014reason=x"], f"{MY_BOT} x"),
        (["cut", "--acct", "main", "--reason", "x"], "cut --account main --reason x"),
        (["halt", "my-bot", "--reason", "x"], "halt --consumer my-bot --reason x"),
    ],
)
def test_what_was_right_stays_in_the_command(typed: list[str], pasted: str) -> None:
    code, error = told(*typed)
    assert code == 2
    assert error["state"].startswith("NOTHING was ")
    assert error["next"].splitlines()[-1].endswith(f"portcullis {pasted}")


@pytest.mark.parametrize(
    ("typed", "code", "pasted"),
    [
        (["thaw", "my-bot"], 2, "thaw cut_7 --reason WHY"),
        (["thaw", "cut_9"], 2, "thaw cut_9 --reason WHY"),
        (["thaw", "cut_9", "--reason"], 2, "thaw cut_9 --reason WHY"),
        (["thaw", "--consmer", "my-bot", "--reason", "x"], 2, "thaw --consumer my-bot --reason x"),
        (["thaw", "my-bot", "--reason", "x"], 1, "thaw cut_7 --reason x"),
        (["thaw", "grid", "--reason", "x"], 1, "cuts"),
    ],
)
def test_a_thaw_says_that_all_stays_closed(typed: list[str], code: int, pasted: str) -> None:
    found, error = told(*typed)
    assert found == code
    assert error["state"].startswith("NOTHING was thawed")
    assert error["next"].endswith(f"portcullis {pasted}")


@pytest.mark.parametrize("name", ["leak-2026", "main", "a'b"])
def test_a_cut_is_thawed_by_whatever_name_it_has(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A responder wrote it into the secret store under a name of their own: none but one of ours could be thawed."""
    asked = list[Any]()

    class Named(Record):
        def pages(self, kind: type[Any], path: str, **more: Any) -> Iterator[Any]:
            if path == "cuts":
                yield from (SimpleNamespace(id=one, targets=["account:main"]) for one in ("cut_7", name))
                return
            yield from super().pages(kind, path, **more)

        def post(self, _: type[Any], path: str, body: dict[str, str]) -> Any:
            asked.append((path, body["cut"]))
            raise Stopped("it was asked")

    for module in (lacks, cuts, mistyped):
        monkeypatch.setattr(module, "connect", lambda _: Named())
    told("thaw", name, "--reason", "x")
    assert asked == [("thaws", name)]
    assert told("thaw", name)[1]["next"].endswith(f"portcullis thaw {shlex.quote(name)} --reason WHY")
    assert (
        told("thaw", "other", "--reason", "x")[1]["errors"][0]["message"] == "no cut of that id is in force"
    )
    assert len(asked) == 1


def test_a_pasted_key_is_not_repeated() -> None:
    for typed in (
        ["cut", PASTED],
        ["cut", f"--{PASTED}"],
        ["thaw", PASTED],
        ["halt", "--reason", "a", PASTED],
    ):
        done = CliRunner().invoke(app, typed)
        assert done.exit_code in {1, 2}
        assert "NOTHING was" in done.output
        assert PASTED not in done.output.replace("\n", "")


def test_a_broker_that_is_away_takes_nothing_out_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: object) -> None:
        raise Stopped("away")

    monkeypatch.setattr(lacks, "connect", away)
    code, error = told("cut", "--consmer", "my-bot", "--reason", "x")
    assert (code, error["next"].splitlines()[-1].endswith(f"{MY_BOT} x")) == (2, True)
    assert any("away" in one["message"] for one in error["errors"])
    assert told("cut", "--consumer", "my-bot")[1]["next"].endswith(f"{MY_BOT} WHY")


@pytest.mark.parametrize(
    "typed", [["grant", "revoke"], ["status", "--bot"], ["cutt"], ["operator", "endd", "a"]]
)
def test_every_line_that_cannot_be_read_says_that_nothing_was_done(typed: list[str]) -> None:
    done = CliRunner().invoke(app, typed)
    assert done.exit_code == 2
    assert "Nothing was done." in " ".join(done.output.replace("│", " ").split())


@pytest.mark.parametrize("word", ["kill", "stop", "panic", "STOP"])
def test_who_types_another_word_for_it_is_told_how_a_bot_is_stopped(word: str) -> None:
    done = CliRunner().invoke(app, [word, "my-bot"], env={"COLUMNS": "80"})
    assert done.exit_code == 2
    assert f"No such command: {word}." in done.output
    assert "Nothing was done." in done.output
    lines = [line.strip().removeprefix("next ").strip() for line in done.output.splitlines()]
    for typed in ("cut --consumer my-bot", "cut --everything", "halt --consumer my-bot"):
        assert f"{program()} {typed} --reason WHY" in lines, "whole, in a line of its own"


@pytest.mark.parametrize(
    ("typed", "home", "bot", "why"),
    [
        (["--home", "HOME", "kill"], True, "--consumer NAME", "WHY"),
        (["kill", "--home", "HOME"], True, "--consumer NAME", "WHY"),
        (["kill", "--consumer", "my-bot", "--reason", "a leak"], False, "--consumer my-bot", "'a leak'"),
        (["--home", "HOME", "stop", "-x"], True, "--consumer NAME", "WHY"),
        (["stop", "--account", "main"], False, "--account main", "WHY"),
        (["stop", "a b"], False, "--consumer 'a b'", "WHY"),
        (["stop", PASTED, "--reason", PASTED], False, "--consumer NAME", "WHY"),
    ],
)
def test_its_commands_are_of_the_home_and_the_bot_that_were_named(
    typed: list[str], home: bool, bot: str, why: str, tmp_path: Path
) -> None:
    root = str(tmp_path / "a home")
    done = CliRunner().invoke(app, ["--json", *(root if one == "HOME" else one for one in typed)])
    error = json.loads(done.stdout)["error"]
    own = f"{program()} --home '{root}'" if home else program()
    assert (done.exit_code, error["reason"]) == (2, "no_command")
    assert f"{own} cut {bot} --reason {why}" in error["next"].splitlines()
    assert PASTED not in done.output
