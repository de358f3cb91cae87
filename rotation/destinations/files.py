"""Keys in files: NAME=value lines, or JSON. Written whole or not at all, read by their owner only.

Rules:
1. `broker.files.forms` says what becomes of the text, `broker.files.place` how it is written, and what is refused:
   links, what is ours, what cannot be replaced whole. Both are asked when a destination is named and at every delivery.
2. Mode 0600, the owner it had.
3. Then the program is told, by a command without a shell, or by a signal to the process in a pid file. A command that
   fails is a delivery that failed.
4. A replacement that a crash left behind holds a key: `clean` removes it when a rotator starts.
"""

import os
import signal
import subprocess
from collections.abc import Callable

from broker.destination import FileSettings, Kind, Reload
from broker.files.forms import fill, found
from broker.files.ours import Ours
from broker.files.place import Unfit, spot
from broker.passed_on import passed_on
from rotation.destinations.parcel import NotDelivered, Parcel, WrittenOver

_PASSED_ON = ("PATH", "HOME", "LANG", "TZ")


class FilePlace:
    """A file on this host."""

    def __init__(self, kind: Kind, settings: FileSettings, ours: Ours | None = None) -> None:
        self._kind, self._settings = kind, settings
        self._path = settings.path
        self._ours = Ours() if ours is None else ours

    def deliver(self, parcel: Parcel) -> None:
        """Write the key, then tell the program."""
        try:
            with spot(self._path, self._ours) as place:
                before = place.read()
                after = fill(self._kind, before.text, self._values(parcel))
                if after != before.text:
                    parcel.look()
                    place.replace(after, before.owner, parcel.look)
        except Unfit as fault:
            raise NotDelivered(f"{self._path} {fault}") from None
        except OSError as fault:
            raise NotDelivered(
                f"{self._path} cannot be written ({fault.strerror}); check its directory and owner"
            ) from None
        _tell(self._settings.reload, parcel.look)

    def confirm(self, parcel: Parcel) -> str:
        """Look whether the file holds the key."""
        values = self._values(parcel)
        try:
            with spot(self._path, self._ours) as place:
                held = found(self._kind, place.read().text, tuple(values))
        except Unfit as fault:
            raise NotDelivered(f"{self._path} {fault}") from None
        if held != values:
            raise WrittenOver(f"{self._path} holds another key: somebody wrote over it")
        return ""

    def clean(self) -> bool:
        """Remove what a crash left beside the file; tell whether there was something."""
        try:
            with spot(self._path, self._ours) as place:
                return place.clean()
        except Unfit:
            return False

    def _values(self, parcel: Parcel) -> dict[str, str]:
        return {self._settings.key_id: parcel.key_id, self._settings.secret: parcel.secret.reveal()}


# --- telling the program ----------------------------------------------------------------------


def _tell(reload: Reload, look: Callable[[], object]) -> None:
    if reload.command:
        look()
        try:
            done = subprocess.run(  # noqa: S603 - a list with a whole path, as an admin wrote it
                list(reload.command), timeout=reload.timeout_s, env=passed_on(_PASSED_ON), check=False,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as fault:
            raise NotDelivered(f"{reload.command[0]} did not do it ({type(fault).__name__})") from None
        if done.returncode != 0:
            raise NotDelivered(f"{reload.command[0]} ended with {done.returncode}")
    if reload.pid_file:
        try:
            pid = _pid(reload.pid_file)
            if pid <= 1:
                raise ValueError(pid)  # noqa: TRY301 - one way out
            look()
            os.kill(pid, getattr(signal, f"SIG{reload.signal}"))
        except (OSError, ValueError) as fault:
            raise NotDelivered(
                f"the process in {reload.pid_file} could not be told ({type(fault).__name__})"
            ) from None


def _pid(path: str) -> int:
    """Read a process id; a pipe in its place holds nobody up."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return int(os.read(fd, 32).decode("ascii").strip())
    finally:
        os.close(fd)
