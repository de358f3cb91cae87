"""Whatever is wrong with a cut is told at once, with a command to paste that keeps what was right."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from broker import virtual_key
from portcullis.cli import cuts, lacks
from portcullis.cli.app import app
from portcullis.cli.face import Stopped, program
from tests.cli.test_meant import Record

PASTED = virtual_key.new_secret()


class Refusing(Record):
    """A broker that knows one of each, and refuses every cut."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def post(self, *asked: Any) -> Any:
        self.asked.append(asked)
        raise Stopped(
            "there is no consumer 'mybot' and no account 'mian'; NOTHING was cut", reason="no_consumer"
        )


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Refusing:
    made = Refusing()
    monkeypatch.setattr(lacks, "connect", lambda _: made)
    monkeypatch.setattr(cuts, "connect", lambda _: made)
    return made


def told(*typed: str) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(app, [*typed, "--json"])
    return done.exit_code, json.loads(done.stdout)["error"]


@pytest.mark.parametrize("verb", ["cut", "halt"])
def test_three_lacks_are_told_at_once(verb: str, broker: Refusing) -> None:
    code, error = told(verb, "--consumer", "mybot", "--account", "mian")
    assert code == 2
    assert [one["field"] for one in error["errors"]] == ["--reason", "--consumer", "--account"]
    assert error["next"].endswith(f"portcullis {verb} --consumer my-bot --account main --reason WHY")
    assert "NOTHING" in error["state"]
    assert broker.asked == []


def test_what_the_broker_refuses_is_mended_in_one_command(broker: Refusing) -> None:
    """Also where one of them is right: it stays in the command."""
    code, error = told(
        "cut", "--consumer", "mybot", "--account", "main", "--key", "mian/trade/1", "--reason", "a b"
    )
    assert code == 1
    assert error["next"].endswith(
        "portcullis cut --consumer my-bot --account main --key main/trade/1 --reason 'a b'"
    )
    assert len(broker.asked) == 1


@pytest.mark.usefixtures("broker")
def test_what_is_like_nothing_is_listed_and_all_of_it_can_be_cut() -> None:
    error = told("cut", "--consumer", "zzz", "--grant", "grt_1", "--reason", "why")[1]
    assert "portcullis consumer list" in error["next"]
    assert error["next"].endswith("portcullis cut --everything --reason why")


@pytest.mark.parametrize("verb", ["cut", "halt"])
@pytest.mark.parametrize(
    "wrong", [("--consumer", "zzz"), ("--consumer", "mybot"), ("--grant", "x", "--key", "mian/trade/1")]
)
def test_what_was_named_right_can_be_cut_alone(verb: str, wrong: tuple[str, ...], broker: Refusing) -> None:
    """One of two was mistyped: nothing is cut, which is said, and the other one is a line to paste away."""
    for typed in ([*wrong, "--account", "main"], ["--account", "main", *wrong]):
        code, error = told(verb, *typed, "--reason", "a b")
        assert (code, error["state"]) == (1, f"NOTHING was {'cut' if verb == 'cut' else 'halted'}.")
        assert f"{program()} {verb} --account main --reason 'a b'" in error["next"].splitlines()
    assert len(broker.asked) == 2
    assert "Only" not in told(verb, *wrong, "--reason", "x")[1]["next"], "none was right"


def test_no_target_and_no_reason_are_one_answer(broker: Refusing) -> None:
    code, error = told("cut")
    assert (code, [one["field"] for one in error["errors"]]) == (2, ["a target", "--reason"])
    code, error = told("cut", "--everything", "--consumer", "mybot", "--reason", "x")
    assert (code, [one["field"] for one in error["errors"]]) == (1, ["--everything", "--consumer"])
    assert broker.asked == []


def test_that_nothing_runs_is_told_beside_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    error = told("--home", str(home), "cut", "--consumer", "a")[1]
    assert [one["field"] for one in error["errors"]] == ["--reason", "--home"]
    done = CliRunner().invoke(app, ["--home", str(home), "init", "--environment", "paper", "--mode", "solo"])
    assert done.exit_code == 0
    error = told("--home", str(home), "cut", "--consumer", "a")[1]
    assert [one["field"] for one in error["errors"]] == ["--reason", "the broker"]


@pytest.mark.usefixtures("broker")
def test_a_pasted_secret_is_not_repeated() -> None:
    """Neither in what was wrong, nor in the command to paste."""
    for typed in (["--consumer", PASTED], ["--consumer", "mybot", "--reason", PASTED]):
        done = CliRunner().invoke(app, ["cut", *typed])
        assert done.exit_code in {1, 2}
        assert PASTED not in done.output.replace("\n", "")
