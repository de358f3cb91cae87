"""A capability that a machine lacks: said plainly, a failure in CI, and the only reason to leave a test out."""

import re
from pathlib import Path

import pytest

from tests.lacking import lack

_TESTS = Path(__file__).parents[1]
_SAID = ("tests/lacking.py", "tests/foreign/test_setup.py", "tests/services/test_lacking.py")


def test_in_ci_what_is_missing_fails_and_elsewhere_it_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no moon"):
        lack("no moon")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="no moon"):
        lack("no moon")


def test_nothing_is_left_out_but_through_that_or_because_it_takes_hours() -> None:
    """A skip that says nothing to CI hides a check that never runs there."""
    silent = [
        f"{path.relative_to(_TESTS.parent)}: {line.strip()}"
        for path in sorted(_TESTS.rglob("*.py"))
        if not str(path.relative_to(_TESTS.parent)).endswith(_SAID)
        for line in path.read_text().splitlines()
        if re.search(r"pytest\.skip\b|skipif\(|mark\.skip\b|importorskip|xfail", line)
        and "not LONG" not in line
    ]
    assert silent == []
