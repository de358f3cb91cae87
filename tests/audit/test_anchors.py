"""Anchors for real: a file, a syslog socket, a webhook over HTTP, and a real Vault's transit engine."""

import hashlib
import hmac
import json
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from broker.audit.anchors import SIGNATURE, TIMESTAMP, FileAnchor, SyslogAnchor, WebhookAnchor, lines_of
from broker.audit.ports import AnchorFailed
from broker.stores.vault.layout import VaultRole
from broker.stores.vault.setup import Plan, apply
from clients.secret import Secret
from portcullis.foundation import opened
from portcullis.settings import open_home
from tests.cli.started import cli, cli_json
from tests.services.vault.server import VaultServer, free_port

LINE = '{"a": "planted line"}'


def test_a_file_is_only_added_to(tmp_path: Path) -> None:
    path = tmp_path / "anchor"
    for _ in range(2):
        FileAnchor(path).keep(LINE)
    assert lines_of(path.read_text()) == ([LINE, LINE], [])
    assert path.stat().st_mode & 0o777 == 0o600
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(AnchorFailed):
        FileAnchor(link).keep(LINE)
    with pytest.raises(AnchorFailed, match="cannot be added to"):
        FileAnchor(tmp_path / "no" / "where").keep(LINE)


@pytest.mark.parametrize("heard", [False, True])
def test_a_pipe_in_the_place_of_an_anchors_file_holds_nobody_up(tmp_path: Path, heard: bool) -> None:
    path = tmp_path / "anchor"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if heard else None
    with pytest.raises(AnchorFailed):
        FileAnchor(path).keep(LINE)
    if reader is not None:
        os.close(reader)


@pytest.mark.parametrize("family", ["unix", "udp"])
def test_syslog_gets_a_line_that_can_be_read_back(tmp_path: Path, family: str) -> None:
    with socket.socket(socket.AF_UNIX if family == "unix" else socket.AF_INET, socket.SOCK_DGRAM) as log:
        log.settimeout(60)
        if family == "unix":
            address = str(tmp_path / "log")
            log.bind(address)
        else:
            log.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{log.getsockname()[1]}"
        SyslogAnchor(address).keep(LINE)
        got = log.recv(10_000).decode()
    assert got.startswith("<85>portcullis-audit: ")
    assert lines_of(f"Nov 23 03:00:00 host {got[4:]}\n") == ([LINE], [])
    with pytest.raises(AnchorFailed):
        SyslogAnchor(str(tmp_path / "nobody")).keep(LINE)


class Hook(BaseHTTPRequestHandler):
    """Keeps what is posted; answers what it is told."""

    got: list[tuple[dict[str, str], str]]
    answers = 200

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.got.append((dict(self.headers), body))
        self.send_response(self.answers)
        if self.answers == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[str]:
    Hook.got = []
    Hook.answers = 200
    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/anchor"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_webhook_gets_a_signed_line_and_never_its_secret(hook: str) -> None:
    secret = Secret("planted-webhook-secret")
    WebhookAnchor(hook, secret, lambda: 1700000000.5).keep(LINE)
    ((headers, body),) = Hook.got
    assert body == LINE
    assert headers[TIMESTAMP] == "1700000000"
    expected = hmac.new(b"planted-webhook-secret", f"1700000000.{LINE}".encode(), hashlib.sha256).hexdigest()
    assert headers[SIGNATURE] == f"sha256={expected}"
    assert "planted-webhook" not in repr(Hook.got)


@pytest.mark.parametrize("status", [302, 400, 500])
def test_a_webhook_that_does_not_take_it_is_a_failure(hook: str, status: int) -> None:
    Hook.answers = status
    with pytest.raises(AnchorFailed, match=str(status)):
        WebhookAnchor(hook, Secret("x")).keep(LINE)
    assert len(Hook.got) == 1, "no redirect is followed"


def test_a_webhook_that_is_away_is_a_failure() -> None:
    with pytest.raises(AnchorFailed, match="cannot be reached"):
        WebhookAnchor(f"http://127.0.0.1:{free_port()}/", Secret("x")).keep(LINE)


# --- a home with anchors, by the commands -----------------------------------------------------------


@pytest.mark.process
def test_a_trail_countersigned_by_vault_is_verified_by_command(
    vault: VaultServer, mount: str, tmp_path: Path
) -> None:
    login = f"{mount}-login"
    apply(vault.client(), Plan(f"{mount}-keys", auth_mount=login, transit=True).steps())
    role = vault.client().auth.approle
    secret_id = tmp_path / "secret-id"
    secret_id.touch(mode=0o600)
    secret_id.write_text(role.generate_secret_id("portcullis-run", mount_point=login)["data"]["secret_id"])
    role_id = role.read_role_id("portcullis-run", mount_point=login)["data"]["role_id"]
    described = tmp_path / "vault.json"
    auth = {"method": "approle", "role_id": role_id, "secret_id_file": str(secret_id), "mount": login}
    described.write_text(json.dumps({"addresses": [vault.address], "mount": f"{mount}-keys", "auth": auth}))
    home = tmp_path / "home"
    cli_json(home, "init", "--environment", "paper", "--mode", "solo", "--vault", str(described))
    settings = json.loads((home / "home.json").read_text())
    outside = tmp_path / "outside"
    settings["audit"] = {
        "anchors": [
            {"kind": "file", "path": str(outside)},
            {"kind": "transit", "path": str(tmp_path / "countersigned")},
        ]
    }
    (home / "home.json").write_text(json.dumps(settings))
    with opened(open_home(home)) as service:
        service.grants.create_consumer("bot")
        service.audit.checkpoint(at_once=True)
        assert service.audit.unanchored() == {}
        head = service.audit.list(limit=1).items[0].seq
    found = cli_json(home, "audit", "verify", "--anchor", str(outside))
    assert found["well"] is True
    assert found["last_anchored"]["control"] == head
    assert cli(home, "audit", "verify").returncode == 0
    kept = json.loads((tmp_path / "countersigned").read_text())
    other = kept | {"signature": kept["signature"][:-4] + "AAA="}
    (tmp_path / "countersigned").write_text(json.dumps(other) + "\n")
    assert "Vault did not sign" in cli_json(home, "audit", "verify", code=1)["first_bad"]["message"]


def test_without_transit_in_its_policy_the_broker_may_not_sign() -> None:
    from broker.stores.vault.layout import policy  # noqa: PLC0415 - beside what it shows

    assert "transit" not in policy(VaultRole.BROKER, "m")
    assert "transit" not in policy(VaultRole.ROTATOR, "m", transit=True)


@pytest.mark.process
def test_a_damaged_trail_is_said_plainly_with_what_still_stands(tmp_path: Path) -> None:
    home = tmp_path / "home"
    cli_json(home, "init", "--environment", "paper", "--mode", "solo")
    shown = cli(home, "audit", "verify")
    assert shown.returncode == 0, shown.stderr
    assert "as it was written" in shown.stdout
    assert "without an anchor" in shown.stdout
    with opened(open_home(home)) as service, service.desk.database.write() as connection:
        connection.exec_driver_sql("UPDATE audit SET actor = 'x' WHERE seq = 1")
    shown = cli(home, "audit", "verify")
    assert shown.returncode == 1
    assert "edited at record 1 of control" in shown.stdout
    assert cli_json(home, "audit", "verify", "--anchor", str(tmp_path / "no"), code=1)["error"]["errors"]
