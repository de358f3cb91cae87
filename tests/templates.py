"""One migrated SQLite for all tests of a process: each test's new home gets a copy.

A database that is there already, one that is brought to an older revision, and PostgreSQL (which has a template of its
own) are left to the migrations themselves; so is the template.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.db.database import LOG_FILE, Database, Store

STATE_FILE = "state.db"


@contextmanager
def copied(folder: Path) -> Iterator[None]:
    """Let new databases begin as copies of one in a folder. The upgrade looks at the copy as at any other."""
    upgrade = Database.upgrade
    made = Database(folder / STATE_FILE)
    upgrade(made)
    made.settle()
    made.log.settle()
    made.close()

    def upgraded(self: Database, to: str = "head", log_to: str = "head") -> None:
        where = self._where
        if isinstance(where, Path) and to == log_to == "head" and _is_new(where):
            _copy(folder / STATE_FILE, self)
            _copy(folder / LOG_FILE, self.log)
        upgrade(self, to, log_to)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "upgrade", upgraded)
        yield


def _copy(source: Path, store: Store) -> None:
    """Fill a store's file by its own connection, which makes it as it makes every file."""
    with closing(sqlite3.connect(source)) as template, store._engines.writer.connect() as connection:
        driver: Any = connection.connection.driver_connection
        template.backup(driver)


def _is_new(where: Path) -> bool:
    return not where.exists() and not where.with_name(LOG_FILE).exists()
