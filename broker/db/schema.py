"""Schemas: the two lists of migrations (state and log store), and the move of the log out of the state.

Rules:
1. A schema newer than the program is refused: an older program could misread it.
2. The move: the state up to `APART`'s predecessor -> the log store's tables -> every row copied in bounded pieces ->
   `APART`, which drops them from the state, in the transaction that saw all of them copied. A move that broke off
   is begun again at the next start: what was copied before is passed over.
"""

import functools
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from broker.db import log_tables
from broker.db.upsert import upsert
from broker.errors import StoreUnavailable

APART = "0010"
"""The revision of the state from which on the log store is apart."""

BEFORE_APART = "0009"
"""The one before it."""

_PIECE = 1000


class Schema:
    """One list of migrations, and where a database notes how far it has come."""

    def __init__(self, folder: str, version_table: str, what: str) -> None:
        self._folder, self.version_table, self._what = folder, version_table, what

    @property
    def head(self) -> str | None:
        """The revision that this program needs."""
        return self._scripts().get_current_head()

    def here(self, connection: sa.Connection) -> str | None:
        """Return the revision that is there; refuse one we do not know.

        Raises:
            StoreUnavailable: It is newer than the program.
        """
        found = MigrationContext.configure(
            connection, opts={"version_table": self.version_table}
        ).get_current_revision()
        if found is not None and found not in {
            script.revision for script in self._scripts().walk_revisions()
        }:
            raise StoreUnavailable(
                "schema_newer", f"{self._what} is of a newer Portcullis (schema {found}): start that one"
            )
        return found

    def refuse_other(self, connection: sa.Connection) -> None:
        """Refuse a schema that is not this program's.

        Raises:
            StoreUnavailable: It is older, newer, or not there yet.
        """
        here, head = self.here(connection), self.head
        if here != head:
            raise StoreUnavailable(
                "schema_older",
                f"the schema of {self._what} is {here or 'not there yet'}, this program needs {head}: back it up, "
                "end every other broker, then run `portcullis db upgrade`",
            )

    def upgrade(self, connection: sa.Connection, to: str = "head") -> None:
        """Bring it up, in the caller's transaction."""
        command.upgrade(self._config(connection), to)

    def downgrade(self, connection: sa.Connection, to: str) -> None:
        """Take it down, in the caller's transaction."""
        command.downgrade(self._config(connection), to)

    def _config(self, connection: sa.Connection | None = None) -> Config:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / self._folder))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        config.attributes["version_table"] = self.version_table
        return config

    @functools.cache  # noqa: B019 - two of them live as long as the program; every start asks for them several times
    def _scripts(self) -> ScriptDirectory:
        return ScriptDirectory.from_config(self._config())


STATE = Schema("migrations", "alembic_version", "the database")
LOG = Schema("log_migrations", "alembic_version_log", "the call log's store")


def before_apart(revision: str | None) -> bool:
    """Tell whether the log still lies in a state of this revision."""
    return revision is None or revision < APART


def copy_log(state: sa.Connection, log: sa.Connection) -> None:
    """Copy every row of the log's tables over, in pieces that are each committed.

    The names of orders, which once stood beside their ids, become what was sent under them.

    Args:
        state: In the write transaction that will drop the tables.
        log: Without a transaction.
    """
    there = set(sa.inspect(state).get_table_names())
    for table in log_tables.LOG.sorted_tables:
        if table.name not in there:
            continue  # newer than the move
        old = sa.Table(table.name, sa.MetaData(), autoload_with=state)
        result = state.execution_options(yield_per=_PIECE).execute(sa.select(old)).mappings()
        for piece in result.partitions(_PIECE):
            rows = [dict(row) for row in piece]
            named = []
            if table is log_tables.ORDERS:
                named = [_sent_before(row) for row in rows if row["name"][:1] not in {"#", "%"}]
                rows = [row for row in rows if row["name"][:1] in {"#", "%"}]
            with log.begin():
                if rows:
                    log.execute(upsert(log, table).on_conflict_do_nothing(), rows)
                if named:
                    log.execute(upsert(log, log_tables.SENT_ORDERS).on_conflict_do_nothing(), named)


def _sent_before(row: dict[str, Any]) -> dict[str, Any]:
    """Return an order's name of before: of how it was sent no more is known than when and by whom."""
    return {
        "account": row["account"], "symbol": row["symbol"], "name": row["name"], "gateway": "", "boot": "", "seq": 0,
        "grant": row["grant"], "sent_us": row["seen_us"], "until_us": row["seen_us"], "side": "", "quantity": "",
        "price": "", "exact": False,
    }  # fmt: skip
