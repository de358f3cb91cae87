"""Runs drivers in the environments of the bot libraries."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.setup import in_ci, python

Drive = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def drive() -> Drive:
    """Run one driver with a configuration; return what it printed."""

    async def run(environment: str, script: str, **config: Any) -> dict[str, Any]:
        interpreter = python(environment)
        if interpreter is None:
            text = f"the environment {environment!r} of tests/setup.py is missing: run python -m tests.setup"
            if in_ci():
                pytest.fail(text)
            pytest.skip(text)
        child = await asyncio.create_subprocess_exec(
            str(interpreter),
            str(Path(__file__).parent / script),
            json.dumps(config),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"NO_PROXY": "127.0.0.1", "PATH": "/usr/bin:/bin"},
        )
        out, err = await child.communicate()
        assert child.returncode == 0, err.decode()[-3000:]
        found: dict[str, Any] = json.loads(out.decode().strip().splitlines()[-1])
        return found

    return run
