"""The home directory of an embedded Portcullis: where it is, what lies in it, what may never change.

Rules:
1. `--home DIR`, else `$PORTCULLIS_HOME`, else `~/.local/share/portcullis`.
2. Directories are 0700, files 0600. A home that others may read is refused: it holds the key to every key.
   What takes rights away from bots of a home that is at work is done all the same (`Face.home`).
3. `home.json` says environment, mode and ports. The environment is fixed for ever: a paper home stays paper.
4. Unknown fields are refused. Every error is one sentence: the field, and what to do.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from clients.outbound import Reach, reach_of
from clients.venue import Environment
from portcullis.audit_settings import AuditDocument
from portcullis.database_settings import DatabaseDocument
from portcullis.vault_settings import VaultDocument

VERSION = 1
NAME = "home.json"
GATEWAY_PORT = 8700
API_PORT = 8701
VARIABLE = "PORTCULLIS_HOME"
Mode = Literal["solo", "team"]
T = TypeVar("T", bound=BaseModel)
Port = Annotated[int, Field(ge=0, le=65535)]
PRIVATE = ("kek", "kek.next", "operator.token", "secrets.db", "state.db", "calls.db", "audit.key")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class SettingsError(Exception):
    """A home that cannot be used: the field, and in one sentence what to do."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field, self.message = field, message


class HalfMade(SettingsError):
    """A directory that was to be a home, and is none: something broke off before all that belongs into it was there."""

    state = "It is no home, and nothing runs on it."

    def __init__(self, field: str, why: str, *, elsewhere: bool) -> None:
        """Say why; `elsewhere`: a database or a Vault may have something of it as well."""
        super().__init__(field, why)
        taken = (
            " What was written to its database or Vault counts as another's: name empty ones."
            if elsewhere
            else ""
        )
        self.step = f"Mend that, remove the directory, and make the home again.{taken}"


