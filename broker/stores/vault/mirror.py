"""The mirror of the gates in Vault: documents under `gates/`, which brokers and human responders write.

Each write expects the version it read (check-and-set): of two writers at once one judges again.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import hvac
from hvac.exceptions import InvalidPath

from broker.errors import NotFound, StoreConflict, StoreUnavailable
from broker.stores.vault import shapes

_ATTEMPTS = 5
T = TypeVar("T")


class Ask(Protocol):
    """Asks Vault; see `Session.ask`."""

    def __call__(self, what: str, work: Callable[[hvac.Client], T], /) -> T:
        """Return what the work read of the answer."""
        ...


class VaultMirror:
    """See `ports.GateMirror`."""

    def __init__(self, ask: Ask, mount: str, folder: str) -> None:
        self._ask, self._mount, self._folder = ask, mount, folder

    def names(self) -> tuple[str, ...]:
        """See `ports.GateMirror`."""
        try:
            found = self._ask(
                "list the gates",
                lambda client: shapes.names(
                    client.secrets.kv.v2.list_secrets(self._folder, mount_point=self._mount)
                ),
            )
        except NotFound:
            return ()
        return tuple(sorted(name for name in found if not name.endswith("/")))

    def read(self, name: str) -> str | None:
        """See `ports.GateMirror`."""
        return self._document(name)[0]

    def change(self, name: str, judge: Callable[[str | None], str | None]) -> None:
        """See `ports.GateMirror`."""
        for _ in range(_ATTEMPTS):
            known, version = self._document(name)
            fresh = judge(known)
            if fresh is None:
                return
            try:
                self._write(name, fresh, version)
            except StoreConflict:
                continue
            return
        raise StoreUnavailable("vault_busy", f"the gate {name} is written by others all the time; try again")

    def _write(self, name: str, document: str, version: int) -> None:
        self._ask(
            f"write the gate {name}",
            lambda client: shapes.count(
                client.secrets.kv.v2.create_or_update_secret(
                    f"{self._folder}/{name}",
                    secret={shapes.DOCUMENT: document},
                    cas=version,
                    mount_point=self._mount,
                ),
                "data",
                "version",
            ),
        )

    def _document(self, name: str) -> tuple[str | None, int]:
        """Return a document and its version; none and the last version, where it was deleted or destroyed."""
        path = f"{self._folder}/{name}"
        try:
            return self._ask(
                f"read the gate {name}",
                lambda client: shapes.document(_last(client, path, self._mount)),
            )
        except NotFound:
            return None, 0


def _last(client: hvac.Client, path: str, mount: str) -> Any:
    """Return Vault's answer to what the last version is. Of one that is gone it is a 404 that says its number.

    hvac returns that for a deleted version, and raises for a destroyed one.
    """
    try:
        return client.secrets.kv.v2.read_secret_version(
            path, mount_point=mount, raise_on_deleted_version=False
        )
    except InvalidPath as gone:
        if isinstance(gone.json, Mapping) and isinstance(gone.json.get("data"), Mapping):
            return gone.json
        raise
