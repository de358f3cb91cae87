"""`python -m bench.flood`: cuts beside a bot that sends orders without pause on 64 connections.

Everything is real and on loopback: `portcullis run` with its gateway and rotator, a venue that answers at once, and
the flood and whoever cuts in processes of their own. Each cut is made by the API as the command line makes it,
answered, and thawed.

in force       from the request until every gateway had acknowledged it
committed      from the request to the commit of the cut's transaction
answered       from the request to its answer
nothing after  no order was let through between the answer and the thaw, by the gateway's own log; and of the cuts that
               stayed for a second the venue itself took no order in the second half of it
"""

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bench.bot import REAL
from bench.broker import POLICY
from bench.processes import Process, start_module
from bench.report import PAGE, machine
from broker.service import Service
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyFacts, KeyType, Slot
from portcullis.foundation import found, opened
from portcullis.rehearsal import settle
from portcullis.run import Broker, Options, running_broker

BEGIN, END = "<!-- flood: begin -->", "<!-- flood: end -->"
_GRANTS = 4
_TRADES_S = 60.0
_MADE = 201
_ANSWERED_S = 90.0
_MS = 1000
_PAGE = 500


@dataclass(slots=True)
class Result:
    """What cuts took, in milliseconds, and what went wrong."""

    in_force: list[float] = field(default_factory=list)
    committed: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    flying: list[int] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    through: int = 0
    late: list[int] = field(default_factory=list)
    """How many orders the venue took in the second half of a long cut, for each."""
    orders: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class _Shut:
    """A time in which nothing may be let through: microseconds since the epoch."""

    since_us: int
    until_us: int


async def measure(cuts: int, connections: int, *, others: int = 0) -> Result:
    """Cut so often beside a flood of so many connections; `others` are reads of the API that go on meanwhile."""
    result = Result()
    with tempfile.TemporaryDirectory(prefix="portcullis-flood-") as directory:
        async with AsyncExitStack() as stack:
            upstream = await start_module("bench.upstream")
            stack.push_async_callback(upstream.end)
            base = f"http://127.0.0.1:{(await upstream.document())['port']}"
            home = found(Path(directory) / "home", Environment.PAPER, "solo", api_port=0, gateway_port=0).home
            with opened(home) as service:
                keys = _set_up(service, base)
            broker = await stack.enter_async_context(running_broker(home, Options(paper_upstream=base)))
            stack.callback(gc.set_threshold, *gc.get_threshold())
            stack.callback(gc.unfreeze)
            settle()  # as `portcullis run` does once it is ready
            flood = await start_module("bench.flooding")
            stack.push_async_callback(flood.end)
            flood.write({"port": broker.gateway.port, "connections": connections, "keys": keys})
            await flood.document()
            api = await stack.enter_async_context(
                httpx.AsyncClient(
                    base_url=f"http://127.0.0.1:{broker.api.port}/v1",
                    headers={"Authorization": f"Bearer {home.operator_token.read_text().strip()}"},
                    timeout=20,
                )
            )
            reading = [asyncio.create_task(_read(api)) for _ in range(others)]
            cutting = await start_module("bench.cutting")
            stack.push_async_callback(cutting.end)
            token = home.operator_token.read_text().strip()
            began = time.monotonic()
            cutting.write({"api": broker.api.port, "token": token, "venue": base, "cuts": cuts})
            shut = await _cut(broker, cutting, cuts, result)
            result.seconds = time.monotonic() - began
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)
            await flood.end()
            await _logged(broker)
            result.through = await asyncio.to_thread(_let_through, broker.service, shut)
    return result


def _set_up(service: Service, base: str) -> list[tuple[str, str]]:
    service.accounts.create("main", venue="binance", upstream=base)
    service.keys.import_key(
        "main",
        slot=Slot.TRADE,
        credential=Credential(REAL.key_id, Secret(REAL.secret), KeyType.HMAC),
        facts=KeyFacts(True, True, False, False, True, "1"),
    )
    service.grants.create_consumer("bot")
    keys = []
    for _ in range(_GRANTS):
        made = service.grants.create(consumer="bot", account="main", policy=POLICY)
        assert made.secret is not None
        keys.append((made.grant.key_id, made.secret.reveal()))
    return keys


