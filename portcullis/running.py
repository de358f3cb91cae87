"""What runs on a home: a lock that one broker holds, and a file that tells the CLI where it listens.

Rules:
1. The lock is the operating system's: it is gone with the process, however that ended.
2. `run.json` is a hint. Who reads it checks that the lock is held; a stale file counts for nothing.
3. That nobody runs is said where directory and lock are there and free, or where neither a lock nor anything of a
   broker is there. A lock that cannot be looked at proves nothing: bots may trade.
4. That check takes the lock for a moment itself, so who wants to hold it asks more than once.
5. The home's directory is locked as well, and first, where its disk lets that: a lock that somebody removed as stale is
   made anew by who starts next, and would be free. Whoever asks who runs asks for both.
6. A full disk keeps no broker from starting: what the last one wrote there is written over where no room is left.
"""

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from portcullis.addresses import in_url, is_loopback, reached_by
from portcullis.settings import Home, SettingsError, write_private

_ATTEMPTS = 20
_BETWEEN_S = 0.025
_SIZE = 1024
SOCKET = "api.sock"
_LOCKS = Path("/proc/locks")
_NO_DIRECTORY = frozenset({errno.EACCES, errno.ENOENT, errno.ENOTDIR})
"""Why a directory cannot be opened by whoever would hold it, either, or by us: its lock has to do."""
_STARTS_S = 10.0
"""For so long a command waits for a broker that is starting: a cut is given as it comes up, not refused."""


@dataclass(frozen=True, slots=True)
class Running:
    """A broker at work. `paper` is the base URL of a paper home's exchange, else empty.

    `socket` is the path of the API's socket on this host; empty where it takes none. `gateway_host` is the address that
    the gateway listens on, `gateway_names` are the host names that it answers to beside those of loopback.
    """

    pid: int
    api_port: int
    gateway_port: int
    gateway_pid: int
    paper: str = ""
    socket: str = ""
    gateway_host: str = "127.0.0.1"
    gateway_names: tuple[str, ...] = ()

    @property
    def api(self) -> str:
        """Base URL of the API."""
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def gateway(self) -> str:
        """Base URL of the gateway on this host; the first path segment names the venue."""
        host = reached_by(self.gateway_host)
        if not is_loopback(host) and self.gateway_names and host not in self.gateway_names:
            host = self.gateway_names[0]  # by its bare address it answers nobody
        return f"http://{in_url(host)}:{self.gateway_port}"

    @property
    def gateway_elsewhere(self) -> str:
        """Base URL of the gateway for containers and other hosts; empty where it listens on loopback only."""
        if is_loopback(self.gateway_host) or not self.gateway_names:
            return ""
        return f"http://{in_url(self.gateway_names[0])}:{self.gateway_port}"


@contextmanager
def held(home: Home) -> Iterator[None]:
    """Hold a home's lock.

    Raises:
        SettingsError: Another broker runs on it, or that cannot be told.
    """
    directory = _directory(home)
    try:
        if directory is not None and not _taken(directory, other=True):
            raise _refused(home)  # before the lock is made: one that is removed is not there again for that
        with _opened(home) as fd:
            if not _taken(fd):
                raise _refused(home)
            if not _over(home, ""):
                home.running.unlink(missing_ok=True)
            try:
                yield
            finally:
                home.running.unlink(missing_ok=True)
    finally:
        if directory is not None:
            os.close(directory)


@contextmanager
def _opened(home: Home) -> Iterator[int]:
    try:
        fd = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as fault:
        raise SettingsError(
            "--home",
            f"{home.lock} cannot be opened ({fault.strerror}): does another user run it? Look at its owner",
        ) from None
    try:
        yield fd
    finally:
        os.close(fd)


def _refused(home: Home) -> SettingsError:
    found = told(home)
    who = f"process {found.pid}" if found is not None else "another process"
    return SettingsError("--home", f"{who} runs on {home.root} already; end it first, or use another home")


