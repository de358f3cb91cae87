"""Where a test's database is: SQLite in its folder, or the PostgreSQL that a file there names.

By a file, so that processes a test starts on the same folder find the same database.
"""

import json
from pathlib import Path

from broker.db.database import Database
from broker.db.engines import Postgres
from broker.db.log_tables import LOG
from broker.db.tables import METADATA
from broker.ports import SecretStore
from broker.stores.embedded import key
from broker.stores.embedded.store import EmbeddedStore
from broker.stores.vault.config import TokenAuth, VaultConfig
from broker.stores.vault.session import Session
from broker.stores.vault.values import VaultStore
from clients.secret import Secret
from portcullis.database_settings import DatabaseDocument
from tests.services.postgres.server import PASSWORD

NAMED = "postgres.json"
VAULT = "vault.json"


def database_at(directory: Path) -> Database:
    """Open the database of a folder, not yet migrated when it is new."""
    named = directory / NAMED
    if not named.exists():
        return Database(directory / "state.db")
    return Database(postgres_at(directory))


def postgres_at(directory: Path) -> Postgres:
    found = json.loads((directory / NAMED).read_text())
    return Postgres(
        tuple(f"127.0.0.1:{port}" for port in found["ports"]), found["name"], "portcullis", Secret(PASSWORD),
        ssl_mode="disable", single_node=found["single_node"],
    )  # fmt: skip


def database_document(directory: Path) -> DatabaseDocument | None:
    """Return how a home in a folder reaches its PostgreSQL; None where it keeps SQLite."""
    if not (directory / NAMED).exists():
        return None
    found = json.loads((directory / NAMED).read_text())
    password = directory / "database.password"
    password.write_text(PASSWORD)
    return DatabaseDocument(
        hosts=[f"127.0.0.1:{port}" for port in found["ports"]], database=found["name"], ssl_mode="disable",
        password_file=password, single_node=found["single_node"],
    )  # fmt: skip


def contents(directory: Path) -> bytes:
    """Return everything that lies in a folder and in its database, to look for what must not be there."""
    database = database_at(directory)
    rows = []
    for store, metadata in ((database, METADATA), (database.log, LOG)):
        with store.read() as connection:
            rows += [repr(list(connection.execute(table.select()))) for table in metadata.sorted_tables]
    database.close()
    files = [path.read_bytes() for path in directory.rglob("*") if path.is_file()]
    return b"\n".join([*(row.encode() for row in rows), *files])


def secrets_at(directory: Path) -> SecretStore:
    """Open the secret store of a folder: the Vault that a file there names, or the embedded one."""
    named = directory / VAULT
    if not named.exists():
        return EmbeddedStore(directory / "secrets.db", key.from_file(directory / "kek"))
    found = json.loads(named.read_text())
    auth = TokenAuth(Path(found["token_file"]))
    return VaultStore(Session(VaultConfig((found["address"],), auth, found["mount"])))
