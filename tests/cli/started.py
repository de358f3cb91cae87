"""Real Portcullis processes for tests: started, spoken to, ended."""

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.gateway.world import Answer, Bot, served
from tests.history.processes import look_back, told_by_command
from tests.history.watching import now_us

READY_S = 180
GONE_S = 180
"""For how long tests wait for a process: one that starts beside ten others takes ten times as long, and is not broken."""


@dataclass(slots=True)
class Demo:
    """A running `portcullis demo --json`."""

    process: "subprocess.Popen[str]"
    said: dict[str, Any]
    errors: Path
    plays: tuple[str, ...] = ()
    """Words of laws (`tests.history.laws`) that a test breaks on purpose."""

    @property
    def home(self) -> Path:
        return Path(self.said["home"])

    @property
    def bot(self) -> Bot:
        port = int(self.said["gateway"].rsplit(":", 1)[1])
        return Bot(port, self.said["key_id"], self.said["secret"])

    def order(self, side: str = "BUY", quantity: str = "0.001") -> Answer:
        """Place an order; a gateway that has no lease yet, or no price, is asked again."""
        return asyncio.run(served(lambda: self.bot.order(side, quantity)))

    def running(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home / "run.json").read_text())
        return found

    def children(self) -> list[int]:
        return children_of(self.process.pid)

    def paper(self, method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self.said['paper']}/paper/{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.said['paper_admin_token']}"},
            method=method,
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
            return json.loads(answer.read())

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(GONE_S)


def start_demo(home: Path, errors: Path, *, files: int | None = None) -> Demo:
    """Start a demo; with `files` it may open no more than so many."""
    limited = [] if files is None else ["/bin/sh", "-c", f'ulimit -n {files}; exec "$@"', "sh"]
    with errors.open("a") as log:
        process = subprocess.Popen(
            [
                *limited,
                sys.executable,
                "-m",
                "portcullis",
                "demo",
                "--json",
                "--home",
                str(home),
                "--port",
                "0",
            ],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], READY_S)
    line = process.stdout.readline() if ready else ""
    if not line:
        process.kill()
        process.wait()
        raise AssertionError(f"the demo did not start: {errors.read_text()}")
    return Demo(process, json.loads(line), errors)


@contextmanager
def running_demo(home: Path, errors: Path, *, files: int | None = None) -> Iterator[Demo]:
    """Run a demo; what it left behind is held to the laws of histories in the end."""
    demo = start_demo(home, errors, files=files)
    try:
        yield demo
    finally:
        if demo.process.poll() is None:
            demo.stop()
        if demo.process.stdout is not None:
            demo.process.stdout.close()
    look_back(home, demo.plays)


def cli(home: Path, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "portcullis", "--home", str(home), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=READY_S,
        check=False,
        env=os.environ | {"COLUMNS": "100"},
    )


def cli_json(home: Path, *arguments: str, stdin: str = "", code: int = 0) -> Any:
    began_us = now_us()
    done = cli(home, *arguments, "--json", stdin=stdin)
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout.count("\n") == 1, done.stdout
    answer = json.loads(done.stdout)
    if code == 0:
        told_by_command(home, arguments[0], answer, began_us)
    return answer


def cut_off(demo: Demo) -> str:
    """Cut the demo's bot until its gateway is told of as having it in force; return the cut that was acknowledged.

    A gateway on a busy machine may take longer than an answer waits, and is named as missing: that cut is thawed.
    """
    deadline = time.monotonic() + GONE_S
    while True:
        cut = cli_json(demo.home, "cut", "--consumer", demo.said["consumer"], "--reason", "a test")
        assert cut["gateways"]["asked"] == 1
        if cut["gateways"]["acknowledged"] == 1:
            return str(cut["id"])
        assert time.monotonic() < deadline, cut
        cli_json(demo.home, "thaw", cut["id"], "--reason", "a test")


def children_of(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            if parent == pid:
                found.append(int(entry.name))
    return found


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition of another process; give up after a long while."""
    deadline = time.monotonic() + GONE_S
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.02)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
