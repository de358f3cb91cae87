"""Standing on a host: a system user of its own and a hardened systemd unit. The plan is pure; `carry_out` does it.

Why a user of its own: a bot that runs as our user could read every key. Why the unit: what breaks into this process
finds no other file, no other user, no new privilege and no core file.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from broker.files.named import NotWritten, put

USER = "portcullis"
HOME = Path("/var/lib/portcullis")
STATE = "portcullis-state"
"""Where the machine keeps how far the home has come, beside it: `portcullis.witness`."""

UNIT = Path("/etc/systemd/system/portcullis.service")

_UNIT = """\
[Unit]
Description=Portcullis, exchange-key broker
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=300
StartLimitBurst=10

[Service]
Type=notify
NotifyAccess=main
ExecStart={program} --home {home} run
User={user}
Group={user}
# the second keeps how far the home has come: it does not go back with that
StateDirectory=portcullis {state}
Environment=XDG_STATE_HOME=/var/lib/{state}
StateDirectoryMode=0700
UMask=0077
Restart=on-failure
RestartSec=2
WatchdogSec=30
# it ends its own parts in order: told beside it, they would be started anew
KillMode=mixed
TimeoutStopSec=60
LimitCORE=0
LimitNOFILE=65536

# nothing but its own home, and the network
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
ReadWritePaths={home}
PrivateTmp=yes
PrivateDevices=yes
PrivateMounts=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources @mount @debug
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One step: a command, or a file to write."""

    why: str
    command: tuple[str, ...] = ()
    file: Path | None = None
    text: str = ""
    unless: Path | None = None
    """Not done where this is there."""


class NotInstalled(Exception):
    """A step failed; those before it were done, and may be done again."""


def unit(program: Path, home: Path = HOME, user: str = USER) -> str:
    """Return the systemd unit."""
    return _UNIT.format(program=program, home=home, user=user, state=STATE)


def steps(
    program: Path,
    environment: Literal["paper", "testnet", "live"],
    mode: Literal["solo", "team"],
    operators: tuple[str, ...],
    home: Path = HOME,
    user: str = USER,
) -> tuple[Step, ...]:
    """Return what has to be done, in order. Doing it twice is the same as once."""
    named = tuple(part for name in operators for part in ("--operator", name))
    as_user = ("runuser", "-u", user, "--", str(program), "--home", str(home))
    return (
        Step(
            "a user that nobody logs in as, for this alone",
            (
                "useradd",
                "--system",
                "--user-group",
                "--home-dir",
                str(home),
                "--shell",
                "/usr/sbin/nologin",
                user,
            ),
            unless=Path("/etc/passwd") if _is_user(user) else None,
        ),
        Step(
            "a home that only it may enter",
            ("install", "--directory", "--mode=0700", f"--owner={user}", f"--group={user}", str(home)),
        ),
        Step(
            "stores, keys and first operators",
            (*as_user, "init", "--environment", environment, "--mode", mode, *named),
            unless=home / "home.json",
        ),
        Step("the unit", file=UNIT, text=unit(program, home, user)),
        Step("systemd reads it", ("systemctl", "daemon-reload")),
        Step("it runs, now and after every start", ("systemctl", "enable", "--now", "portcullis.service")),
    )


def carry_out(step: Step) -> bool:
    """Do one step; tell whether there was something to do.

    Raises:
        NotInstalled: It failed.
    """
    if step.unless is not None and step.unless.exists():
        return False
    if step.file is not None:
        try:
            put(step.file, step.text.encode(), replaces=_is_unit, mode=0o644)
        except NotWritten as fault:
            raise NotInstalled(f"{step.file} {fault}") from None
        return True
    try:
        done = subprocess.run(step.command, check=False, capture_output=True, text=True)  # noqa: S603 - ours, no shell
    except OSError as fault:
        raise NotInstalled(f"{step.command[0]} cannot be run ({fault.strerror})") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise NotInstalled(f"{' '.join(step.command[:2])} failed: {said[-1] if said else done.returncode}")
    return True


def _is_unit(data: bytes) -> bool:
    """Tell whether a unit is one that we wrote: that alone is replaced."""
    return data.startswith(_UNIT.encode()[: _UNIT.index("\n", len("[Unit]\n"))])


def _is_user(name: str) -> bool:
    try:
        lines = Path("/etc/passwd").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return any(line.startswith(f"{name}:") for line in lines)
