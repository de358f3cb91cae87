"""What an effect changes, it changes only while its claim stands.

A rotator may stand still for as long as it likes, between any two lines: stopped, paged out, its host suspended. When
it wakes, others may have carried the rotation to its end, or taken it back. So a write of an effect holds the row of
its rotation, in the same transaction, and makes sure that it is as it was when it was claimed. What cannot be in that
transaction (a file, a webhook, the secret store) is preceded by a look.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from broker.db import Connection
from broker.db import rotations as store
from broker.db.database import Database
from rotation.journal import Lost


@dataclass(frozen=True, slots=True)
class Fence:
    """Stands before what one effect changes."""

    database: Database
    rotation: str
    row_version: int

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Write in one transaction, in which nobody else claims or changes the rotation.

        Raises:
            Lost: Somebody did; nothing was changed.
            StoreUnavailable: The database cannot answer.
        """
        with self.database.write() as connection:
            if not store.is_as_read(connection, self.rotation, self.row_version, keep=True):
                raise Lost(self.rotation)
            yield connection

    def ensure(self) -> None:
        """Make sure, right before something that no transaction can hold.

        Raises:
            Lost: Somebody else claimed or changed the rotation.
            StoreUnavailable: The database cannot answer.
        """
        with self.database.read() as connection:
            if not store.is_as_read(connection, self.rotation, self.row_version, keep=False):
                raise Lost(self.rotation)
