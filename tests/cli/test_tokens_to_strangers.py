"""Whoever listens where a tunnel was is handed one token, however it answers."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from typer.testing import CliRunner

from clients.secret import Secret
from clients.venue import Environment
from portcullis.cli import session
from portcullis.cli.app import app
from portcullis.settings import Home

NAMED, ADMIN = "pcls_op_" + "a" * 40, "pcls_se_" + "b" * 40


@pytest.fixture
def listener() -> Iterator[tuple[int, list[str]]]:
    got: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            got.append(self.headers["Authorization"].removeprefix("Bearer "))
            body = json.dumps({"reason": "unauthenticated", "detail": "no", "done": "no"}).encode()
            self.send_response(401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, got
    server.shutdown()
    server.server_close()


@pytest.mark.sockets
def test_who_named_a_token_shows_no_other_to_whoever_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listener: tuple[int, list[str]]
) -> None:
    port, got = listener
    base = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PORTCULLIS_ADDR", base)
    session.keep(
        Home(Path("/") / quote(base, safe=""), Environment.LIVE, "solo"),
        "owner",
        Secret(ADMIN),
        "2099-01-01T00:00:00+00:00",
    )
    monkeypatch.setenv("PORTCULLIS_TOKEN", NAMED)
    CliRunner().invoke(app, ["cut", "--everything", "--reason", "leak"])
    assert got == [NAMED], "the admin's session went to a stranger as well"
