"""Founding a home, and opening what lies in it: database, secret store, service.

The order of founding: directory -> key-encryption key -> database, migrated -> operators and their tokens ->
`home.json`, which makes it a home: one whose first operators are all there. What breaks off in the middle is said, is
no home, and can be removed: it guards nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.db.database import Database
from broker.db.faults import DISK_FULL
from broker.errors import BrokerError, StoreUnavailable
from broker.model import NAME
from broker.pasted import looks_secret
from broker.ports import SecretStore
from broker.service import Service
from broker.service.audit import ITSELF
from broker.service.operators import Role
from broker.service.service import found_home, is_founded, open_service
from broker.service.unrecorded import Unrecorded
from broker.steady import moment
from broker.stores.embedded import key
from broker.stores.vault.values import VaultStore
from clients.venue import Environment
from portcullis import settings, stores
from portcullis.auditing import signer_of
from portcullis.belongings import ours_of
from portcullis.clock import SystemClock
from portcullis.database_settings import DatabaseDocument
from portcullis.seating import look_at
from portcullis.settings import HalfMade, Home, Mode, SettingsError, write_private
from portcullis.vault_settings import VaultDocument

OWNER = "owner"
"""Name of the one operator of a solo home."""


@dataclass(frozen=True, slots=True)
class Founded:
    """A fresh home, and the files of its operators' tokens by name."""

    home: Home
    tokens: dict[str, Path]


def found(
    root: Path,
    environment: Environment,
    mode: Mode,
    *,
    operators: Sequence[str] = (OWNER,),
    api_port: int = settings.API_PORT,
    gateway_port: int = settings.GATEWAY_PORT,
    vault: VaultDocument | None = None,
    database: DatabaseDocument | None = None,
) -> Founded:
    """Make a home with its stores and its first operators, all of them admins.

    The first operator's token is the one the CLI of this home speaks with.

    Raises:
        SettingsError: The directory or a store cannot be used, or an operator's name cannot be one: nothing was made.
        HalfMade: Something broke off later: the directory is no home.
    """
    _refuse_names(operators)
    if database is not None:
        _refuse_taken(database)
    logged_in = None if vault is None else _unused(vault)  # last: a wrapped secret id lets in once
    try:
        return _found(
            root, environment, mode, operators, (api_port, gateway_port), vault, database, logged_in
        )
    finally:
        if logged_in is not None:
            logged_in.close()


def _refuse_names(operators: Sequence[str]) -> None:
    for name in operators:
        if looks_secret(name):
            raise SettingsError("--operator", "looks like a key: choose a name that says who it is")
        if not NAME.fullmatch(name):
            raise SettingsError(
                "--operator", f"{name[:40]!r} cannot be a name; use a-z, 0-9, dot, dash, underscore"
            )
        if name == ITSELF:
            raise SettingsError("--operator", f"{name} is the program's own name; choose another")
        if operators.count(name) > 1:
            raise SettingsError("--operator", f"{name} is named twice; name each once")


def _found(
    root: Path,
    environment: Environment,
    mode: Mode,
    operators: Sequence[str],
    ports: tuple[int, int],
    vault: VaultDocument | None,
    database: DatabaseDocument | None,
    store: VaultStore | None,
) -> Founded:
    home = settings.prepare(
        root, environment, mode, api_port=ports[0], gateway_port=ports[1], vault=vault, database=database
    )
    try:
        tokens = _filled(home, operators, store)
        settings.found(home)
    except (SettingsError, BrokerError, OSError) as fault:
        field = fault.field if isinstance(fault, SettingsError) else "--home"
        said = fault.message if isinstance(fault, SettingsError) else str(fault)
        why = f"{root} cannot be written ({fault.strerror})" if isinstance(fault, OSError) else said
        raise HalfMade(field, why, elsewhere=vault is not None or database is not None) from None
    return Founded(home, tokens)


