"""Ways in which a secret store loses a secret: each is told as the stores tell it."""

from collections.abc import Mapping
from typing import Any

from broker.errors import StoreUnavailable
from broker.stores.held import Held
from clients.secret import Secret

WAYS = ("destroyed", "incomplete", "tampered", "vault_deleted")


def lose(secrets: Any, path: str, how: str) -> None:
    """Lose what lies at a path."""
    if how == "destroyed":
        secrets.destroy(path)
        return
    read = secrets.read

    def lost(name: str) -> Mapping[str, Secret]:
        if name != path:
            return read(name)  # type: ignore[no-any-return]
        if how == "incomplete":
            return Held(name, {"sekret": Secret("x")})
        if how == "garbled":
            return Held(name, {"secret": Secret("-----BEGIN PRIVATE KEY-----")})
        raise StoreUnavailable(how, "it cannot be read")

    secrets.read = lost
