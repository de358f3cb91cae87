"""Runs drivers in the environments of the bot libraries, and reads what they print."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lacking import lack
from tests.setup import missing, python

Meanwhile = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a driver: what its client saw or raised."""

    name: str
    saw: Any = None
    raised: str | None = None
    kinds: tuple[str, ...] = ()
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def result(self) -> Any:
        """The class of what it raised, otherwise what it saw."""
        return self.saw if self.raised is None else self.raised


@dataclass(frozen=True, slots=True)
class Driver:
    """A script for one library; `ready` says whether its environment is there."""

    environment: str
    script: str

    async def run(self, steps: Sequence[str], *meanwhile: Meanwhile, **config: Any) -> list[Step]:
        """Take steps; at each `wait` of the script, do the next of `meanwhile`."""
        ready(self.environment)
        turns = iter(meanwhile)
        found = []
        async with _child(self.environment, self.script, {"steps": list(steps), **config}) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            assert child.stderr is not None
            said = asyncio.ensure_future(child.stderr.read())
            async for line in child.stdout:
                step = json.loads(line)
                if step["step"] == "wait":
                    await next(turns)()
                    child.stdin.write(b"\n")
                    continue
                kinds = tuple(step.get("kinds", ()))
                found.append(
                    Step(step["step"], step.get("saw"), step.get("raised"), kinds, step.get("said", {}))
                )
            assert await child.wait() == 0, (await said).decode()[-3000:]
        assert [step.name for step in found] == [name for name in steps if name != "wait"]
        return found


def ready(environment: str) -> None:
    """Skip where an environment is missing; in CI that is a failure."""
    if python(environment) is None:
        lack(missing(environment))


@asynccontextmanager
async def _child(
    environment: str, script: str, config: dict[str, Any]
) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        str(python(environment)), str(Path(__file__).parent / script), json.dumps(config),
        stdin=pipe, stdout=pipe, stderr=pipe,
        env={"NO_PROXY": "127.0.0.1", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
