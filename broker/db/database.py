"""The database: opened, migrated, read and written. The one place that knows SQLite from PostgreSQL.

Rules:
1. SQLite runs in WAL mode with `synchronous=FULL`: what was committed outlives power loss. A writer takes the
   write lock at the start of its transaction, so a check and its write are one.
2. A schema newer than the program is refused: an older program could misread it.
3. Every SQLAlchemy error becomes `StoreUnavailable` without cause: its text may quote values.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from broker.errors import Conflict, StoreUnavailable

BUSY_SECONDS = 5


class Database:
    """One database, by its engine."""

    def __init__(self, path: Path | None) -> None:
        """Open a file, or a database in memory where there is none."""
        where = "sqlite://" if path is None else f"sqlite:///{path}"
        if path is None:
            self._engine = sa.create_engine(
                where, poolclass=sa.StaticPool, connect_args={"check_same_thread": False}
            )
        else:
            path.touch(mode=0o600, exist_ok=True)
            self._engine = sa.create_engine(where, connect_args={"timeout": BUSY_SECONDS})
        sa.event.listen(self._engine, "connect", _prepare)
        sa.event.listen(self._engine, "begin", _begin)

    def upgrade(self) -> None:
        """Bring the schema up to this program's.

        Raises:
            StoreUnavailable: It is newer than the program, or cannot be read.
        """
        config = _config()
        with self.write() as connection:
            here = MigrationContext.configure(connection).get_current_revision()
            known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
            if here is not None and here not in known:
                raise StoreUnavailable(
                    "schema_newer", f"the database is of a newer Portcullis (schema {here}): start that one"
                )
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def downgrade(self, revision: str = "base") -> None:
        """Take the schema down; for tests of the migrations."""
        config = _config()
        with self.write() as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, revision)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Read in one transaction.

        Raises:
            StoreUnavailable: The database cannot answer.
        """
        try:
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as fault:
            raise _translated(fault) from None

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Write in one transaction: committed at the end, or nothing was changed.

        Raises:
            StoreUnavailable: The database cannot answer.
            Conflict: A key is taken, or names what does not exist.
        """
        try:
            with self._engine.connect() as connection:
                connection.info["writes"] = True
                try:
                    with connection.begin():
                        yield connection
                finally:
                    connection.info.pop("writes", None)
        except SQLAlchemyError as fault:
            raise _translated(fault) from None

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def _translated(fault: SQLAlchemyError) -> StoreUnavailable | Conflict:
    if isinstance(fault, IntegrityError):
        return Conflict("taken", "the name or key is taken, or what it names does not exist")
    return StoreUnavailable("database", f"the database cannot answer ({type(fault).__name__})")


def _prepare(connection: Any, record: Any) -> None:
    """Set up a new SQLite connection; transactions are begun by `_begin`, not by the driver."""
    del record
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.info.get("writes") else "BEGIN")