async def _cut(broker: Broker, cutting: Process, cuts: int, result: Result) -> list[_Shut]:
    """Take in what became of each cut; when it was closed and committed is seen here, by its id."""
    shut: list[_Shut] = []
    closed, done = dict[str, float](), dict[str, float]()
    closing = broker.service.cuts.closing
    real = closing.begin

    def begin(**more: Any) -> Any:
        at = time.perf_counter()
        made = real(**more)
        closed[made.noted.id] = at
        made.settled.add_done_callback(lambda _: done.__setitem__(made.noted.id, time.perf_counter()))
        return made

    closing.begin = begin  # type: ignore[method-assign] # told when it was closed, and when it was committed
    for number in range(cuts):
        said = await cutting.document(_ANSWERED_S)
        document = said["document"]
        if said["status"] != _MADE:
            result.failed[f"cut: {said['status']} {document.get('reason')}"] += 1
            continue
        if document["gateways"]["missing"] or document["gateways"]["acknowledged"] != 1:
            result.failed["cut: not acknowledged"] += 1
        if not document["on_record"]:
            result.failed["cut: not committed"] += 1
        name, began = document["id"], said["began"]
        result.committed.append((done[name] - began) * _MS)
        result.in_force.append((closed[name] - began) * _MS + document["gateways"]["after_ms"])
        result.answered.append((said["answered"] - began) * _MS)
        flying = document.get("on_their_way") or {}
        result.flying.append(flying.get("requests", 0))
        shut.append(_Shut(*said["shut_us"]))
        result.late += [said["late"]] if "late" in said else []
        if "thaw" in said:
            result.failed[f"thaw: {said['thaw']}"] += 1
        if (number + 1) % 50 == 0:
            print(f"{number + 1} cuts, {dict(result.failed) or 'all well'}", file=sys.stderr, flush=True)
    result.orders = (await cutting.document(_ANSWERED_S))["orders"]
    return shut


async def _read(api: httpx.AsyncClient) -> None:
    while True:
        await api.get("/calls", params={"limit": 500})


async def _logged(broker: Broker) -> None:
    """Wait until the broker has every line that the gateway wrote."""
    async with asyncio.timeout(_TRADES_S):
        quiet = 0
        while quiet < 10:
            waiting = [
                link.health.spool_lines for link in broker.authority.changes.links.values() if link.health
            ]
            quiet = quiet + 1 if not any(waiting) else 0
            await asyncio.sleep(0.25)


def _let_through(service: Service, shut: list[_Shut]) -> int:
    """Count the orders that the gateway let through while it was shut."""
    count, windows, after = 0, list(reversed(shut)), ""
    while windows:
        page = service.calls.list(after=after, limit=_PAGE)
        for call in page.items:
            at_us = round(call.at.timestamp() * 1_000_000)
            while windows and at_us < windows[0].since_us:
                windows.pop(0)
            if windows and windows[0].since_us <= at_us <= windows[0].until_us and call.decision != "deny":
                count += 1
        if page.next is None:
            break
        after = page.next
    return count


def at(values: Sequence[float], share: float) -> float:
    """Return what this share of values stayed under."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def _three(values: Sequence[float]) -> str:
    return f"{at(values, 0.5):.1f} / {at(values, 0.99):.1f} / {max(values):.1f} ms"


def text(result: Result, cuts: int, connections: int, command: str) -> str:
    """Return the table of one run."""
    committed = result.committed
    rows = [
        f"{machine()}. Command: `{command}`.",
        "",
        f"| {cuts:,} cuts beside {connections} connections, {result.orders / result.seconds:,.0f} orders/s | |",
        "|---|---|",
        f"| made and thawed | {len(committed):,}; failed: {dict(result.failed) or 'none'} |",
        f"| in force at the gateway: p50 / p99 / highest | {_three(result.in_force)} |",
        f"| committed: p50 / p99 / highest | {_three(committed)} |",
        f"| answered: p50 / p99 / highest | {_three(result.answered)} |",
        f"| let through between answer and thaw, by the gateway's log | {result.through} |",
        f"| taken by the venue in the second half of {len(result.late)} cuts of a second | {sum(result.late)} |",
        f"| on their way when it closed: median / highest | {at(result.flying, 0.5):.0f} / {max(result.flying)} |",
    ]
    return "\n".join(rows)


def main() -> int:
    """Measure and print; with `--write` replace the figures of docs/measurements.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.flood", description=__doc__)
    parser.add_argument("--cuts", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument(
        "--readers", type=int, default=0, help="readers of the call log by the API, beside it"
    )
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    result = asyncio.run(measure(given.cuts, given.connections, others=given.readers))
    page = text(result, given.cuts, given.connections, " ".join(["python -m bench.flood", *sys.argv[1:]]))
    print(page)
    if given.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{page}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    return 0 if not (result.failed or result.through or sum(result.late)) else 1


if __name__ == "__main__":
    sys.exit(main())
