"""The secret store over KV v2.

Rules:
1. A path is two things in Vault: version 1 of its data, and metadata (our labels). The data is written first,
   because a role that may only `create` data can then never write it again: Vault itself keeps paths write-once.
   A crash between the two leaves a secret without labels; the same write again, or `reconcile`, labels it.
2. Data is written with check-and-set 0, and read as version 1: nothing that came later is ever taken for it.
3. A write that lost, or whose outcome is unknown, is read and compared; the same is nothing, else `StoreConflict`.
4. `destroy` destroys version 1, and looks whether it is. Its labels stay, and no new version can take its place.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import hvac

from broker.errors import NotFound, StoreConflict, StoreUnavailable
from broker.stores.held import Held
from broker.stores.vault import shapes
from broker.stores.vault.mirror import VaultMirror
from broker.stores.vault.session import Session
from clients.secret import Secret

T = TypeVar("T")
_DEEPEST = 16
"""Folders in folders; our own paths have four parts."""


class VaultStore:
    """A `SecretStore` in a Vault. Safe for use by several threads."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._mount, self._prefix = session.config.mount, session.config.prefix
        self._is_kv2 = False
        self._mirror = VaultMirror(self._ask, self._mount, self._at("gates"))

    def __repr__(self) -> str:
        return f"VaultStore({self._session!r})"

    # --- the protocol ---------------------------------------------------------------------

    def write(self, path: str, values: Mapping[str, Secret], metadata: Mapping[str, str]) -> None:
        """See `ports.SecretStore`."""
        known = self._facts(path)
        if known is None:
            self._create(path, values)
        else:
            self._compare(path, values)
        labels: Mapping[str, str] = {} if known is None else known.labels
        if not labels and metadata:
            self._label(path, metadata)
            labels = self.metadata(path)
        if dict(labels) != dict(metadata):
            raise _conflict(path)

    def read(self, path: str) -> Mapping[str, Secret]:
        """See `ports.SecretStore`."""

        def work(client: hvac.Client) -> dict[str, Secret]:
            found = client.secrets.kv.v2.read_secret_version(
                self._at(path), version=1, mount_point=self._mount, raise_on_deleted_version=True
            )
            return shapes.values(found)

        try:
            return Held(path, self._ask(f"read {path}", work))
        except NotFound:
            raise self._why_gone(path) from None

    def metadata(self, path: str) -> Mapping[str, str]:
        """See `ports.SecretStore`."""
        known = self._facts(path)
        if known is None:
            raise _nothing(path)
        return known.labels

    def paths(self, prefix: str) -> tuple[str, ...]:
        """See `ports.SecretStore`."""
        found: list[str] = []
        folders = [prefix[: prefix.rfind("/") + 1]]
        while folders:
            here = folders.pop()
            for path in (here + name for name in self._names(here)):
                if path.startswith(prefix):
                    (folders if path.endswith("/") else found).append(path)
        return tuple(sorted(found))

    def destroy(self, path: str) -> None:
        """See `ports.SecretStore`."""
        if self._facts(path) is None:
            raise _nothing(path)
        self._ask(
            f"destroy {path}",
            lambda client: client.secrets.kv.v2.destroy_secret_versions(
                self._at(path), versions=[1], mount_point=self._mount
            ),
        )
        known = self._facts(path)  # an answer without a word may be anybody's
        if known is None or not known.destroyed:
            raise StoreUnavailable(
                "vault_failed", f"what was to destroy {path} was answered, but it is not destroyed"
            )

    @property
    def mirror(self) -> VaultMirror:
        """See `ports.SecretStore`."""
        return self._mirror

    def may_serve_on(self) -> bool:
        """See `ports.SecretStore`."""
        return self._session.absent_s() <= self._session.config.max_absence_s

    def maintain(self) -> None:
        """See `ports.SecretStore`."""
        self._session.maintain()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    # --- parts ----------------------------------------------------------------------------

    def _at(self, path: str) -> str:
        return f"{self._prefix}/{path}" if self._prefix else path

    def _ask(self, what: str, work: Callable[[hvac.Client], T]) -> T:
        """Ask, once it is sure that the mount is what we take it for.

        A KV version 1 engine answers our paths with "nothing there", which would be taken for the truth.
        """
        if not self._is_kv2:
            self.look_at_mount()
        return self._session.ask(what, work)

    def look_at_mount(self) -> None:
        """Make sure that a KV version 2 engine is where we were told.

        Raises:
            StoreUnavailable: It is not, or Vault is away.
        """
        where = f"/v1/sys/internal/ui/mounts/{self._mount}"
        try:
            kind, version = self._session.ask(
                "look at the mount", lambda client: shapes.engine(client.adapter.get(where))
            )
        except StoreUnavailable as fault:
            if fault.reason != "vault_forbidden":
                raise
            raise StoreUnavailable(
                "vault_wrong_mount",
                f"nothing is mounted at {self._mount} in Vault, or our role may do nothing there: check vault.mount; "
                "`portcullis vault setup` mounts it and makes the roles",
            ) from None
        if (kind, version) != ("kv", "2"):
            raise StoreUnavailable(
                "vault_kv1",
                f"{self._mount} in Vault is {kind} version {version or 1}; Portcullis needs kv version 2: "
                "name another mount, or `vault kv enable-versioning`",
            )
        self._is_kv2 = True

    def _why_gone(self, path: str) -> NotFound | StoreUnavailable:
        known = self._facts(path)
        if known is None:
            return _nothing(path)
        if known.destroyed:
            return NotFound("destroyed", f"the secret at {path} was destroyed")
        return StoreUnavailable(
            "vault_deleted",
            f"{path} was deleted in Vault by hand, and is not destroyed yet: "
            f"`vault kv undelete -versions=1 -mount={self._mount} {self._at(path)}`",
        )

    def _facts(self, path: str) -> shapes.Path | None:
        """Return what Vault says of a path; None where nothing was ever written."""
        try:
            return self._ask(
                f"look at {path}",
                lambda client: shapes.path(
                    client.secrets.kv.v2.read_secret_metadata(self._at(path), mount_point=self._mount)
                ),
            )
        except NotFound:
            return None

    def _label(self, path: str, metadata: Mapping[str, str]) -> None:
        self._ask(
            f"label {path}",
            lambda client: client.secrets.kv.v2.update_metadata(
                self._at(path), cas_required=True, max_versions=1, custom_metadata=dict(metadata),
                mount_point=self._mount,
            ),
        )  # fmt: skip

    def _create(self, path: str, values: Mapping[str, Secret]) -> None:
        """Write version 1; what was refused or got no answer is compared with what is there."""
        plain = {name: value.reveal() for name, value in values.items()}
        try:
            self._ask(
                f"write {path}",
                lambda client: shapes.count(
                    client.secrets.kv.v2.create_or_update_secret(
                        self._at(path), secret=plain, cas=0, mount_point=self._mount
                    ),
                    "data",
                    "version",
                ),
            )
        except (StoreConflict, StoreUnavailable) as fault:
            # a role that may only create is refused where somebody was faster
            try:
                self._compare(path, values)
            except (NotFound, StoreUnavailable):
                raise fault from None

    def _compare(self, path: str, values: Mapping[str, Secret]) -> None:
        """Pass where the same is there already.

        Raises:
            StoreConflict: Something else is, or was.
            NotFound: Nothing is.
        """
        try:
            there = self.read(path)
        except NotFound as fault:
            if fault.reason == "destroyed":
                raise _conflict(path) from None
            raise
        if dict(there) != dict(values):  # a Secret compares in constant time
            raise _conflict(path)

    def _names(self, folder: str) -> tuple[str, ...]:
        if folder.count("/") > _DEEPEST:
            raise StoreUnavailable(
                "vault_odd", f"Vault lists folders in folders without end ({folder[:60]}...): whose are they?"
            )
        try:
            return self._ask(
                f"list {folder or 'everything'}",
                lambda client: shapes.names(
                    client.secrets.kv.v2.list_secrets(self._at(folder), mount_point=self._mount)
                ),
            )
        except NotFound:
            return ()


def _conflict(path: str) -> StoreConflict:
    return StoreConflict("written", f"{path} was written before, with something else")


def _nothing(path: str) -> NotFound:
    return NotFound("no_secret", f"there is no secret at {path}")
