"""The `vault` part of `home.json`: how this home reaches the Vault that keeps its keys. Strictly read.

Rules:
1. It names files, never secrets: tokens and secret ids lie in files of their own, readable by us only.
2. Beyond loopback only https: over plain http every key would cross the network in clear.
3. Unknown fields are refused; every error names the field.
"""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from broker.stores.vault.config import DAY_S, AppRoleAuth, Auth, KubernetesAuth, TokenAuth, VaultConfig

_Name = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*[A-Za-z0-9]$|^[A-Za-z0-9]$", max_length=120)
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TokenDocument(_Strict):
    """A token in a file, as an agent keeps it fresh."""

    method: Literal["token"]
    file: Path

    def auth(self) -> Auth:
        """Return the way to log in."""
        return TokenAuth(self.file.expanduser())


class AppRoleDocument(_Strict):
    """A role id, and a secret id in a file; wrapped where it was made with `-wrap-ttl`.

    A wrapped one is used up by the first process that takes it, so the rotator needs one of its own.
    """

    method: Literal["approle"]
    role_id: str = Field(min_length=1)
    secret_id_file: Path
    rotator_secret_id_file: Path | None = None
    wrapped: bool = False
    role: str = "portcullis-run"
    mount: _Name = "approle"

    def auth(self) -> Auth:
        """Return the way to log in."""
        return AppRoleAuth(
            self.role_id, self.secret_id_file.expanduser(), self.wrapped, self.role, self.mount
        )

    def of_rotator(self) -> "AppRoleDocument | None":
        """Return the same for the rotator's process; None where it has none of its own and needs one."""
        if self.rotator_secret_id_file is None:
            return None if self.wrapped else self
        return self.model_copy(update={"secret_id_file": self.rotator_secret_id_file})


class KubernetesDocument(_Strict):
    """A projected service-account token."""

    method: Literal["kubernetes"]
    role: str = "portcullis-run"
    token_file: Path = Path("/var/run/secrets/portcullis/vault-token")
    mount: _Name = "kubernetes"

    def auth(self) -> Auth:
        """Return the way to log in."""
        return KubernetesAuth(self.role, self.token_file, self.mount)


class VaultDocument(_Strict):
    """See `broker.stores.vault.config.VaultConfig`; times in seconds."""

    addresses: list[str] = Field(min_length=1)
    auth: Annotated[TokenDocument | AppRoleDocument | KubernetesDocument, Field(discriminator="method")]
    mount: _Name = "portcullis"
    prefix: _Name | Literal[""] = ""
    namespace: str | None = None
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    timeout_s: float = Field(default=5.0, gt=0, le=60)
    max_absence_s: float = Field(default=DAY_S, ge=0, le=30 * DAY_S)

    @field_validator("addresses")
    @classmethod
    def _https(cls, addresses: list[str]) -> list[str]:
        for address in addresses:
            parts = urlsplit(address)
            plain = parts.scheme == "http" and _is_loopback(parts.hostname)
            if not parts.hostname or parts.path.strip("/") or parts.query or parts.username:
                raise ValueError(f"{address[:80]} is no base URL; write https://HOST:8200")
            if parts.scheme != "https" and not plain:
                raise ValueError(
                    f"{address[:80]} would send keys in clear; use https, or http on loopback only"
                )
        return addresses

    @model_validator(mode="after")
    def _pair(self) -> "VaultDocument":
        if (self.client_cert is None) != (self.client_key is None):
            raise ValueError("client_cert and client_key go together")
        return self

    def of_rotator(self) -> "VaultDocument | None":
        """Return this as the rotator's process uses it; None where it cannot log in beside us."""
        if not isinstance(self.auth, AppRoleDocument):
            return self
        own = self.auth.of_rotator()
        return None if own is None else self.model_copy(update={"auth": own})

    def config(self) -> VaultConfig:
        """Return what the store works with."""
        pair = None
        if self.client_cert is not None and self.client_key is not None:
            pair = (self.client_cert.expanduser(), self.client_key.expanduser())
        return VaultConfig(
            tuple(address.rstrip("/") for address in self.addresses), self.auth.auth(), self.mount, self.prefix,
            self.namespace, None if self.ca_file is None else self.ca_file.expanduser(), pair, self.timeout_s,
            self.max_absence_s,
        )  # fmt: skip


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False
