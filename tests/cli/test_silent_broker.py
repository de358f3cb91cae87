"""A broker that holds still: whoever cuts hears of it soon, how to end everything, and is not asked to wait three times."""

from pathlib import Path
from threading import Event

import httpx
import pytest
from typer.testing import CliRunner

from portcullis.cli import absent, client, cuts
from portcullis.cli.app import app
from portcullis.cli.client import Api
from portcullis.cli.face import Face
from portcullis.running import Running
from portcullis.settings import open_home

PATIENCE_S = 60.0


@pytest.fixture
def home(tmp_path: Path) -> Path:
    root = tmp_path / "home"
    done = CliRunner().invoke(app, ["--home", str(root), "init", "--environment", "paper", "--mode", "solo"])
    assert done.exit_code == 0, done.output
    return root


@pytest.mark.parametrize(
    ("is_installed", "ends"),
    [(False, "end it (kill -9 4711)"), (True, "end it (systemctl stop --no-block portcullis; kill -9 4711)")],
)
def test_a_cut_that_is_not_answered_says_how_to_end_everything_and_asks_nothing_more(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, is_installed: bool, ends: str
) -> None:
    """For a minute nothing was said: its targets were looked up at the same broker, too."""
    asked, told = list[str](), Event()

    def stands_still(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        assert told.wait(PATIENCE_S)
        raise httpx.ReadTimeout("it stands still", request=request)

    def connect(face: Face) -> Api:
        shown = face.err.print

        def heard(*words: object, **how: object) -> None:
            shown(*words, **how)  # type: ignore[arg-type]
            if "has not answered for" in str(words[0]):
                told.set()

        monkeypatch.setattr(face.err, "print", heard)
        return Api(face, open_home(home), Running(4711, 2, 3, 4), httpx.MockTransport(stands_still))

    unit = tmp_path / "portcullis.service"
    if is_installed:
        unit.touch()
    monkeypatch.setattr(absent, "UNIT", unit)
    monkeypatch.setattr(client, "pid_here", lambda _, written: written)
    monkeypatch.setattr(client, "LATE_S", 0.01)
    for module in (client, cuts):
        monkeypatch.setattr(module, "connect", connect)
    done = CliRunner().invoke(app, ["--home", str(home), "cut", "--consumer", "my-bot", "--reason", "leak"])
    said = " ".join(done.output.split())
    assert done.exit_code == 1
    assert set(asked) == {"/v1/cuts"}, "the same cut, once more under its key"
    assert said.count(ends) == 2, "at once, and at the end"
    assert "Whether it was done is not known" in said
