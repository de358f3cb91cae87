"""One real Vault, one real PostgreSQL and one migrated SQLite for all tests; each has a mount or database of its own."""

import itertools
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import memory, places, templates
from tests.services import binaries
from tests.services.postgres.server import PostgresServer, postgres
from tests.services.vault.server import VaultServer, dev_vault

_NUMBERS = itertools.count(1)
MIGRATED = "migrated"
"""A database that every test's own is a copy of: migrating takes longer than most tests."""


def pytest_configure() -> None:
    """Let generated cases take their time, and the files of tests lie in memory."""
    settings.register_profile(
        "busy machine", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("busy machine")
    where = memory.folder()
    if where is not None:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", where)


@pytest.fixture(scope="session", autouse=True)
def _sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with templates.copied(tmp_path_factory.mktemp("sqlite")):
        yield


@pytest.fixture(scope="session", autouse=True)
def _state_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give what runs for several tests a state directory, before the first test has its own."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))
        yield


@pytest.fixture(autouse=True)
def _state_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give each test a state directory of its own, made when something is written there: none writes into its user's."""
    where = tmp_path_factory.getbasetemp() / f"state-{next(_NUMBERS)}"
    # not by the fixture of that name: what a test patches would stand until everything else has ended
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_STATE_HOME", str(where))
        yield


@pytest.fixture(autouse=True)
def _log_ends_with_the_test() -> Iterator[None]:
    """A process that ran inside a test leaves no log handler: its stream is closed by then, and each line a traceback."""
    yield
    for handler in logging.root.handlers[:]:
        if type(handler) is logging.StreamHandler:
            logging.root.removeHandler(handler)


@pytest.fixture(scope="session")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultServer]:
    binaries.need("vault")
    with dev_vault(tmp_path_factory.mktemp("vault")) as server:
        yield server


@pytest.fixture
def mount(vault: VaultServer) -> str:
    """A fresh KV v2 mount."""
    name = f"portcullis-{next(_NUMBERS)}"
    vault.client().sys.enable_secrets_engine("kv", path=name, options={"version": "2"})
    return name


@pytest.fixture
def root_token(vault: VaultServer, tmp_path: Path) -> Path:
    """A file with a token that may do everything."""
    path = tmp_path / "vault.token"
    path.write_text(vault.root)
    path.chmod(0o600)
    return path


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with postgres() as server:
        folder = tmp_path_factory.mktemp("template")
        (folder / places.NAMED).write_text(server.database(MIGRATED))
        database = places.database_at(folder)
        database.upgrade()
        database.close()
        yield server


@pytest.fixture
def on_postgres(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[str]:
    """Let the test's folder name a fresh PostgreSQL database."""
    name = f"test-{next(_NUMBERS)}"
    (tmp_path / places.NAMED).write_text(postgres_server.database(name, MIGRATED))
    yield name
    postgres_server.sql(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    """Run a test on both databases; its folder says which."""
    if request.param == "postgres":
        request.getfixturevalue("on_postgres")
    return str(request.param)
