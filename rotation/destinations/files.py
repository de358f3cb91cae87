"""Keys in files: NAME=value lines, or JSON. Written whole or not at all, read by their owner only.

Rules:
1. Everything in the file that is not ours stays as it is, byte for byte in a dotenv file. A quoted value is replaced up
   to its closing quote, on whatever line that is; where that cannot be told nothing is written.
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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.destination import FileSettings, Kind, Reload
from rotation.destinations.parcel import NotDelivered, Parcel, WrittenOver

_LARGEST = 1024 * 1024
_HEAD = re.compile(r"[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)[ \t]*=")
_QUOTED = re.compile(
    r"""[ \t]*(?:"(?P<double>(?:\\.|[^"\\])*)"|(?P<quote>['`])(?P<literal>(?:(?!(?P=quote)).)*)(?P=quote))"""
    r"[ \t]*(?:#[^\r\n]*)?(?=\r?(?:\n|\Z))",
    re.DOTALL,
)
"""A value in quotes, over as many lines as it takes; nothing but a comment may follow it."""
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_QUOTES = ('"', "'", "`")
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


@dataclass(frozen=True, slots=True)
class _Assigned:
    """One NAME=value of a dotenv file; the value may span lines. `value` None: its quote is never closed."""

    name: str
    begins: int
    ends: int
    value: str | None


def _assigned(text: str) -> Iterator[_Assigned]:
    """Yield what a dotenv file assigns. A line inside somebody's quoted value assigns nothing."""
    at = 0
    while at < len(text):
        head = _HEAD.match(text, at)
        if head is not None:
            one = _value(text, head["name"], head.end())
            yield one
            at = one.ends
        at = text.find("\n", at) + 1 or len(text)


def _value(text: str, name: str, begins: int) -> _Assigned:
    quoted = _QUOTED.match(text, begins)
    if quoted is None:
        end = text.find("\n", begins)
        plain = text[begins : len(text) if end < 0 else end].removesuffix("\r")
        is_open = plain.strip().startswith(_QUOTES)
        return _Assigned(name, begins, begins + len(plain), None if is_open else plain.strip())
    value = quoted["literal"] if quoted["double"] is None else _ESCAPED.sub(_unescaped, quoted["double"])
    return _Assigned(name, begins, quoted.end(), value)


def _fill_dotenv(text: str, values: Mapping[str, str]) -> str:
    left, pieces, at = dict(values), list[str](), 0
    for one in _assigned(text):
        if one.name not in values:
            continue
        if one.value is None:
            raise NotDelivered(
                f"the quote that {one.name} begins with is not closed, or more follows it; the file was left as it "
                "is: mend that line"
            )
        pieces += [text[at : one.begins], _quoted(values[one.name])]
        at = one.ends
        left.pop(one.name, None)
    filled = "".join([*pieces, text[at:]])
    more = "\n".join(f"{name}={_quoted(value)}" for name, value in left.items())
    if not more:
        return filled
    return f"{filled}{more}\n" if not filled or filled.endswith("\n") else f"{filled}\n{more}"


def _quoted(value: str) -> str:
    """Write a value as dotenv readers agree on; a PEM key goes on one line."""
    if re.fullmatch(r"[A-Za-z0-9+/=_.:-]*", value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _found_dotenv(text: str, names: tuple[str, ...]) -> dict[str, str]:
    return {one.name: one.value for one in _assigned(text) if one.name in names and one.value is not None}


def _unescaped(found: re.Match[str]) -> str:
    return "\n" if found[1] == "n" else found[1] if found[1] in '"\\' else found[0]


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
