"""Homes that earlier versions left, killed in the middle of their work, go on with this one (`tests.homes.make`)."""

import asyncio
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from broker.db import schema
from broker.service.audit import read_verified
from portcullis.foundation import opened
from portcullis.settings import open_home
from tests.cli.started import Demo, cli, cli_json, running_demo, wait_until
from tests.gateway.world import Answer, Bot, served

pytestmark = pytest.mark.process
HOMES = sorted(Path(__file__).parent.glob("home-*.tar.xz"))
SAFELY: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
"""Pythons before 3.11.4 know no other way."""

COMMITS = [path.name.removeprefix("home-").removesuffix(".tar.xz") for path in HOMES]


@dataclass
class Kept:
    """A home of an earlier version that runs with this one. `known` is what is known of it, `calls` its log by then."""

    demo: Demo
    known: dict[str, Any]
    folder: Path

    def bot(self, name: str = "") -> Bot:
        return Bot(self.demo.bot.port, self.known[f"{name}key_id"], self.known[f"{name}secret"])


def unpacked(commit: str, folder: Path) -> dict[str, Any]:
    with tarfile.open(Path(__file__).parent / f"home-{commit}.tar.xz") as archive:
        archive.extractall(folder, **SAFELY)  # noqa: S202 - our own, of this repository
    for path in (folder / "home", *(path for path in (folder / "home").rglob("*") if path.is_dir())):
        path.chmod(0o700)
    known: dict[str, Any] = json.loads((folder / "known.json").read_text())
    return known


@pytest.fixture(scope="module", params=COMMITS)
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    folder = tmp_path_factory.mktemp("kept")
    known = unpacked(request.param, folder)
    knows_where = (folder / "home" / "spool" / "record.mark").exists()
    with running_demo(folder / "home", folder / "errors.log") as demo:
        closed = [one["id"] for one in cuts(demo) if one["targets"] == ["everything"]]
        assert bool(closed) is knows_where, closed
        if closed:  # it knows where it ran last: a copy is closed until somebody has compared
            cli_json(demo.home, "reconcile", "--old-host-off")
            cli_json(demo.home, "thaw", *closed, "--reason", "compared")
        yield Kept(demo, known, folder)


async def cancel(bot: Bot, name: str) -> Answer:
    return await bot.call("DELETE", "/api/v3/order", symbol="BTCUSDT", origClientOrderId=name)


def cuts(demo: Demo) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cli_json(demo.home, "cuts")["items"]
    return found


def test_there_are_homes_of_two_times_and_they_are_small() -> None:
    assert len(HOMES) >= 2
    assert all(path.stat().st_size < 200_000 for path in HOMES)


async def test_the_bot_trades_on_with_the_key_it_has(kept: Kept) -> None:
    assert kept.demo.said["key_id"] == kept.known["key_id"], "no other key was given out"
    bot = kept.bot()
    await bot.ready()
    answer = await served(lambda: bot.order(newClientOrderId="today-1"))
    assert answer.status == 200, answer
    cancelled = await served(lambda: cancel(bot, "resting-1"))
    assert cancelled.status == 200, "what it placed before the upgrade is its own"


async def test_who_was_cut_off_stays_cut_off_until_the_thaw(kept: Kept) -> None:
    assert [one["id"] for one in cuts(kept.demo)] == [kept.known["cut"]]
    answer = await served(kept.bot("cut_").order)
    assert answer.status != 200
    assert answer.reason == "cut", answer


def test_what_only_the_spool_had_is_taken_in_and_who_sent_it_owns_it(kept: Kept) -> None:
    """The gateway was killed with three orders in its spool that no broker had heard of."""

    def calls() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = cli_json(kept.demo.home, "calls", "--limit", "200")["items"]
        return found

    spools = kept.folder / "home" / "spool"
    boots = {path.name.split("-")[1] for path in spools.glob("calls-*")}
    with tarfile.open(Path(__file__).parent / f"home-{kept.known['commit']}.tar.xz") as archive:
        old = {Path(name).name.split("-")[1] for name in archive.getnames() if "/spool/calls-" in name}
    wait_until(
        lambda: not (old & {p.name.split("-")[1] for p in spools.glob("calls-*")}), "its spool was taken in"
    )
    assert boots
    placed = [one for one in calls() if one["action"] == "place" and one["decision"] == "allow"]
    assert len([one for one in placed if one["consumer"] == "demo-bot"]) >= 5

    async def cancelled() -> None:
        for name in kept.known["spool"]:
            answer = await served(lambda name=name: cancel(kept.bot(), name))
            assert answer.status == 200, answer

    asyncio.run(cancelled())


def test_its_past_is_there_and_the_trail_is_as_it_was_written(kept: Kept) -> None:
    rotations = cli_json(kept.demo.home, "rotation", "list")["items"]
    assert "done" in {one["state"] for one in rotations}
    verdict = cli_json(kept.demo.home, "audit", "verify")
    assert verdict["well"], verdict


def test_its_key_is_rotated_by_this_version(kept: Kept) -> None:
    done = cli(kept.demo.home, "rotation", "start", "--account", kept.known["account"], "--wait", "--json")
    said = json.loads(done.stdout)
    if done.returncode != 0:
        assert said["error"]["reason"] == "rotating", said  # it was due: the home is older than ninety days
        (busy, *_) = cli_json(kept.demo.home, "rotation", "list")["items"]
        said = json.loads(cli(kept.demo.home, "rotation", "watch", busy["id"], "--json").stdout)
    assert said["state"] == "done", said
    living = [
        key
        for key in kept.demo.paper("GET", "keys")
        if key["account"] == "demo@paper.test" and not key["deleted"]
    ]
    assert len(living) == 1


@pytest.mark.parametrize("commit", COMMITS)
def test_a_backup_of_then_is_restored_with_its_code_and_starts_closed(tmp_path: Path, commit: str) -> None:
    known = unpacked(commit, tmp_path)
    code = known["code"]["code"]
    root = tmp_path / "restored"
    done = cli(
        root, "restore", str(tmp_path / "backup"), "--gateway-port", "0", "--api-port", "0", stdin=f"{code}\n"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with opened(open_home(root)) as service:
        held = service.cuts.list(open_only=True).items
        assert known["cut"] in {one.id for one in held}, "what was cut off is so still"
        assert [one.scopes for one in held if one.id != known["cut"]] == [("everything",)]
        (grant,) = [one for one in service.grants.list().items if one.key_id == known["key_id"]]
        secret = service.desk.secrets.read(f"virtual/{grant.id}/{grant.key_id}")["secret"]
        assert secret.reveal() == known["secret"], "the bot's key is in it"
        with service.desk.database.read() as connection:
            assert schema.STATE.here(connection) == schema.STATE.head
        assert read_verified(service.desk.database).bad == []
