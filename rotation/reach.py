"""What every effect reaches for: the record, the stores, and the ways to the venue."""

from contextlib import AbstractContextManager

from broker.errors import BrokerError, NotFound
from broker.model import Account, KeyRef, KeyVersion
from broker.service import Service
from broker.stores.held import why_lost
from clients.venue import Credential
from rotation.budget import Haste
from rotation.fence import Fence
from rotation.state import Rotation
from rotation.venues import Desk, Venues


class Reach:
    """Reaches for things by a rotation."""

    def __init__(self, service: Service, venues: Venues) -> None:
        self.service, self.desk, self.venues = service, service.desk, venues

    def manager(self, rotation: Rotation, *needs: str) -> AbstractContextManager[Desk]:
        """Open the way of the account's manager key; `needs` as in `Venues.desk`. An incident waits for no budget."""
        return self.venues.desk(self.account(rotation), haste=self.haste(rotation), needs=needs)

    @staticmethod
    def haste(rotation: Rotation) -> Haste:
        """Return how much of a venue's budget it may use."""
        return Haste.ORDINARY if rotation.halt is None else Haste.URGENT

    def fence(self, rotation: Rotation) -> Fence:
        """Return what lets an effect of a rotation write while its claim stands."""
        return Fence(self.desk.database, rotation.id, rotation.row_version)

    def account(self, rotation: Rotation) -> Account:
        """Return the account that is rotated."""
        return self.service.accounts.get(rotation.account)

    @staticmethod
    def ref(rotation: Rotation, version: int) -> KeyRef:
        """Return a version of the slot that is rotated."""
        return KeyRef(rotation.account, rotation.slot, version)

    def version(self, rotation: Rotation, version: int) -> KeyVersion:
        """Return what is on record of a version.

        Raises:
            NotFound: Nothing.
        """
        ref = self.ref(rotation, version)
        found = next((key for key in self.service.keys.list(rotation.account) if key.ref == ref), None)
        if found is None:
            raise NotFound("no_key", f"{ref} is not on record")
        return found

    def credential(self, rotation: Rotation, version: int, key_id: str) -> Credential:
        """Return a version's key to sign with, under the id that the venue gave it.

        Raises:
            NotFound: Its secret is gone.
            StoreUnavailable: The secret store does not answer.
        """
        key = self.version(rotation, version)
        values = self.desk.secrets.read(key.path)
        return Credential(key_id, values["secret"], key.key_type, values.get("passphrase"))

    def has_secret(self, rotation: Rotation, version: int) -> bool:
        """Tell whether a version's secret is in the store, to be signed with."""
        return self.why_lost(rotation, version) is None

    def why_lost(self, rotation: Rotation, version: int) -> BrokerError | None:
        """Say why nobody can sign with a version's secret; None where one can.

        Raises:
            StoreUnavailable: The secret store does not answer.
        """
        return why_lost(self.desk.secrets, self.ref(rotation, version).path)
