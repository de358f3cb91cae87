"""A broker on another host, named by $PORTCULLIS_ADDR: what is not known of it here is not told, nor what was not sent."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from portcullis.cli import client
from portcullis.cli.app import app

CUT = ["cut", "--everything", "--reason", "leak"]
Typed = Callable[..., str]


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a tunnel that is down."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PORTCULLIS_ADDR", address)
    monkeypatch.setenv("PORTCULLIS_TOKEN", "pcls_op_" + "a" * 43)
    monkeypatch.setenv("COLUMNS", "200")
    return address


def typed(*words: str) -> str:
    return " ".join(CliRunner().invoke(app, list(words)).output.split())


@pytest.mark.sockets
@pytest.mark.parametrize("words", [CUT, ["status"]], ids=lambda words: words[0])
def test_who_cannot_be_connected_to_was_sent_nothing(base: str, words: list[str]) -> None:
    said = typed(*words)
    assert f"The broker at {base} cannot be connected to." in said
    assert "Nothing was sent, and nothing was changed." in said
    assert "end it on its own host" in said
    for untrue in ("process 0", "is not known", "kill -9", "%3A"):
        assert untrue not in said


class Slow(httpx.BaseTransport):
    """Takes what it is sent, does not answer, and is gone the next time."""

    def __init__(self) -> None:
        self.asked = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.asked == 1:
            raise httpx.ReadTimeout("no answer", request=request)
        raise httpx.ConnectError("gone", request=request)


def test_what_was_sent_once_may_have_been_done(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = Slow()
    monkeypatch.setattr(client, "NearTransport", lambda *_, **__: transport)
    said = typed(*CUT)
    assert transport.asked == 2
    assert f"The broker at {base} does not answer. now Whether it was done is not known." in said


class Answers(httpx.BaseTransport):
    """Answers what a test says."""

    def __init__(self, **documents: Any) -> None:
        self.documents = documents

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.removeprefix("/v1/").partition("/")[0]
        return httpx.Response(200, json=self.documents[name], request=request)


def status() -> dict[str, Any]:
    return {
        "environment": "live", "mode": "solo", "gateways": [], "grants": [], "cuts": [], "announced": [], "wrong": [],
    }  # fmt: skip


def test_status_tells_the_address_and_nothing_that_is_not_known(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "NearTransport", lambda *_, **__: Answers(status=status()))
    said = typed("status")
    assert f"at {base}" in said
    assert "process 0" not in said
    document = json.loads(CliRunner().invoke(app, ["status", "--json"]).output)
    assert (document["api"], document["gateway"], document["home"]) == (base, "", "")


def test_a_snippet_names_no_port_of_here(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    del base
    grant = {
        "id": "grt_1", "consumer": "bot", "account": "main", "key_id": "K" * 64, "key_type": "hmac", "revoked_at": None,
        "policy": "", "policy_version": 1, "created_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    found = {"name": "bot", "note": "", "created_at": "2026-01-01T00:00:00Z"}
    page = {"items": [grant], "next": None}
    monkeypatch.setattr(client, "NearTransport", lambda *_, **__: Answers(consumers=found, grants=page))
    said = typed("consumer", "snippet", "bot", "--for", "curl")
    assert "http://GATEWAY:PORT/binance" in said, said
    assert "is not known here" in said
    assert "127.0.0.1:0" not in said


def test_who_is_not_logged_in_there_is_told_of_no_home_of_here(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    del base
    monkeypatch.delenv("PORTCULLIS_TOKEN")
    said = typed("cuts")
    assert "You are not logged in there" in said
    assert "PORTCULLIS_TOKEN_FILE" in said
    assert "%3A" not in said
