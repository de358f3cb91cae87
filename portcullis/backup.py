"""Making and restoring backups of a home, whichever stores it uses.

Restoring, in this order: read to the end -> a new directory -> schema of the backup, rows, schema of today -> one
higher generation and a closer on everything -> secrets -> the mirror of the gates, claimed -> `home.json`, which makes
it a home. What breaks off in the middle is none: nothing runs on it, and it can be removed and done again.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from broker.backup import code, seal
from broker.backup.content import Content, Counts, Header, lines, read
from broker.db import accounts as account_store
from broker.db import backup as rows
from broker.db import meta
from broker.deeds import Deed
from broker.errors import BrokerError
from broker.files.named import NotWritten, created
from broker.gate import Mode as GateMode
from broker.ports import SecretStore
from broker.service import Service
from broker.service.adoption import take_in
from broker.service.host_guard import INSTANCE, SEAT, SUPERSEDED, facts_of, generation_of
from broker.service.reconcile import RESTORED, RESTORED_KEYS
from broker.service.service import open_service
from broker.stores.embedded import key
from broker.stores.held import is_lost
from clients.secret import Secret
from clients.venue import Environment
from portcullis import settings, stores
from portcullis.auditing import signer_of
from portcullis.clock import SystemClock
from portcullis.database_settings import DatabaseDocument
from portcullis.seating import PLACE
from portcullis.settings import Home, Mode, SettingsError, write_private
from portcullis.vault_settings import VaultDocument

RECOVERY = "recovery_key"
LAST = "backup_us"
_FILES = ("operator.token", "audit.key")
_GRAVE = {"destroyed": Secret("this secret was destroyed before the backup")}


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that was written. `lost` are the paths of secrets that are lost, and so not in it."""

    path: Path
    size: int
    counts: Counts
    lost: tuple[str, ...] = ()


def recovery_key(service: Service) -> str:
    """Return the public key that backups are sealed to; empty where none was made yet."""
    with service.desk.database.read() as connection:
        return meta.get(connection, RECOVERY) or ""


def new_code(service: Service) -> Secret:
    """Make a recovery code, and keep its public half. Backups of before open with the old one only."""
    made = code.fresh()
    with service.desk.database.write() as connection:
        meta.put(connection, RECOVERY, code.public_text(code.private_key(made)))
        service.audit.record(connection, "backup.code", f"instance:{service.desk.home.instance}")
    return made


def make(home: Home, service: Service, path: Path) -> Made:
    """Write a sealed backup to a new file, whole or not at all; one that is there is never written into.

    Raises:
        SettingsError: There is no recovery code yet, or the file cannot be written.
        StoreUnavailable: A store cannot answer.
        Withheld: Another host has this home's place: what a backup of this one holds is not the truth any more.
    """
    recipient = recovery_key(service)
    if not recipient:
        raise SettingsError("backup", "there is no recovery code yet; run `portcullis backup code`")
    facts, desk = service.desk.home, service.desk
    desk.guard.ensure(Deed.BACKUP)
    take_in(
        desk, service.audit, whole=True
    )  # what lies in the home alone would be forgotten by who restores this
    revision, log_revision = rows.revisions(desk.database)
    header = Header(
        facts.instance, facts.generation, facts.environment.value, facts.mode, revision,
        desk.clock.now().isoformat(timespec="seconds"), log_revision,
    )  # fmt: skip
    files = {
        name: Secret((home.root / name).read_text(encoding="utf-8"))
        for name in _FILES
        if (home.root / name).exists()
    }
    counts, lost = Counts(), list[str]()
    try:
        with created(path) as out:
            content = lines(header, desk.database, desk.secrets, _paths(desk.secrets), files, counts, lost)
            size = seal.seal(content, code.public_key(recipient), out)
    except NotWritten as fault:
        raise SettingsError("--to", f"{path} {fault}") from None
    with desk.database.write() as connection:
        meta.put(connection, LAST, str(desk.clock.now_us()))
        service.audit.record(
            connection, "backup.make", path.name, {"rows": counts.row, "secrets": counts.secret, "lost": lost}
        )
    return Made(path, size, counts, tuple(lost))


def _paths(store: SecretStore) -> Iterator[str]:
    """List when it is asked for: after the database was read."""
    yield from stores.all_paths(store)


def read_file(path: Path, key_: X25519PrivateKey) -> Content:
    """Read a backup to its end.

    Raises:
        BadBackup: It does not open, is damaged or not whole.
        SettingsError: The file cannot be read.
    """
    try:
        with path.open("rb") as source:
            return read(seal.opened(source, key_))
    except OSError as fault:
        raise SettingsError("FILE", f"{path} cannot be read ({fault.strerror})") from None


