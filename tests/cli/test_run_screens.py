"""What starts something and stays: `run`, `demo` and `paper` on a terminal of 80 columns, and on ::1."""

import http.client
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from portcullis.addresses import bindable, in_url, reached_by
from portcullis.cli.app import app
from portcullis.gateway import parse_listen
from portcullis.recipes import Place
from portcullis.running import Running
from tests.cli.started import GONE_S, READY_S, cli_json

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PROGRAM = (sys.executable, "-m", "portcullis")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    root = tmp_path / "home"
    made = [
        "--home",
        str(root),
        "init",
        "--environment",
        "paper",
        "--mode",
        "solo",
        "--api-port",
        "0",
        "--gateway-port",
        "0",
    ]
    assert CliRunner().invoke(app, made).exit_code == 0
    return root


@contextmanager
def on_terminal(*arguments: str) -> Iterator[str]:
    """Start a program on a terminal, give what it shows until it says that it is ready, and end it."""
    child, master = pty.fork()
    if child == 0:
        os.environ.update({"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"})
        os.execv(sys.executable, [*PROGRAM, *arguments])  # noqa: S606 - our own program
    shown, deadline = b"", time.monotonic() + READY_S
    try:
        while b"Ctrl-C" not in shown and b'"port"' not in shown:
            ready, _, _ = select.select([master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, shown.decode("utf-8", "replace")
            try:
                shown += os.read(master, 65536)
            except OSError:
                pytest.fail(f"it ended before it was ready: {shown.decode('utf-8', 'replace')}")
        yield _COLOUR.sub("", shown.decode("utf-8", "replace"))
    finally:
        os.kill(child, signal.SIGTERM)
        until = time.monotonic() + GONE_S
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            assert time.monotonic() < until
            if select.select([master], [], [], 0.05)[0]:
                try:
                    os.read(master, 65536)
                except OSError:
                    time.sleep(0.05)
        os.close(master)


@pytest.mark.process
@pytest.mark.parametrize("command", ["run", "demo", "paper"])
def test_what_stays_says_where_it_is_within_80_columns(command: str, home: Path, tmp_path: Path) -> None:
    arguments = {
        "run": ("--home", str(home), "run"),
        "demo": ("--home", str(tmp_path / "demo"), "demo", "--port", "0"),
        "paper": ("--home", str(home), "paper", "--port", "0"),
    }[command]
    with on_terminal(*arguments) as shown:
        assert "PAPER" in shown
        assert "Traceback" not in shown
        for line in shown.splitlines():
            assert len(line.rstrip()) <= 80 or any(mark in line for mark in ("/", "{", "http")), line


@contextmanager
def running(home: Path, *more: str) -> Iterator[str]:
    """Run a home; give the gateway's base URL."""
    process = subprocess.Popen(
        [*PROGRAM, "--home", str(home), "run", "--json", *more],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], READY_S)
        assert ready
        yield json.loads(process.stdout.readline())["gateway"]
    finally:
        process.terminate()
        process.wait(GONE_S)
        if process.stdout is not None:
            process.stdout.close()


@pytest.mark.process
@pytest.mark.parametrize(
    ("given", "said"),
    [("::1", "[::1]"), ("[::1]", "[::1]"), ("127.0.0.3", "127.0.0.3"), ("localhost", "127.0.0.1")],
)
def test_the_gateway_is_served_where_it_is_said_to_be(given: str, said: str, home: Path) -> None:
    """What `run`, `status` and the home say is an address that answers, by the name that clients send for it."""
    with running(home, "--gateway-host", given) as base:
        where = urlsplit(base)
        assert where.netloc == f"{said}:{where.port}"
        assert cli_json(home, "status")["gateway"] == base
        bot = http.client.HTTPConnection(where.hostname or "", where.port, timeout=READY_S)
        bot.request("GET", "/binance/api/v3/account", headers={"Host": where.netloc})
        reason = bot.getresponse().headers["X-Portcullis-Reason"]
        bot.close()
        assert reason not in {None, "foreign_host"}, reason


@pytest.mark.process
def test_an_address_that_is_none_is_said_by_its_option(home: Path) -> None:
    done = subprocess.run(
        [*PROGRAM, "--home", str(home), "run", "--gateway-host", "gateway"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "--gateway-host" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "host", "url"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"), ("::1", "::1", "[::1]"), ("[::1]", "::1", "[::1]"),
        ("0:0:0:0:0:0:0:1", "::1", "[::1]"), ("localhost", "127.0.0.1", "127.0.0.1"), ("::", "::", "[::]"),
    ],
)  # fmt: skip
def test_an_address_has_one_spelling_and_brackets_in_a_url(text: str, host: str, url: str) -> None:
    assert (bindable(text), in_url(bindable(text))) == (host, url)


def test_what_listens_everywhere_is_reached_by_loopback() -> None:
    assert (reached_by("0.0.0.0"), reached_by("::"), reached_by("192.0.2.7")) == (  # noqa: S104 - it is not bound
        "127.0.0.1",
        "::1",
        "192.0.2.7",
    )
    assert Running(1, 2, 8700, 4, gateway_host="::").gateway == "http://[::1]:8700"


@pytest.mark.parametrize("text", ["[::1]:8700", "::1:8700"])
def test_a_listening_address_of_ipv6_takes_its_own_name(text: str) -> None:
    assert {"::1", "[::1]"} <= parse_listen(text, []).allowed_hosts
    assert "[fd00::5]" in parse_listen("[fd00::5]:8700", ["fd00::5"]).allowed_hosts


def test_a_snippet_for_ipv6_has_brackets_in_the_url_and_none_for_the_proxy() -> None:
    place = Place("http://[::1]:8700", "key")
    assert (place.base, place.host) == ("http://[::1]:8700/binance", "::1")
