"""What screens and logs say is so, and can be pasted: one test per thing that was not."""

import code
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from broker.errors import StoreUnavailable
from portcullis import __main__ as program
from portcullis import settings, upkeep
from portcullis.cli import inputs, people
from portcullis.cli.app import app
from portcullis.cli.face import Face, Stopped
from portcullis.cli.session import one_time_code
from portcullis.logs import FIRST_S, Seldom
from portcullis.recipes import Place, short_ccxt
from portcullis.upkeep import Upkeep


def test_the_snippet_of_the_demo_can_be_pasted_at_pythons_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line after the body of its loop was a SyntaxError there."""
    made: list[Any] = []

    class Exchange:
        def __init__(self, config: Mapping[str, Any]) -> None:
            self.config, self.urls = config, {"api": {"public": "https://api.binance.com/api/v3"}}
            made.append(self)

        def create_order(self, *order: object) -> str:
            return f"ordered {order[0]}"

    ccxt = ModuleType("ccxt")
    ccxt.binance = Exchange  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ccxt", ccxt)
    place = Place("http://127.0.0.1:8700", "PCLSx", "s")
    console, told = code.InteractiveConsole(), list[str]()
    monkeypatch.setattr(console, "write", told.append)
    waits = [console.push(line) for line in short_ccxt(place).splitlines()]
    assert told == []
    assert waits[-1] is False
    assert made[0].urls["api"] == {"public": f"{place.base}/api/v3"}


def test_a_key_id_that_nobody_can_be_asked_for_has_a_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """`key import` in a script ended with: key id: Aborted."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    assert inputs.key_id_of(" abc ") == "abc"
    with pytest.raises(Stopped) as raised:
        inputs.key_id_of(None)
    assert "--key-id" in raised.value.step


def test_what_is_said_every_second_is_written_at_growing_intervals() -> None:
    now = [0.0]
    seldom = Seldom(lambda: now[0])

    def passes(text: str, level: int = logging.ERROR) -> str | None:
        record = logging.LogRecord("broker", level, "f", 1, "%s", (text,), None)
        return record.getMessage() if seldom.filter(record) else None

    written = []
    for second in range(100):
        now[0] = float(second)
        if (said := passes(f"no answer after {second} ms")) is not None:
            written.append((second, said))
        assert passes("everything is closed", logging.CRITICAL)
        assert passes("hello", logging.INFO)
    assert [at for at, _ in written] == [0, 10, 30, 70]
    assert "(said 9 more times since)" in written[1][1]
    assert passes("another thing") == "another thing"
    now[0] += 10_000
    assert str(passes("no answer after 5 ms")).startswith("no answer after 5 ms"), "it began anew"
    now[0] += FIRST_S - 1
    assert passes("no answer after 6 ms") is None


@pytest.mark.parametrize(
    "text",
    ["bot-{} cannot sell", "main/trade/{} is not dead", "127.0.0.{} refuses", "acc{} is shut", "by 1.{}.0"],
)
def test_what_is_said_of_another_name_is_not_held_back(text: str) -> None:
    """Names end in figures, too: of two bots in trouble only the first was told of."""
    seldom = Seldom(lambda: 0.0)
    said = [
        seldom.filter(logging.LogRecord("broker", logging.ERROR, "f", 1, text.format(name), (), None))
        for name in (1, 2, 1)
    ]
    assert said == [True, True, False]


def test_a_database_that_is_away_is_not_called_the_secret_store(caplog: pytest.LogCaptureFixture) -> None:
    """The log said that the secret store is back, after PostgreSQL had been away."""

    def fails(reason: str) -> Any:
        def merge() -> None:
            raise StoreUnavailable(reason, "away on purpose")

        return merge

    mirror = SimpleNamespace(merge=fails("database"), superseded="", put_back=lambda: "")
    service = SimpleNamespace(
        desk=SimpleNamespace(secrets=SimpleNamespace(maintain=lambda: None), clock=None), mirror=mirror
    )
    one = Upkeep(cast("Any", service))
    caplog.set_level(logging.WARNING, upkeep.__name__)
    for reason in ("database", "store_read_only", "commit_unknown", "postgres_standby"):
        mirror.merge = fails(reason)
        one._keep_store()
    assert "secret store" not in caplog.text


def test_an_interrupt_while_the_program_is_loaded_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(ModuleType):
        def __getattr__(self, _: str) -> Any:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "portcullis.cli.app", Slow("portcullis.cli.app"))
    with pytest.raises(SystemExit) as raised:
        program.main()
    assert raised.value.code == 130


def test_no_home_names_that_of_the_demo_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = tmp_path / "demo"
    monkeypatch.setattr(settings, "DEMO_HOME", demo)
    for made in (False, True):
        if made:
            demo.mkdir()
            (demo / "home.json").write_text("{}")
        with pytest.raises(settings.SettingsError) as raised:
            settings.open_home(tmp_path / "none")
        assert (f"--home {demo}" in str(raised.value)) is made
        assert ("portcullis demo" in str(raised.value)) is not made


def test_the_step_after_an_enrolment_names_the_token_it_was_made_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, password = tmp_path / "token", tmp_path / "password"
    token.write_text("pcls_op_x\n")
    password.write_text("a long password\n")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    api = SimpleNamespace(post=lambda *_: SimpleNamespace(secret="SEED"))
    monkeypatch.setattr(people, "connect", lambda *_: api)
    with pytest.raises(Stopped):
        one_time_code("why")
    done = CliRunner().invoke(
        app,
        ["operator", "enrol", "--name", "bob", "--token-file", str(token), "--password-file", str(password)],
    )
    assert f"operator activate --name bob --token-file {token}" in done.output


def test_steps_of_json_answers_are_commands_as_they_are_typed(tmp_path: Path) -> None:
    face = Face(given_home=tmp_path, commands=frozenset({"cuts"}))
    found = face.typed(
        {"wrong": [{"what": "portcullis cuts", "step": "portcullis cuts, then RB-11"}], "ready": False}
    )
    assert f"--home {tmp_path} cuts" in found["wrong"][0]["step"]
    assert found["wrong"][0]["what"] == "portcullis cuts"
    assert found["ready"] is False
