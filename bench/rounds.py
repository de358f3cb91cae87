"""Rounds: each system once per number of connections, one after another, and again; so that drift hits all alike."""

import json
import secrets
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from urllib.request import urlopen

from bench.processes import Process, cpu_us, resident_mb, start_module
from bench.systems import ALL, LeftOut, System


class WrongRun(Exception):
    """A run whose figures mean nothing: requests were refused, or signatures were wrong."""


@dataclass(frozen=True, slots=True)
class Run:
    """One system, one number of connections, once. Times in microseconds."""

    p50: float
    p90: float
    p99: float
    per_second: float
    cpu: float
    resident_mb: float
    requests: int


@dataclass(slots=True)
class Measured:
    """Everything that was measured: runs by system and connections, one per round."""

    runs: dict[tuple[str, int], list[Run]] = field(default_factory=lambda: defaultdict(list))
    left_out: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    idle_mb: dict[str, float] = field(default_factory=dict)
    gateway_lines: int = 0

    def added(self, system: str, connections: int, part: str) -> list[float]:
        """Return what a system adds to direct calls, round by round."""
        own, bare = self.runs[system, connections], self.runs["direct", connections]
        return [getattr(one, part) - getattr(two, part) for one, two in zip(own, bare, strict=True)]


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Write a median and its range."""
    if not values:
        return "-"
    low, middle, high = (f"{one:,.{digits}f}" for one in (min(values), median(values), max(values)))
    return f"{middle} ({low}-{high})"


async def _once(load: Process, system: System, connections: int, seconds: float) -> Run:
    load.write(
        {
            "port": system.port,
            "connections": connections,
            "warm": 300,
            "seconds": seconds,
            "path": system.path,
            "place": system.place,
            "keys": [[key.key_id, key.secret] for key in system.keys],
            "run": secrets.token_hex(4),
        }
    )
    said = await load.document()
    before = cpu_us(system.pid) if system.pid else 0.0
    if said["event"] == "begin":
        said = await load.document()
    after = cpu_us(system.pid) if system.pid else 0.0
    if said["event"] != "end" or set(said["status"]) != {"200"}:
        raise WrongRun(f"{system.name} at {connections} connections: {json.dumps(said)}")
    requests = said["requests"]
    resident = resident_mb(system.pid) if system.pid else 0.0
    return Run(
        *said["us"], requests / said["seconds"], (after - before) / requests, resident, requests
    )  # fmt: skip


async def measure(names: Sequence[str], levels: Sequence[int], rounds: int, seconds: float) -> Measured:
    """Start everything, run all rounds, end everything.

    Raises:
        WrongRun: Some answer was not what it had to be.
    """
    found, systems = Measured(), []
    upstream = await start_module("bench.upstream")
    port = (await upstream.document())["port"]
    load = await start_module("bench.load")
    with tempfile.TemporaryDirectory(prefix="portcullis-bench-") as place:
        try:
            for name in names:
                try:
                    system = await ALL[name](port, Path(place))
                except LeftOut as why:
                    found.left_out[name] = str(why)
                    print(f"left out: {name}: {why}")
                    continue
                systems.append(system)
                found.versions[name] = system.version
                found.idle_mb[name] = system.idle_mb
            for number in range(rounds):
                for connections in levels:
                    # every second round goes backwards, lest one system always follow the same other
                    for system in systems if number % 2 == 0 else systems[::-1]:
                        run = await _once(load, system, connections, seconds)
                        found.runs[system.name, connections].append(run)
                        print(
                            f"round {number + 1}: {system.name:10} x{connections:<3} p50 {run.p50:7.0f} us, "
                            f"p99 {run.p99:7.0f} us, {run.per_second:8,.0f}/s, cpu {run.cpu:5.0f} us, "
                            f"{run.resident_mb:5.1f} MB",
                            flush=True,
                        )
            _check(port)
            found.gateway_lines = sum(one.broker.lines for one in systems if one.broker is not None)
        finally:
            for system in systems:
                await system.end()
            await load.end()
            await upstream.end()
    return found


def _check(port: int) -> None:
    """Ask the upstream whether what came was signed by the real key."""
    with urlopen(f"http://127.0.0.1:{port}/bench/seen", timeout=5) as answer:
        seen = json.loads(answer.read())
    print(
        f"upstream: {seen['orders']:,} orders, {seen['checked']:,} signatures checked, {seen['wrong']} wrong"
    )
    if seen["wrong"] or not seen["checked"]:
        raise WrongRun("signatures of the real key were wrong")
