"""Broker, PostgreSQL or Vault is killed (-9) at random points, again and again; nothing that was answered is lost."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.db import rows
from broker.gate import Mode
from broker.model import Stage
from broker.service.audit import read_verified
from broker.service.secrets import SETTLED_US
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyFacts, KeyType, Slot
from portcullis.clock import SystemClock
from portcullis.database_settings import DatabaseDocument
from portcullis.foundation import found, opened
from portcullis.running import find
from portcullis.settings import Home
from portcullis.vault_settings import VaultDocument
from tests.broker.test_two_stores import living, on_record
from tests.cli.started import wait_until
from tests.gateway.world import POLICY
from tests.long import LONG
from tests.services import binaries
from tests.services.postgres.server import PASSWORD, PostgresServer, postgres
from tests.services.vault.server import VaultServer, raft_vault

ROUNDS = int(os.environ.get("PORTCULLIS_ROUNDS", "200" if LONG else "6"))
SEED = int(os.environ.get("PORTCULLIS_SEED", "4"))
GOOD = KeyFacts(True, True, False, False, True, "1")

pytestmark = [pytest.mark.process, pytest.mark.timeout(300 + 30 * ROUNDS)]


class Tomorrow(SystemClock):
    """Late enough that what nobody recorded is nobody's work any more."""

    def now_us(self) -> int:
        return super().now_us() + SETTLED_US + 1


@dataclass
class Answered:
    """What was answered with a success, and therefore must be so."""

    secrets: dict[str, str] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    thawed: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)


@dataclass
class Place:
    """Three processes that can be killed."""

    home: Home
    vault: VaultServer
    postgres: PostgresServer
    log: Path
    broker: "subprocess.Popen[bytes] | None" = None

    def start_broker(self) -> None:
        with self.log.open("a") as log:
            self.broker = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-m", "portcullis.run", "--home", str(self.home.root)],
                stdout=log,
                stderr=log,
            )
        try:
            wait_until(lambda: find(self.home) is not None, "the broker runs")
        except AssertionError:
            self.broker.send_signal(signal.SIGABRT)  # it says where it stands
            self.broker.wait()
            raise AssertionError(f"the broker does not start: {self.log.read_text()[-6000:]}") from None

    def kill(self, victim: str) -> None:
        if victim == "broker":
            assert self.broker is not None
            self.broker.kill()
            self.broker.wait()
        elif victim == "postgres":
            self.postgres.kill()
        else:
            self.vault.kill()

    def mend(self, victim: str) -> None:
        if victim == "postgres":
            self.postgres.start()
        elif victim == "vault":
            self.vault.start()
            self.vault.unseal()
        else:
            self.start_broker()
        wait_until(self.works, "the broker works again")

    def works(self) -> bool:
        with suppress(httpx.HTTPError), self.client() as client:
            return client.post("/v1/cuts", json=_cut("works")).status_code == 201
        return False

    def client(self) -> httpx.Client:
        running = find(self.home)
        assert running is not None
        token = self.home.operator_token.read_text().strip()
        return httpx.Client(base_url=running.api, headers={"Authorization": f"Bearer {token}"}, timeout=30)


def _cut(why: str) -> dict[str, Any]:
    return {"targets": ["consumer:bot"], "mode": "closed", "reason": why}


@contextmanager
def place(folder: Path) -> Iterator[Place]:
    binaries.need("vault")
    (folder / "vault").mkdir()
    with raft_vault(folder / "vault") as vault, postgres() as server:
        vault.client().sys.enable_secrets_engine("kv", path="portcullis", options={"version": "2"})
        token, password = folder / "token", folder / "password"
        for path, text in ((token, vault.root), (password, PASSWORD)):
            path.touch(mode=0o600)
            path.write_text(text)
        server.database("state")
        home = found(
            folder / "home", Environment.PAPER, "solo", api_port=0, gateway_port=0,
            vault=VaultDocument.model_validate(
                {"addresses": [vault.address], "auth": {"method": "token", "file": str(token)}, "timeout_s": 2}
            ),
            database=DatabaseDocument.model_validate(
                {"hosts": [f"127.0.0.1:{server.port}"], "database": "state", "ssl_mode": "disable",
                 "password_file": str(password), "single_node": True}
            ),
        ).home  # fmt: skip
        with opened(home) as service:
            service.accounts.create("main", venue="binance", upstream="http://127.0.0.1:1")
            credential = Credential("REAL", Secret("planted-real-secret"), KeyType.HMAC)
            service.keys.import_key("main", slot=Slot.TRADE, credential=credential, facts=GOOD)
            service.grants.create_consumer("bot")
        one = Place(home, vault, server, folder / "log")
        one.start_broker()
        try:
            yield one
        finally:
            if one.broker is not None and one.broker.poll() is None:
                one.broker.send_signal(signal.SIGTERM)
                one.broker.wait(30)


