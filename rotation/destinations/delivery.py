"""Brings a key version to every destination of its slot, a step at a time, and says who is still waited for.

Rules:
1. That a key is about to be brought is on record before it is; a crash repeats the last step, which brings about the
   same, and whoever takes a rotation back knows who may hold what.
2. One that fails is tried again, ever more seldom, and never given up: it keeps the old key alive until a person waives
   it. One that is slow holds up nobody: it has workers of its own (`errands`), and is asked about at the next look.
3. A rotation that is taken back brings the old key back to every destination that may hold the new one.
4. Nothing is brought while a gate on the way is shut: a key that left heeds no gate any more. Nor is it where the guard
   forbids it, or where it is wanted no more: the rotation is over, held or paused, or brings another version by now;
   the destination was waived or removed. All of that is judged in the transaction that puts on record that it is about
   to be brought, and looked at once more at the destination, after the last wait and right before each step
   (`Parcel.look`): an errand that hung for long brings nothing that is dead by now.
5. One that holds another key than it was brought gets it again: somebody wrote over it.
6. Once nobody is waited for, files that said so longer ago are looked at once more (`rounds`): what manages them may
   have put the old key back, and that is about to be deleted. A cut holds no look up: nothing is brought by it.
7. Before somebody is sent the claim is looked at: who woke late sends nobody (`rotation.fence`). The errand outlives
   the claim, so what it looks at is what is wanted (`Fence.ensure_brings`).
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from broker.db import Connection
from broker.db import destinations as store
from broker.db.destinations import Delivery
from broker.deeds import Deed
from broker.destination import (
    ClusterSettings,
    Destination,
    FileSettings,
    Kind,
    ManualSettings,
    WebhookSettings,
)
from broker.errors import BrokerError, NotGranted, Withheld
from broker.model import KeyVersion
from broker.service import Service, last_look
from broker.service.early import Early, seen
from clients.secret import Secret
from rotation.destinations.errands import WAIT_S, Errands, Found
from rotation.destinations.files import FilePlace
from rotation.destinations.parcel import NotDelivered, Parcel, Place, WrittenOver
from rotation.destinations.rounds import TURN_S, Rounds
from rotation.destinations.webhook import WebhookPlace
from rotation.fence import Fence

US = 1_000_000
_LOG = logging.getLogger("portcullis.rotation")
_SHORTEST_US, _LONGEST_US = 2 * US, 300 * US
_LEAST_WAIT_S = 0.05
CLEAN_S = 5.0
_CLEAN = "cleaned"
"""What an errand is about that brings nothing."""


def _is_due(known: Delivery, now_us: int) -> bool:
    """Tell whether a delivery's turn has come: also where it lies further ahead than any pause, by a clock set back."""
    return known.next_us <= now_us or known.next_us - now_us > _LONGEST_US


class ManualPlace:
    """A person. What they have to do is in `rotation show`; their word confirms it."""

    def __init__(self, settings: ManualSettings) -> None:
        self._settings = settings

    def deliver(self, parcel: Parcel) -> None:
        """Nothing is brought: a person takes it, and only that puts it on record as delivered (`Checkouts.paste`)."""

    def confirm(self, parcel: Parcel) -> str:
        """Say whom it waits for."""
        return f"a person pastes {parcel.ref} into {self._settings.what}"


