"""Rotations as operators start, watch and steer them: real processes, real wires, from the first start to kill -9."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.started import Demo, children_of, cli, cli_json, is_gone, kill, running_demo, wait_until

pytestmark = pytest.mark.process
DELETES = {"method": "DELETE", "path": "/sapi/v1/sub-account/subAccountApi"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    directory = tmp_path_factory.mktemp("rotation")
    with running_demo(directory / "home", directory / "errors.log") as demo:
        yield demo


@asynccontextmanager
async def trading(demo: Demo) -> AsyncIterator[Callable[[], list[int]]]:
    """Trade all the while."""
    found: list[int] = []
    over = asyncio.Event()

    async def trade() -> None:
        while not over.is_set():
            status = (await demo.bot.call("GET", "/api/v3/openOrders", symbol="BTCUSDT")).status
            if found or status != 503:  # on a busy machine its lease may take a moment
                found.append(status)
            await asyncio.sleep(0.1)  # 3,600 of the 6,000 weight that a minute has, however long it takes

    task = asyncio.create_task(trade())
    try:
        yield lambda: found
    finally:
        over.set()
        await task


def living(demo: Demo) -> list[str]:
    return [
        key["key_id"]
        for key in demo.paper("GET", "keys")
        if key["account"] == "demo@paper.test" and not key["deleted"]
    ]


def rotator_of(demo: Demo) -> int:
    (found,) = [
        pid
        for pid in children_of(demo.process.pid)
        if b"portcullis.rotator" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return found


async def test_one_command_rotates_while_a_bot_trades(demo: Demo) -> None:
    (before,) = living(demo)
    async with trading(demo) as answers:
        await asyncio.to_thread(wait_until, lambda: bool(answers()), "the bot traded")
        done: Any = await asyncio.to_thread(
            cli_json, demo.home, "rotation", "start", "--account", "demo", "--wait"
        )
        count = len(answers())
        await asyncio.to_thread(wait_until, lambda: len(answers()) > count + 3, "it traded on")
    assert done["state"] == "done", done
    assert [step["state"] for step in done["steps"]] == [
        "planned", "preparing", "creating", "verifying", "canary", "cutting-over", "draining", "retiring-old",
        "done",
    ]  # fmt: skip
    assert all(step["seconds"] >= 0 for step in done["steps"][:-1])
    assert done["total_s"] > 0
    assert set(answers()) == {200}
    (after,) = living(demo)
    assert before != after
    assert [ask["outcome"] for ask in done["asks"]] == [""]


def test_a_second_one_meanwhile_is_refused_and_changes_nothing(demo: Demo) -> None:
    busy = {
        "do": "error",
        "status": 429,
        "code": -1003,
        "retry_after": "1",
        "match": DELETES,
        "times": 100_000,
    }
    demo.paper("POST", "faults", busy)
    begun = cli_json(demo.home, "rotation", "start", "--account", "demo")
    refused = cli_json(demo.home, "rotation", "start", "--account", "demo", code=1)
    assert refused["error"]["reason"] == "rotating"
    demo.paper("DELETE", "faults")  # until then the first is not over, however slow this machine is
    assert cli(demo.home, "rotation", "watch", begun["id"]).returncode == 0
    assert len(living(demo)) == 1


def test_what_cannot_be_done_where_it_stands_says_where_it_stands(demo: Demo) -> None:
    over = cli_json(demo.home, "rotation", "list")["items"][0]["id"]
    for command in (["pause", over], ["resume", over], ["rollback", over, "--reason", "why not"]):
        refused = cli_json(demo.home, "rotation", *command, code=1)
        assert refused["error"]["reason"] == "over"
        assert "it is done already" in refused["error"]["what"]
    assert cli_json(demo.home, "rotation", "pause", "rot_nope", code=1)["error"]["reason"] == "no_rotation"
    unknown = cli_json(demo.home, "rotation", "start", "--account", "nobody", code=1)
    assert unknown["error"]["reason"] == "no_account"


async def test_a_rotator_that_is_killed_is_started_again_and_goes_on(demo: Demo) -> None:
    demo.paper(
        "POST", "faults", {"do": "lose-reply", "match": {"method": "POST", "path": "/sapi/v2/sub-account"}}
    )
    async with trading(demo) as answers:
        begun = await asyncio.to_thread(cli_json, demo.home, "rotation", "start", "--account", "demo")
        victim = rotator_of(demo)
        kill(victim)
        await asyncio.to_thread(wait_until, lambda: is_gone(victim), "the rotator died")
        found = await asyncio.to_thread(cli, demo.home, "rotation", "watch", begun["id"], "--json")
        said = json.loads(found.stdout)
    assert said["state"] in {"done", "abandoned"}, said
    assert len(living(demo)) == 1
    assert set(answers()) == {200}
    assert rotator_of(demo) != victim


def test_the_schedule_shows_the_next_date_in_every_shape(demo: Demo, tmp_path: Path) -> None:
    wait_until(
        lambda: bool(cli_json(demo.home, "schedule", "show")["items"]), "the rotator worked out a date"
    )
    (row,) = cli_json(demo.home, "schedule", "show")["items"]
    assert (row["account"], row["slot"], row["interval_days"], row["paused"]) == ("demo", "trade", 90, False)
    assert "demo" in cli(demo.home, "schedule", "show").stdout
    file = tmp_path / "keys.ics"
    assert cli(demo.home, "schedule", "show", "--ical", str(file)).returncode == 0
    text = file.read_text()
    assert "UID:demo-trade@portcullis" in text
    assert f"DTSTART:{row['next_at'][:10].replace('-', '')}" in text


def test_a_schedule_is_changed_and_what_cannot_be_one_is_refused(demo: Demo) -> None:
    changed = cli_json(
        demo.home, "schedule", "set", "demo", "--interval", "30d", "--window", "Sat 02:00-04:00"
    )
    assert (changed["interval_days"], changed["windows"]) == (30, "Sat 02:00-04:00")

    def moved() -> bool:
        (row,) = cli_json(demo.home, "schedule", "show")["items"]
        return "maintenance window" in row["why"]

    wait_until(moved, "the rotator worked the new date out")
    bad = cli_json(demo.home, "schedule", "set", "demo", "--window", "Sat 2-4", code=1)
    assert bad["error"]["errors"][0]["field"] == "--window"
    assert cli_json(demo.home, "schedule", "set", "demo", "--interval", "soon", code=1)
    assert cli_json(demo.home, "schedule", "set", "demo", code=1)["error"]["what"].startswith("Nothing to")
    assert cli_json(demo.home, "schedule", "set", "demo", "--slot", "read", "--pause", code=1)
