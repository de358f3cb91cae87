"""What runs on a home: a lock that one broker holds, and a file that tells the CLI where it listens.

Rules:
1. The lock is the operating system's: it is gone with the process, however that ended.
2. `run.json` is a hint. Who reads it checks that the lock is held; a stale file counts for nothing.
3. That check takes the lock for a moment itself, so who wants to hold it asks more than once.
4. A full disk keeps no broker from starting: what the last one wrote there is written over where no room is left.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from portcullis.addresses import in_url, reached_by
from portcullis.settings import Home, SettingsError, write_private

_ATTEMPTS = 20
_BETWEEN_S = 0.025
_SIZE = 1024
_STARTS_S = 10.0
"""For so long a command waits for a broker that is starting: a cut is given as it comes up, not refused."""


@dataclass(frozen=True, slots=True)
class Running:
    """A broker at work. `paper` is the base URL of a paper home's exchange, else empty.

    `socket` is the path of the API's socket on this host; empty where it takes none. `gateway_host` is the address that
    the gateway listens on.
    """

    pid: int
    api_port: int
    gateway_port: int
    gateway_pid: int
    paper: str = ""
    socket: str = ""
    gateway_host: str = "127.0.0.1"

    @property
    def api(self) -> str:
        """Base URL of the API."""
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def gateway(self) -> str:
        """Base URL of the gateway; the first path segment names the venue."""
        return f"http://{in_url(reached_by(self.gateway_host))}:{self.gateway_port}"


@contextmanager
def held(home: Home) -> Iterator[None]:
    """Hold a home's lock.

    Raises:
        SettingsError: Another broker runs on it.
    """
    fd = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if not _taken(fd):
            found = _read(home)
            who = f"process {found.pid}" if found is not None else "another process"
            raise SettingsError(
                "--home", f"{who} runs on {home.root} already; end it first, or use another home"
            )
        if not _over(home, ""):
            home.running.unlink(missing_ok=True)
        try:
            yield
        finally:
            home.running.unlink(missing_ok=True)
    finally:
        os.close(fd)


def tell(home: Home, running: Running) -> None:
    """Write down where we listen.

    Raises:
        OSError: There is no room for it, nor an older one to write over.
    """
    text = json.dumps(asdict(running))
    try:
        write_private(home.running, _padded(text))
    except OSError:
        if not _over(home, text):
            raise


def _padded(text: str) -> str:
    return text.ljust(_SIZE - 1) + "\n"


def _over(home: Home, text: str) -> bool:
    """Write over what is there, in its room; False where that cannot be done."""
    try:
        fd = os.open(home.running, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        data = _padded(text).encode()
        return os.pwrite(fd, data, 0) == len(data)
    except OSError:
        return False
    finally:
        os.close(fd)


def find(home: Home) -> Running | None:
    """Return who runs on a home; None where nobody does."""
    return _read(home) if home.running.exists() and is_held(home) else None


def find_started(home: Home, within_s: float = _STARTS_S) -> Running | None:
    """Return who runs on a home, waiting for one that holds the lock and does not listen yet: it is starting."""
    until = time.monotonic() + within_s
    while (found := find(home)) is None and is_held(home) and time.monotonic() < until:
        time.sleep(_BETWEEN_S)
    return found


def is_held(home: Home) -> bool:
    """Tell whether a process holds a home, whether or not it listens."""
    try:
        fd = os.open(home.lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _taken(fd: int) -> bool:
    """Take the lock; False where somebody keeps it."""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_BETWEEN_S)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return True
    return False


def _read(home: Home) -> Running | None:
    try:
        return Running(**json.loads(home.running.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