def restore(
    content: Content,
    root: Path,
    *,
    vault: VaultDocument | None,
    database: DatabaseDocument | None,
    ports: tuple[int, int],
    tell: Callable[[str], None],
    lost: Callable[[BrokerError], None] = lambda _: None,
) -> tuple[Home, str]:
    """Make a home out of a backup: closed, and of a higher generation.

    `lost` is told of each secret of the backup in whose place a Vault has something that is lost: it stays so.

    Returns:
        The home, and the id of the cut that keeps it closed.

    Raises:
        SettingsError: The directory cannot be used.
        StoreConflict: The secret store holds something else.
        StoreUnavailable: A store cannot answer.
    """
    header = content.header
    mode: Mode = "team" if header.mode == "team" else "solo"
    home = settings.prepare(
        root, Environment(header.environment), mode, api_port=ports[0], gateway_port=ports[1], vault=vault,
        database=database,
    )  # fmt: skip
    if vault is None:
        key.to_file(home.kek, key.fresh())
    for name in _FILES:
        if name in content.files:
            write_private(root / name, content.files[name].reveal())
    state = stores.database_of(home)
    secrets = None
    try:
        secrets = stores.secrets_of(home)
        generation = max(header.generation, _used(secrets, header)) + 1
        tell("database")
        rows.restore(state, (header.revision, header.log_revision), content.rows)
        state.upgrade()  # before anything reads it: an older one has not the columns that are asked for
        with state.write() as connection:
            meta.put(connection, "generation", str(generation))
            for of_the_old_host in (SEAT, PLACE, SUPERSEDED):
                meta.remove(connection, of_the_old_host)
            if vault is None:
                meta.put(connection, RESTORED, str(SystemClock().now_us()))
                held = sorted(str(one.ref) for one in account_store.keys(connection))
                meta.put(connection, RESTORED_KEYS, json.dumps(held))
        service = open_service(state, secrets, SystemClock())
        service.audit.sign_with(signer_of(home))
        cut, _ = service.cuts.close(
            targets=("everything",), mode=GateMode.CLOSED, actor="portcullis",
            reason=f"restored from a backup of {header.at}: run `portcullis reconcile`, then thaw this",
        )  # fmt: skip
        if not cut.on_record:
            raise SettingsError("database", "what was restored takes no writes, so it could not be closed")
        tell("secrets")
        for path, labels, values in content.secrets:
            if (fault := _put(secrets, path, labels, values)) is not None:
                lost(fault)
        for name, document in content.gates.items():
            _gate(secrets, name, document)
        service.mirror.merge()
        if service.mirror.superseded:
            raise SettingsError("vault", service.mirror.superseded)
        with state.write() as connection:
            service.audit.record(
                connection, "home.restore", f"instance:{header.instance}",
                {"backup": header.at, "generation": generation},
            )  # fmt: skip
        service.audit.checkpoint(at_once=True)
        service.close()
    finally:
        if secrets is not None:
            secrets.close()
        state.close()
    settings.found(home)
    return home, cut.id


def _used(store: SecretStore, header: Header) -> int:
    """Return the highest generation that this store has seen of the instance: a second restore is above the first."""
    known = store.mirror.read(INSTANCE)
    facts = {} if known is None else facts_of(known)
    return generation_of(facts) if facts.get("instance") == header.instance else 0


def _put(
    store: SecretStore, path: str, labels: dict[str, str], values: dict[str, Secret] | None
) -> BrokerError | None:
    """Write a secret, or the grave of one. What a Vault kept is compared; what it destroyed since stays so.

    Returns:
        Why a secret is not there that could be brought back where it lies: nothing is written over it.
    """
    there = path in store.paths(path)
    if values is None:
        if not there:
            store.write(path, _GRAVE, labels)
            store.destroy(path)
        return None
    fault = _fault(store, path) if there else None
    if fault is None:
        store.write(path, values, labels)
    return None if fault is None or fault.reason == "destroyed" else fault


def _fault(store: SecretStore, path: str) -> BrokerError | None:
    """Say why what lies at a path is lost; None where it is not."""
    try:
        store.read(path)
    except BrokerError as fault:
        if not is_lost(fault):
            raise
        return fault
    return None


def _gate(store: SecretStore, name: str, document: str) -> None:
    """Bring a gate's document back where there is none: what is there is newer."""
    store.mirror.change(name, lambda known: document if known is None else None)
