"""The seat of a home, taken by whoever runs it: a second copy on the same database and secret store does not start.

Rules:
1. It is taken before anything of the home works, and left at the end. `broker.seat` says when it may be taken.
2. A home whose state or secrets lie in a file, found at another place than it was run at last, was copied or put
   back: it is closed by itself, as a restore is. Nothing tells a move from a copy whose original runs on.
3. A place does not say how far the home had come. One that was put back where it was is told by what the machine keeps
   outside of it (`witness`). Where that went back too (a whole disk, a virtual machine), whoever starts it says so.
"""

import json
import os
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from broker.db import accounts as account_store
from broker.db import meta
from broker.errors import BrokerError, StoreUnavailable
from broker.gate import Mode
from broker.seat import DEAD_S, Place, Seating
from broker.service import Service
from broker.service.audit import ITSELF
from broker.service.reconcile import RESTORED, RESTORED_KEYS
from portcullis.settings import Home, SettingsError
from portcullis.witness import Witness

PLACE = "place"
"""The fact that says where a home was run last; only where state or secrets lie in it."""

_BETWEEN_S = 0.5
_MOVED = "this home was copied, moved or put back: it was run elsewhere last, what happened there since is not known"
_RESTORED = (
    "this home was put back from a copy, says who started it (--restored): what happened since is not known"
)
_MACHINE, _BOOT = Path("/etc/machine-id"), Path("/proc/sys/kernel/random/boot_id")


def place_of(home: Home) -> Place:
    """Return where a home lies: a copy of it lies elsewhere, whatever its path."""
    with suppress(OSError):
        os.close(os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        found = home.lock.stat()
        return Place(
            _text(_MACHINE),
            _text(_BOOT),
            str(found.st_ino),
            str(found.st_dev),
            str(os.statvfs(home.lock).f_fsid),
        )
    return Place(_text(_MACHINE), _text(_BOOT))


def look_at(home: Home, service: Service, number: int | None = None, start: str = "") -> None:
    """Let a process beside the holder know where it stands: a command in place, or the rotator under a seat.

    `start` names that of the holder.
    """
    service.desk.guard.start = start
    service.desk.guard.sits_in_store = home.vault is not None and home.database is None
    service.desk.guard.seating = Seating(place_of(home), number=number)


def take(
    home: Home, service: Service, pause: Callable[[float], None] = time.sleep,
    now_s: Callable[[], float] = time.monotonic, *, restored: bool = False,
) -> None:  # fmt: skip
    """Take the seat; waits for as long as it takes to see whether another holder lives.

    Args:
        home: The home.
        service: What works on it.
        pause: Waits.
        now_s: A clock that never goes back.
        restored: Whoever starts it says that it was put back from a copy.

    Raises:
        SettingsError: Another host runs this home, and lives: what runs where, and what to do.
    """
    guard, place = service.desk.guard, place_of(home)
    guard.start = secrets.token_hex(8)
    who = (
        f"host {socket.gethostname()}, home {home.root}, process {os.getpid()}, since "
        f"{service.desk.clock.now():%Y-%m-%d %H:%M} UTC"
    )
    shared = home.vault is not None or home.database is not None
    guard.seating = Seating(place, who, now_s=now_s if shared else None)
    until_s = now_s() + 3 * DEAD_S
    try:
        while guard.seating.number is None:
            guard.take_seat()
            if guard.seating.lives:
                raise SettingsError("--home", guard.seating.usurped)
            if guard.seating.number is None:
                if now_s() > until_s:
                    raise SettingsError("--home", guard.superseded)
                pause(_BETWEEN_S)
    except StoreUnavailable as fault:
        if not guard.sits_in_store:
            raise SettingsError("database", str(fault)) from None
        # a Vault need not answer for a start: nothing is done before it does, and upkeep asks on
    witness = Witness(home, service, place)
    if not _close_moved(home, service, place, restored=restored):
        witness.compare()
    witness.note(anew=True)


def leave(service: Service) -> None:
    """Leave the seat in order, if it can be left."""
    with suppress(BrokerError):
        service.desk.guard.leave_seat()


def _close_moved(home: Home, service: Service, place: Place, *, restored: bool) -> bool:
    """Close a home that lies elsewhere than it was run last, or is said to be restored; note where it lies now.

    Returns:
        Whether it was closed.
    """
    on_servers = home.database is not None and home.vault is not None
    if on_servers and not restored:
        return False
    with service.desk.database.read() as connection:
        text = meta.get(connection, PLACE)
    before = None if text is None else _place(text)
    moved = not on_servers and before is not None and not before.is_home_of(place)
    if moved or restored:
        cut, _ = service.cuts.close(
            targets=("everything",), mode=Mode.CLOSED, actor=ITSELF,
            reason=f"{_RESTORED if restored else _MOVED}; run `portcullis reconcile`, then thaw this",
        )  # fmt: skip
        if not cut.on_record:
            what = "is said to be restored" if restored else "was moved"
            raise SettingsError(
                "database", f"this home {what}, and takes no writes, so it could not be closed"
            )
    if on_servers or (before == place and not restored):
        return restored
    with service.desk.database.write() as connection:
        meta.put(connection, PLACE, json.dumps(asdict(place)))
        if moved or restored:
            meta.put(connection, RESTORED, str(service.desk.clock.now_us()))
            held = sorted(str(one.ref) for one in account_store.keys(connection))
            meta.put(connection, RESTORED_KEYS, json.dumps(held))
    return moved or restored


def _place(text: str) -> Place:
    """Read where a home was run last; what cannot be read was elsewhere."""
    try:
        return Place(**json.loads(text))
    except (TypeError, ValueError):
        return Place(file="unreadable")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
