"""How far a home had come, kept on the machine outside of it: whoever puts the home back puts that back with it not.

Rules:
1. A home whose record lies in it has one file for each place it runs at, in the state directory of the user that runs
   it: its history, and number and digest of the last record of its audit trail. No secret is in that.
2. It knows no more than is committed: the record is read, then it is written, by a thread of its own: when something
   changed, each second, at the end. It may be behind. No cut, request or start waits for it, none is refused for it.
3. A home that lacks what was written down about it went back in its own place: another history begins in it, with
   everything closed until a person has compared it with the exchanges.
4. Where nothing was written down (a new home, another user, another machine) nothing is told. Where nothing can be,
   `status` says so.
"""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from broker.db import history
from broker.errors import BrokerError, StoreUnavailable
from broker.history import Mark, dump_mark, load_mark
from broker.seat import Place
from broker.service import Service
from broker.service.desk import Change
from portcullis.settings import Home, SettingsError, private_directory, state_directory, write_private

FOLDER = "homes"
EVERY_S = 1.0
_PAUSE_S = 0.2
"""Between two writes: a flood of cuts shares its disk with few of them."""

_LONGEST = 10_000
_LOG = logging.getLogger("portcullis.witness")


@dataclass(frozen=True, slots=True)
class _Written:
    """What was written down about a home, and in which file."""

    path: Path
    place: Place
    mark: Mark


class Witness:
    """Keeps how far a home has come, and tells whether it went back.

    Args:
        home: The home; one whose record lies on a server has that as its witness.
        service: What works on it.
        place: Where it lies.
        environ: Says where the state directory is.
    """

    def __init__(
        self, home: Home, service: Service, place: Place, environ: Mapping[str, str] = os.environ
    ) -> None:
        self._desk, self._continuity, self._place = service.desk, service.continuity, place
        self._root, self._folder, self._never = home.root, None, ""
        if home.database is None:
            self._folder, self._never = _folder(home, environ)
        self._trouble = ""
        self._woken, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep, name="witness", daemon=True)

    # --- at the start ---------------------------------------------------------------------

    def compare(self) -> bool:
        """Close the home where it lacks what was written down about it; tell whether it did.

        Raises:
            SettingsError: It went back, and takes no writes, so it could not be closed.
        """
        known = self._known()
        if known is None:
            return False
        by = f"this machine ({known.path})"
        try:
            return self._continuity.is_told(self._desk.home.instance, dump_mark(known.mark), by)
        except StoreUnavailable as fault:
            raise SettingsError(
                "database", f"whether this home was put back could not be settled: {fault}"
            ) from None

    # --- while it runs --------------------------------------------------------------------

    def start(self) -> None:
        """Keep it from now on, beside everything else."""
        if self._folder is None:
            return
        if _device(self._folder) == _device(self._root):
            _LOG.info(
                "how far this home has come is kept in %s, on the disk of the home: if that whole disk is put back, "
                "run it with --restored",
                self._folder,
            )
        self._desk.listeners.append(self._wake)
        try:
            self._thread.start()
        except RuntimeError as fault:
            self._trouble = f"no thread is left for it ({fault})"

    def end(self) -> None:
        """Write down how far the home came."""
        self._over.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join()
        self.note()

    def note(self, *, anew: bool = False) -> None:
        """Write down how far the home has come.

        Args:
            anew: Also where the home lacks what was written down: that was answered.
        """
        if self._folder is None:
            return
        try:
            known = self._known()
            with self._desk.database.read() as connection:
                mark = history.mark(connection)
                fits = known is None or history.has(connection, known.mark)
            if mark.history.word and (fits or anew):
                self._write(known, mark)
        except BrokerError:
            return  # the database is away, which others say
        except OSError as fault:
            self._trouble = f"{self._folder} cannot be written ({fault.strerror})"
            return
        self._trouble = ""

    @property
    def lacks(self) -> str:
        """Why nothing is kept; empty where it is."""
        return self._never or self._trouble

    def _wake(self, _: Change) -> None:
        self._woken.set()

    def _keep(self) -> None:
        while not self._over.is_set():
            self._woken.wait(EVERY_S)
            self._woken.clear()
            try:
                self.note()
            except Exception as fault:  # noqa: BLE001 - whatever it was, the next one may do; its text may quote
                self._trouble = f"it failed unforeseen ({type(fault).__name__})"
                _LOG.critical("how far the home has come could not be kept: %s", self._trouble)
            self._over.wait(_PAUSE_S)

    # --- its files ------------------------------------------------------------------------

    def _known(self) -> _Written | None:
        """Return what was written down about the home at this place, whenever the machine was started.

        File systems that are copies of each other have the same files: after a start of the machine only the disk tells
        them apart, where it does.
        """
        here = self._place
        found = [one for one in self._written() if one.place.is_home_of(here)]
        return max(
            found,
            key=lambda one: (one.place.disk == here.disk, one.place.device == here.device),
            default=None,
        )

    def _written(self) -> Iterator[_Written]:
        if self._folder is None or not self._place.file:
            return
        try:
            paths = sorted(self._folder.glob(f"{self._desk.home.instance}-*.json"))
        except OSError:
            return
        for path in paths:
            try:
                found = json.loads(path.read_bytes()[:_LONGEST])
                yield _Written(path, Place(**found["place"]), load_mark(json.dumps(found["mark"])))
            except (OSError, ValueError, TypeError, KeyError, RecursionError) as fault:
                _LOG.error("%s cannot be read (%s): it tells nothing", path, type(fault).__name__)

    def _write(self, known: _Written | None, mark: Mark) -> None:
        if self._folder is None or not self._place.file:
            return
        which = f"{self._place.machine} {self._place.file} {self._place.device} {self._place.disk}"
        path = self._folder / (
            f"{self._desk.home.instance}-{hashlib.sha256(which.encode()).hexdigest()[:16]}.json"
        )
        if known == _Written(path, self._place, mark):
            return
        document = {
            "home": str(self._root), "place": asdict(self._place), "mark": json.loads(dump_mark(mark)),
        }  # fmt: skip
        private_directory(self._folder.parent)
        private_directory(self._folder)
        write_private(path, json.dumps(document) + "\n")
        if known is not None and known.path != path:
            known.path.unlink(missing_ok=True)


def _folder(home: Home, environ: Mapping[str, str]) -> tuple[Path | None, str]:
    """Return where it is kept, or why it cannot be."""
    state = state_directory(environ)
    if state is None:
        return None, "this user has no home directory, and XDG_STATE_HOME names none"
    try:
        inside = state.resolve().is_relative_to(home.root.resolve())
    except (OSError, RuntimeError):
        inside = False
    if inside:
        return None, f"{state} lies in the home itself"
    return state / FOLDER, ""


def _device(path: Path) -> int | None:
    """Return the file system that a path lies on, or will; None where that cannot be known."""
    for one in (path, *path.parents):
        try:
            return one.stat().st_dev
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None
