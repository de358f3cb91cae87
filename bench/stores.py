"""`python -m bench.stores`: what keys, leases, the call log and the audit trail cost on each pair of stores.

Everything is real and on loopback: Vault, PostgreSQL with fsync, SQLite with synchronous=FULL. Within a round all are
measured one after another, every second round in reverse.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import hvac

from bench.report import PAGE, machine
from bench.rounds import spread
from broker.authority import LeaseAuthority
from broker.authority.link import Link
from broker.calllog import Ask, write_line
from broker.db import grants as grant_store
from broker.db.database import Database
from broker.link import frames
from broker.link.channel import memory_pair
from broker.model import Grant, moment, new_id
from broker.service import Service
from broker.service.service import found_home, open_service
from broker.stores.embedded import key as keys
from broker.stores.embedded.store import EmbeddedStore
from broker.stores.vault.config import TokenAuth, VaultConfig
from broker.stores.vault.session import Session
from broker.stores.vault.values import VaultStore
from broker.virtual_key import new_key_id
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyFacts, KeyType, Slot
from portcullis.clock import SystemClock
from portcullis.foundation import found, opened
from portcullis.running import find
from portcullis.settings import Home
from tests.places import NAMED, database_at
from tests.services.postgres.server import postgres
from tests.services.vault.server import dev_vault

BEGIN, END = "<!-- stores: begin -->", "<!-- stores: end -->"
POLICY = 'allow = ["market", "trade"]\nsymbols = ["BTCUSDT"]\n[order]\nmax_notional = "1000"\n'
SAFE = KeyFacts(True, True, False, False, True, "1")
GRANTS = 10_000
_BATCH = 100


@dataclass(slots=True)
class Pair:
    """A database and a secret store, with a service over them."""

    name: str
    database: Database
    service: Service
    authority: LeaseAuthority
    link: Link
    asked: int = 0
    seq: int = 0
    issued: list[str] = field(default_factory=list)

    def issue(self) -> None:
        """Give out a virtual key."""
        self.issued.append(
            self.service.grants.create(consumer="bot", account="main", policy=POLICY).grant.key_id
        )

    def lease(self) -> None:
        """Open a lease as a gateway that holds the real key already does: judged, verifier read, granted."""
        self.asked += 1
        frame = frames.OpenLease(self.asked, self.issued[self.asked % len(self.issued)])
        opening = self.authority.leases.judge(self.link, frame)
        assert not isinstance(opening, frames.LeaseRefused), opening
        secrets = self.authority.leases.secrets(self.link, opening)
        assert isinstance(
            self.authority.leases.grant(self.link, frame, opening, secrets), frames.LeaseGranted
        )

    def ingest(self) -> None:
        """Keep a hundred lines of the call log, and seal them at once, which is done once a minute otherwise."""
        lines = []
        for _ in range(_BATCH):
            self.seq += 1
            lines.append(write_line(_ask(self.seq)))
        self.service.calls.ingest("local", "boot", lines)
        self.service.call_seal.seal(at_once=True)

    def record(self) -> None:
        """Add one record to the audit trail."""
        with self.database.write() as connection:
            self.service.audit.record(connection, "bench", "nothing", {"number": self.seq})


def _ask(seq: int) -> Ask:
    return Ask(
        seq, time.time_ns() // 1000, "grt_1", "bot", "main", "main/trade/1", "POST", "spot.order.new", "place",
        "BTCUSDT", "BUY", "600", (f"c{seq}",), None, "deny", None, 0, (), "127.0.0.1", False,
    )  # fmt: skip


@contextmanager
def pairs(folder: Path) -> Iterator[tuple[list[Pair], Callable[[], None], Callable[[], None]]]:
    """Start everything; yield the pairs, and Vault's own token create + KV read, and KV read alone."""
    with ExitStack() as stack:
        (folder / "vault").mkdir()
        vault = stack.enter_context(dev_vault(folder / "vault"))
        server = stack.enter_context(postgres())
        client = vault.client()
        client.sys.enable_secrets_engine("kv", path="bench", options={"version": "2"})
        client.secrets.kv.v2.create_or_update_secret("key", secret={"secret": "x"}, mount_point="bench")
        token = folder / "token"
        token.write_text(vault.root)
        token.chmod(0o600)
        found_: list[Pair] = []
        for database, store in (
            ("SQLite", "embedded"),
            ("PostgreSQL", "embedded"),
            ("SQLite", "Vault"),
            ("PostgreSQL", "Vault"),
        ):
            here = folder / f"{database}-{store}"
            here.mkdir()
            if database == "PostgreSQL":
                (here / NAMED).write_text(server.database(here.name.lower()))
            mount = here.name.lower()
            client.sys.enable_secrets_engine("kv", path=mount, options={"version": "2"})
            secrets = (
                EmbeddedStore(here / "secrets.db", keys.fresh())
                if store == "embedded"
                else VaultStore(Session(VaultConfig((vault.address,), TokenAuth(token), mount)))
            )
            found_.append(_pair(f"{database}, {store}", database_at(here), secrets))
            stack.callback(found_[-1].authority.close)

        def both() -> None:
            client.auth.token.create(policies=["default"], ttl="15s")
            _read(client)

        yield found_, both, lambda: _read(client)


