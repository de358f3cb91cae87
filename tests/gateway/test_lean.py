"""The gateway process imports none of what a sidecar must not carry."""

import json
import subprocess
import sys
from pathlib import Path

FORBIDDEN = (
    "fastapi", "starlette", "uvicorn", "sqlalchemy", "alembic", "hvac", "pydantic", "httpx", "aiohttp", "typer",
    "rich", "structlog", "keyring", "broker.db", "broker.stores", "broker.api", "broker.service",
)  # fmt: skip


def test_a_gateway_process_stays_lean() -> None:
    code = "import json, sys, portcullis.gateway; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
        text=True,
    )
    loaded = json.loads(done.stdout)
    assert [name for name in loaded if name.startswith(FORBIDDEN)] == []
    assert "broker.gateway.forward" in loaded