def variable(name: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return a variable's text without the space around it; None where it is not set, or holds nothing.

    A script, a unit or a container that sets an empty variable names nothing with it, and no cut is refused for it.
    """
    return environ.get(name, "").strip() or None


class OutboundDocument(BaseModel):
    """Addresses and networks of ours that webhooks, heartbeats, alerts and anchors may be sent to."""

    model_config = ConfigDict(extra="forbid")

    allow: list[str] = []

    @field_validator("allow")
    @classmethod
    def _networks(cls, allow: list[str]) -> list[str]:
        for one in allow:
            ip_network(one)  # its ValueError names the entry
        return allow


class _Document(BaseModel):
    """`home.json`, strictly read."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: Literal[1]
    environment: Literal["paper", "testnet", "live"]
    mode: Mode
    api_port: Port = API_PORT
    gateway_port: Port = GATEWAY_PORT
    created_at: str
    vault: VaultDocument | None = None
    database: DatabaseDocument | None = None
    audit: AuditDocument | None = None
    outbound: OutboundDocument | None = None


@dataclass(frozen=True, slots=True)
class Home:
    """One home. Port 0: any free one, chosen at each start.

    Without `vault` its secrets lie in it, sealed; without `database` its state does, in SQLite.
    """

    root: Path
    environment: Environment
    mode: Mode
    api_port: int = API_PORT
    gateway_port: int = GATEWAY_PORT
    vault: VaultDocument | None = None
    database: DatabaseDocument | None = None
    audit: AuditDocument | None = None
    outbound: OutboundDocument | None = None

    @property
    def reach(self) -> Reach:
        """What webhooks, heartbeats, alerts and anchors may be sent to."""
        allow = () if self.outbound is None else self.outbound.allow
        return reach_of(allow, paper=self.environment is Environment.PAPER)

    @property
    def kek(self) -> Path:
        """The key-encryption key of the secret store."""
        return self.root / "kek"

    @property
    def state(self) -> Path:
        """The database: no secrets."""
        return self.root / "state.db"

    @property
    def secrets(self) -> Path:
        """The secret store: sealed rows."""
        return self.root / "secrets.db"

    @property
    def operator_token(self) -> Path:
        """The token the CLI of this home speaks with."""
        return self.root / "operator.token"

    @property
    def spool(self) -> Path:
        """What the gateway has written and the broker not yet kept."""
        return self.root / "spool"

    @property
    def cuts(self) -> Path:
        """Cuts that no store has taken, for the next start."""
        return self.root / "cuts"

    @property
    def running(self) -> Path:
        """Who runs on this home, and on which ports."""
        return self.root / "run.json"

    @property
    def lock(self) -> Path:
        """Held by the one broker that runs on this home."""
        return self.root / "run.lock"

    @property
    def paper(self) -> Path:
        """What the demo's paper exchange keeps."""
        return self.root / "paper"


def state_directory(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return where sessions of the person who types commands lie; None for a user without a home directory.

    Source:
        XDG Base Directory Specification 0.8: `$XDG_STATE_HOME` counts where it is an absolute path.
    """
    named = Path(environ.get("XDG_STATE_HOME", ""))
    try:
        return (named if named.is_absolute() else Path.home() / ".local" / "state") / "portcullis"
    except RuntimeError:
        return None


DEMO_HOME = Path("~/.local/share/portcullis-demo")
"""The demo's home where none is named."""


def locate(given: Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the home is, existing or not.

    Raises:
        SettingsError: Nothing is named, and the user has no home directory.
    """
    try:
        return _located(given, environ)
    except RuntimeError:
        message = "this user has no home directory (HOME): name the home of Portcullis by its whole path"
        raise SettingsError("--home", message) from None


def _located(given: Path | None, environ: Mapping[str, str]) -> Path:
    if given is not None:
        return given.expanduser().absolute()
    named = variable(VARIABLE, environ)
    if named is not None:
        return Path(named).expanduser().absolute()
    return Path.home() / ".local" / "share" / "portcullis"


def prepare(
    root: Path,
    environment: Environment,
    mode: Mode,
    *,
    api_port: int = API_PORT,
    gateway_port: int = GATEWAY_PORT,
    vault: VaultDocument | None = None,
    database: DatabaseDocument | None = None,
) -> Home:
    """Make the directory of a home that is none yet: `found` makes it one, once all that belongs into it is there.

    Raises:
        SettingsError: There is one already, or the directory cannot be used.
    """
    if (root / NAME).exists():
        raise SettingsError(
            "--home", f"{root} is a home already; choose another directory, or use it as it is"
        )
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise SettingsError("--home", f"{root} is not an empty directory; choose another one")
    try:
        private_directory(root)
        home = Home(root, environment, mode, api_port, gateway_port, vault, database)
        private_directory(home.spool)
    except OSError as fault:
        raise SettingsError(
            "--home", f"{root} cannot be written ({fault.strerror}); choose another"
        ) from None
    return home


def found(home: Home) -> None:
    """Make a prepared directory a home.

    Raises:
        SettingsError: The directory cannot be used.
    """
    try:
        _save(home, datetime.now(UTC).isoformat(timespec="seconds"))
    except OSError as fault:
        raise SettingsError(
            "--home", f"{home.root} cannot be written ({fault.strerror}); choose another"
        ) from None


def change_vault(home: Home, vault: VaultDocument | None) -> Home:
    """Let a home keep its secrets elsewhere, from the next start on."""
    changed = replace(home, vault=vault)
    _save(changed, _read(home.root).created_at)
    return changed


def open_home(root: Path) -> Home:
    """Read a home.

    Raises:
        SettingsError: There is none, others may read it, or `home.json` cannot be used.
    """
    document = _read(root)
    return Home(
        root, Environment(document.environment), document.mode, document.api_port, document.gateway_port,
        document.vault, document.database, document.audit, document.outbound,
    )  # fmt: skip


def _save(home: Home, created_at: str) -> None:
    document = _Document(
        version=1,
        environment=home.environment.value,
        mode=home.mode,
        api_port=home.api_port,
        gateway_port=home.gateway_port,
        created_at=created_at,
        vault=home.vault,
        database=home.database,
        audit=home.audit,
        outbound=home.outbound,
    )
    write_private(home.root / NAME, document.model_dump_json(indent=2, exclude_none=True) + "\n")


def _demo_to_try() -> str:
    """Name the demo's home where there is one: its commands name it."""
    try:
        here = DEMO_HOME.expanduser()
    except RuntimeError:  # a user without a home directory
        here = DEMO_HOME
    if (here / NAME).exists():
        return f"for the demo's `portcullis --home {here} status`, and so on"
    return "`portcullis demo` to try"


def _read(root: Path) -> _Document:
    path = root / NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError(
            "--home",
            f"{root} is no home yet. A home that is elsewhere is named by --home DIR or $PORTCULLIS_HOME; "
            f"for a new one `portcullis --home {root} init`, or {_demo_to_try()}",
        ) from None
    except (OSError, UnicodeDecodeError):
        raise SettingsError("--home", f"{path} cannot be read; check its owner and its rights") from None
    _refuse_readable_by_others(root)
    return read_document(_Document, path, text, NAME)


def read_file(kind: type[T], path: Path, option: str) -> T:
    """Read a document of settings that an option names.

    Raises:
        SettingsError: It cannot be read, or a field cannot be used.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise SettingsError(option, f"{path} cannot be read") from None
    return read_document(kind, path, text, option)


def read_document(kind: type[T], path: Path, text: str, name: str) -> T:
    """Read a document of settings, strictly.

    Raises:
        SettingsError: With the field, and the file to mend.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as fault:
        first = fault.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or name
        if first["type"] == "json_invalid":
            raise SettingsError(name, f"is not JSON; mend {path}") from None
        raise SettingsError(where, f"{first['msg'].lower()}; mend it in {path}") from None


def private_directory(path: Path) -> None:
    """Make a directory that only its owner may enter; one that exists is narrowed."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)


def write_private(path: Path, text: str) -> None:
    """Replace a file that only its owner may read, whole or not at all; where that fails nothing is left beside it."""
    fresh = path.with_name(path.name + ".new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            os.fchmod(fd, 0o600)
            file.write(text)
            file.flush()
            os.fsync(fd)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _refuse_readable_by_others(root: Path) -> None:
    for path in (root, *(root / name for name in PRIVATE)):
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            continue
        if mode & _OTHERS:
            right = "700" if path.is_dir() else "600"
            raise SettingsError(
                "--home", f"others may read {path}; run `chmod {right} {path}` and find out why"
            )
