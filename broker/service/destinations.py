"""Destinations: made by an admin, because each is a place where a real key lies; and what a person confirms of them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from broker import destination as values
from broker.db import destinations as store
from broker.db import rotations as rotation_store
from broker.db.destinations import Delivery
from broker.deeds import Deed
from broker.destination import Destination, FileSettings, Kind, Settings, WebhookSettings
from broker.errors import Conflict, Malformed, NotFound, Problem
from broker.files import forms
from broker.files.ours import Ours
from broker.files.place import Unfit, spot
from broker.model import new_id
from broker.service.accounts import Accounts
from broker.service.audit import Audit, acting
from broker.service.desk import Desk, Right, check_name, missing
from broker.service.secrets import Secrets
from clients.outbound import NotReachable
from clients.secret import Secret
from clients.venue import Slot

PATIENCE_S = 24 * 3600
SHORTEST_PATIENCE_S = 60
LONGEST_PATIENCE_S = 30 * 24 * 3600
_NEED_SECRET = frozenset({Kind.WEBHOOK})
_TAKE_SECRET = frozenset({Kind.WEBHOOK, Kind.KUBERNETES})


class Destinations:
    """Use cases on destinations."""

    def __init__(self, desk: Desk, audit: Audit, secrets: Secrets, accounts: Accounts) -> None:
        self._desk, self._audit, self._secrets, self._accounts = desk, audit, secrets, accounts

    def create(
        self, name: str, *, account: str, slot: Slot, kind: str, settings: Mapping[str, Any],
        secret: Secret | None = None, patience_s: int = PATIENCE_S,
    ) -> Destination:  # fmt: skip
        """Name a place that gets every new key of an account's slot.

        Args:
            name: Of ours.
            account: Whose key it gets.
            slot: Which of its keys: trade or read.
            kind: See `broker.destination`.
            settings: What belongs to the kind.
            secret: What signs a webhook's messages, or a cluster's token.
            patience_s: How long an old key is kept alive for it before a person is paged.

        Raises:
            Malformed: A field cannot be used.
            NotFound: No such account.
            Conflict: The name was given before.
        """
        check_name("name", name)
        which, parsed = values.parse(kind, settings)
        problems = (
            *_odd(slot, patience_s), *_secret_problems(which, given=secret is not None),
            *_place_problems(which, parsed, self._desk.ours),
            *self._url_problems(parsed),
        )  # fmt: skip
        if problems:
            raise Malformed("bad_destination", problems)
        self._accounts.get(account)
        path = None if secret is None else f"destinations/{name}/{new_id('sec')}"
        made = Destination(name, account, slot, which, parsed, patience_s, self._desk.clock.now_us(), path)
        with self._desk.database.read() as connection:
            if store.is_taken(connection, name):
                raise Conflict("taken", f"there is, or was, a destination {name!r}; choose another name")
        details = {"account": account, "slot": slot.value, "kind": which.value, "where": made.where}
        if path is None or secret is None:
            with self._desk.database.write() as connection:
                store.add(connection, made)
                self._audit.record(connection, "destination.create", f"destination:{name}", details)
        else:
            with self._secrets.written(path, {"secret": secret}, {"destination": name}) as connection:
                store.add(connection, made)
                self._audit.record(connection, "destination.create", f"destination:{name}", details)
        return made

    def _url_problems(self, settings: Settings) -> tuple[Problem, ...]:
        """Say why nothing may be sent to a webhook from this home."""
        if not isinstance(settings, WebhookSettings):
            return ()
        try:
            self._desk.reach.judge(settings.url)
        except NotReachable as fault:
            return (Problem("settings.url", str(fault)),)
        return ()

    def list(self, account: str | None = None) -> tuple[Destination, ...]:
        """List them by name."""
        with self._desk.database.read() as connection:
            return tuple(store.every(connection, account))

    def get(self, name: str) -> Destination:
        """Return one.

        Raises:
            NotFound: No such destination.
        """
        with self._desk.database.read() as connection:
            found = store.get(connection, name)
        if found is None:
            raise missing("destination", name)
        return found

    def remove(self, name: str) -> Destination:
        """Send it no keys any more; what it holds works until its key is rotated.

        Raises:
            NotFound: No such destination.
            StoreUnavailable: A store cannot answer; by the reason `not_destroyed` it is off the record all the same.
        """
        found = self.get(name)
        self._desk.guard.refuse(Deed.FORGET)
        with self._desk.database.write() as connection:
            store.remove(connection, name, self._desk.clock.now_us())
            self._audit.record(connection, "destination.remove", f"destination:{name}")
        self._desk.took(Right.DESTINATION, name, str(found.created_us))
        if found.secret_path is not None:
            self._secrets.bury(found.secret_path, f"the destination {name}")
        return found

    def deliveries(self, rotation: str) -> tuple[Delivery, ...]:
        """List how far each is in one rotation."""
        with self._desk.database.read() as connection:
            return tuple(store.deliveries(connection, rotation))

    def confirm(self, name: str, rotation: str) -> tuple[Destination, Delivery]:
        """Take a person's word that a tool has the new key; return which tool, and which key.

        Raises:
            NotFound: No such destination, or it gets nothing in that rotation.
            Conflict: It confirms by itself, or the key was shown to nobody: the tool cannot have it.
        """
        found = self.get(name)
        if found.kind is not Kind.MANUAL:
            raise Conflict("confirms_itself", f"{name} confirms by itself; nobody's word is taken for it")
        with self._desk.database.write() as connection:
            known = [one for one in store.deliveries(connection, rotation) if one.destination == name]
            if not known:
                raise NotFound("no_delivery", f"{name} gets no key in {rotation[:40]} yet")
            last = max(known, key=lambda one: (one.turn, one.next_us, one.version))
            row = rotation_store.get(connection, rotation)
            is_new = row is None or row.old_version != last.version  # a tool may have the old one from before
            if is_new and last.delivered_us is None and not last.over:
                raise Conflict("not_shown", _not_shown(found, last))
            done = replace(last, confirmed_us=self._desk.clock.now_us(), says=f"confirmed by {acting.get()}")
            store.save(connection, done)
            self._audit.record(
                connection, "destination.confirm", f"destination:{name}", {"rotation": rotation}
            )
        return found, done


def _not_shown(place: Destination, one: Delivery) -> str:
    return (
        f"{place.name} was not confirmed: {place.account}/{place.slot.value}/{one.version} was shown to nobody, so "
        f"{place.where} cannot have it. Show it, paste it there, then confirm again: "
        f"portcullis destination key {place.name} --reason rotation; or, where nobody needs that tool any more: "
        f"portcullis rotation waive {one.rotation} --destination {place.name} --reason WHY"
    )


def _odd(slot: Slot, patience_s: int) -> Iterator[Problem]:
    if slot not in {Slot.TRADE, Slot.READ}:
        yield Problem("slot", "is trade or read; other keys leave nobody")
    if not SHORTEST_PATIENCE_S <= patience_s <= LONGEST_PATIENCE_S:
        yield Problem("patience_s", "is between a minute and 30 days, in seconds")


def _secret_problems(kind: Kind, *, given: bool) -> Iterator[Problem]:
    if kind in _NEED_SECRET and not given:
        yield Problem(
            "secret", "is missing: it signs the messages of a webhook; --secret-file FILE brings it"
        )
    if given and kind not in _TAKE_SECRET:
        yield Problem(
            "secret", f"is not taken: it signs a webhook's messages, or is a cluster's token; {kind} has none"
        )


def _place_problems(kind: Kind, settings: Settings, ours: Ours) -> Iterator[Problem]:
    """Yield why a file cannot be written there. Paths are those of the rotator's host, which is this one.

    All that a delivery would refuse is refused here, so that nobody hears of it only when an old key has to go.
    """
    if not isinstance(settings, FileSettings):
        return
    try:
        with spot(settings.path, ours) as place:
            forms.check(kind, place.read().text, (settings.key_id, settings.secret))
            place.rehearse()
    except Unfit as fault:
        yield Problem("settings.path", str(fault))
