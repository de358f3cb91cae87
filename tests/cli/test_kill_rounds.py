"""Broker, PostgreSQL or Vault is killed (-9) at random points, again and again; nothing that was answered is lost.

A bot trades all the while, and is cut off and thawed. In the end the exchange's own record, the gateways' logs and what
people were told are held to the laws of histories.
"""

import asyncio
import json
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
from tests.cli.started import GONE_S, is_gone, wait_until
from tests.gateway.world import POLICY, Bot
from tests.history import laws
from tests.history.events import History
from tests.history.processes import left_behind, told
from tests.history.watching import now_us
from tests.long import LONG
from tests.services import binaries
from tests.services.postgres.server import PASSWORD, PostgresServer, postgres
from tests.services.vault.server import VaultServer, raft_vault

ROUNDS = int(os.environ.get("PORTCULLIS_ROUNDS", "200" if LONG else "6"))
SEED = int(os.environ.get("PORTCULLIS_SEED", "4"))
GOOD = KeyFacts(True, True, False, False, True, "1")
EMAIL = "main@paper.test"
RICH = POLICY.replace('"10000"', '"1000000000"')

pytestmark = [pytest.mark.process, pytest.mark.timeout(600 + 60 * ROUNDS)]


class Tomorrow(SystemClock):
    """Late enough that what nobody recorded is nobody's work any more."""

    def now_us(self) -> int:
        return super().now_us() + SETTLED_US + 1


@dataclass
class Answered:
    """What was answered with a success, and therefore must be so."""

    secrets: dict[str, str] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    blinks: list[str] = field(default_factory=list)
    """Cuts of the bot that trades, which are to be thawed."""
    thawed: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)


