"""The database: opened, migrated, read and written. With `engines` and `postgres`, all that knows which one it is.

Rules:
1. SQLite runs in WAL mode with `synchronous=FULL`: what was committed outlives power loss. A writer takes the
   write lock at the start of its transaction, so a check and its write are one.
2. A schema newer than the program is refused: an older program could misread it.
3. Every SQLAlchemy error becomes `StoreUnavailable` without cause: its text may quote values.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from broker.db import engines, replication
from broker.db.engines import Kind, Postgres
from broker.errors import Conflict, StoreUnavailable


class Database:
    """One database, by its engine."""

    def __init__(self, where: "Path | Postgres | None") -> None:
        """Open a file, reach a PostgreSQL, or make a database in memory where nothing is named."""
        self._where = where
        self._engine = engines.postgres(where) if isinstance(where, Postgres) else engines.sqlite(where)

    # --- schema ---------------------------------------------------------------------------

    def upgrade(self, to: str = "head") -> None:
        """Bring the schema up to this program's, or to an earlier revision of it.

        Raises:
            StoreUnavailable: It is newer than the program, or cannot be read.
        """
        with self.write() as connection:
            if _refuse_newer(connection) == _scripts().get_current_head() and to == "head":
                return
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, to)

    def downgrade(self, revision: str = "base") -> None:
        """Take the schema down; for tests of the migrations."""
        config = _config()
        with self.write() as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, revision)

    def look(self) -> None:
        """Make sure that we may work with it as it is.

        Raises:
            StoreUnavailable: The schema is not this program's, or the server may lose what it has confirmed.
        """
        with self.read() as connection:
            if isinstance(self._where, Postgres):
                replication.look(connection, single_node=self._where.single_node)
            here, head = _refuse_newer(connection), _scripts().get_current_head()
            if here != head:
                raise StoreUnavailable(
                    "schema_older",
                    f"the database's schema is {here or 'not there yet'}, this program needs {head}: back it up, "
                    "end every other broker, then run `portcullis db upgrade`",
                )

    def timeline(self, connection: sa.Connection) -> str:
        """Return PostgreSQL's timeline, which a failover or a restore changes; empty for SQLite."""
        return replication.timeline(connection) if isinstance(self._where, Postgres) else ""

    # --- transactions ---------------------------------------------------------------------

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Read in one transaction.

        Raises:
            StoreUnavailable: The database cannot answer.
        """
        with self._transaction("read") as connection:
            yield connection

    @contextmanager
    def write(self, kind: Kind = "control") -> Iterator[sa.Connection]:
        """Write in one transaction: committed at the end, or nothing was changed.

        Raises:
            StoreUnavailable: The database cannot answer.
            Conflict: A key is taken, or names what does not exist.
        """
        with self._transaction(kind) as connection:
            yield connection

    @contextmanager
    def _transaction(self, kind: Kind) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection:
                connection.info["kind"] = kind
                connection.info.pop("unconfirmed", None)
                with connection.begin():
                    yield connection
                if connection.info.pop("unconfirmed", False):
                    raise StoreUnavailable(
                        "not_replicated",
                        "the database wrote it, but no standby confirmed it: it may be forgotten after a failover",
                    )
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


@functools.cache
def _scripts() -> ScriptDirectory:
    """Return the migrations, read from disk once: every start asks for them several times."""
    return ScriptDirectory.from_config(_config())


def _refuse_newer(connection: sa.Connection) -> str | None:
    """Return the schema's revision; refuse one we do not know."""
    here = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in _scripts().walk_revisions()}
    if here is not None and here not in known:
        raise StoreUnavailable(
            "schema_newer", f"the database is of a newer Portcullis (schema {here}): start that one"
        )
    return here


def _translated(fault: SQLAlchemyError) -> StoreUnavailable | Conflict:
    if isinstance(fault, IntegrityError):
        return Conflict("taken", "the name or key is taken, or what it names does not exist")
    return StoreUnavailable("database", f"the database cannot answer ({type(fault).__name__})")
