"""Two people at two terminals of one live home: they enrol, log in, and open something together."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyotp
import pytest

from clients.secret import Secret
from clients.venue import Credential, Environment, KeyFacts, KeyType, Slot
from portcullis.foundation import found, opened
from portcullis.running import find
from tests.cli.started import GONE_S, READY_S, wait_until
from tests.gateway.world import POLICY

pytestmark = pytest.mark.process

SAFE = KeyFacts(True, True, False, False, True, "42")
STEP_S = 30
PASSWORD = "planted-correct-horse"


@dataclass
class Terminal:
    """One person's terminal: a session file and an authenticator app of their own."""

    home: Path
    name: str
    state: Path
    totp: pyotp.TOTP | None = None
    used: int = 0
    """The last half minute whose code was used."""

    def code(self) -> str:
        """Return a code of this half minute or the next: each counts once, and is good for half a minute more at least."""
        assert self.totp is not None
        self.used = max(self.used + 1, int(time.time()) // STEP_S)
        time.sleep(max(0.0, (self.used - 1) * STEP_S - time.time()))  # one of later is no code yet
        return self.totp.at(self.used * STEP_S)

    def run(self, *arguments: str, stdin: str = "", code: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "portcullis", "--home", str(self.home), *arguments],
            input=stdin, capture_output=True, text=True, timeout=READY_S, check=False,
            env=os.environ | {"COLUMNS": "100", "XDG_STATE_HOME": str(self.state)}
            | ({"PORTCULLIS_CODE": code} if code else {}),
        )  # fmt: skip

    def json(self, *arguments: str, exit_code: int = 0, **more: str) -> Any:
        done = self.run(*arguments, "--json", **more)
        assert done.returncode == exit_code, done.stdout + done.stderr
        assert PASSWORD not in done.stdout + done.stderr
        return json.loads(done.stdout)

    def enrol(self) -> None:
        seed = self.state / "seed"
        self.state.mkdir(mode=0o700)
        self.json("operator", "enrol", "--name", self.name, "--secret-file", str(seed), stdin=PASSWORD)
        assert seed.stat().st_mode & 0o777 == 0o600
        parsed = pyotp.parse_uri(seed.read_text().strip())
        assert isinstance(parsed, pyotp.TOTP)
        self.totp = parsed
        seed.unlink()
        self.json("operator", "activate", "--name", self.name, code=self.code())
        self.json("login", "--name", self.name, stdin=PASSWORD, code=self.code())


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A live team home with a key in it, at work."""
    made = found(
        tmp_path / "home", Environment.LIVE, "team", operators=["ann", "bob"], api_port=0, gateway_port=0
    ).home
    with opened(made) as service:
        service.accounts.create("main", venue="binance")
        credential = Credential("REAL", Secret("planted-real-secret"), KeyType.HMAC)
        service.keys.import_key("main", slot=Slot.TRADE, credential=credential, facts=SAFE)
        service.grants.create_consumer("bot")
    with (tmp_path / "log").open("w") as log:
        broker = subprocess.Popen(
            [sys.executable, "-m", "portcullis.run", "--home", str(made.root)], stdout=log, stderr=log
        )
    wait_until(lambda: find(made) is not None, "the broker runs")
    yield made.root
    broker.send_signal(signal.SIGTERM)
    assert broker.wait(GONE_S) == 0, (tmp_path / "log").read_text()


def test_two_people_open_something_and_one_alone_does_not(home: Path, tmp_path: Path) -> None:
    ann, bob = Terminal(home, "ann", tmp_path / "ann"), Terminal(home, "bob", tmp_path / "bob")
    ann.enrol()
    (home / "operator.token").rename(tmp_path / "put-away.token")  # from here on only sessions speak
    token = tmp_path / "operator-bob.token"
    (home / "operator-bob.token").rename(token)
    (home / "operator.token").touch(mode=0o600)
    (home / "operator.token").write_text(token.read_text())
    bob.enrol()
    (home / "operator.token").unlink()
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    create = ("grant", "create", "--consumer", "bot", "--account", "main", "--policy", str(policy))

    alone = ann.json(*create, exit_code=1)["error"]
    assert alone["reason"] == "code_needed"
    announced = ann.json(*create, exit_code=1, code=ann.code())["error"]
    assert announced["reason"] == "announced"
    assert announced["state"] == "It is announced, and NOT done."
    (act,) = bob.json("act", "list")["items"]
    assert (act["operator"], act["action"], act["ready_at"]) == ("ann", "grant.create", None)
    shown = bob.run("act", "list")
    assert "a second person is awaited" in shown.stdout
    assert ann.json(*create, "--act", act["id"], exit_code=1)["error"]["reason"] == "not_confirmed"
    bob.json("act", "confirm", act["id"], code=bob.code())
    assert ann.json(*create, "--act", act["id"])["secret"]
    assert ann.json(*create, "--act", act["id"], exit_code=1)["error"]["reason"] == "over"

    listed = bob.json("audit", "list")["items"]
    acted = {(one["actor"], one["action"]) for one in listed}
    assert {
        ("ann", "act.announce"),
        ("bob", "act.confirm"),
        ("ann", "act.use"),
        ("ann", "grant.create"),
    } <= acted
    ann.json("logout")
    assert ann.json("status", exit_code=1)["error"]["reason"] == "no_token"
