"""A missing environment is said plainly; in CI it is a failure, elsewhere the tests are left out."""

from pathlib import Path

import pytest

from tests import setup
from tests.foreign.conftest import ready


@pytest.fixture(autouse=True)
def _nothing_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(setup, "_fill", lambda _fresh, _pins: "could not install: no such luck")


def test_elsewhere_the_tests_are_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CI", raising=False)
    assert setup.main() == 0
    said = capsys.readouterr().err
    for name in setup.PINS:
        assert setup.missing(name) in said
        with pytest.raises(pytest.skip.Exception, match=r"are left out; `python -m tests\.setup` makes it"):
            ready(name)


def test_in_ci_it_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert setup.main() == 1
    for name in setup.PINS:
        with pytest.raises(pytest.fail.Exception, match="no environment"):
            ready(name)


def test_what_could_not_be_made_leaves_nothing_behind(tmp_path: Path) -> None:
    setup.main()
    assert list((tmp_path / "portcullis" / "foreign").iterdir()) == []


def test_half_of_one_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(fresh: Path, _pins: tuple[str, ...]) -> None:
        (fresh / "bin").mkdir()
        (fresh / "bin" / "python").touch()
        (fresh / "whole").touch()

    half = setup.folder("main")
    (half / "bin").mkdir(parents=True)
    assert half.is_relative_to(tmp_path)
    assert setup.python("main") is None
    monkeypatch.setattr(setup, "_fill", fill)
    assert setup.make("main")
    assert setup.python("main") == half / "bin" / "python"
