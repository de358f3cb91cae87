"""What operators ask: read from the record, carried out once, answered with nothing (done) or `reason: message`.

Rules:
1. An ask is claimed like a rotation, so that two rotators never carry it out both.
2. A rotation somebody is working on this instant is asked again a moment later; an ask is never dropped.
3. An event that cannot happen where the rotation stands is a no with the state in it, not a fault.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from broker.db import asks as store
from broker.db import destinations as destination_store
from broker.db import rotations as rotation_store
from broker.db.asks import Ask
from broker.errors import BrokerError, Conflict, NotFound, StoreUnavailable
from broker.model import KeyRef
from broker.service import Service
from broker.service.audit import acting
from broker.service.rotations import Wish
from clients.errors import VenueError
from clients.venue import Credential, KeyType, Slot
from rotation.alerts.telling import Telling
from rotation.budget import Haste
from rotation.decide import decide
from rotation.journal import Claimed, Journal, Lost, microseconds
from rotation.plan import draw_up, draw_up_retirement, enrol_standby
from rotation.possible import commands
from rotation.state import (
    Answered,
    Event,
    IllegalTransition,
    Pause,
    Resume,
    RollBack,
    Rotation,
    State,
    Step,
    Tick,
)
from rotation.sweeper import Sweeper
from rotation.venues import Venues

_CLAIM_US = 180_000_000
_AGAIN_US = 200_000
_OWN_KEY = "a key made with the public key it shows, and no secret"


class Asks:
    """Carries asks out. `now` is aware UTC."""

    def __init__(
        self, service: Service, venues: Venues, journal: Journal, who: str, now: Callable[[], datetime]
    ) -> None:
        self._service, self._venues, self._journal = service, venues, journal
        self._who, self._now = who, now
        self._sweeper = Sweeper(service, venues, journal)
        self._telling = Telling(service, service.desk.clock.now_us)

    def once(self) -> bool:
        """Carry the oldest ask out; tell whether there was one.

        Raises:
            StoreUnavailable: The database cannot answer.
        """
        now_us = microseconds(self._now())
        database = self._service.desk.database
        with database.read() as connection:
            if not store.is_waiting(connection, now_us):
                return False
        with database.write() as connection:
            ask = store.claim(connection, self._who, now_us, now_us + _CLAIM_US)
        if ask is None:
            return False
        token = acting.set(ask.operator)
        try:
            outcome = self._carry_out(ask)
        finally:
            acting.reset(token)
        with database.write() as connection:
            if outcome is None:
                store.put_off(connection, ask.id, None, microseconds(self._now()) + _AGAIN_US)
            else:
                store.finish(connection, ask.id, microseconds(self._now()), outcome)
        return True

    def _carry_out(self, ask: Ask) -> str | None:
        """Return what came of it; None where it has to be tried again."""
        body = json.loads(ask.body)
        try:
            if ask.what == Wish.START.value:
                self._start(ask.rotation, body)
                return ""
            if ask.what == Wish.RETIRE.value:
                planned = draw_up_retirement(self._service, KeyRef.parse(body["key"]), "retire", self._now())
                self._journal.begin(replace(planned, id=ask.rotation))
                return ""
            if ask.what == Wish.TEST_ALERT.value:
                why = self._telling.test(str(body["channel"]))
                return f"not_sent: {body['channel']} did not take a test: {why}" if why else ""
            if ask.what == Wish.SWEEP.value:
                troubles = self._sweeper.sweep(self._now())
                return f"swept_in_part: {'; '.join(troubles)}" if troubles else ""
            return self._tell(ask, body)
        except StoreUnavailable:
            return None
        except BrokerError as fault:
            return f"{fault.reason}: {fault}"
        except VenueError as fault:
            return (
                f"venue_{fault.reason}: the exchange does not serve this key ({fault}). Compare the id you copied, and "
                "whether it is bound to the addresses that were named. Nothing was changed"
            )

    def _start(self, rotation: str, body: Mapping[str, Any]) -> None:
        with self._service.desk.database.read() as connection:
            if rotation_store.get(connection, rotation) is not None:
                return  # it was planned, and who planned it died before it said so
        planned = draw_up(
            self._service, body["account"], Slot(body["slot"]), body["why"], self._now(), rotation=rotation,
            hmac=bool(body.get("hmac")),
        )  # fmt: skip
        self._journal.plan(planned)
        enrol_standby(self._service, self._journal, planned, self._now())

    def _tell(self, ask: Ask, body: Mapping[str, Any]) -> str | None:
        """Tell a rotation what an operator wants."""
        claimed = self._journal.claim_one(ask.rotation, self._now())
        if claimed is None:
            known = self._service.rotations.get(ask.rotation)
            if known.ended_at is None:
                return None
            anew = f"portcullis rotation start --account {known.account} --slot {known.slot.value}"
            return f"over: it is {known.state} already; {anew} begins a new one"
        try:
            return self._told(claimed, ask, body)
        except Lost:
            return None
        except BaseException:
            self._journal.give_back(claimed, self._now())
            raise

    def _told(self, claimed: Claimed, ask: Ask, body: Mapping[str, Any]) -> str:
        rotation, wish = claimed.rotation, Wish(ask.what)
        try:
            event = self._event(wish, rotation, body)
            step = (
                Step(replace(rotation, due_at=self._now()), None, "a destination is waited for no more")
                if wish is Wish.WAIVE and isinstance(event, Tick)
                else decide(rotation, event, self._now())
            )
        except IllegalTransition:
            self._journal.give_back(claimed, self._now())
            return f"not_now: it is {_standing(rotation)}; that cannot be done there. {_can(rotation)}"
        self._journal.save(claimed, step, event, self._now())
        return ""

    def _event(self, wish: Wish, rotation: Rotation, body: Mapping[str, Any]) -> Event:
        match wish:
            case Wish.PAUSE:
                return Pause()
            case Wish.RESUME:
                key_id = body.get("key_id")
                self._refuse_known(rotation, key_id)
                return Resume(
                    key_id, self._has_private(rotation), bool(body.get("discard")), bool(body.get("onward"))
                )
            case Wish.ROLL_BACK:
                return RollBack(str(body["reason"]))
            case Wish.ANSWER:
                return self._answer(rotation, body)
            case Wish.WAIVE:
                return self._waive(rotation, str(body["destination"]), str(body["reason"]))
            case Wish.START | Wish.RETIRE | Wish.SWEEP | Wish.TEST_ALERT:
                raise IllegalTransition(f"{wish.value} is no event")

    def _waive(self, rotation: Rotation, name: str, reason: str) -> Event:
        """Wait for a destination no more; one that made the rotation stall lets it go on."""
        place = self._service.destinations.get(name)
        back = (rotation.stalled_from or rotation.state) is State.DRAINING_NEW
        version = rotation.old if back else rotation.new
        if (place.account, place.slot) != (rotation.account, rotation.slot) or version is None:
            raise Conflict("not_waited_for", f"{rotation.id} does not wait for {name}")
        with self._service.desk.database.write() as connection:
            known = destination_store.delivery(connection, rotation.id, name, version)
            destination_store.save(
                connection, replace(known, waived_by=acting.get(), says=f"waived: {reason}")
            )
        stalled = rotation.state is State.STALLED and rotation.stalled_from in {
            State.DRAINING,
            State.DRAINING_NEW,
        }
        return Resume() if stalled else Tick()

    def _answer(self, rotation: Rotation, body: Mapping[str, Any]) -> Event:
        """Take what a person says they did; a key id is tried before it is believed, so that a slip costs nothing."""
        if body.get("deleted"):
            return Answered()
        if rotation.state is not State.CREATING or not rotation.by_hand:
            raise IllegalTransition(rotation.state.value)
        ref, inbox = KeyRef(rotation.account, rotation.slot, rotation.new), body.get("inbox")
        if (inbox is None) is (rotation.key_type is KeyType.HMAC):
            raise Conflict(
                "wrong_kind",
                f"this rotation waits for {'a key with its secret: add --hmac' if inbox is None else _OWN_KEY}",
            )
        self._refuse_known(rotation, body.get("key_id"))
        secrets = self._service.desk.secrets
        secret = secrets.read(ref.path if inbox is None else inbox)["secret"]
        account = self._service.accounts.get(rotation.account)
        with self._venues.probe(account, haste=Haste.URGENT) as probe:
            probe.restrictions(Credential(str(body["key_id"]), secret, rotation.key_type))
        if inbox is not None:
            labels = {"account": rotation.account, "slot": rotation.slot.value, "version": str(rotation.new),
                      "key_type": rotation.key_type.value, "rotation": rotation.id}  # fmt: skip
            secrets.write(ref.path, {"secret": secret}, labels)
            secrets.destroy(inbox)
        return Answered(str(body["key_id"]), has_private=True)

    def _refuse_known(self, rotation: Rotation, key_id: object) -> None:
        """Refuse the id of a key that is on record as another version: it would be verified, used, and then deleted."""
        for key in self._service.keys.list():
            own = key.ref == KeyRef(rotation.account, rotation.slot, rotation.new)
            if key_id and key.venue_key_id == key_id and not own:
                raise Conflict(
                    "key_known",
                    f"this is the id of {key.ref}, not of the key that {rotation.id} makes: copy the id of the key "
                    f"with the label {rotation.label}",
                )

    def _has_private(self, rotation: Rotation) -> bool:
        try:
            self._service.desk.secrets.read(KeyRef(rotation.account, rotation.slot, rotation.new).path)
        except NotFound:
            return False
        return True


def _standing(rotation: Rotation) -> str:
    stalled = f" from {rotation.stalled_from.value}" if rotation.stalled_from is not None else ""
    return f"{rotation.state.value}{stalled}{', paused' if rotation.paused else ''}"


def _can(rotation: Rotation) -> str:
    return f"What can: {'; '.join(f'portcullis {one}' for one in commands(rotation))}"