class Deliveries:
    """Carries parcels."""

    def __init__(self, service: Service, now_us: Callable[[], int]) -> None:
        self._service, self._now_us = service, now_us
        self._errands = Errands()
        self._rounds = Rounds(service.desk, now_us, self._errands, self._at_work)

    def bring(self, fence: Fence, key: KeyVersion, *, venue: str, only: frozenset[str] | None = None) -> str:
        """Bring a key on by a step to every destination of its slot; return who is waited for, empty where nobody.

        `only` names those it goes to; None: all.

        Raises:
            Lost: Somebody else carries the rotation on; nothing more was brought.
        """
        rotation = fence.rotation
        database, waited, began_s = self._service.desk.database, [], time.monotonic()
        with database.read() as connection:
            places = store.every(connection, key.ref.account, key.ref.slot)
        ends_s = time.monotonic() + WAIT_S
        for place in places:
            if only is not None and place.name not in only:
                continue
            with database.read() as connection:
                known = store.delivery(connection, rotation, place.name, key.ref.version)
            if known.over:
                continue
            begun = self._errands.is_on_its_way(place.name, _about(known))
            in_time = time.monotonic() - began_s < TURN_S
            if in_time and (begun or _is_due(known, self._now_us())):
                wait_s = 0.0 if begun else max(_LEAST_WAIT_S, ends_s - time.monotonic())
                known = self._step(fence, place, known, key, venue, wait_s)
                self._save(fence, place, known)
            if not known.over:
                waited.append(f"{place.name}: {known.says or 'not brought yet'}")
        if waited:
            self._rounds.end(rotation, key.ref.version)
            return "; ".join(waited)
        concerned = [place for place in places if only is None or place.name in only]
        found = self._rounds.look(fence, concerned, key, began_s + TURN_S)
        return "; ".join(f"{name}: {why}" for name, why in found.items())

    def clean(self, patience_s: float = CLEAN_S) -> tuple[int, tuple[str, ...]]:
        """Remove the replacements that a crash left beside files, of destinations that were removed too.

        A disk that hangs has a worker of its own, which goes on: nothing is brought there before it is done.

        Returns:
            How many were removed, and of which destinations that is not known yet.
        """
        with self._service.desk.database.read() as connection:
            places = [one for one in store.every_ever(connection) if isinstance(one.settings, FileSettings)]
        ends_s, begun, cleaned = time.monotonic() + patience_s, list[Destination](), 0
        failed = set[str]()
        while places or begun:
            for place in tuple(places):
                if not self._errands.begin(place.name, place.kind.value, _CLEAN, self._cleaning(place)):
                    places.remove(place)
                    begun.append(place)
            if time.monotonic() >= ends_s:
                break
            for place in tuple(begun):
                found = self._errands.collect(place.name, _CLEAN, _LEAST_WAIT_S)
                if found is not None:
                    begun.remove(place)
                    cleaned += found.delivered
                    if found.fault is not None:  # its text may quote
                        failed.add(place.name)
                        _LOG.critical(
                            "cleaning %s failed unforeseen: %s", place.name, type(found.fault).__name__
                        )
        return cleaned, tuple(sorted(failed | {one.name for one in (*places, *begun)}))

    def _cleaning(self, place: Destination) -> Callable[[], Found]:
        def work() -> Found:
            assert isinstance(place.settings, FileSettings)  # noqa: S101 - narrows for the type checker
            return Found(FilePlace(place.kind, place.settings, self._service.desk.ours).clean())

        return work

    def holders(self, rotation: str, version: int) -> frozenset[str]:
        """Return the destinations that may hold a key version since this rotation."""
        with self._service.desk.database.read() as connection:
            known = store.deliveries(connection, rotation)
        return frozenset(one.destination for one in known if one.version == version)

    def _step(
        self, fence: Fence, place: Destination, known: Delivery, key: KeyVersion, venue: str, wait_s: float
    ) -> Delivery:
        """Send somebody to deliver, or to ask whether it is in use; or take in what such a one found."""
        now_us = self._now_us()
        pause_us = min(_SHORTEST_US * 2 ** min(known.tries, 10), _LONGEST_US)
        later = replace(known, tries=known.tries + 1, next_us=now_us + pause_us)
        if self._errands.is_on_its_way(place.name, _about(known)):
            later, about = known, _about(known)
        else:
            about = _about(later)
            nobody = self._errands.full(place.name, place.kind.value)
            if nobody:
                return replace(known, says=nobody)
            try:
                self._service.desk.guard.ensure(Deed.DELIVER)
                judge = partial(self._judge, fence, place.name, key)
                look = partial(last_look.look, self._service.desk, Deed.DELIVER, judge)
                early = seen(self._service.desk)
                with self._service.desk.database.read() as connection:
                    judge(connection, early)
                secret = self._service.desk.secrets.read(key.path)["secret"]
                parcel = Parcel(known.rotation, key.ref, venue, key.venue_key_id, key.key_type, secret, look)
                brings = known.delivered_us is None and place.kind is not Kind.MANUAL
                work = _work(self._at_work(place), parcel, deliver=brings)
                early = seen(self._service.desk)
            except Exception as fault:  # noqa: BLE001 - as what an errand finds
                return self._taken_in(later, Found(delivered=False, fault=fault), now_us, pause_us)
            try:
                self._begin(fence, place, later, key, early)
            except (NotGranted, Withheld) as fault:
                return self._taken_in(later, Found(delivered=False, fault=fault), now_us, pause_us)
            nobody = self._errands.begin(place.name, place.kind.value, about, work)
            if nobody:
                return replace(known, says=nobody)
        found = self._errands.collect(place.name, about, wait_s)
        return self._taken_in(later, found, now_us, pause_us)

    def _begin(
        self, fence: Fence, place: Destination, later: Delivery, key: KeyVersion, early: Sequence[Early]
    ) -> None:
        """Put on record that a key is about to be brought, if it may be by now: the turn to write was waited for."""
        with fence.writing() as connection:
            self._service.desk.guard.fence(connection, Deed.DELIVER)
            self._judge(fence, later.destination, key, connection, early)
            store.save(connection, _as_said(connection, place, later))

    def _judge(
        self, fence: Fence, place: str, key: KeyVersion, connection: Connection, early: Sequence[Early]
    ) -> None:
        """Judge whether a destination is to get a key now: whether it is wanted there still, and may leave."""
        fence.ensure_brings(connection, key.ref)
        known = store.delivery(connection, fence.rotation, place, key.ref.version)
        if known.waived_by is not None or store.get(connection, place) is None:
            raise NotGranted("not_wanted", f"{place} was waived or removed: {key.ref} is not brought there")
        self._service.checkouts.ensure_open(connection, key, place, early=early)

    def _taken_in(self, later: Delivery, found: Found | None, now_us: int, pause_us: int) -> Delivery:
        """Return a delivery by what was found at its destination."""
        if found is None:
            return replace(later, says=later.says or "it is asked, and does not answer yet")
        if found.delivered and later.delivered_us is None:
            later = replace(later, delivered_us=now_us, tries=0, next_us=now_us)
        match found.fault:
            case None if found.awaited:
                return replace(later, says=found.awaited, next_us=now_us + pause_us)
            case None:
                return replace(later, confirmed_us=now_us, says="")
            case WrittenOver() as fault:
                return replace(later, delivered_us=None, says=str(fault), next_us=now_us + pause_us)
            case NotDelivered() | BrokerError() as fault:
                return replace(later, says=str(fault), next_us=max(later.next_us, now_us + pause_us))
            case Exception() as fault:  # one destination must not stop the others; its text may quote
                name = type(fault).__name__
                _LOG.critical("the destination %s failed unforeseen: %s", later.destination, name)
                return replace(later, says=f"failed unforeseen ({name})", next_us=now_us + pause_us)
            case fault:
                raise fault

    @staticmethod
    def _save(fence: Fence, place: Destination, one: Delivery) -> None:
        with fence.writing() as connection:
            store.save(connection, _as_said(connection, place, one))

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


def _as_said(connection: Connection, place: Destination, one: Delivery) -> Delivery:
    """Return a delivery with what a person did meanwhile: who took the key, or confirmed it, did so for good."""
    if place.kind is not Kind.MANUAL:
        return one
    now = store.delivery(connection, one.rotation, one.destination, one.version)
    says = one.says if now.confirmed_us is None else now.says
    return replace(one, delivered_us=now.delivered_us, confirmed_us=now.confirmed_us, says=says)


def _about(known: Delivery) -> tuple[str, int, int, bool]:
    """Return what an errand is about: another try of the same delivery is another one."""
    return known.rotation, known.version, known.tries, known.delivered_us is None


def _work(place: Place, parcel: Parcel, *, deliver: bool) -> Callable[[], Found]:
    """Return what is done at a destination: bring the key where it is not there, and ask whether it is in use."""

    def work() -> Found:
        delivered = False
        try:
            if deliver:
                place.deliver(parcel)
                delivered = True
            return Found(delivered, place.confirm(parcel))
        except Exception as fault:  # noqa: BLE001 - it is what was found
            return Found(delivered, fault=fault)

    return work
