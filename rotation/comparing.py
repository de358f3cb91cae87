"""Beside a key that the exchange refuses, one that has to live: is the way by which we ask to be believed?

An exchange that bans an address refuses every key from there, by name as well (ccxt issues 10620 and 11045). So a
refusal says something of one key only where another one is served by the same way right after it, on every host. Asked
is the key in use of the same slot; where there is none those of the account's other slots, then those of other accounts
behind the same egress; never one that an incident wants dead. Lists of addresses are each key's own: beside a refusal
without a name no other account's key tells anything.

A key of another account may be dead on its own: an account is never removed, and one that was given up long ago has a
dead key on record. So the next is asked. Where none is served, a ban and many dead keys look alike: nothing is called
dead then, whoever says so, and `rotation resume --leave` ends the rotation (RB-10).
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from broker.db import rotations as rotation_store
from broker.errors import BrokerError
from broker.model import Account, KeyVersion, Stage, way_of
from broker.stores.held import is_lost
from clients.keys import Heard, KeyProbe, Standing
from clients.venue import Credential
from rotation.listing import Beside
from rotation.reach import Reach
from rotation.state import Rotation, State

_MOST = 8
"""How many are asked at most: each costs weight behind that egress."""

_ELSEWHERE = 2


class Compared(NamedTuple):
    """What came of it, in words. `served`: one was; `known`: there is one that could have been."""

    served: bool
    known: bool
    said: str


class Comparing:
    """Asks with other keys."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def look(self, rotation: Rotation, version: int, *, beyond: bool) -> Compared:
        """Ask with a key that has to live; `beyond`: with one of another account, where this one has no other.

        Raises:
            VenueUnavailable: The venue asks us to wait.
            StoreUnavailable: A secret cannot be read now.
        """
        said, near, asked = list[str](), 0, 0
        for distance, key, account in self._others(rotation, version):
            if asked == _MOST or (said and distance > near) or (distance == _ELSEWHERE and not beyond):
                break
            near = distance
            heard = self._asked(rotation, key, account, lambda probe, one: probe.served(one))
            if heard is None:
                continue
            asked += 1
            if heard.standing is Standing.ALIVE:
                return Compared(True, True, f"{key.ref} was served by the same way right after")
            said.append(
                f"{key.ref}, which is in use, is not served from here either ({heard.seen or heard.said})"
            )
        if said:
            return Compared(False, True, "; ".join(said))
        return Compared(False, False, "no other key is in use here to compare it with")

    def heard(self, rotation: Rotation, key: KeyVersion) -> Standing | None:
        """Return what the exchange says of a key of the account; None where nobody can ask with it.

        Raises:
            VenueUnavailable: The venue asks us to wait.
            StoreUnavailable: A secret cannot be read now.
        """
        found = self._asked(
            rotation, key, self._reach.account(rotation), lambda probe, one: probe.standing(one)
        )
        return None if found is None else found.standing

    def _asked(
        self,
        rotation: Rotation,
        key: KeyVersion,
        account: Account,
        ask: Callable[[KeyProbe, Credential], Heard],
    ) -> Heard | None:
        """Ask the exchange with a key; None where nobody can: its secret is lost, or signs nothing."""
        try:
            values = self._reach.desk.secrets.read(key.path)
            credential = Credential(
                key.venue_key_id, values["secret"], key.key_type, values.get("passphrase")
            )
            with self._reach.venues.probe(account, haste=self._reach.haste(rotation)) as probe:
                return ask(probe, credential)
        except ValueError:
            return None
        except BrokerError as fault:
            if not is_lost(fault):
                raise
            return None

    def beside(self, rotation: Rotation, version: int) -> Beside:
        """Return the other keys of the same account."""
        living = [key for distance, key, _ in self._others(rotation, version) if distance < _ELSEWHERE]
        asked = self._reach.version(rotation, version).venue_key_id
        known = [
            key
            for key in self._reach.service.keys.list(rotation.account)
            if key.stage is not Stage.TOMBSTONE and key.venue_key_id not in {"", asked}
        ]
        here = self._reach.account(rotation)
        manager = None if here.manager is None else self._reach.service.managers.get(here.manager)
        return Beside(known, living, alike=manager is not None and way_of(manager) == way_of(here))

    def _others(self, rotation: Rotation, version: int) -> Iterator[tuple[int, KeyVersion, Account]]:
        """Yield keys that have to live, with how far each is from the one in question; the nearest first."""
        service, here = self._reach.service, self._reach.account(rotation)
        with self._reach.desk.database.read() as connection:
            opened = rotation_store.every_open(connection)
        halting = {(row.account, row.slot) for row in opened if row.state == State.HALTING.value}
        own = (rotation.account, rotation.slot.value)
        wanted_dead = set() if rotation.halt is None else {*rotation.halt.versions, *rotation.halt.left}
        accounts = {
            name: service.accounts.get(name) for name in {key.ref.account for key in service.keys.list()}
        }
        asked = self._reach.version(rotation, version).venue_key_id
        found = [
            key
            for key in service.keys.list()
            if key.stage is Stage.CURRENT
            and key.venue_key_id not in {"", asked}
            and way_of(accounts[key.ref.account]) == way_of(here)
            and (
                key.ref.version not in {version, *wanted_dead}
                if (key.ref.account, key.ref.slot.value) == own
                else (key.ref.account, key.ref.slot.value) not in halting
            )
        ]

        def distance(key: KeyVersion) -> int:
            if key.ref.account != rotation.account:
                return _ELSEWHERE
            return 0 if key.ref.slot is rotation.slot else 1

        found.sort(key=lambda key: (distance(key), str(key.ref)))
        yield from ((distance(key), key, accounts[key.ref.account]) for key in found)
