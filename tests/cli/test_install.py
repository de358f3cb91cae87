"""Standing on a host: what would be done is shown, systemd is told how we fare, and nothing of us can be dumped."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from clients.venue import Environment
from portcullis import install
from portcullis.foundation import found
from tests.cli.started import GONE_S, children_of, cli, cli_json
from tests.lacking import lack

ROOT = Path(__file__).parents[2]


def test_a_dry_run_shows_everything_and_changes_nothing(tmp_path: Path) -> None:
    shown = cli(tmp_path, "install", "--environment", "live", "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "Nothing was changed" in shown.stdout
    for word in (
        "useradd --system",
        "--mode=0700",
        "init --environment live",
        "NoNewPrivileges=yes",
        "systemctl enable",
    ):
        assert word in shown.stdout, word
    listed = cli_json(tmp_path, "install", "--environment", "live", "--mode", "team", "--operator", "ann",
                      "--operator", "bob", "--dry-run")["steps"]  # fmt: skip
    init = next(step["command"] for step in listed if "init" in step["command"])
    assert init[-4:] == ["--operator", "ann", "--operator", "bob"]
    assert cli_json(tmp_path, "install", "--environment", "live", "--mode", "team", "--dry-run", code=1)[
        "error"
    ]
    assert list(tmp_path.iterdir()) == []


def test_the_unit_is_one_that_systemd_takes_and_finds_well_hardened(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        lack("no systemd-analyze: the unit is not judged by systemd itself; install your system's `systemd`")
    path = tmp_path / "portcullis.service"
    path.write_text(install.unit(Path("/bin/true"), user="nobody"))
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Unknown" not in done.stderr, done.stderr
    judged = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", "--no-pager", str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stdout[-500:] + judged.stderr


def test_steps_are_done_in_order_once_and_a_failure_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, log = tmp_path / "bin", tmp_path / "log"
    programs.mkdir()
    for name in ("useradd", "install", "runuser", "systemctl"):
        path = programs / name
        path.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {log}\n[ -e {tmp_path}/fails-{name} ] && echo "no" >&2 && exit 1\nexit 0\n'
        )
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setattr(install, "UNIT", tmp_path / "unit")
    home = tmp_path / "home"
    steps = install.steps(
        Path("/opt/portcullis/bin/portcullis"), "paper", "solo", ("owner",), home, "no-such-user"
    )
    for step in steps:
        assert install.carry_out(step)
    assert [line.split()[0] for line in log.read_text().splitlines()] == [
        "useradd", "install", "runuser", "systemctl", "systemctl",
    ]  # fmt: skip
    assert "ExecStart=/opt/portcullis/bin/portcullis" in (tmp_path / "unit").read_text()
    home.mkdir()
    (home / "home.json").touch()
    again = install.steps(Path("/p"), "paper", "solo", ("owner",), home, "root")
    assert [install.carry_out(step) for step in again] == [False, True, False, True, True, True]
    (tmp_path / "fails-systemctl").touch()
    with pytest.raises(install.NotInstalled, match="systemctl daemon-reload failed: no"):
        install.carry_out(again[-2])


@pytest.mark.process
def test_systemd_is_told_that_we_are_ready_alive_and_stopping(tmp_path: Path) -> None:
    home = found(tmp_path / "home", Environment.PAPER, "solo", api_port=0, gateway_port=0).home
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, (tmp_path / "log").open("w") as log:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(GONE_S)
        environ = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"}
        broker = subprocess.Popen(
            [sys.executable, "-m", "portcullis.run", "--home", str(home.root)],
            env=environ,
            stdout=log,
            stderr=log,
        )
        try:
            assert systemd.recv(100) == b"READY=1"
            assert {systemd.recv(100) for _ in range(3)} == {b"WATCHDOG=1"}
            processes = [broker.pid, *children_of(broker.pid)]
            assert len(processes) == 4, "broker, gateway, rotator, paper exchange"
            for pid in processes:
                assert b"NOTIFY_SOCKET" not in Path(f"/proc/{pid}/environ").read_bytes() or pid == broker.pid
            limits = [Path(f"/proc/{pid}/limits").read_text() for pid in (broker.pid, _gateway(home.running))]
            cores = [next(line for line in text.splitlines() if "core" in line) for text in limits]
            assert all(line.split()[4:6] == ["0", "0"] for line in cores), cores
        finally:
            broker.send_signal(signal.SIGTERM)
        while (said := systemd.recv(100)) == b"WATCHDOG=1":
            pass
        assert said == b"STOPPING=1"
        assert broker.wait(GONE_S) == 0


def _gateway(running: Path) -> int:
    return int(json.loads(running.read_text())["gateway_pid"])


@pytest.mark.process
def test_a_hardened_process_leaves_no_core_and_is_not_dumpable(tmp_path: Path) -> None:
    script = (
        "import ctypes, os, signal; from portcullis.gateway import harden; harden();"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True); os.kill(os.getpid(), signal.SIGSEGV)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == "0\n", done.stderr
    assert done.returncode == -signal.SIGSEGV
    assert list(tmp_path.iterdir()) == []


# --- containers: read, because they cannot be built here ----------------------------------------------


def test_the_compose_file_gives_bots_nothing_but_the_gateway() -> None:
    found_ = yaml.safe_load((ROOT / "docs/examples/compose.yaml").read_text())
    bots = {name: one for name, one in found_["services"].items() if name != "portcullis"}
    assert len(bots) == 3
    assert found_["networks"]["bots"]["internal"] is True
    keys = [tuple(one["secrets"]) for one in bots.values()]
    assert len(set(keys)) == 3, "each bot has its own key and no other's"
    for one in bots.values():
        assert one["networks"] == ["bots"]
        assert "volumes" not in one
        assert one["environment"]["EXCHANGE_URL"] == "http://portcullis:8700/binance"
    broker = found_["services"]["portcullis"]
    assert "ports" not in broker
    assert broker["ulimits"]["core"] == 0
    for one in found_["services"].values():
        assert one["cap_drop"] == ["ALL"]
        assert one["read_only"] is True
        assert "no-new-privileges:true" in one["security_opt"]


def test_the_image_runs_as_nobody_in_particular_and_its_command_exists() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    last = lines[max(at for at, line in enumerate(lines) if line.startswith("FROM")) :]
    assert "USER 10001:10001" in last
    command = json.loads(next(line for line in last if line.startswith("CMD")).removeprefix("CMD "))
    helped = cli(ROOT, command[0], "--help").stdout
    for option in (part for part in command if part.startswith("--")):
        assert option in helped
    copied = {line.split()[1] for line in lines if line.startswith("COPY") and "--from" not in line}
    assert {"broker", "clients", "portcullis"} <= copied
