"""Nobody reads what the processes say: a terminal that is stopped, a full disk. Bots leave, cuts are made all the same."""

import asyncio
import io
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portcullis import log_writer
from portcullis.log_writer import LONGEST, MOST_WAITING, LogWriter, take_over
from tests.cli.started import GONE_S, READY_S, Demo, children_of, cli, cli_json, start_demo
from tests.gateway.world import Bot

STOP, GO = b"\x13", b"\x11"


def test_who_says_something_to_a_reader_that_stands_still_goes_on_and_what_is_lost_is_counted() -> None:
    reads, writes = os.pipe()
    writer, said = LogWriter(writes), MOST_WAITING + 500
    for at in range(said):
        writer.write(f"{at:06} {'x' * 500}\n")
        writer.flush()
    assert not writer.finish(0.01), "nobody reads"
    found = bytearray()

    def read() -> None:
        while b"the end\n" not in found:
            found.extend(os.read(reads, 65536))

    reading = threading.Thread(target=read)
    reading.start()
    assert writer.finish(GONE_S)
    writer.write("the end\n")
    reading.join(GONE_S)
    lines = bytes(found).decode().splitlines()
    missing = sum(int(line.split()[0]) for line in lines if "are missing here" in line)
    told = [int(line.split()[0]) for line in lines if "xxx" in line]
    assert told == list(range(len(told))), "in order, the first of them"
    assert (len(told) + missing, missing > 0) == (said, True)


def test_what_cannot_be_written_is_an_error_to_nobody_and_no_text_is_too_long() -> None:
    with Path("/dev/full").open("w") as full:
        writer = LogWriter(full.fileno())
        writer.write("a line\n")
        assert writer.finish(GONE_S)
    reads, writes = os.pipe()
    writer = LogWriter(writes, "latin-1", "replace")
    writer.write("\u20ac" * (2 * LONGEST))
    assert writer.finish(GONE_S)
    assert os.read(reads, 4 * LONGEST) == b"?" * LONGEST + b" ...\n"
    os.close(reads)
    writer.write("nobody reads any more\n")
    assert writer.finish(GONE_S)


def test_on_a_host_without_threads_a_text_is_tried_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none)
        reads, writes = os.pipe()
        writer = LogWriter(writes)
    writer.write("a line\n")
    assert os.read(reads, 100) == b"a line\n"
    assert writer.finish(0)


def test_what_somebody_put_in_place_of_stderr_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = io.StringIO()
    monkeypatch.setattr(log_writer.sys, "stderr", theirs)
    assert take_over("stderr") is theirs


@contextmanager
def unread(how: str) -> Iterator[int]:
    """Give a descriptor that a program may write to, and nobody takes what it writes."""
    if how == "full":
        with Path("/dev/full").open("w") as full:
            yield full.fileno()
        return
    master, slave = pty.openpty()
    os.write(master, STOP)
    try:
        yield slave
    finally:
        os.write(master, GO)
        os.close(slave)
        os.close(master)


def running(home: Path, but: int | None = None) -> dict[str, Any]:
    """Return what a home says of who runs it; the gateway is another one than `but`."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        with suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads((home / "run.json").read_text())
            if found["gateway_pid"] != but:
                return found
        time.sleep(0.05)  # look again
    raise AssertionError("it did not get there")


def words(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


async def floods(bot: Bot) -> None:
    answers = await asyncio.gather(*(bot.order("SELL") for _ in range(200)))
    assert {answer.status for answer in answers} <= {400, 503}, answers


@pytest.mark.parametrize("how", ["stopped", "full"])
def test_the_gateway_comes_back_exits_pass_and_a_cut_is_made(tmp_path: Path, how: str) -> None:
    """Old code: nobody started the gateway again; on the terminal broker and gateway stood still with their first line."""
    home = tmp_path / "home"
    demo = start_demo(home, tmp_path / "errors")
    key = demo.said
    assert demo.order().status == 200
    demo.stop()
    assert demo.process.stdout is not None
    demo.process.stdout.close()
    (home / "run.json").unlink(missing_ok=True)
    with unread(how) as nowhere:
        process = subprocess.Popen(
            [sys.executable, "-m", "portcullis", "--home", str(home), "run", "--port", "0"],
            stdin=subprocess.DEVNULL, stdout=nowhere, stderr=nowhere, start_new_session=True,
        )  # fmt: skip
        try:
            before = running(home)
            os.kill(before["gateway_pid"], signal.SIGKILL)
            now = running(home, before["gateway_pid"])
            bot = Demo(
                process,
                {**key, "gateway": f"http://127.0.0.1:{now['gateway_port']}", "home": str(home)},
                tmp_path / "errors",
            )  # type: ignore[arg-type]
            assert bot.order("SELL").status == 200
            stranger = replace(
                bot.bot, secret="0" * 64
            )  # who knows the id of a key writes a line of the gateway's log
            asyncio.run(floods(stranger))
            assert bot.order("SELL").status == 200
            (rotator,) = [pid for pid in children_of(process.pid) if "portcullis.rotator" in words(pid)]
            os.kill(rotator, signal.SIGKILL)
            cut = cli_json(home, "cut", "--everything", "--reason", "a test")
            assert cut["in_force_at"] == ["local"], cut
            assert bot.order("SELL").reason == "cut"
            assert cli(home, "thaw", cut["id"], "--reason", "a test").returncode == 0
            assert bot.order("SELL").status == 200
        finally:
            process.terminate()
            try:
                process.wait(GONE_S)
            finally:
                process.kill()