def _filled(home: Home, operators: Sequence[str], store: VaultStore | None) -> dict[str, Path]:
    """Put all into a prepared directory that belongs into a home; return its first operators' tokens."""
    if home.vault is None:
        key.to_file(home.kek, key.fresh())
    state = stores.database_of(home)
    try:
        state.upgrade()
        found_home(state, home.environment, home.mode, moment(SystemClock()))
    except BrokerError as fault:
        raise SettingsError("database", str(fault)) from None
    finally:
        state.close()
    tokens: dict[str, Path] = {}
    with opened(home, store) as service:
        for name in operators:
            path = home.operator_token if not tokens else home.root / f"operator-{name}.token"
            try:
                token = service.operators.create(name, frozenset({Role.ADMIN}))
            except BrokerError as fault:
                raise SettingsError("--operator", str(fault)) from None
            write_private(path, token.reveal() + "\n")
            tokens[name] = path
        service.audit.founded()
        service.audit.checkpoint(at_once=True)
        service.mirror.merge()  # from now on the secret store is ours
    return tokens


@contextmanager
def opened(home: Home, store: SecretStore | None = None) -> Iterator[Service]:
    """Open a home's stores, bring an SQLite schema up to date, and put the service together.

    A Vault need not answer for this: what runs goes on without, and the rest says so. A `store` that is logged in
    already is used, and closed: a wrapped secret id lets in once.

    Raises:
        SettingsError: A store cannot be used; nothing was changed.
    """
    _refuse_half(home)
    database = stores.database_of(home)
    service = None
    try:
        try:
            if home.database is None:
                _upgraded(database)
            database.look()
            store = stores.secrets_of(home) if store is None else store
            service = open_service(database, store, SystemClock())
            service.desk.reach = home.reach
            service.desk.ours = ours_of(home)
            service.desk.unrecorded = Unrecorded(home.cuts, service.desk.home.instance, database.reserve.free)
            look_at(home, service)
            service.audit.sign_with(signer_of(home))
        except BrokerError as fault:
            raise SettingsError("--home", f"{home.root} cannot be opened: {fault}") from None
        if service.desk.home.environment is not home.environment:
            raise SettingsError(
                "environment",
                f"home.json says {home.environment.value}, the database {service.desk.home.environment.value}; "
                "it never changes: put home.json back as it was",
            )
        yield service
    finally:
        if service is not None:
            service.close()
        if store is not None:
            store.close()
        database.close()


def _upgraded(database: Database) -> None:
    """Bring the schema up to date. On a full disk that takes of the room which is kept for a cut."""
    try:
        database.upgrade()
    except StoreUnavailable as fault:
        if fault.reason != DISK_FULL or not database.reserve.lend():
            raise
        database.upgrade()


def _refuse_half(home: Home) -> None:
    """Refuse a home that lost one of its files; a home that was just founded has none yet."""
    if not home.operator_token.exists():
        return
    wanted = [  # whether the call log's file is gone, the schema tells: older homes have none
        path
        for path, elsewhere in ((home.state, home.database), (home.secrets, home.vault))
        if elsewhere is None
    ]
    for path in wanted:
        if not path.exists():
            raise SettingsError(
                "--home", f"{path} is gone; restore it from a backup, together with the other files"
            )


def _unused(vault: VaultDocument) -> VaultStore:
    """Log in to a Vault; refuse one that does not answer, or a prefix in it that holds somebody's keys already."""
    store = stores.vault_store(vault)
    try:
        used = store.mirror.names() or stores.all_paths(store)
    except BrokerError as fault:
        store.close()
        raise SettingsError(
            "vault", f"{fault} (`portcullis vault check --vault FILE` looks closer)"
        ) from None
    if used:
        store.close()
        raise SettingsError(
            "vault.prefix",
            f"mount {vault.mount} holds what belongs to another Portcullis already; choose another prefix",
        )
    return store


def is_unused(fault: BrokerError) -> bool:
    """Tell whether a look at a database failed only because nobody uses it yet."""
    return fault.reason == "schema_older" and "not there yet" in str(fault)


def _refuse_taken(document: DatabaseDocument) -> None:
    """Refuse a PostgreSQL that may forget what it confirmed, or holds somebody's state already."""
    database = stores.postgres_of(document)
    try:
        database.look(fresh=True)
    except BrokerError as fault:
        if not is_unused(fault):
            raise SettingsError("database", str(fault)) from None
    else:
        if is_founded(database):
            raise SettingsError(
                "database", "it holds the state of another Portcullis already; make an empty one"
            )
    finally:
        database.close()
