"""Who holds a real key outside a gateway, and how it gets a new one. Values, strictly read; no I/O.

    dotenv      a file of NAME=value lines            path, key_id, secret; reload
    json        a JSON file                           path, key_id, secret (JSON pointers); reload
    kubernetes  a Secret, and what has to restart     namespace, secret, key_id_field, secret_field, restart
    webhook     a service that takes keys             url
    manual      a person with a third-party tool      what

Rules:
1. Files are named from the root and are never links; commands are lists, never a shell's text.
2. A webhook is https, or plain on loopback, with one reading only (`clients.outbound`); its signing secret, as a
   cluster's token, lies in the secret store.
3. Unknown fields are refused, each by its name.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import msgspec

from broker.errors import Malformed, Problem
from broker.model import moment
from clients import outbound
from clients.venue import Slot

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,100}")
_POINTER = re.compile(r"(/[^/\x00-\x1f]{1,100}){1,10}")
_OBJECT = re.compile(r"[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?")
_FIELD = re.compile(r"[A-Za-z0-9._-]{1,250}")
_RESTART = re.compile(r"(deployment|statefulset|daemonset)/[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?")
SIGNALS = ("HUP", "USR1", "USR2", "TERM")


class Kind(StrEnum):
    """What kind of place."""

    DOTENV = "dotenv"
    JSON = "json"
    KUBERNETES = "kubernetes"
    WEBHOOK = "webhook"
    MANUAL = "manual"


class Reload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a program learns that its file changed: a command, or a signal to the process whose id is in a file."""

    command: tuple[str, ...] = ()
    pid_file: str = ""
    signal: str = "HUP"
    timeout_s: float = 10.0


SHUT = "is cut off or halted: the key goes to nobody"
"""What is said of a key whose way somewhere a gate shuts, if only half."""


class FileSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file on the rotator's host. `key_id` and `secret` name variables, or are JSON pointers."""

    path: str
    key_id: str
    secret: str
    reload: Reload = msgspec.field(default_factory=Reload)


class ClusterSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Kubernetes Secret. `server` empty: the cluster the rotator itself runs in."""

    namespace: str
    secret: str
    key_id_field: str = "key_id"
    secret_field: str = "secret"  # noqa: S105 - the name of a field
    restart: tuple[str, ...] = ()
    server: str = ""
    ca_file: str = ""


class WebhookSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A service that takes keys."""

    url: str
    ca_file: str = ""


class ManualSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person: what the tool is, and where in it the key is pasted."""

    what: str
    ends_on: str = ""


Settings = FileSettings | ClusterSettings | WebhookSettings | ManualSettings
_KINDS: dict[Kind, type[Settings]] = {
    Kind.DOTENV: FileSettings,
    Kind.JSON: FileSettings,
    Kind.KUBERNETES: ClusterSettings,
    Kind.WEBHOOK: WebhookSettings,
    Kind.MANUAL: ManualSettings,
}


@dataclass(frozen=True, slots=True)
class Destination:
    """One place. `secret_path` is where the secret store keeps what signs or authorises; None: nothing does."""

    name: str
    account: str
    slot: Slot
    kind: Kind
    settings: Settings
    patience_s: int
    created_us: int
    secret_path: str | None = field(default=None, repr=False)

    @property
    def where(self) -> str:
        """Say in a few words where it is."""
        match self.settings:
            case FileSettings(path=path):
                return path
            case ClusterSettings(namespace=namespace, secret=secret):
                return f"{namespace}/{secret}"
            case WebhookSettings(url=url):
                return urlsplit(url).hostname or url
            case ManualSettings(what=what):
                return what

    @property
    def since(self) -> str:
        """Say since when."""
        return moment(self.created_us).isoformat()


def parse(kind: str, document: Mapping[str, Any]) -> tuple[Kind, Settings]:
    """Read what an operator says of a place.

    Raises:
        Malformed: With every field that cannot be used.
    """
    which, settings = _converted(kind, document)
    problems = tuple(_problems(which, settings))
    if problems:
        raise _bad(*problems)
    return which, settings


def _converted(kind: str, document: Mapping[str, Any]) -> tuple[Kind, Settings]:
    try:
        which = Kind(kind)
    except ValueError:
        raise _bad(Problem("kind", f"is one of {', '.join(Kind)}")) from None
    try:
        settings = msgspec.convert(dict(document), _KINDS[which], strict=True)
    except msgspec.ValidationError as fault:
        text, _, where = str(fault).partition(" - at `$")
        raise _bad(Problem(f"settings{where.rstrip('`')}", text)) from None
    return which, settings


def dump(settings: Settings) -> str:
    """Write settings down."""
    return msgspec.json.encode(settings).decode()


def load(kind: str, text: str) -> tuple[Kind, Settings]:
    """Read settings that were written down: what was taken once stays readable, whatever is asked of new ones."""
    return _converted(kind, json.loads(text))


def _problems(kind: Kind, settings: Settings) -> list[Problem]:
    match settings:
        case FileSettings():
            return _file_problems(kind, settings)
        case ClusterSettings():
            wanted = {"namespace": _OBJECT, "secret": _OBJECT, "key_id_field": _FIELD, "secret_field": _FIELD}
            found = [
                Problem(f"settings.{name}", "is no name of Kubernetes'")
                for name, shape in wanted.items()
                if not shape.fullmatch(getattr(settings, name))
            ]
            found += [
                Problem("settings.restart", "is as in deployment/my-bot")
                for one in settings.restart
                if not _RESTART.fullmatch(one)
            ]
            if settings.server and not _is_server(settings.server):
                found.append(Problem("settings.server", "is https://HOST:PORT"))
            return found
        case WebhookSettings(url=url):
            return _url_problems(url)
        case ManualSettings(what=what):
            return [] if what.strip() else [Problem("settings.what", "says which tool, and where in it")]


def _file_problems(kind: Kind, settings: FileSettings) -> list[Problem]:
    found = []
    if not settings.path.startswith("/") or "/../" in settings.path or "\0" in settings.path:
        found.append(Problem("settings.path", "is a file's whole path, from the root"))
    shape = _VARIABLE if kind is Kind.DOTENV else _POINTER
    how = "is a variable's name" if kind is Kind.DOTENV else "is a JSON pointer, as in /exchange/key"
    found += [
        Problem(f"settings.{name}", how)
        for name in ("key_id", "secret")
        if not shape.fullmatch(getattr(settings, name))
    ]
    if settings.key_id == settings.secret:
        found.append(Problem("settings.secret", "is another one than key_id"))
    reload = settings.reload
    if reload.command and (reload.pid_file or not reload.command[0].startswith("/")):
        found.append(
            Problem(
                "settings.reload.command",
                "is a list that begins with a program's whole path, without pid_file",
            )
        )
    if reload.signal not in SIGNALS:
        found.append(Problem("settings.reload.signal", f"is one of {', '.join(SIGNALS)}"))
    if not 0 < reload.timeout_s <= 20:  # noqa: PLR2004 - a rotator's claim is longer than this
        found.append(Problem("settings.reload.timeout_s", "is between 0 and 20"))
    return found


def _url_problems(url: str) -> list[Problem]:
    """Say what cannot be used about a webhook's URL, whatever this home may reach; that is judged where it is made."""
    try:
        outbound.EVERYTHING.judge(url)
    except outbound.NotReachable as fault:
        return [Problem("settings.url", str(fault))]
    return []


def _is_server(url: str) -> bool:
    """Tell whether this is a cluster's address: https, wherever it is, and plain http on loopback only."""
    try:
        outbound.EVERYTHING.judge(url)
    except outbound.NotReachable:
        return False
    return True


def _bad(*problems: Problem) -> Malformed:
    return Malformed("bad_destination", tuple(problems))
