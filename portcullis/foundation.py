"""Founding a home, and opening what lies in it: database, secret store, service.

The order of founding: directory and `home.json` -> key-encryption key -> database, migrated -> operators and
their tokens. What breaks off in the middle is said, and the directory can be removed: it guards nothing yet.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.db.database import Database
from broker.errors import BrokerError
from broker.model import NAME
from broker.service import Service
from broker.service.operators import Role
from broker.service.service import found_home, open_service
from broker.stores.embedded import key
from broker.stores.embedded.store import EmbeddedStore
from clients.venue import Environment
from portcullis import settings
from portcullis.clock import SystemClock
from portcullis.settings import Home, Mode, SettingsError, write_private

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
) -> Founded:
    """Make a home with its stores and its first operators, all of them admins.

    The first operator's token is the one the CLI of this home speaks with.

    Raises:
        SettingsError: The directory cannot be used, or an operator's name cannot be one.
    """
    for name in operators:
        if not NAME.fullmatch(name):
            raise SettingsError(
                "--operator", f"{name[:40]!r} cannot be a name; use a-z, 0-9, dot, dash, underscore"
            )
    home = settings.create(root, environment, mode, api_port=api_port, gateway_port=gateway_port)
    key.to_file(home.kek, key.fresh())
    database = Database(home.state)
    try:
        database.upgrade()
        found_home(database, environment, mode)
    finally:
        database.close()
    tokens: dict[str, Path] = {}
    with opened(home) as service:
        for name in operators:
            path = home.operator_token if not tokens else root / f"operator-{name}.token"
            try:
                token = service.operators.create(name, frozenset({Role.ADMIN}))
            except BrokerError as fault:
                raise SettingsError("--operator", str(fault)) from None
            write_private(path, token.reveal() + "\n")
            tokens[name] = path
    return Founded(home, tokens)


@contextmanager
def opened(home: Home) -> Iterator[Service]:
    """Open a home's stores, bring the schema up to date, and put the service together.

    Raises:
        SettingsError: A store cannot be used; nothing was changed.
    """
    if not home.state.exists() or not home.secrets.exists():
        _refuse_half(home)
    database = Database(home.state)
    store = None
    try:
        try:
            database.upgrade()
            store = EmbeddedStore(home.secrets, key.from_file(home.kek))
            service = open_service(database, store, SystemClock())
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
        if store is not None:
            store.close()
        database.close()


def _refuse_half(home: Home) -> None:
    """Refuse a home that lost one of its stores; a home that was just founded has none yet."""
    if not home.operator_token.exists():
        return
    gone = home.secrets if home.state.exists() else home.state
    raise SettingsError("--home", f"{gone} is gone; restore it from a backup, together with the other files")
