"""The page of figures: tables in Markdown, goals beside what was reached, and the machine it was reached on."""

import importlib.metadata
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench.cut import Cuts
from bench.rounds import Measured, spread

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
PAGE = Path(__file__).resolve().parent.parent / "docs" / "measurements.md"
_NAMES = {
    "direct": "direct, real key at the bot",
    "tcp-relay": "bare TCP relay (uvloop)",
    "portcullis": "**Portcullis gateway**",
    "haproxy": "HAProxy, `hmac` converter",
    "mitmproxy": "mitmproxy, re-signing addon",
}


def machine() -> str:
    """Describe this machine in a line."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return (
        f"{cpu}, {os.cpu_count()} cores shared by load, system under test and upstream; {pages:.0f} GB; "
        f"Linux {platform.release().split('-')[0]}; Python {platform.python_version()}"
    )


def versions(measured: Measured) -> str:
    """List the versions that matter."""
    own = [f"{name} {importlib.metadata.version(name)}" for name in ("uvloop", "httptools", "cryptography")]
    return ", ".join(own + [f"{name} {version}" for name, version in measured.versions.items() if version])


def _goal(name: str, reached: float, limit: float, unit: str, digits: int, *, above: bool = False) -> str:
    good = reached > limit if above else reached < limit
    sign = "over" if above else "under"
    return (
        f"| {name} | {sign} {limit:,.{digits}f} {unit} | {reached:,.{digits}f} {unit} "
        f"| {'reached' if good else '**missed**'} |"
    )


def goals(measured: Measured, cuts: Cuts | None) -> list[str]:
    """Put the goals of the project beside the medians."""
    rows = ["| Goal | | Median | |", "|---|---|---|---|"]
    runs = measured.runs
    if runs["portcullis", 1] and runs["direct", 1]:
        for part, limit in (("p50", 0.18), ("p99", 0.35)):
            reached = median(measured.added("portcullis", 1, part)) / 1000
            rows.append(_goal(f"added {part}, 1 connection", reached, limit, "ms", 2))
    if crowd := runs["portcullis", 16]:
        rows.append(_goal("CPU a request, 16 connections", median(run.cpu for run in crowd), 70, "us", 0))
        rate = median(run.per_second for run in crowd)
        rows.append(_goal("requests a second, 16 connections", rate, 14_000, "/s", 0, above=True))
    if "portcullis" in measured.idle_mb:
        rows.append(_goal("resident, idle after start", measured.idle_mb["portcullis"], 32, "MB", 1))
        most = max(
            run.resident_mb for (name, _), found in runs.items() if name == "portcullis" for run in found
        )
        rows.append(_goal("resident, the most after any run", most, 32, "MB", 1))
    if cuts is not None:
        few, many = sorted(cuts.acknowledged)
        ratio = median(cuts.acknowledged[many]) / median(cuts.acknowledged[few])
        rows.append(_goal(f"cut with {many:,} grants : with {few}", ratio, 1.5, "", 2))
    return rows


def table(measured: Measured, connections: int) -> list[str]:
    """Write the figures of one number of connections."""
    rows = [
        f"### {connections} connection{'s' if connections > 1 else ''}",
        "",
        "| System | p50 us | p90 us | p99 us | added p50 us | added p99 us | requests/s | CPU us each | resident MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, label in _NAMES.items():
        runs = measured.runs.get((name, connections))
        if not runs:
            continue
        own = name == "direct"
        cells = [
            label,
            *(spread([getattr(run, part) for run in runs]) for part in ("p50", "p90", "p99")),
            *("-" if own else spread(measured.added(name, connections, part)) for part in ("p50", "p99")),
            spread([run.per_second for run in runs]),
            "-" if own else spread([run.cpu for run in runs]),
            "-" if own else spread([run.resident_mb for run in runs], 1),
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return [*rows, ""]


def cut_table(cuts: Cuts) -> list[str]:
    """Write the figures of cuts."""
    rows = ["### A cut", "", "| Grants | committed, ms | acknowledged by the gateway, ms |", "|---|---|---|"]
    for size, times in cuts.committed.items():
        rows.append(f"| {size:,} | {spread(times, 1)} | {spread(cuts.acknowledged[size], 1)} |")
    return [*rows, ""]


def page(measured: Measured, cuts: Cuts | None, command: str, load: str) -> str:
    """Write everything between the markers."""
    lines = [
        f"- Machine: {machine()}",
        f"- Date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC; command: `{command}`; load average at the start: {load}",
        f"- Versions: {versions(measured)}",
        "- Medians of the rounds, ranges in brackets; `added` is a system less `direct` in the same round.",
        *(f"- Left out: {name}: {why}" for name, why in measured.left_out.items()),
        "",
        *goals(measured, cuts),
        "",
    ]
    for connections in sorted({number for _, number in measured.runs}):
        lines += table(measured, connections)
    if cuts is not None:
        lines += cut_table(cuts)
    return "\n".join(lines)


def write(text: str) -> None:
    """Put the figures into the page, between its markers.

    Raises:
        ValueError: The page has lost its markers.
    """
    old = PAGE.read_text(encoding="utf-8")
    if BEGIN not in old or END not in old:
        raise ValueError(f"{PAGE.name} has lost the markers {BEGIN} and {END}")
    before, after = old.partition(BEGIN)[0], old.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
