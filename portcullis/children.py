"""Child processes: started by exec, ready when they print one line of JSON, ended with us.

Rules:
1. A child that does not get ready in time is ended, and said to have failed with what it printed to stderr.
2. SIGTERM first; SIGKILL only after `PATIENCE_S`: requests in flight may finish.
3. A child gets no variable of our environment that could hold a secret, and no file but those named.
4. A child imports nothing from the directory that we were started in: whoever may write there would run as we do. Nor
   does it from what a relative or empty part of PYTHONPATH names (`broker.passed_on`).
"""

import asyncio
import ctypes
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from broker.passed_on import passed_on

_PR_SET_PDEATHSIG = 1
SAFE = ("-P",)
"""For rule 4: without it `-m` puts the current directory before everything else (Python 3.11 manual, 1.1.3)."""
READY_S = 40.0
PATIENCE_S = 12.0
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "TZ", "SSL_CERT_FILE")


class ChildFailed(Exception):
    """A child did not get ready. The message says which, and where its own words are."""


def why(fault: Exception) -> str:
    """Return what may be said of a failed start: our own words and the system's, of anything else its type only."""
    return str(fault) if isinstance(fault, (ChildFailed, OSError)) else type(fault).__name__


@dataclass(slots=True)
class Child:
    """A running child and what it said when it got ready."""

    name: str
    process: asyncio.subprocess.Process
    said: dict[str, Any]

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.said["port"])

    async def ended(self) -> int:
        """Wait for its end; return its exit code."""
        return await self.process.wait()

    async def end(self) -> None:
        """End it: kindly, then not. Ending an ended child is nothing."""
        await _end(self.process)


def environment() -> dict[str, str]:
    """Return the variables a child gets."""
    return passed_on(_PASSED_ON) | {"PYTHONUNBUFFERED": "1"}


def end_with_parent() -> None:
    """Ask the kernel to end this process when the one that started it does (Linux)."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)


async def start(name: str, module: str, arguments: Sequence[str], *, pass_fds: Sequence[int] = ()) -> Child:
    """Start `python -P -m MODULE ARGUMENTS` and wait until it is ready.

    Its stderr is ours.

    Raises:
        ChildFailed: It ended, said something else, or took longer than `READY_S`.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *SAFE, "-m", module, *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env=environment(),
        pass_fds=tuple(pass_fds),
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(READY_S):
            line = await _first_line(process)
        said = json.loads(line)
        if not isinstance(said, dict):
            raise ValueError(line)  # noqa: TRY004, TRY301 - one way out for everything that is not a ready line
    except TimeoutError:
        await _end(process)
        raise ChildFailed(f"the {name} was not ready within {READY_S:.0f} s; see its words above") from None
    except ValueError:
        await _end(process)
        raise ChildFailed(
            f"the {name} ended before it was ready (code {process.returncode}); see its words above"
        ) from None
    except asyncio.CancelledError:
        await _end(process)
        raise
    return Child(name, process, said)


async def _first_line(process: asyncio.subprocess.Process) -> bytes:
    if process.stdout is None:
        raise RuntimeError("the child was started without a pipe")
    return await process.stdout.readline()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(PATIENCE_S):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
