"""Makes a kept home with the code of an earlier commit: `python -m tests.homes.make COMMIT`, in a clone with its history.

The earlier program runs as it was; this one only types, trades and kills. What the home goes through: a bot trades, its
account's key is rotated, a second bot is cut off, a backup is made; then the broker stands still while the first bot asks
on, and everything is killed: what it asked is in the spool alone. All of it is paper.
"""

import asyncio
import io
import json
import os
import select
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cli.started import children_of
from tests.gateway.world import Bot

HERE = Path(__file__).parent
LEFT_OUT = frozenset({"run.json", "state.reserve", "run.lock", "kek.lock"})
POLICY = """allow = ["market", "account", "trade"]
symbols = ["BTCUSDT"]
reference_asset = "USDT"
[order]
max_notional = "1000"
[day]
max_notional = "5000"
"""
RESTING = {"type": "LIMIT", "timeInForce": "GTC", "price": "48000", "quantity": "0.001"}
_PATIENCE_S = 240.0


class Old:
    """The program of an earlier commit, on a home."""

    def __init__(self, tree: Path, home: Path) -> None:
        self.home = home
        self._environment = os.environ | {"PYTHONPATH": str(tree), "COLUMNS": "100"}
        self._tree, self._python = tree, str(tree / ".venv" / "bin" / "python")
        with_its_own = ["uv", "sync", "--frozen", "--all-extras", "--quiet"]
        subprocess.run(
            with_its_own, check=True, cwd=tree, env=os.environ | {"UV_PROJECT_ENVIRONMENT": ".venv"}
        )
        self._process = subprocess.Popen(
            [self._python, "-m", "portcullis", "demo", "--json", "--home", str(home), "--port", "0"],
            stdout=subprocess.PIPE, text=True, env=self._environment, cwd=tree,
        )  # fmt: skip
        assert self._process.stdout is not None
        select.select([self._process.stdout], [], [], _PATIENCE_S)
        self.said: dict[str, Any] = json.loads(self._process.stdout.readline())

    def __call__(self, *words: str, stdin: str = "") -> dict[str, Any]:
        """Type a command; return its answer."""
        done = subprocess.run(
            [self._python, "-m", "portcullis", "--home", str(self.home), *words, "--json"], input=stdin,
            capture_output=True, text=True, env=self._environment, cwd=self._tree, check=False, timeout=_PATIENCE_S,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{words}: {done.stdout}{done.stderr}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def bot(self, key_id: str, secret: str) -> Bot:
        return Bot(int(self.said["gateway"].rsplit(":", 1)[1]), key_id, secret)

    def stand_still(self) -> None:
        """Stop the broker alone: its gateway serves on by the leases that it has."""
        self._process.send_signal(signal.SIGSTOP)

    def killed(self) -> None:
        for pid in (*children_of(self._process.pid), self._process.pid):
            os.kill(pid, signal.SIGKILL)
        self._process.wait()


async def lived(old: Old) -> dict[str, Any]:
    """Let a home go through what kept homes go through, and kill it; return what a test has to know."""
    said = old.said
    bot = old.bot(said["key_id"], said["secret"])
    await _until(lambda: bot.order(newClientOrderId="before-1"), "the bot trades")
    rotated = old("rotation", "start", "--account", said["account"], "--wait")
    assert rotated["state"] == "done", rotated
    policy = old.home.parent / "policy.toml"
    policy.write_text(POLICY)
    old("consumer", "create", "--name", "cut-bot")
    other = old(
        "grant", "create", "--consumer", "cut-bot", "--account", said["account"], "--policy", str(policy)
    )
    key_id = other.get("key_id") or other["grant"]["key_id"]
    cut_bot = old.bot(key_id, other["secret"])
    await _until(lambda: cut_bot.order(newClientOrderId="before-2"), "the second bot trades")
    resting = await bot.order(newClientOrderId="resting-1", **RESTING)
    assert resting.status == 200, resting
    cut = old("cut", "--consumer", "cut-bot", "--reason", "leaked")
    code = old("backup", "code")
    old("backup", "create", "--to", str(old.home.parent / "backup"))
    await asyncio.sleep(3)  # the paper exchange writes its state down
    old.stand_still()
    for number in range(3):
        answer = await bot.order(newClientOrderId=f"spool-{number}", **RESTING)
        assert answer.status == 200, answer
    await asyncio.sleep(3)
    old.killed()
    return {
        "account": said["account"], "key_id": said["key_id"], "secret": said["secret"], "grant": said["grant"],
        "cut_key_id": key_id, "cut_secret": other["secret"], "cut": cut.get("id") or cut["cut"]["id"],
        "code": code, "orders": ["before-1", "resting-1"], "spool": [f"spool-{number}" for number in range(3)],
    }  # fmt: skip


async def _until(order: Callable[[], Any], what: str) -> None:
    ends_s = time.monotonic() + _PATIENCE_S
    while (answer := await order()).status != 200:
        if time.monotonic() > ends_s:
            raise RuntimeError(f"it never came about that {what}: {answer}")
        await asyncio.sleep(0.5)


def packed(home: Path, known: dict[str, Any], to: Path) -> None:
    """Put a home, its backup and what a test has to know into one file."""
    with tarfile.open(to, "w:xz", preset=9) as archive:

        def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            return (
                None if Path(entry.name).name in LEFT_OUT or not (entry.isreg() or entry.isdir()) else entry
            )

        archive.add(home, "home", filter=plain)
        archive.add(home.parent / "backup", "backup", filter=plain)
        text = json.dumps(known, indent=1).encode()
        about = tarfile.TarInfo("known.json")
        about.size = len(text)
        archive.addfile(about, io.BytesIO(text))


def main(commit: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        whole = subprocess.run(["git", "archive", commit], check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
            archive.extractall(tree)  # noqa: S202 - what git packs of our own
        old = Old(tree, Path(folder) / "home")
        try:
            known = asyncio.run(lived(old))
        except BaseException:
            old.killed()
            raise
        to = HERE / f"home-{commit}.tar.xz"
        packed(old.home, {"commit": commit, **known}, to)
        sys.stdout.write(f"{to.name}: {to.stat().st_size} bytes\n")


if __name__ == "__main__":
    main(sys.argv[1])