def _directory(home: Home) -> int | None:
    """Open the home's directory; None where it cannot be: the lock in it has to do."""
    try:
        return os.open(home.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None


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
    if not os.path.lexists(home.running) or not (who := holder(home)).there:
        return None
    found = told(home)
    if found is not None and who.by_directory and who.pid != found.pid:
        return None  # others may lock a directory: at that port anybody may listen by now
    return found


def find_started(
    home: Home,
    within_s: float = _STARTS_S,
    *,
    late_s: float = _STARTS_S,
    late: Callable[[int], None] = lambda _: None,
) -> Running | None:
    """Return who runs on a home, waiting for one that holds the lock and does not listen yet: it is starting.

    Args:
        home: Whose broker.
        within_s: How long that is waited for.
        late_s: After how long `late` is told, this once, which process is waited for; 0 where nothing says.
        late: See there.
    """
    began_s, is_told = time.monotonic(), False
    while (found := find(home)) is None and (who := holder(home)).there:
        waited_s = time.monotonic() - began_s
        if waited_s >= within_s:
            break
        if waited_s >= late_s and not is_told:
            is_told = True
            late(who.pid)
        time.sleep(_BETWEEN_S)
    return found


@dataclass(frozen=True, slots=True)
class Holder:
    """Whether a process holds a home: None where that cannot be told, and `why`. `pid`: which; 0 where nothing says.

    `by_directory`: what it holds is the directory; a lock that was removed, or is there anew, says nothing of it.
    """

    there: bool | None
    why: str = ""
    pid: int = 0
    by_directory: bool = False


def holder(home: Home) -> Holder:
    """Tell whether a process holds a home, whether or not it listens: its lock, or its directory."""
    found = _of_lock(home)
    if found.there:
        return found
    try:
        fd = os.open(home.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as fault:
        if found.there is None or fault.errno in _NO_DIRECTORY:
            return found
        return Holder(None, f"{home.root} cannot be opened ({fault.strerror})")
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Holder(there=True, why=found.why, pid=_pid_of(home.root), by_directory=True)
    except OSError:  # a disk that locks no directories: nobody holds one there
        return found
    finally:
        os.close(fd)
    return found


def _of_lock(home: Home) -> Holder:
    try:
        fd = os.open(home.lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        if not (os.path.lexists(home.running) or os.path.lexists(home.root / SOCKET)):
            return Holder(there=False)
        return Holder(None, f"{home.lock} is gone, and a broker was not ended in order, or still runs")
    except OSError as fault:
        pid = _pid_of(home.lock)
        return Holder(True if pid else None, f"{home.lock} cannot be opened ({fault.strerror})", pid)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Holder(there=True, pid=_pid_of(home.lock))
    except OSError as fault:
        return Holder(None, f"{home.lock} cannot be locked ({fault.strerror})")
    finally:
        os.close(fd)
    return Holder(there=False)


def _pid_of(lock: Path) -> int:
    """Return which process holds a lock, as the system lists it; 0 where it does not say.

    Source:
        proc_locks(5), man-pages 6.9: `1: FLOCK ADVISORY WRITE 4711 fe:00:1234 0 EOF`.
    """
    try:
        found, lines = os.lstat(lock), _LOCKS.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return 0
    name = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in lines:
        fields = line.split()
        if fields[1:2] == ["FLOCK"] and fields[3:4] == ["WRITE"] and fields[5:6] == [name]:
            return int(fields[4])
    return 0


def pid_here(home: Home, written: int) -> int:
    """Return which process a home's broker is, by its number where we are; 0 where that cannot be known.

    A number that a broker wrote down is its own in the container that it runs in: somebody else's outside of it. It
    counts where that process has the lock open, or where the system has no such lists, and no such containers.
    """
    found = holder(home).pid
    if found or not written:
        return found
    if not _LOCKS.parent.joinpath("self").exists():
        return written
    with suppress(OSError):
        there = home.lock.stat()
        for fd in _LOCKS.parent.joinpath(str(written), "fd").iterdir():
            with suppress(OSError):
                if os.path.samestat(fd.stat(), there):
                    return written
    return 0


def is_nested(pid: int) -> bool:
    """Tell whether a process has another number besides: it runs in a container, and we do not.

    Source:
        proc_pid_status(5), man-pages 6.9: `NSpid: 4711 7`.
    """
    try:
        lines = _LOCKS.parent.joinpath(str(pid), "status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return any(len(line.split()) > 2 for line in lines.splitlines() if line.startswith("NSpid:"))  # noqa: PLR2004


def _taken(fd: int, *, other: bool = False) -> bool:
    """Take the lock; False where somebody keeps it. `other`: not the home's own; a disk may have none."""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_BETWEEN_S)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        except OSError:
            if not other:
                raise
        return True
    return False


def told(home: Home) -> Running | None:
    """Return what `run.json` says, whoever wrote it; see rule 2."""
    try:
        found = json.loads(home.running.read_text(encoding="utf-8"))
        return Running(**found | {"gateway_names": tuple(map(str, found.get("gateway_names", ())))})
    except (OSError, ValueError, TypeError, AttributeError):
        return None