def act(here: Place, answered: Answered, dice: random.Random, over: threading.Event) -> None:
    """Do one thing after the other until the kill has come, and note what was answered."""
    with suppress(httpx.HTTPError, AssertionError), here.client() as client:
        while not over.is_set():
            match dice.choice(("grant", "cut", "thaw")):
                case "grant":
                    body = {"consumer": "bot", "account": "main", "policy": POLICY}
                    made = client.post("/v1/grants", json=body)
                    if made.status_code == 201:
                        answered.secrets[made.json()["id"]] = made.json()["secret"]
                case "cut":
                    made = client.post("/v1/cuts", json=_cut("a test"))
                    if made.status_code == 201:
                        answered.closed.add(made.json()["id"])
                case _:
                    open_cuts = sorted(answered.closed - answered.thawed - answered.unsure)
                    if open_cuts:
                        answered.unsure.add(open_cuts[0])
                        body = {"cut": open_cuts[0], "reason": "a test"}
                        if client.post("/v1/thaws", json=body).status_code == 200:
                            answered.thawed.add(open_cuts[0])


def check(here: Place, answered: Answered) -> None:
    """Look at both stores: everything that was answered is so, and nothing is there that nobody knows."""
    with opened(here.home) as service:
        service.desk.clock = Tomorrow()
        service.mirror.merge()
        service.secrets.tidy()
        grants = {}
        after = ""
        while True:
            page = service.grants.list(after=after, limit=500)
            grants |= {one.id: one for one in page.items}
            if page.next is None:
                break
            after = page.next
        for grant, secret in answered.secrets.items():
            path = grants[grant].secret_path
            assert path is not None
            assert service.desk.secrets.read(path)["secret"].reveal() == secret, "a virtual key was lost"
        (key,) = [one for one in service.keys.list() if one.stage is Stage.CURRENT]
        assert service.desk.secrets.read(key.path)["secret"].reveal() == "planted-real-secret", (
            "a key was lost"
        )
        if len(grants) < 100:
            assert living(service) - on_record(service) == set(), "a secret without a record"
        with service.desk.database.read() as connection:
            gate = rows.gates(connection)["consumer:bot"]
        for cut in answered.closed - answered.unsure:
            assert gate.closers[cut] is Mode.CLOSED, "a gate was forgotten"
            assert service.desk.secrets.mirror.read(cut) is not None
        assert not answered.thawed & set(gate.closers), "a thaw that was answered was undone"
        assert read_verified(service.desk.database).bad == []


def test_kills_at_random_points_lose_nothing_that_was_answered(tmp_path: Path) -> None:
    dice = random.Random(SEED)  # noqa: S311 - seeded, so that it can be repeated
    answered = Answered()
    with place(tmp_path) as here:
        for number in range(ROUNDS):
            victim = (
                ("broker", "postgres", "vault")[number % 3]
                if not LONG
                else dice.choice(("broker", "postgres", "vault"))
            )
            over = threading.Event()
            own = random.Random(dice.random())  # noqa: S311 - the same
            worker = threading.Thread(target=act, args=(here, answered, own, over))
            worker.start()
            time.sleep(dice.uniform(0.0, 0.6))  # the random point itself
            here.kill(victim)
            over.set()
            worker.join(60)
            assert not worker.is_alive()
            here.mend(victim)
            check(here, answered)
            print(f"round {number}: {victim} killed, {len(answered.closed)} cuts")  # noqa: T201 - shown on failure
    assert len(answered.secrets) > ROUNDS / 2, "enough was done to be worth a test"
    assert answered.closed