@dataclass
class Exchange:
    """A paper exchange, a process of its own, that nobody kills."""

    base: str
    state: Path
    process: "subprocess.Popen[str]"
    token: str

    def ask(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = httpx.request(method, f"{self.base}/paper/{path}", json=body, headers=headers, timeout=60)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def end(self) -> None:
        """End it in order: all that it noted is in its state file then."""
        if self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(GONE_S) == 0


@contextmanager
def exchange(folder: Path) -> Iterator[Exchange]:
    token, state = folder / "paper.token", folder / "paper.json"
    token.write_text("a token of the paper exchange in tests")
    with subprocess.Popen(
        [sys.executable, "-m", "clients.paper", "--admin-token-file", str(token), "--state", str(state)],
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        one = Exchange(f"http://127.0.0.1:{port}", state, process, token.read_text())
        try:
            yield one
        finally:
            one.end()


@dataclass
class Place:
    """Three processes that can be killed."""

    home: Home
    vault: VaultServer
    postgres: PostgresServer
    log: Path
    exchange: Exchange
    real: str
    bot: Bot
    broker: "subprocess.Popen[bytes] | None" = None

    def start_broker(self) -> None:
        with self.log.open("a") as log:
            self.broker = subprocess.Popen(
                [
                    *(sys.executable, "-X", "faulthandler", "-m", "portcullis.run"),
                    *("--home", str(self.home.root), "--paper-upstream", self.exchange.base),
                ],
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
            main = self.broker.pid
            children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
            self.broker.kill()
            self.broker.wait()
            wait_until(lambda: all(is_gone(int(one)) for one in children), "its children end with it")
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
        return httpx.Client(base_url=running.api, headers={"Authorization": f"Bearer {token}"}, timeout=60)


def _cut(why: str, consumer: str = "bot") -> dict[str, Any]:
    return {"targets": [f"consumer:{consumer}"], "mode": "closed", "reason": why}


@contextmanager
def place(folder: Path) -> Iterator[Place]:
    binaries.need("vault")
    (folder / "vault").mkdir()
    with raft_vault(folder / "vault") as vault, postgres() as server, exchange(folder) as paper:
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
            service.accounts.create("main", venue="binance", upstream=paper.base)
            paper.ask("POST", "accounts", {"email": EMAIL, "balances": {"USDT": "1000000", "BTC": "100"}})
            flags = {"reading": True, "spot": True}
            made = paper.ask("POST", "keys", {"account": EMAIL, "flags": flags, "ips": ["127.0.0.1"]})
            credential = Credential(made["key_id"], Secret(made["secret"]), KeyType.HMAC)
            service.keys.import_key("main", slot=Slot.TRADE, credential=credential, facts=GOOD)
            for consumer in ("bot", "trader"):
                service.grants.create_consumer(consumer)
            issued = service.grants.create(consumer="trader", account="main", policy=RICH)
        assert issued.secret is not None
        bot = Bot(0, issued.grant.key_id, issued.secret.reveal())
        one = Place(home, vault, server, folder / "log", paper, made["secret"], bot)
        one.start_broker()
        try:
            yield one
        finally:
            if one.broker is not None and one.broker.poll() is None:
                one.broker.send_signal(signal.SIGTERM)
                one.broker.wait(GONE_S)


def act(
    here: Place, answered: Answered, dice: random.Random, begun: threading.Event, over: threading.Event
) -> None:
    """Do one thing after the other until the kill has come, and note what was answered; `begun` once each kind was tried."""
    kinds = ("grant", "cut", "thaw", "blink")
    first = dice.sample(kinds, len(kinds))
    with suppress(httpx.HTTPError, AssertionError), here.client() as client:
        while not over.is_set():
            match first.pop() if first else dice.choice(kinds):
                case "blink":
                    blink(here, client, answered)
                case "grant":
                    body = {"consumer": "bot", "account": "main", "policy": POLICY}
                    made = client.post("/v1/grants", json=body)
                    if made.status_code == 201:
                        answered.secrets[made.json()["id"]] = made.json()["secret"]
                case "cut":
                    made = client.post("/v1/cuts", json=_cut("a test"))
                    if made.status_code == 201:
                        answered.closed.add(made.json()["id"])
                        told(here.home.root).cut(made.json())
                case _:
                    open_cuts = sorted(answered.closed - answered.thawed - answered.unsure)
                    if open_cuts:
                        answered.unsure.add(open_cuts[0])
                        body = {"cut": open_cuts[0], "reason": "a test"}
                        told(here.home.root).thaw(open_cuts[0], now_us())
                        done = client.post("/v1/thaws", json=body)
                        if (
                            done.status_code == 200 and not done.json()["notes"]
                        ):  # else it is said what may undo it
                            answered.thawed.add(open_cuts[0])
            if not first:
                begun.set()


def blink(here: Place, client: httpx.Client, answered: Answered) -> None:
    """Cut the bot that trades, and thaw every cut of it that is left."""
    heard = told(here.home.root)
    made = client.post("/v1/cuts", json=_cut("a test", "trader"))
    if made.status_code == 201:
        heard.cut(made.json())
        answered.blinks.append(made.json()["id"])
    for cut in tuple(answered.blinks):
        heard.thaw(cut, now_us())
        done = client.post("/v1/thaws", json={"cut": cut, "reason": "a test"})
        if done.status_code in {200, 409}:  # thawed before: that answer was lost
            answered.blinks.remove(cut)


def trade(here: Place, over: threading.Event) -> None:
    """Buy and sell without pause, whatever comes back."""
    while not over.wait(0.01):
        running = find(here.home)
        if running is None or not running.gateway_port:
            continue
        here.bot.port = running.gateway_port
        for side in ("BUY", "SELL"):
            with suppress(Exception):  # it is killed under us
                asyncio.run(asyncio.wait_for(here.bot.order(side, quantity="0.0001"), 5))


def looked_back(here: Place, answered: Answered) -> History:
    """Tell the whole history, once the broker and the exchange have ended."""
    assert here.broker is not None
    with here.client() as client:
        wait_until(lambda: _in_force(here, client), "a cut is in force at the gateway")
        blink(here, client, answered)
    here.broker.send_signal(signal.SIGTERM)
    here.broker.wait(GONE_S)
    here.exchange.end()
    history = left_behind(here.home.root, here.exchange.state)
    assert laws.broken(history) == []
    return history


def _in_force(here: Place, client: httpx.Client) -> bool:
    """Cut the bot once more; tell whether anybody was told that it is in force everywhere."""
    made = client.post("/v1/cuts", json=_cut("a test"))
    if made.status_code == 201:
        told(here.home.root).cut(made.json())
    return bool(told(here.home.root).in_force)


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
        assert service.desk.secrets.read(key.path)["secret"].reveal() == here.real, "a key was lost"
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
            begun, over = threading.Event(), threading.Event()
            own = random.Random(dice.random())  # noqa: S311 - the same
            worker = threading.Thread(target=act, args=(here, answered, own, begun, over))
            trader = threading.Thread(target=trade, args=(here, over))
            worker.start()
            trader.start()
            assert begun.wait(GONE_S), "nothing was answered"
            time.sleep(dice.uniform(0.0, 0.6))  # the random point itself
            here.kill(victim)
            over.set()
            for thread in (worker, trader):
                thread.join(GONE_S)
                assert not thread.is_alive()
            here.mend(victim)
            check(here, answered)
            print(f"round {number}: {victim} killed, {len(answered.closed)} cuts")  # noqa: T201 - shown on failure
        history = looked_back(here, answered)
    print(  # noqa: T201 - for whoever writes the figures down
        f"{len(history.executed)} orders executed, {len(history.written)} requests signed, {len(history.in_force)} cuts in force"
    )
    assert len(answered.secrets) > ROUNDS / 2, "enough was done to be worth a test"
    assert answered.closed
    assert history.executed
    assert history.in_force
