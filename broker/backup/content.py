"""What is in a backup, line by line: header, the database's rows, every secret, gates, a few files, and the end.

Rules:
1. It is the same whichever stores it comes from, and can be restored into any.
2. The database is read first, state and log in a snapshot each: a secret that is written meanwhile has no record,
   which is harmless; a record without its secret would not be.
3. Sessions, idempotency keys and announced acts are left out: they are over.
4. A secret that is lost keeps no other back: it is left out and named, and a store that is restored has nothing there.
   One that was destroyed stays so.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from broker.backup.seal import BadBackup
from broker.db import backup as rows
from broker.db.database import Database
from broker.errors import BrokerError, NotFound
from broker.ports import SecretStore
from broker.stores.held import is_lost
from clients.secret import Secret

VERSION = 2
_READ = (1, 2)
"""In the first there was no log store: the log's tables were the state's."""

_KINDS = ("row", "secret", "gate", "file")


@dataclass(frozen=True, slots=True)
class Header:
    """Of what, and when."""

    instance: str
    generation: int
    environment: str
    mode: str
    revision: str
    at: str
    log_revision: str = ""


@dataclass(slots=True)
class Counts:
    """How many of each kind of line."""

    row: int = 0
    secret: int = 0
    gate: int = 0
    file: int = 0

    def add(self, kind: str) -> None:
        """Count one."""
        setattr(self, kind, getattr(self, kind) + 1)


@dataclass(slots=True)
class Content:
    """A whole backup, read and counted. Its secrets are in `Secret`."""

    header: Header
    rows: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    secrets: list[tuple[str, dict[str, str], dict[str, Secret] | None]] = field(
        default_factory=list, repr=False
    )
    gates: dict[str, str] = field(default_factory=dict)
    files: dict[str, Secret] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)


def lines(
    header: Header, database: Database, store: SecretStore, paths: Iterable[str], files: Mapping[str, Secret],
    counts: Counts, lost: list[str],
) -> Iterator[bytes]:  # fmt: skip
    """Yield a backup's lines; `paths` is asked after the database was read. Fills `counts`, and `lost`."""
    yield _line(
        {"kind": "header", "version": VERSION, **{name: getattr(header, name) for name in Header.__slots__}}
    )
    for table, row in rows.dump(database):
        counts.add("row")
        yield _line({"kind": "row", "table": table, "row": row})
    for path in paths:
        try:
            document = _secret(store, path)
        except BrokerError as fault:
            if not is_lost(fault):
                raise
            lost.append(path)
            continue
        counts.add("secret")
        yield _line(document)
    for name in store.mirror.names():
        counts.add("gate")
        yield _line({"kind": "gate", "name": name, "document": store.mirror.read(name)})
    for name, text in files.items():
        counts.add("file")
        yield _line({"kind": "file", "name": name, "text": text.reveal()})
    yield _line({"kind": "end", **{kind: getattr(counts, kind) for kind in _KINDS}})


def _secret(store: SecretStore, path: str) -> dict[str, Any]:
    """Return the line of one secret, or of what is left of one that was destroyed."""
    values: dict[str, str] | None = None
    try:
        values = {name: value.reveal() for name, value in store.read(path).items()}
    except NotFound as fault:
        if fault.reason != "destroyed":
            raise
    return {"kind": "secret", "path": path, "labels": dict(store.metadata(path)), "values": values}


def read(source: Iterable[bytes]) -> Content:
    """Read a backup to its end.

    Raises:
        BadBackup: It is not whole, or of another version.
    """
    try:
        return _read(source)
    except BadBackup:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadBackup("the backup opens, but what is in it is no backup of Portcullis") from None


def _read(source: Iterable[bytes]) -> Content:
    content: Content | None = None
    for raw in source:
        found = json.loads(raw)
        kind = found.pop("kind", "")
        if content is None:
            if kind != "header" or found.pop("version", 0) not in _READ:
                raise BadBackup("the backup is of another version of Portcullis")
            content = Content(Header(**found))
            continue
        if kind == "end":
            if found != {name: getattr(content.counts, name) for name in _KINDS}:
                raise BadBackup("the backup is not whole: something is missing in it")
            return content
        content.counts.add(kind)
        match kind:
            case "row":
                content.rows.append((found["table"], found["row"]))
            case "secret":
                values = found["values"]
                held = None if values is None else {name: Secret(value) for name, value in values.items()}
                content.secrets.append((found["path"], found["labels"], held))
            case "gate":
                content.gates[found["name"]] = found["document"]
            case "file":
                content.files[found["name"]] = Secret(found["text"])
    raise BadBackup("the backup is not whole: its end is missing")


def _line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
