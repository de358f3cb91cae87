"""The embedded secret store: sealed rows in an SQLite file of its own.

Rules:
1. Each value is sealed with AES-256-GCM under a data key of the store, with a fresh nonce; path and metadata
   are bound to it, so that a row moved or relabelled does not open.
2. The data key is sealed under the key-encryption key, which is not in the file. Rotation (`rewrap`) seals the
   data key anew under a new one, in one transaction; before it commits the old key opens, after it the new one.
3. Paths are written once. The same again is nothing, something else is a conflict.
4. `destroy` removes the value and keeps the metadata.
"""

import hmac
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker.errors import NotFound, StoreConflict, StoreUnavailable
from broker.stores.embedded import shapes
from broker.stores.embedded.key import LENGTH, key_bytes
from broker.stores.embedded.mirror import EmbeddedMirror
from broker.stores.held import Held
from clients.secret import Secret

_NONCE = 12
_SCHEMA = """
CREATE TABLE IF NOT EXISTS data_key (id INTEGER PRIMARY KEY CHECK (id = 1), sealed BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS secrets (path TEXT PRIMARY KEY, metadata TEXT NOT NULL, sealed BLOB);
CREATE TABLE IF NOT EXISTS gates (name TEXT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_KEY_SINCE = "key_since_us"
_PRAGMAS = (("journal_mode", "WAL", "wal"), ("synchronous", "FULL", 2), ("secure_delete", "ON", 1))
"""What the file is opened with, and what SQLite then answers."""

_DATA_KEY = b"portcullis data key 1"


class EmbeddedStore:
    """A `SecretStore` in one file. Safe for use by several threads."""

    def __init__(self, path: Path, key: Secret, now_us: int | None = None) -> None:
        """Open the store, and make it where there is none; `now_us` says since when its key is used, then.

        Raises:
            StoreUnavailable: The file cannot be used, or the key is not the one it was sealed with.
        """
        self._lock = threading.Lock()
        try:
            path.touch(mode=0o600, exist_ok=True)
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
            for name, value, answer in _PRAGMAS:
                self._connection.execute(f"PRAGMA {name}={value}")
                (found,) = self._connection.execute(f"PRAGMA {name}").fetchone()
                if found != answer:
                    raise StoreUnavailable(
                        "sqlite_settings",
                        f"SQLite has {name}={found} for {path} although it was asked for {value}: does it lie on a "
                        "disk of another host? Put the home on a disk of this one",
                    )
            self._connection.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as fault:
            raise StoreUnavailable("store_file", f"the secret store {path} cannot be used: {fault}") from None
        try:
            self._seal = AESGCM(self._data_key(AESGCM(key_bytes(key, "the store's key")), now_us))
        except BaseException:
            self._connection.close()
            raise
        self._mirror = EmbeddedMirror(self._transaction)

    def __repr__(self) -> str:
        return "EmbeddedStore(sealed)"

    # --- the protocol ---------------------------------------------------------------------

    def write(self, path: str, values: Mapping[str, Secret], metadata: Mapping[str, str]) -> None:
        """See `ports.SecretStore`."""
        labels = _labels(metadata)
        plain = json.dumps({name: value.reveal() for name, value in values.items()}, sort_keys=True).encode()
        sealed = self._sealed(plain, path, labels)
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT metadata, sealed FROM secrets WHERE path = ?", (path,)
            ).fetchone()
            if row is None:
                connection.execute("INSERT INTO secrets VALUES (?, ?, ?)", (path, labels, sealed))
                return
            known, old = _read(row, path)
            if (
                old is None
                or known != labels
                or not hmac.compare_digest(self._opened(old, path, known), plain)
            ):
                raise StoreConflict("written", f"{path} was written before, with something else")

    def read(self, path: str) -> Mapping[str, Secret]:
        """See `ports.SecretStore`."""
        labels, sealed = self._row(path)
        if sealed is None:
            raise NotFound("destroyed", f"the secret at {path} was destroyed")
        values = shapes.texts(self._opened(sealed, path, labels), f"the sealed row {path}")
        return Held(path, {name: Secret(value) for name, value in values.items()})

    def metadata(self, path: str) -> Mapping[str, str]:
        """See `ports.SecretStore`."""
        return shapes.texts(self._row(path)[0], f"the sealed row {path}")

    def paths(self, prefix: str) -> tuple[str, ...]:
        """See `ports.SecretStore`."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT path FROM secrets WHERE substr(path, 1, ?) = ? ORDER BY path", (len(prefix), prefix)
            ).fetchall()
        return tuple(shapes.text(row[0], "the name of a row") for row in rows)

    def destroy(self, path: str) -> None:
        """See `ports.SecretStore`."""
        self._row(path)
        with self._transaction() as connection:
            connection.execute("UPDATE secrets SET sealed = NULL WHERE path = ?", (path,))
        self.flush()  # what was overwritten must not stay in the write-ahead log

    @property
    def mirror(self) -> EmbeddedMirror:
        """See `ports.SecretStore`."""
        return self._mirror

    def may_serve_on(self) -> bool:
        """See `ports.SecretStore`: a file is never away."""
        return True

    def maintain(self) -> None:
        """See `ports.SecretStore`: a file needs no upkeep."""

    def close(self) -> None:
        """See `ports.SecretStore`. Who reads is waited for: SQLite crashes where a connection goes away in use."""
        with self._lock:
            self._connection.close()

    # --- keys -----------------------------------------------------------------------------

    def rewrap(self, old: Secret, new: Secret, now_us: int | None = None) -> None:
        """Seal the data key under a new key-encryption key.

        Raises:
            StoreUnavailable: `old` is not the key in use.
        """
        raw = self._data_key(AESGCM(key_bytes(old, "the old key")))
        nonce = os.urandom(_NONCE)
        sealed = nonce + AESGCM(key_bytes(new, "the new key")).encrypt(nonce, raw, _DATA_KEY)
        with self._transaction() as connection:
            connection.execute("UPDATE data_key SET sealed = ? WHERE id = 1", (sealed,))
            _note_since(connection, now_us)
        self.flush()

    def opens_with(self, key: Secret) -> bool:
        """Tell whether a key-encryption key is the one in use."""
        try:
            self._data_key(AESGCM(key_bytes(key, "the store's key")))
        except StoreUnavailable as fault:
            if fault.reason in {"wrong_key", "bad_key"}:
                return False
            raise
        return True

    def key_since_us(self) -> int | None:
        """Return since when the key-encryption key is used; None where it was not written down."""
        with self._transaction() as connection:
            row = connection.execute("SELECT value FROM facts WHERE name = ?", (_KEY_SINCE,)).fetchone()
        return None if row is None else shapes.number(row[0], _KEY_SINCE)

    def flush(self) -> bool:
        """Copy the write-ahead log back and empty it; tell whether nobody hindered that."""
        with self._lock:
            try:
                return bool(self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)
            except sqlite3.Error as fault:
                raise StoreUnavailable("store_file", f"the secret store cannot answer: {fault}") from None

    def _data_key(self, outer: AESGCM, now_us: int | None = None) -> bytes:
        with self._transaction() as connection:
            row = connection.execute("SELECT sealed FROM data_key WHERE id = 1").fetchone()
            if row is not None:
                known = shapes.sealed(row[0], "the data key")
                try:
                    return outer.decrypt(known[:_NONCE], known[_NONCE:], _DATA_KEY)
                except (InvalidTag, ValueError):  # the latter: of what is too short
                    raise StoreUnavailable(
                        "wrong_key", "the store's key is not the one the secret store was sealed with"
                    ) from None
            raw, nonce = os.urandom(LENGTH), os.urandom(_NONCE)
            connection.execute(
                "INSERT INTO data_key VALUES (1, ?)", (nonce + outer.encrypt(nonce, raw, _DATA_KEY),)
            )
            _note_since(connection, now_us)
            return raw

    # --- rows -----------------------------------------------------------------------------

    def _row(self, path: str) -> tuple[str, bytes | None]:
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT metadata, sealed FROM secrets WHERE path = ?", (path,)
            ).fetchone()
        if row is None:
            raise NotFound("no_secret", f"there is no secret at {path}")
        return _read(row, path)

    def _sealed(self, plain: bytes, path: str, labels: str) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._seal.encrypt(nonce, plain, _bound(path, labels))

    def _opened(self, sealed: bytes, path: str, labels: str) -> bytes:
        try:
            return self._seal.decrypt(sealed[:_NONCE], sealed[_NONCE:], _bound(path, labels))
        except (InvalidTag, ValueError):  # the latter: of what is too short
            raise shapes.changed(f"the sealed row {path}") from None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as fault:
                raise StoreUnavailable("store_file", f"the secret store cannot answer: {fault}") from None
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except sqlite3.Error as fault:
                self._roll_back()
                raise StoreUnavailable("store_file", f"the secret store cannot answer: {fault}") from None
            except BaseException:
                self._roll_back()
                raise

    def _roll_back(self) -> None:
        """Undo what was begun, where SQLite has not done so by itself, as it does on a full disk."""
        if self._connection.in_transaction:
            with suppress(sqlite3.Error):  # what went wrong before that is said
                self._connection.execute("ROLLBACK")


def _note_since(connection: sqlite3.Connection, now_us: int | None) -> None:
    if now_us is not None:
        connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (_KEY_SINCE, str(now_us)))


def _read(row: Any, path: str) -> tuple[str, bytes | None]:
    where = f"the sealed row {path}"
    return shapes.text(row[0], where), None if row[1] is None else shapes.sealed(row[1], where)


def _labels(metadata: Mapping[str, str]) -> str:
    return json.dumps(dict(metadata), sort_keys=True, separators=(",", ":"))


def _bound(path: str, labels: str) -> bytes:
    return path.encode() + b"\0" + labels.encode()
