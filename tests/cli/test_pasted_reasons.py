"""A cut is made whatever is pasted as its reason: a log without end, bytes that are no text."""

import json
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from portcullis.cli import client, cuts, grants
from portcullis.cli.app import app
from portcullis.cli.client import Api
from portcullis.cli.face import Face
from portcullis.running import Running

LOG = "2026-11-30 02:11:03 ERROR freqtrade.worker: order placed without signal\n" * 40
LATIN1 = "fuite de cl\udce9"
LINES = [
    ["cut", "--everything"],
    ["halt", "--consumer", "my-bot"],
    ["grant", "revoke", "grt_1"],
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[0])
@pytest.mark.parametrize("reason", [LOG, LATIN1, LATIN1 + LOG], ids=["long", "no text", "both"])
def test_what_closes_is_sent_whatever_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: list[str], reason: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    root, sent = tmp_path / "home", list[str]()
    assert (
        CliRunner()
        .invoke(app, ["--home", str(root), "init", "--environment", "paper", "--mode", "solo"])
        .exit_code
        == 0
    )

    def takes(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content)["reason"])
        return httpx.Response(409, json={"reason": "odd", "detail": "taken", "done": "no"})

    def connect(face: Face) -> Api:
        return Api(face, face.home(), Running(4711, 2, 3, 4), httpx.MockTransport(takes))

    for module in (client, cuts, grants):
        monkeypatch.setattr(module, "connect", connect)
    done = CliRunner().invoke(app, ["--home", str(root), *line, "--reason", reason])
    assert "taken" in done.output, done.output
    (said,) = sent
    assert said == reason.replace("\udce9", "\ufffd")[: len(said)]
    assert 500 < len(said) <= 1500 if len(reason) > 500 else len(said) == len(reason)
    assert ("no text" in done.output) is ("\udce9" in reason)
