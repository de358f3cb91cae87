"""The mirror of the gates in the embedded store's file: plain rows, beside the sealed ones."""

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager

from broker.stores.embedded import shapes


class EmbeddedMirror:
    """See `ports.GateMirror`."""

    def __init__(self, transaction: Callable[[], AbstractContextManager[sqlite3.Connection]]) -> None:
        self._transaction = transaction

    def names(self) -> tuple[str, ...]:
        """See `ports.GateMirror`."""
        with self._transaction() as connection:
            found = connection.execute("SELECT name FROM gates ORDER BY name")
            return tuple(shapes.text(row[0], "the name of a gate") for row in found)

    def read(self, name: str) -> str | None:
        """See `ports.GateMirror`."""
        with self._transaction() as connection:
            return _document(connection, name)

    def change(self, name: str, judge: Callable[[str | None], str | None]) -> None:
        """See `ports.GateMirror`."""
        with self._transaction() as connection:
            fresh = judge(_document(connection, name))
            if fresh is not None:
                connection.execute("INSERT OR REPLACE INTO gates VALUES (?, ?)", (name, fresh))


def _document(connection: sqlite3.Connection, name: str) -> str | None:
    row = connection.execute("SELECT document FROM gates WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])
