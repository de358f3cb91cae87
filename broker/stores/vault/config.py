"""How a Vault is reached and logged in to. Values only."""

from dataclasses import dataclass
from pathlib import Path

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class TokenAuth:
    """A token in a file, as an agent writes it; read again when Vault no longer takes it."""

    file: Path


@dataclass(frozen=True, slots=True)
class AppRoleAuth:
    """Role id and secret id. A wrapped secret id is unwrapped once and then kept in memory only."""

    role_id: str
    secret_id_file: Path
    wrapped: bool = False
    role: str = ""
    """Name of the role; with a wrapped secret id it proves who wrapped it."""
    mount: str = "approle"


@dataclass(frozen=True, slots=True)
class KubernetesAuth:
    """A projected service-account token, read again at every login."""

    role: str
    token_file: Path
    mount: str = "kubernetes"


Auth = TokenAuth | AppRoleAuth | KubernetesAuth


@dataclass(frozen=True, slots=True)
class VaultConfig:
    """One Vault.

    Attributes:
        addresses: Base URLs of its nodes, the preferred one first.
        auth: How we log in.
        mount: Where the KV v2 engine is mounted.
        prefix: Put before every path, without slashes at its ends; empty for none.
        namespace: Sent with every request; Vault Enterprise.
        ca_file: Whom we trust; the system's certificates where there is none.
        client_cert: Our certificate and its key, where Vault asks for one.
        timeout_s: How long one request may take.
        max_absence_s: How long running leases go on while Vault does not answer, or turns us away.
    """

    addresses: tuple[str, ...]
    auth: Auth
    mount: str = "portcullis"
    prefix: str = ""
    namespace: str | None = None
    ca_file: Path | None = None
    client_cert: tuple[Path, Path] | None = None
    timeout_s: float = 5.0
    max_absence_s: float = DAY_S
