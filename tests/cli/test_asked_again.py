"""`init` at a terminal asks again where an answer cannot be read: a typo is no reason to begin anew."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer

from clients.venue import Environment
from portcullis.cli import lifecycle
from portcullis.cli.face import Face, Stopped
from portcullis.settings import SettingsError


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Return what `init` was begun with."""
    found: list[tuple[Any, ...]] = []

    class Work:
        def Places(self, *_: object) -> None:  # noqa: N802 - as the module calls it
            return None

        def init(
            self, _face: Face, world: Environment, kind: str, names: list[str], *_: object, **__: object
        ) -> None:
            found.append((world, kind, names))

    monkeypatch.setattr(lifecycle, "_work", Work)
    return found


def typed(monkeypatch: pytest.MonkeyPatch, *answers: str) -> Callable[[], list[str]]:
    """Type answers at a terminal; return what is asked for those that are left."""
    left: Iterator[str] = iter(answers)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(typer, "prompt", lambda *_, **__: next(left))
    return lambda: list(left)


@pytest.mark.parametrize(
    ("answers", "what"),
    [
        (("sola", "solo", "papr", "paper"), (Environment.PAPER, "solo", ["owner"])),
        (
            ("team", "testnet", "ann", "ann ann", "ann, b!b", "ann, bob"),
            (Environment.TESTNET, "team", ["ann", "bob"]),
        ),
    ],
)
def test_a_typo_is_asked_again(
    begun: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    answers: tuple[str, ...], what: tuple[Any, ...],
) -> None:  # fmt: skip
    left = typed(monkeypatch, *answers)
    lifecycle.init(Face())
    assert begun == [what]
    assert not left()
    assert "is solo or team" in capsys.readouterr().err or what[1] == "team"


def test_what_was_said_as_an_option_is_refused_and_a_script_is_told_which_is_missing(
    begun: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="solo or team"):
        lifecycle.init(Face(), mode="sola")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    with pytest.raises(Stopped, match="--mode is missing"):
        lifecycle.init(Face())
    assert not begun