def _read(client: hvac.Client) -> None:
    client.secrets.kv.v2.read_secret_version("key", mount_point="bench", raise_on_deleted_version=True)


def _pair(name: str, database: Database, secrets: EmbeddedStore | VaultStore) -> Pair:
    database.upgrade()
    found_home(database, Environment.PAPER, "solo")
    service = open_service(database, secrets, SystemClock())
    service.mirror.merge()
    service.accounts.create("main", venue="binance", upstream="http://127.0.0.1:1")
    credential = Credential("REAL", Secret("planted"), KeyType.HMAC)
    key = service.keys.import_key("main", slot=Slot.TRADE, credential=credential, facts=SAFE)
    service.grants.create_consumer("bot")
    authority = LeaseAuthority(service)
    asyncio.run(authority.beat())
    link = Link(memory_pair()[0], "local", "boot")
    link.keys.add(str(key.ref))
    return Pair(name, database, service, authority, link)


def each_ms(work: Callable[[], None], times: int) -> float:
    """Return how long one takes, in milliseconds."""
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) * 1000 / times


def measure(folder: Path, rounds: int, times: int) -> dict[str, dict[str, list[float]]]:
    """Measure everything in rounds; milliseconds by row and system."""
    rows: dict[str, dict[str, list[float]]] = {}

    def note(row: str, system: str, work: Callable[[], None], many: int) -> None:
        rows.setdefault(row, {}).setdefault(system, []).append(each_ms(work, many))

    with pairs(folder) as (found_, both, read):
        for number in range(rounds):
            for one in found_ if number % 2 == 0 else found_[::-1]:
                asyncio.run(one.authority.beat())  # leases are granted on gates that were just read
                note("virtual key issued", one.name, one.issue, times)
                note("lease opened", one.name, one.lease, times)
                note(f"{_BATCH} calls kept", one.name, one.ingest, max(1, times // 5))
                note("audit record", one.name, one.record, times)
            note("virtual key issued", "Vault: token create + KV read", both, times)
            note("lease opened", "Vault: KV read", read, times)
    return rows


@dataclass(frozen=True, slots=True)
class Start:
    """A start with many grants: seconds until it serves, and resident MB by process."""

    seconds: float
    resident_mb: dict[str, float]


def start(folder: Path, grants: int) -> Start:
    """Start a real `run` over a home with so many grants."""
    home = found(folder, Environment.PAPER, "solo", api_port=0, gateway_port=0).home
    _fill(home, grants)
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "portcullis.run", "--home", str(home.root)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while (running := find(home)) is None:
            if process.poll() is not None or time.perf_counter() - began > 60:
                raise RuntimeError("it did not start")
            time.sleep(0.01)
        seconds = time.perf_counter() - began
        resident = {"broker": _resident_mb(process.pid), "gateway": _resident_mb(running.gateway_pid)}
    finally:
        process.terminate()
        process.wait(30)
    return Start(seconds, resident)


def _fill(home: Home, grants: int) -> None:
    with opened(home) as service:
        service.accounts.create("main", venue="binance", upstream="http://127.0.0.1:1")
        service.grants.create_consumer("bot")
        now_us = service.desk.clock.now_us()
        with service.desk.database.write() as connection:
            for _ in range(grants):
                grant = Grant(
                    new_id("grt"),
                    "bot",
                    "main",
                    new_key_id(),
                    KeyType.ED25519,
                    POLICY,
                    1,
                    moment(now_us),
                    "none",
                )
                grant_store.add_grant(connection, grant, now_us)


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def page(rows: dict[str, dict[str, list[float]]], starts: dict[int, list[Start]], command: str) -> str:
    """Write the tables."""
    lines = [
        f"- Machine: {machine()}",
        f"- Date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC; command: `{command}`",
        "- Milliseconds each, medians of the rounds, ranges in brackets; a ratio is to Vault's own in the same run.",
        "",
        "| What | System | ms | ratio |",
        "|---|---|---|---|",
    ]
    for row, systems in rows.items():
        base = next((median(times) for name, times in systems.items() if name.startswith("Vault: ")), None)
        for name, times in systems.items():
            ratio = "" if base is None else f"{median(times) / base:.2f}"
            lines.append(f"| {row} | {name} | {spread(times, 2)} | {ratio} |")
    lines += ["", "| Grants | start until it serves, s | broker, MB | gateway, MB |", "|---|---|---|---|"]
    for grants, found_ in starts.items():
        cells = [spread([one.seconds for one in found_], 2)]
        cells += [spread([one.resident_mb[name] for one in found_], 1) for name in ("broker", "gateway")]
        lines.append(f"| {grants:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Measure and print; with `--write` put the figures into docs/measurements.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.stores", description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--times", type=int, default=40, help="how often each is done in a round")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="portcullis-bench-") as name:
        folder = Path(name)
        rows = measure(folder, arguments.rounds, arguments.times)
        starts: dict[int, list[Start]] = {}
        for number in range(min(3, arguments.rounds)):
            for grants in (1, GRANTS):
                starts.setdefault(grants, []).append(start(folder / f"home-{grants}-{number}", grants))
    text = page(rows, starts, " ".join(["python -m bench.stores", *sys.argv[1:]]))
    print(text)
    if arguments.write:
        old = PAGE.read_text(encoding="utf-8")
        before, after = old.partition(BEGIN)[0], old.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
