"""The last look before a key goes to a gateway: after all that is waited for, and in the step in which it goes.

Rules:
1. What was judged before a wait counts no more after it. That a key is sent, and the hold on it, are on record before
   it goes, and to have them there may take long, the commit too. So it is read once more after that whether this home
   is the one that serves, and what is cut (`look`): of a primary alone, and no secret store is asked.
2. A key goes in the loop's own thread, and what is known in memory is judged in that step (`goes`): a cut is known
   there before it is answered, and who has this home's place as soon as upkeep has heard.
"""

from collections.abc import Iterable

from broker.authority.changes import Changes
from broker.db import history, rows
from broker.deeds import Deed
from broker.errors import StoreUnavailable
from broker.service import Service


class Sending:
    """Looks before keys go."""

    def __init__(self, service: Service, changes: Changes) -> None:
        self._service, self._desk, self._changes = service, service.desk, changes

    def look(self, scopes: Iterable[str]) -> None:
        """Read anew what a key is sent by, and take it in. Blocks as the database does: no transaction may be open.

        Args:
            scopes: All that it stands in.

        Raises:
            Withheld: Another host took this home's place.
            StoreUnavailable: That cannot be known now, or the record has another history than gateways were told.
        """
        with self._desk.database.read(at_primary=True) as connection:
            self._desk.guard.fence(connection, Deed.LEASE)
            here, of = rows.gates(connection, scopes), str(history.here(connection))
        self._changes.read(here.values())
        if not self._changes.is_of(of):
            raise StoreUnavailable("other_history", "the record has another history than gateways were told")

    @property
    def goes(self) -> bool:
        """Whether keys may go to gateways, as it is known now."""
        return self._service.mirror.serves and self._desk.secrets.may_serve_on()
