"""The mirror of the gates in Vault: documents under `gates/`, which brokers and human responders write.

Each write expects the version it read (check-and-set): of two writers at once one judges again.
"""

from collections.abc import Callable
from typing import Any

import hvac

from broker.errors import NotFound, StoreConflict, StoreUnavailable

_ATTEMPTS = 5
_FIELD = "document"
Ask = Callable[[str, Callable[[hvac.Client], Any]], Any]


class VaultMirror:
    """See `ports.GateMirror`."""

    def __init__(self, ask: Ask, mount: str, folder: str) -> None:
        self._ask, self._mount, self._folder = ask, mount, folder

    def names(self) -> tuple[str, ...]:
        """See `ports.GateMirror`."""
        try:
            found = self._ask(
                "list the gates",
                lambda client: client.secrets.kv.v2.list_secrets(self._folder, mount_point=self._mount),
            )
        except NotFound:
            return ()
        return tuple(sorted(str(name) for name in found["data"]["keys"] if not str(name).endswith("/")))

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
            lambda client: client.secrets.kv.v2.create_or_update_secret(
                f"{self._folder}/{name}", secret={_FIELD: document}, cas=version, mount_point=self._mount
            ),
        )

    def _document(self, name: str) -> tuple[str | None, int]:
        """Return a document and its version; none and the last version, where it was deleted."""
        path = f"{self._folder}/{name}"
        try:
            found = self._ask(
                f"read the gate {name}",
                lambda client: client.secrets.kv.v2.read_secret_version(
                    path, mount_point=self._mount, raise_on_deleted_version=False
                ),
            )["data"]
        except NotFound:
            return None, 0
        data = found["data"] or {}
        # what somebody else wrote there is read as a document that cannot be understood, never as none
        return (None if found["data"] is None else str(data.get(_FIELD, ""))), int(
            found["metadata"]["version"]
        )
