"""Rotators (`killed_rotator`) as processes of their own, each forked from one that has imported everything already.

Importing takes a processor two seconds, a rotation itself a fraction of one; and some tests let four die in turn. The
one that forks has no threads, no database and no secrets, and ends with the tests' process.
"""

import asyncio
import multiprocessing
import os
import sys
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.rotation import killed_rotator

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([killed_rotator.__name__])


@dataclass
class Rotator:
    """One that runs. `said` is what it prints at its end, `trouble` line by line what it says meanwhile."""

    process: ForkServerProcess
    said: asyncio.StreamReader
    trouble: asyncio.StreamReader
    pipes: list[asyncio.BaseTransport] = field(repr=False)

    @property
    def pid(self) -> int:
        pid = self.process.pid
        assert pid is not None
        return pid

    async def ended(self) -> tuple[int, str]:
        """Wait until it is over; return its exit code (-9 where it was killed) and what it said, or its trouble."""
        said, trouble = await asyncio.gather(self.said.read(), self.trouble.read())
        await asyncio.to_thread(self.process.join)
        for pipe in self.pipes:
            pipe.close()
        code = self.process.exitcode
        assert code is not None
        return code, (said or trouble).decode()

    async def kill(self) -> None:
        """End it if it runs still."""
        self.process.kill()
        await self.ended()


async def rotating(directory: Path, death: str) -> Rotator:
    """Start one on a folder; see `killed_rotator`."""
    (said, said_end), (trouble, trouble_end) = _FORKS.Pipe(duplex=False), _FORKS.Pipe(duplex=False)
    process = _FORKS.Process(target=_run, args=(directory, death, said_end, trouble_end), daemon=True)
    await asyncio.to_thread(process.start)
    said_end.close()
    trouble_end.close()
    (one, first), (two, second) = await _reader(said), await _reader(trouble)
    return Rotator(process, one, two, [first, second])


async def _reader(end: Connection) -> tuple[asyncio.StreamReader, asyncio.BaseTransport]:
    reader = asyncio.StreamReader()
    file = os.fdopen(os.dup(end.fileno()), "rb", 0)
    end.close()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), file
    )
    return reader, transport


def _run(directory: Path, death: str, said: Connection, trouble: Connection) -> None:
    for fd, end in ((1, said), (2, trouble)):
        os.dup2(end.fileno(), fd)
        end.close()
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    sys.exit(killed_rotator.main(directory, death))
