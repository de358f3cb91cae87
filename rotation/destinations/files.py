"""Keys in files: NAME=value lines, or JSON. Written whole or not at all, read by their owner only.

Rules:
1. Everything in the file that is not ours stays as it is, byte for byte in a dotenv file.
2. Mode 0600, the owner it had; a link is refused: who may write beside it could send the key elsewhere.
3. Then the program is told, by a command without a shell, or by a signal to the process in a pid file. A command that
   fails is a delivery that failed.
"""

import json
import os
import re
import signal
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from broker.destination import FileSettings, Kind, Reload
from rotation.destinations.parcel import NotDelivered, Parcel, WrittenOver

_LARGEST = 1024 * 1024
_LINE = re.compile(r"^(?P<head>\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=)(?P<value>.*)$")
_PASSED_ON = ("PATH", "HOME", "LANG", "TZ")


class FilePlace:
    """A file on this host."""

    def __init__(self, kind: Kind, settings: FileSettings) -> None:
        self._settings = settings
        self._path = Path(settings.path)
        self._fill, self._found = (
            (_fill_dotenv, _found_dotenv) if kind is Kind.DOTENV else (_fill_json, _found_json)
        )

    def deliver(self, parcel: Parcel) -> None:
        """Write the key, then tell the program."""
        before, owner = _read(self._path)
        after = self._fill(before, self._values(parcel))
        if after != before:
            _replace(self._path, after, owner)
        _tell(self._settings.reload)

    def confirm(self, parcel: Parcel) -> str:
        """Look whether the file holds the key."""
        values = self._values(parcel)
        found = self._found(_read(self._path)[0], tuple(values))
        if found != values:
            raise WrittenOver(f"{self._path} holds another key: somebody wrote over it")
        return ""

    def _values(self, parcel: Parcel) -> dict[str, str]:
        return {self._settings.key_id: parcel.key_id, self._settings.secret: parcel.secret.reveal()}


def _read(path: Path) -> tuple[str, tuple[int, int] | None]:
    """Return a file's text and owner; empty and None where there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return "", None
    except OSError as fault:
        raise NotDelivered(f"{path} cannot be read ({fault.strerror}); a link is refused") from None
    try:
        known = os.fstat(fd)
        if not stat.S_ISREG(known.st_mode) or known.st_size > _LARGEST:
            raise NotDelivered(f"{path} is no file of a size that holds settings")
        return os.read(fd, _LARGEST).decode(), (known.st_uid, known.st_gid)
    except UnicodeDecodeError:
        raise NotDelivered(f"{path} is not text") from None
    finally:
        os.close(fd)


def _replace(path: Path, text: str, owner: tuple[int, int] | None) -> None:
    fresh = path.with_name(f".{path.name}.portcullis")
    try:
        fresh.unlink(missing_ok=True)
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            if owner is not None and owner != (os.geteuid(), os.getegid()):
                os.fchown(fd, *owner)
            file.write(text)
            file.flush()
            os.fsync(fd)
        fresh.replace(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as fault:
        raise NotDelivered(
            f"{path} cannot be written ({fault.strerror}); check its directory and owner"
        ) from None


# --- dotenv -----------------------------------------------------------------------------------


def _fill_dotenv(text: str, values: Mapping[str, str]) -> str:
    left = dict(values)
    lines = []
    for line in text.split("\n"):
        found = _LINE.match(line)
        if found is not None and found["name"] in values:
            lines.append(found["head"] + _quoted(values[found["name"]]))
            left.pop(found["name"], None)
        else:
            lines.append(line)
    more = [f"{name}={_quoted(value)}" for name, value in left.items()]
    if more and lines and lines[-1] == "":
        lines[-1:] = [*more, ""]
    else:
        lines += more
    return "\n".join(lines)


def _quoted(value: str) -> str:
    """Write a value as dotenv readers agree on; a PEM key goes on one line."""
    if re.fullmatch(r"[A-Za-z0-9+/=_.:-]*", value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _found_dotenv(text: str, names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for line in text.split("\n"):
        match = _LINE.match(line)
        if match is not None and match["name"] in names:
            found[match["name"]] = _unquoted(match["value"].strip())
    return found


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1].replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")
    return value


# --- JSON -------------------------------------------------------------------------------------


def _fill_json(text: str, values: Mapping[str, str]) -> str:
    document = _json(text) if text.strip() else {}
    for pointer, value in values.items():
        *above, last = _parts(pointer)
        here: Any = document
        for part in above:
            here = here.setdefault(part, {}) if isinstance(here, dict) else None
        if not isinstance(here, dict):
            raise NotDelivered(f"{pointer} does not lie in an object of this file")
        here[last] = value
    return json.dumps(document, indent=_indent(text), ensure_ascii=False) + "\n"


def _found_json(text: str, names: tuple[str, ...]) -> dict[str, str]:
    document, found = _json(text), {}
    for pointer in names:
        here: Any = document
        for part in _parts(pointer):
            here = here.get(part) if isinstance(here, dict) else None
        if isinstance(here, str):
            found[pointer] = here
    return found


def _json(text: str) -> Any:
    try:
        document = json.loads(text)
    except ValueError:
        raise NotDelivered("the file is not JSON; it was left as it is") from None
    if not isinstance(document, dict):
        raise NotDelivered("the file holds no JSON object; it was left as it is")
    return document


def _parts(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _indent(text: str) -> int:
    found = re.search(r"\n( +)\"", text)
    return len(found[1]) if found else 4


# --- telling the program ----------------------------------------------------------------------


def _tell(reload: Reload) -> None:
    if reload.command:
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        try:
            done = subprocess.run(  # noqa: S603 - a list with a whole path, as an admin wrote it
                list(reload.command), timeout=reload.timeout_s, env=environment, check=False,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as fault:
            raise NotDelivered(f"{reload.command[0]} did not do it ({type(fault).__name__})") from None
        if done.returncode != 0:
            raise NotDelivered(f"{reload.command[0]} ended with {done.returncode}")
    if reload.pid_file:
        try:
            pid = int(Path(reload.pid_file).read_text(encoding="ascii").strip())
            if pid <= 1:
                raise ValueError(pid)  # noqa: TRY301 - one way out
            os.kill(pid, getattr(signal, f"SIG{reload.signal}"))
        except (OSError, ValueError) as fault:
            raise NotDelivered(
                f"the process in {reload.pid_file} could not be told ({type(fault).__name__})"
            ) from None
