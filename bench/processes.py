"""Processes of a run: started, read line by line, measured from `/proc`, ended."""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

READY_SECONDS = 60.0
_TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")
ROOT = Path(__file__).resolve().parent.parent


class NotReady(Exception):
    """A process did not start; the text says what it wrote instead."""


class Process:
    """One process whose output is read as lines."""

    def __init__(self, inner: asyncio.subprocess.Process) -> None:
        self._inner = inner
        self.pid = inner.pid

    async def line(self, seconds: float = READY_SECONDS) -> str:
        """Wait for its next line.

        Raises:
            NotReady: It ended, or said nothing for so long.
        """
        assert self._inner.stdout is not None
        try:
            async with asyncio.timeout(seconds):
                line = await self._inner.stdout.readline()
        except TimeoutError:
            raise NotReady("it said nothing in time") from None
        if not line:
            raise NotReady(f"it ended with code {await self._inner.wait()}")
        return line.decode(errors="replace")

    async def document(self, seconds: float = READY_SECONDS) -> dict[str, Any]:
        """Wait for a line of JSON."""
        found: dict[str, Any] = json.loads(await self.line(seconds))
        return found

    def write(self, document: dict[str, Any]) -> None:
        """Send a line of JSON."""
        assert self._inner.stdin is not None
        self._inner.stdin.write(json.dumps(document).encode() + b"\n")

    async def end(self) -> None:
        """End it, and wait until it is gone."""
        if self._inner.returncode is None:
            self._inner.terminate()
            try:
                async with asyncio.timeout(15):
                    await self._inner.wait()
            except TimeoutError:
                self._inner.kill()
                await self._inner.wait()


async def start(
    command: Sequence[str | Path], pass_fds: Sequence[int] = (), *, quiet: bool = False
) -> Process:
    """Start a process; its errors go where ours go, unless it is a noisy one."""
    inner = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL if quiet else None,
        pass_fds=pass_fds,
        cwd=ROOT,
        limit=1 << 20,
    )
    return Process(inner)


async def start_module(name: str, *arguments: str, pass_fds: Sequence[int] = ()) -> Process:
    """Start one of our own modules."""
    return await start([sys.executable, "-m", name, *arguments], pass_fds)


def cpu_us(pid: int) -> float:
    """Return the processor time a process has used, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_US


def resident_mb(pid: int) -> float:
    """Return VmRSS in megabytes (of 1,048,576 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
