"""`python -m bench.rotations`: what rotating 1 and 100 accounts takes, and what the bots notice of it.

Everything is real and on loopback: `portcullis run` with its gateway and rotator, the paper exchange, and between them
a relay that makes a round trip last 100 ms. Bots ask all the while; the same bots are measured for as long just before,
without a rotation, so the two columns are of one run.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.report import PAGE, machine
from broker.db import managers as manager_store
from broker.service import Service
from broker.service.rotations import Rotation
from clients.paper.exchange import MASTER
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyFacts, KeyType, Slot
from clients.venues.binance.endpoints import ENDPOINTS
from clients.venues.binance.weights import A_MINUTE
from portcullis import paper_process
from portcullis.foundation import found
from portcullis.paper_process import PaperAdmin, admin_token_file
from portcullis.run import Options, running_broker
from portcullis.settings import Home
from tests.gateway.world import Bot

RTT_S = 0.1
BEGIN, END = "<!-- rotations: begin -->", "<!-- rotations: end -->"
POLICY = 'allow = ["market", "account", "trade"]\nsymbols = ["BTCUSDT"]\n[order]\nmax_notional = "1000"\n'
_BOTS = 10
_PAUSE_S = 1.0
"""Ten bots stay within the weight that the venue grants one address in a minute."""
_OF_BOTS = "/api/v3/openOrders"
_MS = 1000
_WELL = 200


class _Late(asyncio.Protocol):
    """One side of a relay that holds every byte back for half a round trip."""

    def __init__(self, upstream: int | None, other: "_Late | None" = None) -> None:
        self._upstream, self.other = upstream, other
        self.transport: asyncio.Transport | None = None
        self._held: list[bytes] = []
        self._opening: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self.other is None:
            self._opening = asyncio.ensure_future(self._open())

    async def _open(self) -> None:
        _, self.other = await asyncio.get_running_loop().create_connection(
            lambda: _Late(None, self), "127.0.0.1", self._upstream
        )
        for data in self._held:
            self.other.pass_on(data)

    def pass_on(self, data: bytes) -> None:
        """Write, unless the connection is gone."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        asyncio.get_running_loop().call_later(RTT_S / 2, self._now, data)

    def _now(self, data: bytes) -> None:
        if self.other is None:
            self._held.append(data)
        else:
            self.other.pass_on(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        del exc
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


@dataclass(slots=True)
class Seen:
    """What the bots saw in one stretch of time: latencies in milliseconds."""

    took: list[float] = field(default_factory=list)
    bad: list[int] = field(default_factory=list)

    def at(self, share: float) -> float:
        """Return the latency that this share of requests stayed under."""
        return sorted(self.took)[min(len(self.took) - 1, int(len(self.took) * share))]


@dataclass(frozen=True, slots=True)
class Result:
    """One size."""

    accounts: int
    total_s: float
    one_s: tuple[float, float]
    calls: Mapping[str, int]
    minute: Mapping[str, int]
    weight: int
    before: Seen
    during: Seen


async def measure(accounts: int, quiet_s: float) -> Result:
    """Rotate so many accounts at once."""
    with tempfile.TemporaryDirectory() as directory:
        async with AsyncExitStack() as stack:
            home = found(Path(directory) / "home", Environment.PAPER, "solo", api_port=0, gateway_port=0).home
            paper = await paper_process.start(home)
            stack.push_async_callback(paper.end)
            relay = await asyncio.get_running_loop().create_server(lambda: _Late(paper.port), "127.0.0.1", 0)
            stack.callback(relay.close)
            base = f"http://127.0.0.1:{relay.sockets[0].getsockname()[1]}"
            admin = PaperAdmin(
                f"http://127.0.0.1:{paper.port}", admin_token_file(home).read_text(encoding="ascii").strip()
            )
            stack.push_async_callback(admin.close)
            broker = await stack.enter_async_context(running_broker(home, Options(paper_upstream=base)))
            bots = await _set_up(home, broker.service, admin, base, accounts, broker.gateway.port)
            for bot in bots:
                assert (await bot.call("GET", _OF_BOTS, symbol="BTCUSDT")).status == _WELL
            before = Seen()
            async with _asking(bots, before):
                await asyncio.sleep(quiet_s)
            since = (await admin._ask("GET", "requests"))["next"]  # noqa: SLF001 - its log of requests
            during, began = Seen(), time.monotonic()
            async with _asking(bots, during):
                ones = await _rotate(broker.service, accounts)
            total_s = time.monotonic() - began
            rows = (await admin._ask("GET", f"requests?since={since}"))["requests"]  # noqa: SLF001 - as above
    calls, minute = _counted(rows)
    return Result(accounts, total_s, (min(ones), max(ones)), calls, minute, _weighed(rows), before, during)


async def _set_up(
    home: Home, service: Service, admin: PaperAdmin, base: str, accounts: int, port: int
) -> list[Bot]:
    del home
    service.accounts.create_egress("out", addresses=("127.0.0.1",))
    safe = KeyFacts(True, True, False, False, True, "")
    key_id, secret = await admin.make_key(MASTER, label="bench", ips=("127.0.0.1",))
    manager = Credential(key_id, Secret(secret), KeyType.HMAC)
    draft = service.managers.draft("master", venue="binance", egress="out", upstream=base, key=manager)
    service.managers.take(draft, manager, safe)
    bots = []
    for number in range(accounts):
        name, email = f"a{number:03d}", f"a{number:03d}@paper.test"
        opened = await admin.open_account(email, {"USDT": "1000"})
        service.accounts.create(name, venue="binance", egress="out", upstream=base)
        key_id, secret = await admin.make_key(email, label="first", ips=("127.0.0.1",))
        facts = KeyFacts(True, True, False, False, True, str(opened["uid"]))
        service.keys.import_key(
            name, slot=Slot.TRADE, credential=Credential(key_id, Secret(secret), KeyType.HMAC), facts=facts
        )
        with service.desk.database.write() as connection:
            manager_store.assign(connection, name, "master", email)
        if number < _BOTS:
            service.grants.create_consumer(f"bot-{number}")
            made = service.grants.create(consumer=f"bot-{number}", account=name, policy=POLICY)
            assert made.secret is not None
            bots.append(Bot(port, made.grant.key_id, made.secret.reveal()))
    return bots


@asynccontextmanager
async def _asking(bots: list[Bot], seen: Seen) -> AsyncIterator[None]:
    """Have every bot ask, one request after the other."""
    over = asyncio.Event()

    async def ask(bot: Bot) -> None:
        while not over.is_set():
            began = time.monotonic()
            status = (await bot.call("GET", _OF_BOTS, symbol="BTCUSDT")).status
            seen.took.append((time.monotonic() - began) * _MS)
            if status != _WELL:
                seen.bad.append(status)
            await asyncio.sleep(_PAUSE_S)

    tasks = [asyncio.create_task(ask(bot)) for bot in bots]
    try:
        yield
    finally:
        over.set()
        await asyncio.gather(*tasks)


async def _rotate(service: Service, accounts: int) -> list[float]:
    """Ask for all rotations at once; return how long each took."""
    asked = [
        (await asyncio.to_thread(service.rotations.start, f"a{number:03d}", Slot.TRADE)).rotation
        for number in range(accounts)
    ]
    while True:
        await asyncio.sleep(0.25)
        rows = await asyncio.to_thread(_all, service)
        if all(name in rows and rows[name].ended_at is not None for name in asked):
            break
    odd = {name: rows[name] for name in asked if rows[name].state != "done"}
    assert not odd, odd
    ended = [(rows[name].ended_at, rows[name].created_at) for name in asked]
    return [(end - created).total_seconds() for end, created in ended if end is not None]


def _all(service: Service) -> dict[str, Rotation]:
    found, after = dict[str, Rotation](), ""
    while True:
        page = service.rotations.list(after=after, limit=200)
        found |= {one.id: one for one in page.items}
        if page.next is None:
            return found
        after = page.next


def _counted(rows: list[dict[str, object]]) -> tuple[dict[str, int], dict[str, int]]:
    """Count the manager key's calls by kind: in all, and in the busiest minute."""
    times: dict[str, list[int]] = {}
    for row in rows:
        path = str(row["path"]).split("?", 1)[0]
        if "sub-account" not in path:
            continue
        kind = f"{row['method']} {path.removeprefix('/sapi/')}"
        times.setdefault(kind, []).append(int(str(row["at_us"])))
    busiest = {
        kind: max(sum(at <= other < at + 60_000_000 for other in all_) for at in all_)
        for kind, all_ in times.items()
    }
    return {kind: len(all_) for kind, all_ in times.items()}, busiest


def _weighed(rows: list[dict[str, object]]) -> int:
    """Return the weight on `/api` that was not the bots', in the clock's busiest minute."""
    minutes: Counter[int] = Counter()
    for row in rows:
        path = str(row["path"]).split("?", 1)[0]
        if path.startswith("/api/") and path != _OF_BOTS:
            found = ENDPOINTS.get((str(row["method"]), path))
            minutes[int(str(row["at_us"])) // 60_000_000] += 0 if found is None else found.weight
    return max(minutes.values(), default=0)


def page(results: list[Result]) -> str:
    """Write the figures down."""
    lines = [
        machine() + ".", "",
        "| | " + " | ".join(f"{one.accounts} account{'s' if one.accounts > 1 else ''}" for one in results) + " |",
        "|---|" + "---|" * len(results),
        "| all rotations, old keys proven dead | " + " | ".join(f"{one.total_s:.1f} s" for one in results) + " |",
        "| one rotation, shortest to longest | "
        + " | ".join(f"{one.one_s[0]:.1f} to {one.one_s[1]:.1f} s" for one in results) + " |",
    ]  # fmt: skip
    for kind in sorted({kind for one in results for kind in one.calls}):
        cells = [f"{one.calls.get(kind, 0)}; {one.minute.get(kind, 0)} of 60" for one in results]
        lines.append(f"| `{kind}`: in all; busiest minute | " + " | ".join(cells) + " |")
    cells = [f"{one.weight} of {A_MINUTE}" for one in results]
    lines.append("| weight on `/api` beside the bots', busiest minute | " + " | ".join(cells) + " |")
    for name, share in (("median", 0.5), ("99 of 100", 0.99), ("highest", 1.0)):
        cells = [
            f"{one.during.at(share):.0f} / {one.before.at(share):.0f} ms = "
            f"**{one.during.at(share) / one.before.at(share):.2f}**"
            for one in results
        ]
        lines.append(f"| bots' latency, {name}: during / before | " + " | ".join(cells) + " |")
    cells = [f"{len(one.during.took)} / {len(one.before.took)}" for one in results]
    lines.append("| bots' requests: during / before | " + " | ".join(cells) + " |")
    cells = [f"{len(one.during.bad)} / {len(one.before.bad)}" for one in results]
    lines.append("| of them not answered 200 | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Measure, print, and with `--write` put the figures into docs/measurements.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.rotations", description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--accounts", default="1,100")
    given = parser.parse_args()
    results = [
        asyncio.run(measure(int(count), quiet_s=60.0 if int(count) > 1 else 20.0))
        for count in given.accounts.split(",")
    ]
    text = page(results)
    sys.stdout.write(text + "\n")
    if given.write:
        whole = PAGE.read_text(encoding="utf-8")
        head, _, rest = whole.partition(BEGIN)
        _, _, tail = rest.partition(END)
        PAGE.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
