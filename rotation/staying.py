"""Right before a key is deleted at the exchange: is the key that stays well?

Asked in the effect that deletes, after the venue's clock was read and saved: who stands still between the answer and
the request sends none any more, or a dead one (`rotation.stamp`). Outside an incident all of this has to be so:

1. The claim stands; the rotation holds its slot, so that no import and no other rotation moves what is current.
2. On record another version than the one that goes is current in the slot, under an id of its own: after a cutover the
   one that was made. Nothing is current only where nothing was, and nobody may still use the one that goes.
3. The secret of the one that stays is in the secret store: a gateway's memory is no place to keep the only copy.
4. The exchange serves it, signed with that secret, by the account's own way out, and as this account.

What is on record is read from a server that takes writes, or from none: no write comes after it that would notice.
A person decides where one of these is not so; where it cannot be told, nothing is sent and it is asked again.
"""

from broker.db import accounts as account_store
from broker.db import cutovers
from broker.errors import BrokerError, StoreUnavailable
from broker.model import KeyVersion, Stage
from broker.stores.held import is_lost, why_lost
from clients.errors import VenueError, VenueRefused
from clients.venue import Credential
from rotation.reach import Reach
from rotation.retire import NOT_DELETED
from rotation.state import Answer, Reply, Rotation, State


class Staying:
    """Looks at the key that stays."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def look(self, rotation: Rotation, version: int) -> Reply | None:
        """Say why a version is not deleted now; None where it may be, at once.

        Raises:
            Lost: Somebody else carries the rotation on.
        """
        no = self.on_record(rotation, version)
        if no is not None or rotation.halt is not None:
            return no
        stays = self._in_use(rotation)
        if stays is not None and (no := self._served(rotation, stays)) is not None:
            return no
        self._reach.fence(rotation).ensure()  # asking took its time
        return None

    def on_record(self, rotation: Rotation, version: int) -> Reply | None:
        """Say what is not as it has to be on record and in the secret store; asks no venue."""
        self._reach.fence(rotation).ensure()
        if rotation.halt is not None:
            return None
        key = self._reach.version(rotation, version)
        with self._reach.desk.database.read(at_primary=True) as connection:
            known = account_store.keys(connection)
            stays = account_store.current_key(connection, rotation.account, rotation.slot)
            held = cutovers.holders(connection, str(key.ref), self._reach.desk.spans)
        if any(one.venue_key_id == key.venue_key_id and one.stage is Stage.CURRENT for one in known):
            return _no("it is the key in use")
        made = rotation.state is State.RETIRING_OLD and rotation.new != version
        if stays is None and (made or (rotation.old is not None and rotation.old != version)):
            return _no("no key is in use that could stay")
        if stays is not None and made and stays.ref.version != rotation.new:
            return _no(
                f"{stays.ref} is in use, and not the version {rotation.new} that this rotation knows of"
            )
        if held:
            names = ", ".join(sorted({one.gateway for one in held}))
            return Reply(Answer.RETRY, f"{names} may still use {key.ref}")
        return None if stays is None else self._kept(stays)

    def _kept(self, stays: KeyVersion) -> Reply | None:
        """Say why the secret store does not hold what stays."""
        try:
            lost = why_lost(self._reach.desk.secrets, stays.path)
        except StoreUnavailable as fault:
            return Reply(Answer.RETRY, fault.reason)
        return None if lost is None else _lost(stays, lost)

    def _in_use(self, rotation: Rotation) -> KeyVersion | None:
        with self._reach.desk.database.read(at_primary=True) as connection:
            return account_store.current_key(connection, rotation.account, rotation.slot)

    def _served(self, rotation: Rotation, stays: KeyVersion) -> Reply | None:
        """Say why the key that stays cannot be relied on; None where the exchange serves it."""
        account = self._reach.account(rotation)
        try:
            values = self._reach.desk.secrets.read(stays.path)
            key = Credential(stays.venue_key_id, values["secret"], stays.key_type, values.get("passphrase"))
            with self._reach.venues.probe(account, haste=self._reach.haste(rotation)) as probe:
                found = probe.restrictions(key)
        except VenueRefused as fault:
            return _no(f"the exchange does not serve {stays.ref}, the key that stays ({fault.reason})")
        except VenueError as fault:
            return Reply(Answer.RETRY, fault.reason)
        except BrokerError as fault:
            if is_lost(fault):
                return _lost(stays, fault)
            return Reply(Answer.RETRY, fault.reason)
        except ValueError:
            return _no(f"what the secret store holds for {stays.ref}, the key that stays, cannot sign")
        if account.venue_uid is not None and found.account_uid != account.venue_uid:
            return _no(f"{stays.ref}, the key that stays, belongs to another account")
        return None


def _lost(stays: KeyVersion, fault: BrokerError) -> Reply:
    return _no(
        f"the secret of {stays.ref}, the key that stays, is not in the secret store ({fault}): bring it back there and "
        "resume, or roll back while the other key lives"
    )


def _no(why: str) -> Reply:
    return Reply(Answer.REFUSED, f"{NOT_DELETED}{why}")
