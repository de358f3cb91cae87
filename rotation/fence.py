"""What an effect changes, it changes only while its claim stands.

A rotator may stand still for as long as it likes, between any two lines: stopped, paged out, its host suspended. When
it wakes, others may have carried the rotation to its end, or taken it back. So a write of an effect holds the row of
its rotation, in the same transaction, and makes sure that it is as it was when it was claimed. What cannot be in that
transaction (a file, a webhook, the secret store) is preceded by a look. An errand outlives the claim that it was sent
under, which is given back and taken again meanwhile: before each of its steps it is looked at what is wanted, instead.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from broker.db import Connection
from broker.db import accounts as account_store
from broker.db import rotations as store
from broker.db.database import Database
from broker.errors import NotGranted
from broker.model import KeyRef
from broker.service import holding
from rotation.journal import Journal, Lost


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
        with self.database.read(at_primary=True) as connection:
            if not store.is_as_read(connection, self.rotation, self.row_version, keep=False):
                raise Lost(self.rotation)

    def ensure_brings(self, connection: Connection, ref: KeyRef) -> None:
        """Make sure that destinations are to get a key version by this rotation, whoever works on it by now.

        Raises:
            NotGranted: It is over, held or paused, brings another version by now, or that is not in use any more.
        """
        row = store.get(connection, self.rotation)
        if row is None or row.ended_us is not None:
            raise NotGranted("not_wanted", f"{self.rotation} is over: {ref} is not brought any more")
        if (held := holding.held(row, holding.to_hold(connection))) or row.paused:
            raise NotGranted("not_wanted", f"{self.rotation} is {'held' if held else 'paused'}: {ref} waits")
        current = account_store.current_key(connection, ref.account, ref.slot)
        if Journal.read(row.document).brings != ref.version or current is None or current.ref != ref:
            raise NotGranted("not_wanted", f"{self.rotation} does not bring {ref} any more")
