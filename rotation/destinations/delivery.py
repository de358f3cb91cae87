"""Brings a key version to every destination of its slot, a step at a time, and says who is still waited for.

Rules:
1. That a key is about to be brought is on record before it is; a crash repeats the last step, which brings about the
   same, and whoever takes a rotation back knows who may hold what.
2. One that fails is tried again, ever more seldom, and never given up: it keeps the old key alive until a person waives
   it. One that is slow does not hold up a claim: the others' turn comes at the next look.
3. A rotation that is taken back brings the old key back to every destination that may hold the new one.
4. Nothing is brought while a gate on the way is shut: a key that left heeds no gate any more.
5. One that holds another key than it was brought gets it again: somebody wrote over it.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

from broker.db import destinations as store
from broker.db.destinations import Delivery
from broker.destination import (
    ClusterSettings,
    Destination,
    FileSettings,
    ManualSettings,
    WebhookSettings,
)
from broker.errors import BrokerError
from broker.model import KeyVersion
from broker.service import Service
from clients.secret import Secret
from rotation.destinations.files import FilePlace
from rotation.destinations.parcel import NotDelivered, Parcel, Place, WrittenOver
from rotation.destinations.webhook import WebhookPlace

US = 1_000_000
_LOG = logging.getLogger("portcullis.rotation")
_SHORTEST_US, _LONGEST_US = 2 * US, 300 * US
_TURN_US = 15 * US
"""After this no further destination is begun with: a rotator's claim lasts a minute."""


class ManualPlace:
    """A person. What they have to do is in `rotation show`; their word confirms it."""

    def __init__(self, settings: ManualSettings) -> None:
        self._settings = settings

    def deliver(self, parcel: Parcel) -> None:
        """Nothing is brought: a person takes it."""

    def confirm(self, parcel: Parcel) -> str:
        """Say whom it waits for."""
        return f"a person pastes {parcel.ref} into {self._settings.what}"


class Deliveries:
    """Carries parcels."""

    def __init__(self, service: Service, now_us: Callable[[], int]) -> None:
        self._service, self._now_us = service, now_us

    def bring(self, rotation: str, key: KeyVersion, *, venue: str, only: frozenset[str] | None = None) -> str:
        """Bring a key on by a step to every destination of its slot; return who is waited for, empty where nobody.

        `only` names those it goes to; None: all.
        """
        database, waited, began_us = self._service.desk.database, [], self._now_us()
        with database.read() as connection:
            places = store.every(connection, key.ref.account, key.ref.slot)
        for place in places:
            if only is not None and place.name not in only:
                continue
            with database.read() as connection:
                known = store.delivery(connection, rotation, place.name, key.ref.version)
            if known.over:
                continue
            if known.next_us <= self._now_us() and self._now_us() - began_us < _TURN_US:
                known = self._step(place, known, key, venue)
                self._save(known)
            if not known.over:
                waited.append(f"{place.name}: {known.says or 'not brought yet'}")
        return "; ".join(waited)

    def clean(self) -> int:
        """Remove the replacements that a crash left beside files, of destinations that were removed too."""
        with self._service.desk.database.read() as connection:
            places = store.every_ever(connection)
        cleaned = 0
        for place in places:
            if isinstance(place.settings, FileSettings):
                cleaned += FilePlace(place.kind, place.settings, self._service.desk.ours).clean()
        return cleaned

    def holders(self, rotation: str, version: int) -> frozenset[str]:
        """Return the destinations that may hold a key version since this rotation."""
        with self._service.desk.database.read() as connection:
            known = store.deliveries(connection, rotation)
        return frozenset(one.destination for one in known if one.version == version)

    def _step(self, place: Destination, known: Delivery, key: KeyVersion, venue: str) -> Delivery:
        """Deliver, or ask whether it is in use."""
        now_us = self._now_us()
        pause_us = min(_SHORTEST_US * 2 ** min(known.tries, 10), _LONGEST_US)
        later = replace(known, tries=known.tries + 1, next_us=now_us + pause_us)
        try:
            with self._service.desk.database.read() as connection:
                self._service.checkouts.ensure_open(connection, key, place.name)
            secret = self._service.desk.secrets.read(key.path)["secret"]
            parcel = Parcel(known.rotation, key.ref, venue, key.venue_key_id, key.key_type, secret)
            at_work = self._at_work(place)
            if known.delivered_us is None:
                self._save(later)
                at_work.deliver(parcel)
                later = replace(later, delivered_us=now_us, tries=0, next_us=now_us)
            awaited = at_work.confirm(parcel)
        except WrittenOver as fault:
            return replace(later, delivered_us=None, says=str(fault), next_us=now_us + pause_us)
        except (NotDelivered, BrokerError) as fault:
            return replace(later, says=str(fault), next_us=max(later.next_us, now_us + pause_us))
        except Exception as fault:  # noqa: BLE001 - one destination must not stop the others; its text may quote
            name = type(fault).__name__
            _LOG.critical("the destination %s failed unforeseen: %s", place.name, name)
            return replace(later, says=f"failed unforeseen ({name})", next_us=now_us + pause_us)
        if awaited:
            return replace(later, says=awaited, next_us=now_us + pause_us)
        return replace(later, confirmed_us=now_us, says="")

    def _save(self, one: Delivery) -> None:
        with self._service.desk.database.write() as connection:
            store.save(connection, one)

    def _at_work(self, place: Destination) -> Place:
        match place.settings:
            case FileSettings():
                return FilePlace(place.kind, place.settings, self._service.desk.ours)
            case ClusterSettings():
                from rotation.destinations.cluster import ClusterPlace  # noqa: PLC0415 - only a cluster needs its client

                return ClusterPlace(place.settings, self._secret(place))
            case WebhookSettings():
                secret = self._secret(place)
                if secret is None:
                    raise NotDelivered("its signing secret is lost; remove it and make it anew")
                return WebhookPlace(
                    place.settings, secret, lambda: self._now_us() // US, self._service.desk.reach
                )
            case ManualSettings():
                return ManualPlace(place.settings)

    def _secret(self, place: Destination) -> Secret | None:
        return (
            None
            if place.secret_path is None
            else self._service.desk.secrets.read(place.secret_path)["secret"]
        )
