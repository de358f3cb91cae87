"""The key-encryption key of the embedded store: 32 bytes from a file, an environment variable or the keyring.

Rules:
1. A file is ours, and readable by nobody else (0600): anything wider is refused, not mended.
2. An environment variable is removed from our environment once it was read, so that children do not inherit it.
3. A key is 32 random bytes, written as base64. What is shorter, longer or something else is refused.
"""

import base64
import binascii
import os
import secrets
import stat
from collections.abc import MutableMapping
from pathlib import Path

import keyring
from keyring.errors import KeyringError

from broker.errors import StoreUnavailable
from clients.secret import Secret

LENGTH = 32
KEYRING_SERVICE = "portcullis"


def fresh() -> Secret:
    """Return a new key."""
    return Secret(base64.b64encode(secrets.token_bytes(LENGTH)).decode("ascii"))


def key_bytes(key: Secret, source: str) -> bytes:
    """Return the key itself.

    Raises:
        StoreUnavailable: It is not 32 bytes of base64.
    """
    try:
        raw = base64.b64decode(key.reveal().strip(), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != LENGTH:
        raise StoreUnavailable(
            "bad_key", f"the key in {source} is not 32 bytes of base64; put it back from your copy"
        )
    return raw


def from_file(path: Path) -> Secret:
    """Read the key from a file.

    Raises:
        StoreUnavailable: There is none, or others may read it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        raise StoreUnavailable(
            "no_key", f"the store's key {path} cannot be read; put it back from your copy"
        ) from None
    about = os.fstat(fd)
    if not stat.S_ISREG(about.st_mode):  # a directory that a mount made, a pipe that nobody writes to
        os.close(fd)
        raise StoreUnavailable("bad_key", f"{path} is no file; put the key back from your copy")
    with os.fdopen(fd, encoding="ascii") as file:
        if about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) & 0o077:
            raise StoreUnavailable(
                "key_open", f"others may read the store's key: run chmod 600 {path}, then rotate it"
            )
        try:
            return Secret(file.read())
        except UnicodeDecodeError:
            raise StoreUnavailable("bad_key", f"{path} holds no key; put it back from your copy") from None


def to_file(path: Path, key: Secret) -> None:
    """Write a key to a new file, readable by us only; synced, so that it outlives what it will seal.

    Raises:
        FileExistsError: There is one already.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(key.reveal() + "\n")
        file.flush()
        os.fsync(file.fileno())


def from_environment(environment: MutableMapping[str, str], name: str) -> Secret:
    """Take the key out of an environment variable.

    Raises:
        StoreUnavailable: It is not set, or empty.
    """
    value = environment.pop(name, None)
    if value is None or not value.strip():
        raise StoreUnavailable("no_key", f"the store's key is not in ${name}; set it and start again")
    return Secret(value)


def from_keyring(user: str) -> Secret:
    """Read the key from the operating system's keyring.

    Raises:
        StoreUnavailable: The keyring cannot answer, or has none.
    """
    try:
        value = keyring.get_password(KEYRING_SERVICE, user)
    except KeyringError:
        raise StoreUnavailable("keyring", "the keyring cannot answer; unlock it and start again") from None
    if value is None:
        raise StoreUnavailable("no_key", f"the keyring has no key of {KEYRING_SERVICE} for {user}")
    return Secret(value)
