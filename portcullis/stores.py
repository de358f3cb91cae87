"""A home's database and secret store, opened as `home.json` says."""

from broker.db.database import Database
from broker.db.engines import Postgres
from broker.ports import SecretStore
from broker.stores.embedded import keyfile
from broker.stores.embedded.store import EmbeddedStore
from broker.stores.vault.session import Session
from broker.stores.vault.values import VaultStore
from clients.secret import Secret
from portcullis.clock import SystemClock
from portcullis.database_settings import DatabaseDocument
from portcullis.settings import Home, SettingsError
from portcullis.vault_settings import VaultDocument

TREES = ("keys/", "virtual/", "responders/", "managers/", "egress/", "operators/", "inbox/", "destinations/")
"""What a secret store holds; a role in Vault may list these, and not their common root."""


def database_of(home: Home) -> Database:
    """Open a home's database; not yet migrated where it is new.

    Raises:
        SettingsError: The file with its password cannot be read, or holds none.
    """
    return Database(home.state) if home.database is None else postgres_of(home.database)


def postgres_of(document: DatabaseDocument) -> Database:
    """Prepare a PostgreSQL as it was described."""
    password = None
    if document.password_file is not None:
        path = document.password_file.expanduser()
        try:
            password = Secret(path.read_text(encoding="utf-8").rstrip("\r\n"))
        except (OSError, UnicodeDecodeError):
            raise SettingsError(
                "database.password_file", f"{path} cannot be read; check its rights"
            ) from None
        if not password.reveal().strip():
            raise SettingsError("database.password_file", f"{path} is empty: put the password there")
    return Database(
        Postgres(
            tuple(document.hosts), document.database, document.user, password, document.ssl_mode,
            document.ca_file, document.single_node, document.namespace,
        )
    )  # fmt: skip


def secrets_of(home: Home) -> SecretStore:
    """Open a home's secret store.

    Raises:
        StoreUnavailable: The embedded one does not open. A Vault is not asked yet.
    """
    if home.vault is not None:
        return vault_store(home.vault)
    return embedded_store(home)


def embedded_store(home: Home) -> EmbeddedStore:
    """Open the embedded store with the key that lies beside it.

    Raises:
        StoreUnavailable: It does not open.
    """
    return keyfile.open_store(home.secrets, home.kek, SystemClock().now_us())


def vault_store(document: VaultDocument) -> VaultStore:
    """Prepare a Vault as it was described; it is not asked yet."""
    return VaultStore(Session(document.config()))


def all_paths(store: SecretStore) -> list[str]:
    """Return every path of a store, destroyed ones included."""
    return [path for tree in TREES for path in store.paths(tree)]
