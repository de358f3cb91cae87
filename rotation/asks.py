"""What operators ask: read from the record, carried out once, answered with nothing (done) or `reason: message`.

Rules:
1. An ask is claimed like a rotation, so that two rotators never carry it out both, whoever sets a clock. What it
   changes is one transaction with its answer, and only while the claim stands: who woke late changes nothing.
2. A rotation somebody is working on this instant is asked again a moment later; an ask is never dropped.
3. A rotation that is held since a restore goes on when a person says so, by any word that lets it go on; dropped, it
   ends on record and touches nothing.
4. What waits for strangers, or for many accounts, is carried out apart (`SLOW`): a rotation is taken back meanwhile.
5. What an operator brings, a secret or the id of a key, lies in the inbox until their ask is answered, and no longer.
6. An event that cannot happen where the rotation stands is a no with the state in it, not a fault.
"""

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from broker.db import Connection
from broker.db import asks as store
from broker.db import destinations as destination_store
from broker.db import rotations as rotation_store
from broker.db.asks import Ask
from broker.deeds import Deed
from broker.errors import BrokerError, Conflict, NotFound, StoreUnavailable
from broker.model import KeyRef
from broker.service import Service
from broker.service.audit import acting
from broker.service.rotations import Wish
from broker.stores.held import why_lost
from clients.errors import VenueError
from clients.secret import Secret
from clients.venue import Credential, KeyType, Slot
from rotation import restored
from rotation.alerts.telling import Telling
from rotation.budget import Haste
from rotation.carrying import carried
from rotation.decide import decide
from rotation.fence import Fence
from rotation.journal import Claimed, Journal, Lost, microseconds, nothing_more
from rotation.left import told_of
from rotation.plan import draw_up, draw_up_retirement, enrol_standby
from rotation.possible import can, standing
from rotation.proving import refuse_anothers, refuse_known
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
from rotation.steps import end
from rotation.sweeper import Sweeper
from rotation.venues import Venues

_LOG = logging.getLogger("portcullis.rotation")
SLOW = frozenset({Wish.SWEEP.value, Wish.TEST_ALERT.value})
EVERY = frozenset(one.value for one in Wish)
_OWN_KEY = "a key made with the public key it shows, and no secret"


