"""RB-12, walked: a running home whose PostgreSQL fails over and forgets, by the page's own commands in their order."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from clients.venue import Environment
from portcullis.database_settings import DatabaseDocument
from portcullis.foundation import found
from tests.cli import started
from tests.cli.started import Demo, cli, cli_json, running_demo
from tests.docs.test_pages import commands
from tests.services.postgres.server import PASSWORD, PostgresServer, postgres, standby

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

PAGE = Path(__file__).parents[2] / "docs" / "runbooks" / "RB-12-failover.md"
PATIENCE_S = 240.0
STEPS = [
    "portcullis status", "portcullis cuts", "portcullis audit list", "portcullis checkout list",
    "portcullis operator recover --name NAME", "portcullis reconcile",
    'portcullis thaw CUT --reason "compared with the exchanges"', "portcullis db check",
]  # fmt: skip


def home_on(root: Path, *servers: PostgresServer) -> None:
    servers[0].sql("CREATE DATABASE state")
    word = root.parent / "password"
    word.write_text(PASSWORD)
    word.chmod(0o600)
    database = DatabaseDocument.model_validate(
        {"hosts": [f"127.0.0.1:{one.port}" for one in servers], "database": "state", "ssl_mode": "disable",
         "password_file": str(word), "single_node": True}
    )  # fmt: skip
    found(root, Environment.PAPER, "solo", api_port=0, gateway_port=0, database=database)


def until(look: Any, what: str) -> Any:
    end = time.monotonic() + PATIENCE_S
    while not (seen := look()):
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.2)
    return seen


def trades(demo: Demo) -> bool:
    return asyncio.run(demo.bot.order(quantity="0.0001")).status == 200


def reason(demo: Demo) -> str | None:
    return demo.order(quantity="0.0001").reason


def listed(home: Path) -> list[dict[str, Any]]:
    done = cli(home, "cuts", "--json")
    if done.returncode != 0:
        return []
    items: list[dict[str, Any]] = json.loads(done.stdout)["items"]
    return items


def own(cuts: list[dict[str, Any]]) -> str | None:
    return next((one["id"] for one in cuts if "portcullis reconcile" in one["reason"]), None)


def test_the_page_is_walked_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut that only memory knew is listed and holds, the closing is in force, and the page leads out of it."""
    assert commands(PAGE.read_text(encoding="utf-8")) == STEPS
    monkeypatch.setattr(started, "READY_S", 240)
    home = tmp_path / "home"
    with postgres() as primary, standby(primary) as second:
        home_on(home, primary, second)
        with running_demo(home, tmp_path / "errors") as demo:
            until(lambda: trades(demo), "it trades")
            position = primary.sql("SELECT pg_current_wal_lsn()")[0][0]
            asked = f"SELECT pg_last_wal_replay_lsn() >= '{position}'"
            until(lambda: second.sql(asked) == [(True,)], "the standby has heard all")
            second.stop()
            cli_json(home, "consumer", "create", "--name", "other")
            lost = cli_json(home, "cut", "--consumer", "demo-bot", "--reason", "leak")["id"]
            assert reason(demo) == "cut"
            primary.kill()
            second.start()
            second.promote()
            closing = until(lambda: own(listed(home)), "it closes everything")
            assert reason(demo) == "cut"
            _walk(demo, home, closing, lost)


def _walk(demo: Demo, home: Path, closing: str, lost: str) -> None:
    seen = {one["id"]: one for one in listed(home)}
    assert set(seen) == {closing, lost}
    assert "timeline 1 to 2" in seen[closing]["reason"]
    assert "CLOSED" in cli(home, "status").stdout.upper()
    assert "cut.history" in cli(home, "audit", "list").stdout
    assert cli(home, "checkout", "list").returncode == 0
    refused = cli(home, "thaw", closing, "--reason", "in a hurry")
    assert refused.returncode != 0, "not before somebody compared"
    reconciled = cli(home, "reconcile")
    assert reconciled.returncode == 0, reconciled.stdout + reconciled.stderr
    cli_json(home, "thaw", closing, "--reason", "compared with the exchanges")
    assert reason(demo) == "cut", "the cut that was forgotten holds"
    cli_json(home, "thaw", lost, "--reason", "clean")
    until(lambda: trades(demo), "it trades again")
    assert cli(home, "db", "check").returncode in {0, 1}
    cli_json(home, "cut", "--consumer", "demo-bot", "--reason", "leak again")
    assert reason(demo) == "cut", "its epoch lies below those before the failover"