class Asks:
    """Carries asks out. `now` is aware UTC."""

    def __init__(
        self,
        service: Service,
        venues: Venues,
        journal: Journal,
        who: str,
        now: Callable[[], datetime],
        kinds: frozenset[str] = EVERY,
    ) -> None:
        self._kinds = kinds
        self._service, self._venues, self._journal = service, venues, journal
        self._who, self._now = who, now
        self._sweeper = Sweeper(service, venues, journal)
        self._telling = Telling(service, service.desk.clock.now_us)
        self._emptied: set[str] = set()

    def once(self) -> bool:
        """Carry the oldest ask out; tell whether there was one.

        Raises:
            StoreUnavailable: The database cannot answer.
        """
        database, spans = self._service.desk.database, self._journal.spans
        with database.read() as connection:
            if not store.is_waiting(connection, spans, self._kinds, self._who):
                return False
        if self._service.desk.guard.allows(Deed.ASKED) is not None:
            return False  # it waits: whoever may do it now or later carries it out
        with database.write() as connection:
            ask = store.claim(connection, self._who, spans, self._kinds)
        if ask is None:
            return False
        token = acting.set(ask.operator)
        try:
            outcome = self._carry_out(ask)
        finally:
            acting.reset(token)
        with database.write() as connection:
            # one that is not held was answered with what it changed, or is another's by now
            held = store.is_held(connection, ask, self._who)
            if held and outcome is None:
                store.put_off(connection, ask.id, spans)
            elif held and outcome is not None:
                store.finish(connection, ask.id, microseconds(self._now()), outcome)
        self._empty(ask.id)
        return True

    def clear(self, ends: Callable[[], bool] = lambda: False) -> None:
        """Destroy what lies in the inbox of asks that are over: who answered them ended before it did. Each once.

        Args:
            ends: Tells that there is no time for the next one.

        Raises:
            BrokerError: One of them could not be destroyed; it is looked at the next time, and the others were.
        """
        with self._service.desk.database.read() as connection:
            over = store.over_with(connection, '"inbox"')
        last: BrokerError | None = None
        for ask in over:
            if ends() or self._service.desk.guard.allows(Deed.ASKED) is not None:
                break
            if ask in self._emptied:
                continue
            try:
                self._empty(ask)
            except (
                BrokerError
            ) as fault:  # as where somebody deleted it by hand: the others are somebody else's
                last = fault
            else:
                self._emptied.add(ask)
        if last is not None:
            raise last

    def _empty(self, ask: str) -> None:
        """Destroy what an operator brought, once their ask is answered on record, whatever came of it.

        Not before: who carries it out may end, or lose the database, and has to find it there when it is done again.
        """
        with self._service.desk.database.read() as connection:
            known = store.get(connection, ask)
        inbox = None if known is None or known.outcome is None else json.loads(known.body).get("inbox")
        if inbox is None or self._service.desk.guard.allows(Deed.ASKED) is not None:
            return
        with suppress(NotFound):
            self._service.desk.secrets.read(inbox)
            self._service.desk.secrets.destroy(inbox)

    def _held(self, ask: Ask) -> Callable[[Connection], None]:
        """Return what keeps an ask ours until a transaction ends."""

        def hold(connection: Connection) -> None:
            if not store.is_held(connection, ask, self._who):
                raise Lost(ask.id)

        return hold

    def _done(self, ask: Ask) -> Callable[[Connection], None]:
        """Return what answers an ask in the transaction that changes what it asks for."""
        hold = self._held(ask)

        def finish(connection: Connection) -> None:
            hold(connection)
            store.finish(connection, ask.id, microseconds(self._now()), "")

        return finish

    def _carry_out(self, ask: Ask) -> str | None:
        """Return what came of it; None where it has to be tried again."""
        body = json.loads(ask.body)
        try:
            self._service.desk.guard.ensure(Deed.ASKED)
            if ask.what == Wish.START.value:
                self._start(ask.rotation, body, self._done(ask))
                return ""
            if ask.what == Wish.RETIRE.value:
                planned = draw_up_retirement(self._service, KeyRef.parse(body["key"]), "retire", self._now())
                self._journal.begin(replace(planned, id=ask.rotation), self._done(ask))
                return ""
            if ask.what == Wish.TEST_ALERT.value:
                why = self._telling.test(str(body["channel"]))
                return f"not_sent: {body['channel']} did not take a test: {why}" if why else ""
            if ask.what == Wish.SWEEP.value:
                troubles = self._sweeper.sweep(self._now())
                return f"swept_in_part: {'; '.join(troubles)}" if troubles else ""
            return self._tell(ask, body)
        except (StoreUnavailable, Lost):
            return None
        except BrokerError as fault:
            return f"{fault.reason}: {fault}"
        except VenueError as fault:
            return (
                f"venue_{fault.reason}: the exchange does not serve this key ({fault}). Compare the id you copied, and "
                "whether it is bound to the addresses that were named. Nothing was changed"
            )
        except Exception as fault:  # noqa: BLE001 - who asked is answered; its text may quote
            name = type(fault).__name__
            _LOG.critical("%s %s failed unforeseen: %s", ask.what, ask.id, name)
            return f"unforeseen: it failed unforeseen ({name}); look how it stands, and ask again"

    def _start(
        self, rotation: str, body: Mapping[str, Any], also: Callable[[Connection], None] = nothing_more
    ) -> None:
        with self._service.desk.database.read() as connection:
            if rotation_store.get(connection, rotation) is not None:
                return  # it was planned, and who planned it died before it said so
        planned = draw_up(
            self._service, body["account"], Slot(body["slot"]), body["why"], self._now(), rotation=rotation,
            hmac=bool(body.get("hmac")),
        )  # fmt: skip
        self._journal.plan(planned, also)
        enrol_standby(self._service, self._journal, planned, self._now())

    def _tell(self, ask: Ask, body: Mapping[str, Any]) -> str | None:
        """Tell a rotation what an operator wants."""
        claimed = self._journal.claim_one(ask.rotation, self._now(), self._held(ask))
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
        rotation, wish = carried(claimed.rotation, self._journal.spans.now()), Wish(ask.what)
        held = self._service.rotations.get(rotation.id).held
        if wish is Wish.DROP:
            return self._drop(claimed, held, ask, str(body["reason"]))
        goes_on = bool(held) and wish in {Wish.RESUME, Wish.ROLL_BACK, Wish.ANSWER}
        if goes_on and wish is not Wish.ANSWER and restored.may_have_made(rotation):
            try:
                made = restored.look(self._service, self._venues, rotation)
            except VenueError as fault:
                self._journal.give_back(claimed, self._now())
                return (
                    f"not_now: whether its key was made cannot be asked ({fault.reason}); nothing was changed"
                )
            if made is not None:
                return self._goes_on_with(made, claimed, ask, self._event(wish, rotation, body))
        goes_on = goes_on and not (wish is Wish.ROLL_BACK and restored.may_be_anothers(rotation))
        also = self._let_go(ask, rotation.id) if goes_on else self._done(ask)
        waits = not rotation.paused and rotation.state is not State.STALLED
        if goes_on and wish is Wish.RESUME and waits and not body.get("leave"):
            note = f"{ask.operator} lets it go on"
            self._journal.save(claimed, Step(rotation, None, note), Resume(), self._now(), also=also)
            return ""
        try:
            event = self._event(wish, rotation, body)
            step = (
                Step(replace(rotation, due_at=self._now()), None, "a destination is waited for no more")
                if wish is Wish.WAIVE and isinstance(event, Tick)
                else decide(rotation, event, self._now())
            )
        except IllegalTransition:
            self._journal.give_back(claimed, self._now())
            return (
                f"not_now: it is {standing(rotation, held)}; that cannot be done there. {can(rotation, held)}"
            )
        if isinstance(event, Resume) and event.leave:
            also = told_of(self._service, rotation, also)
        self._journal.save(claimed, step, event, self._now(), also=also)
        return ""

    def _goes_on_with(self, key_id: str, claimed: Claimed, ask: Ask, event: Event) -> str:
        """Let a held rotation go on, or be given up, with the key that it made and the record forgot."""
        rotation = carried(claimed.rotation, self._journal.spans.now())
        refuse_known(self._service, rotation, key_id)
        private = self._has_private(rotation)
        step = restored.goes_on_with(rotation, key_id, event, self._now(), has_private=private)
        self._journal.save(claimed, step, event, self._now(), also=self._let_go(ask, rotation.id))
        return ""

    def _let_go(self, ask: Ask, rotation: str) -> Callable[[Connection], None]:
        """Return what lets a held rotation go on, and answers the ask, in the transaction that this belongs to."""
        finish = self._done(ask)

        def release(connection: Connection) -> None:
            finish(connection)
            self._service.desk.guard.fence(connection, Deed.START)
            if rotation_store.release(connection, rotation, microseconds(self._now())):
                self._service.audit.record(connection, "rotation.release", rotation)

        return release

    def _drop(self, claimed: Claimed, held: str, ask: Ask, reason: str) -> str:
        """End a held rotation on record alone. What it prepared stays: what became of that is not known here."""
        if not held:
            self._journal.give_back(claimed, self._now())
            return (
                "not_held: only a rotation that was open at a restore or a failover is dropped; this one goes on. "
                f"{can(claimed.rotation)}"
            )
        step = end(claimed.rotation, State.ABANDONED, f"dropped: {reason}", self._now())
        self._journal.save(claimed, step, RollBack(reason), self._now(), also=self._done(ask))
        return ""

    def _event(self, wish: Wish, rotation: Rotation, body: Mapping[str, Any]) -> Event:
        match wish:
            case Wish.PAUSE:
                return Pause()
            case Wish.RESUME:
                key_id, _ = self._brought(body)
                refuse_known(self._service, rotation, key_id)
                if key_id:
                    refuse_anothers(self._service, self._venues, rotation, key_id)
                return Resume(
                    key_id,
                    self._has_private(rotation),
                    bool(body.get("discard")),
                    bool(body.get("onward")),
                    bool(body.get("leave")),
                )
            case Wish.ROLL_BACK:
                return RollBack(str(body["reason"]))
            case Wish.ANSWER:
                return self._answer(rotation, body)
            case Wish.WAIVE:
                return self._waive(rotation, str(body["destination"]), str(body["reason"]))
            case Wish.START | Wish.RETIRE | Wish.SWEEP | Wish.TEST_ALERT | Wish.DROP:
                raise IllegalTransition(f"{wish.value} is no event")

    def _waive(self, rotation: Rotation, name: str, reason: str) -> Event:
        """Wait for a destination no more; one that made the rotation stall lets it go on."""
        place = self._service.destinations.get(name)
        back = (rotation.stalled_from or rotation.state) is State.DRAINING_NEW
        version = rotation.old if back else rotation.new
        if (place.account, place.slot) != (rotation.account, rotation.slot) or version is None:
            raise Conflict("not_waited_for", f"{rotation.id} does not wait for {name}")
        fence = Fence(self._service.desk.database, rotation.id, rotation.row_version)
        with fence.writing() as connection:
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
        ref = KeyRef(rotation.account, rotation.slot, rotation.new)
        key_id, secret = self._brought(body)
        is_theirs = secret is not None
        if is_theirs is not (rotation.key_type is KeyType.HMAC):
            raise Conflict(
                "wrong_kind",
                f"this rotation waits for {_OWN_KEY if is_theirs else 'a key with its secret: add --hmac'}",
            )
        refuse_known(self._service, rotation, key_id)
        secrets = self._service.desk.secrets
        if secret is None:
            secret = secrets.read(ref.path)["secret"]
        account = self._service.accounts.get(rotation.account)
        with self._venues.probe(account, haste=Haste.URGENT) as probe:
            probe.restrictions(Credential(str(key_id), secret, rotation.key_type))
        if is_theirs:
            labels = {"account": rotation.account, "slot": rotation.slot.value, "version": str(rotation.new),
                      "key_type": rotation.key_type.value, "rotation": rotation.id}  # fmt: skip
            Fence(self._service.desk.database, rotation.id, rotation.row_version).ensure()
            secrets.write(ref.path, {"secret": secret}, labels)
        return Answered(str(key_id), has_private=True)

    def _brought(self, body: Mapping[str, Any]) -> tuple[str | None, Secret | None]:
        """Return the id of a key and its secret, as a person brought them; an older ask names the id itself."""
        inbox = body.get("inbox")
        found: Mapping[str, Secret] = {} if inbox is None else self._service.desk.secrets.read(inbox)
        key_id = found.get("key_id")
        return body.get("key_id") if key_id is None else key_id.reveal(), found.get("secret")

    def _has_private(self, rotation: Rotation) -> bool:
        path = KeyRef(rotation.account, rotation.slot, rotation.new).path
        return why_lost(self._service.desk.secrets, path) is None
