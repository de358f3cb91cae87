"""Performs one effect and answers with one `Reply`. It makes no choices: what follows, `decide` says.

Rules:
1. Every effect but CREATE and DELETE is safe to repeat; those two are signed with the timestamp that was saved.
2. A venue's error carries what it knows: REFUSED, RETRY or UNKNOWN. A store that cannot answer before anything was
   asked of the venue is RETRY, after it UNKNOWN.
3. The key in use is never deleted outside an incident, whatever the record of the rotation says.
4. A key is dead when the venue was seen refusing it by name, and serving it on no host, by the account's own way out.
5. What fails unforeseen is UNKNOWN: tries and deadlines count it, and a human is paged in the end.
"""

import logging
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from broker import gate
from broker.db import Connection, calls, cutovers, findings, rows
from broker.db import accounts as account_store
from broker.db import rotations as rotation_store
from broker.errors import BrokerError, NotFound, StoreUnavailable
from broker.gate import Mode
from broker.model import Account, KeyRef, KeyVersion, Stage, new_id, whereabouts
from broker.service import Service
from clients.errors import Outcome, VenueError
from clients.keys import KeyOrder, Standing, differences
from clients.secret import Secret
from clients.venue import Credential, KeyType
from rotation.destinations.delivery import Deliveries
from rotation.journal import microseconds
from rotation.retire import ABSENT, ALIVE, LISTED, UNNAMED
from rotation.state import IN_USE, KEYS_REFUSED, Answer, Do, Effect, Reply, Rotation, State
from rotation.venues import KEY_REFUSALS, Venues
from rotation.venues import Desk as VenueDesk

_MANY_REFUSALS = 3
"""Of a bot's requests with the new key, and more than half of them: one refusal may be an address in a ban."""

CANARY_PATIENCE_US = 8_000_000
"""After this a gateway that says nothing is passed over for another."""

_BEFORE_US = 3_600_000_000
"""How far back the old key's refusals are compared with."""

_LOG = logging.getLogger("portcullis.rotation")
_ANSWERS = {Outcome.REFUSED: Answer.REFUSED, Outcome.RETRY: Answer.RETRY, Outcome.UNKNOWN: Answer.UNKNOWN}
_US = timedelta(microseconds=1)


class Effects:
    """What a rotation can do in the world."""

    def __init__(self, service: Service, venues: Venues) -> None:
        self._service, self._desk, self._venues = service, service.desk, venues
        self._deliveries = Deliveries(service, service.desk.clock.now_us)
        self._do: dict[Do, Callable[[Rotation, int], Reply]] = {
            Do.PREPARE: self._prepare,
            Do.READ_CLOCK: self._read_clock,
            Do.CREATE: self._create,
            Do.FIND: self._find,
            Do.VERIFY: self._verify,
            Do.CANARY: self._canary,
            Do.MOVE: self._move,
            Do.MOVE_BACK: self._move_back,
            Do.DRAIN: self._drain,
            Do.DELETE: self._delete,
            Do.PROBE: self._probe,
            Do.ENTOMB: self._entomb,
            Do.ASK_CREATE: self._asked,
            Do.ASK_DELETE: self._asked,
        }

    def perform(self, rotation: Rotation, effect: Effect) -> Reply:
        """Do one thing. Blocks."""
        version = rotation.new if effect.version is None else effect.version
        try:
            return self._do[effect.do](rotation, version)
        except VenueError as fault:
            return Reply(_ANSWERS[fault.outcome], _said(rotation, effect, fault))
        except StoreUnavailable as fault:
            return Reply(Answer.RETRY, fault.reason)
        except BrokerError as fault:
            return Reply(Answer.REFUSED, f"{fault.reason}: {fault}")
        except Exception as fault:  # noqa: BLE001 - its text may quote what must not be said
            where = traceback.extract_tb(fault.__traceback__)[-1]
            name = type(fault).__name__
            _LOG.critical(
                "%s failed unforeseen: %s at %s:%s", effect.do.value, name, where.name, where.lineno
            )
            return Reply(Answer.UNKNOWN, f"failed unforeseen ({name})")

    # --- making -------------------------------------------------------------------------------

    def _prepare(self, rotation: Rotation, version: int) -> Reply:
        """Prove that the manager key may and the store can, and make the pair."""
        account = self._account(rotation)
        if rotation.by_hand:
            return self._prepare_store(rotation, version)
        with self._manager(rotation, "list", "create") as desk:
            lacks = desk.lacks()
            if lacks:
                return Reply(Answer.REFUSED, f"the manager key {account.manager} cannot be used: {lacks}")
            living, most = len(desk.admin.list(desk.subaccount)), desk.admin.capabilities.most_keys
        if living >= most:
            return Reply(
                Answer.REFUSED, f"{account.subaccount} has {living} keys, and the exchange allows {most}"
            )
        return self._prepare_store(rotation, version)

    def _prepare_store(self, rotation: Rotation, version: int) -> Reply:
        path = self._ref(rotation, version).path
        if rotation.key_type is KeyType.HMAC:
            proof = f"{path}/{new_id('proof')}"
            self._desk.secrets.write(proof, {"proof": Secret(rotation.id)}, {"rotation": rotation.id})
            self._desk.secrets.read(proof)
            self._desk.secrets.destroy(proof)
            return Reply(Answer.OK)
        try:
            secret = self._desk.secrets.read(path)["secret"]
        except NotFound:
            secret = _fresh_private()
            self._store(rotation, version, secret)
        return Reply(Answer.OK, has_private=True, public_key=_public_of(secret))

    def _store(self, rotation: Rotation, version: int, secret: Secret) -> None:
        """Write a secret once, and read it back."""
        ref = self._ref(rotation, version)
        labels = {
            "account": rotation.account, "slot": rotation.slot.value, "version": str(version),
            "key_type": rotation.key_type.value, "rotation": rotation.id,
        }  # fmt: skip
        self._desk.secrets.write(ref.path, {"secret": secret}, labels)
        if dict(self._desk.secrets.read(ref.path)) != {"secret": secret}:
            raise StoreUnavailable("read_back", "the secret store did not give back what was written")

    def _asked(self, rotation: Rotation, _: int) -> Reply:
        """Ask a person: the record says what (`rotation.sitting`), alerts say that."""
        return Reply(Answer.OK, f"waits for a person: {rotation.account}/{rotation.slot.value}")

    def _read_clock(self, rotation: Rotation, _: int) -> Reply:
        """Read venue time to sign with, once a call of that kind is left in this minute."""
        with self._manager(rotation, "delete" if rotation.retirement else "create") as desk:
            return Reply(Answer.OK, venue_us=desk.now_us())

    def _create(self, rotation: Rotation, version: int) -> Reply:
        if rotation.stamp_us is None:
            raise RuntimeError("a create is signed with a saved timestamp")
        public_key = None
        if rotation.key_type is not KeyType.HMAC:
            secret = self._desk.secrets.read(self._ref(rotation, version).path)["secret"]
            public_key = _public_of(secret)
        with self._manager(rotation) as desk:
            order = KeyOrder(
                desk.subaccount, rotation.label, rotation.permissions, rotation.addresses, public_key
            )
            made = desk.admin.create(order, timestamp_us=rotation.stamp_us)
        if made.secret is not None:
            try:
                self._store(rotation, version, made.secret)
            except BrokerError as fault:  # it exists, and we may have lost its secret
                return Reply(Answer.UNKNOWN, fault.reason)
        return Reply(Answer.OK, key_id=made.key_id, has_private=True)

    def _find(self, rotation: Rotation, version: int) -> Reply:
        """Look whether a create in doubt made a key; 'none' only when none can come any more."""
        if not rotation.listed:
            return Reply(Answer.REFUSED, "this venue's keys carry no label: look it up at the exchange")
        with self._manager(rotation, "list") as desk:
            asked_us = desk.now_us()
            for key in desk.admin.list(desk.subaccount):
                if key.label == rotation.label:
                    return Reply(
                        Answer.OK, key_id=key.key_id, has_private=self._has_secret(rotation, version)
                    )
        limits = rotation.limits
        settled_us = (rotation.created_us or asked_us) + (limits.window_for + limits.settling_for) // _US
        if asked_us <= settled_us:
            return Reply(Answer.UNKNOWN, "too early to tell whether a key was made")
        return Reply(Answer.OK)

    def _verify(self, rotation: Rotation, version: int) -> Reply:
        """Read the key back and compare exactly, by the account's own way out."""
        account = self._account(rotation)
        key_id = rotation.new_key_id or ""
        addresses: tuple[str, ...] | None = rotation.addresses  # a main account's cannot be read back
        if not rotation.by_hand:
            with self._manager(rotation, "addresses") as desk:
                addresses = desk.admin.addresses(desk.subaccount, key_id)
        with self._venues.probe(account, urgent=rotation.halt is not None) as probe:
            try:
                found = probe.restrictions(self._credential(rotation, version, key_id))
            except VenueError as fault:  # a young key may not be known everywhere yet
                return Reply(Answer.UNKNOWN, fault.reason)
        wrong = list(differences(rotation.permissions, found.permissions))
        if found.withdraw:
            wrong.append("withdraw is on and should be off")
        wrong += [f"{word} is on and should be off" for word in found.more]
        if not found.ip_restricted or set(addresses or ()) != set(rotation.addresses):
            here = ", ".join(addresses or ()) if found.ip_restricted else "no address"
            wrong.append(f"it is bound to {here} and should be to {', '.join(rotation.addresses)}")
        if account.venue_uid is not None and found.account_uid != account.venue_uid:
            wrong.append("it belongs to another account")
        if wrong:
            return Reply(Answer.REFUSED, "; ".join(wrong))
        if account.venue_uid is None:
            with self._desk.database.write() as connection:
                account_store.set_uid(connection, account.name, found.account_uid)
        return Reply(Answer.OK)

    # --- moving -------------------------------------------------------------------------------

    def _canary(self, rotation: Rotation, version: int) -> Reply:
        """Have one gateway after the other try the new key, until one served a signed read with it."""
        if rotation.old is None or not rotation.leased:
            return Reply(Answer.OK, "no gateway uses this slot")
        now_us, new = self._desk.clock.now_us(), str(self._ref(rotation, version))
        with self._desk.database.write() as connection:
            old = str(self._ref(rotation, rotation.old))
            holders = {one.gateway for one in cutovers.holders(connection, old, now_us)}
            gateways = sorted(one for one in holders if not self._is_cut(connection, rotation, version, one))
            tried = {one.gateway: one for one in cutovers.canaries(connection, rotation.id)}
            if not gateways and not tried:
                return Reply(Answer.OK, "no gateway holds a lease")
            served = [name for name, one in tried.items() if one.well]
            if served:
                return Reply(Answer.OK, f"{served[0]} was served with it")
            refused = [one for one in tried.values() if one.well is False]
            waited_for = [
                one
                for one in tried.values()
                if one.well is None and now_us - one.asked_us < CANARY_PATIENCE_US
            ]
            left = [name for name in gateways if name not in tried]
            if not waited_for and left:
                cutovers.ask_canary(connection, cutovers.Canary(rotation.id, left[0], new, now_us))
                return Reply(Answer.UNKNOWN, f"{left[0]} tries it")
        if not waited_for and refused:
            return Reply(Answer.REFUSED, f"{refused[0].gateway} was told {refused[0].reason}")
        return Reply(Answer.UNKNOWN, "no gateway has tried it yet")

    def _is_cut(self, connection: Connection, rotation: Rotation, version: int, gateway: str) -> bool:
        """Tell whether a gateway may see no key now."""
        scopes = whereabouts(rotation.venue, self._ref(rotation, version), gateway)
        return gate.mode_of(rows.gates(connection, scopes), scopes) is Mode.CLOSED

    def _move(self, rotation: Rotation, version: int) -> Reply:
        return self._moved(rotation, version, rotation.old)

    def _move_back(self, rotation: Rotation, version: int) -> Reply:
        """Make the old version current again: only if the exchange serves it, and the new one is in use at all."""
        if self._version(rotation, rotation.new).stage is not Stage.CURRENT:
            return Reply(Answer.OK, "the new version is not in use")
        with self._venues.probe(self._account(rotation), urgent=True) as probe:
            key_id = self._version(rotation, version).venue_key_id
            standing, said = probe.standing(self._credential(rotation, version, key_id))
        if standing is Standing.UNDECIDED:
            return Reply(Answer.UNKNOWN, said)
        if standing is not Standing.ALIVE:
            return Reply(Answer.REFUSED, f"the exchange does not serve the old key any more ({said})")
        return self._moved(rotation, version, rotation.new)

    def _moved(self, rotation: Rotation, to: int, away_from: int | None) -> Reply:
        there = self._ref(rotation, to)
        with self._desk.database.write() as connection:
            away = None if away_from is None else self._ref(rotation, away_from)
            if not cutovers.move_current(connection, there, away):
                return Reply(Answer.REFUSED, "another version is current than this rotation knows of")
            self._service.audit.record(
                connection, "key.current", f"key-version:{there}", {"rotation": rotation.id}
            )
        return Reply(Answer.OK)

    def _drain(self, rotation: Rotation, _: int) -> Reply:
        """Look who may still use the version to be left, and bring the other to who holds a key outside a gateway."""
        back = rotation.state is State.DRAINING_NEW
        leaving = rotation.new if back else rotation.old
        now_us, new = self._desk.clock.now_us(), str(self._ref(rotation, rotation.new))
        with self._desk.database.read() as connection:
            held = () if leaving is None else self._held(connection, rotation, leaving, now_us)
            used = cutovers.holders(connection, new, now_us)
            refused = "" if back else self._refusals(connection, rotation)
        if refused:
            return Reply(Answer.REFUSED, f"{KEYS_REFUSED}: {refused}")
        waited = self._brought(rotation, back=back)
        if not held and not waited:
            return Reply(Answer.OK, IN_USE if used and not back and rotation.old is not None else "")
        if held:
            names = ", ".join(sorted({one.gateway for one in held}))
            longest_s = (max(one.until_us for one in held) - now_us) // 1_000_000 + 1
            waited = "; ".join(filter(None, (f"{names} may use it for up to {longest_s} s", waited)))
        return Reply(Answer.REFUSED, waited)

    def _refusals(self, connection: Connection, rotation: Rotation) -> str:
        """Say how many requests the exchange refuses the new key; empty where it is not the new key's fault.

        A bot that asks for what its key never was allowed is refused the old one just so.
        """
        if rotation.old is None:
            return ""
        codes, since_us = KEY_REFUSALS[rotation.venue], microseconds(rotation.entered_at)
        new, old = (str(self._ref(rotation, version)) for version in (rotation.new, rotation.old))
        refused, answered = calls.key_answers(connection, new, since_us, codes)
        if refused < _MANY_REFUSALS or refused * 2 <= answered:
            return ""
        before, of = calls.key_answers(connection, old, since_us - _BEFORE_US, codes)
        if before >= _MANY_REFUSALS and before * answered * 2 > refused * of:
            return ""  # at least half as often with the old key
        return f"{refused} of {answered} requests since the cutover"

    def _held(
        self, connection: Connection, rotation: Rotation, version: int, now_us: int
    ) -> tuple[cutovers.Hold, ...]:
        return cutovers.holders(connection, str(self._ref(rotation, version)), now_us)

    def _brought(self, rotation: Rotation, *, back: bool) -> str:
        """Bring the key that stays to whoever holds one outside a gateway; return who is waited for."""
        to = rotation.old if back else rotation.new
        if to is None:
            return ""
        only = self._deliveries.holders(rotation.id, rotation.new) if back else None
        return self._deliveries.bring(
            rotation.id, self._version(rotation, to), venue=rotation.venue, only=only
        )

    # --- ending -------------------------------------------------------------------------------

    def _delete(self, rotation: Rotation, version: int) -> Reply:
        if rotation.stamp_us is None:
            raise RuntimeError("a delete is signed with a saved timestamp")
        key = self._version(rotation, version)
        if rotation.halt is None and self._is_in_use(key.venue_key_id):
            return Reply(Answer.REFUSED, "it is the key in use: it was not deleted")
        with self._manager(rotation) as desk:
            desk.admin.delete(desk.subaccount, key.venue_key_id, timestamp_us=rotation.stamp_us)
        return Reply(Answer.OK)

    def _is_in_use(self, key_id: str) -> bool:
        """Tell whether any version in use is this key at the venue, whatever the record of a rotation calls it."""
        return any(
            key.venue_key_id == key_id and key.stage is Stage.CURRENT for key in self._service.keys.list()
        )

    def _probe(self, rotation: Rotation, version: int) -> Reply:
        """Ask the venue with the key itself; where that proves nothing, look it up in the list."""
        account, key_id = self._account(rotation), self._version(rotation, version).venue_key_id
        said = "its secret is lost"
        if self._has_secret(rotation, version):
            with self._venues.probe(account, urgent=rotation.halt is not None) as probe:
                standing, said = probe.standing(self._credential(rotation, version, key_id))
            if standing is Standing.DEAD:
                return Reply(Answer.OK, proof="the exchange refused it by name, and serves it on no host")
            if standing is Standing.ALIVE:
                return Reply(Answer.REFUSED, ALIVE)
            if standing is Standing.UNDECIDED:
                return Reply(Answer.UNKNOWN, said)
        if rotation.by_hand:
            return Reply(Answer.UNKNOWN, UNNAMED)
        with self._manager(rotation) as desk:
            listed = desk.admin.find(desk.subaccount, key_id)
        return Reply(Answer.UNKNOWN, ABSENT if listed is None else LISTED)

    def _entomb(self, rotation: Rotation, version: int) -> Reply:
        """Write the tombstone, then destroy the secret."""
        ref = self._ref(rotation, version)
        proof = rotation.retirement.proof if rotation.retirement is not None else ""
        key_id = self._version(rotation, version).venue_key_id
        with self._desk.database.write() as connection:
            account_store.set_stage(connection, ref, Stage.TOMBSTONE)
            findings.end(connection, key_id, self._desk.clock.now_us())
            self._service.audit.record(
                connection, "key.dead", f"key-version:{ref}", {"rotation": rotation.id, "proof": proof}
            )
        self._destroy(ref)
        return Reply(Answer.OK)

    def clear(self, ref: KeyRef) -> None:
        """After a rotation that made no key: its pending version is a tombstone, and its pair is destroyed.

        Raises:
            StoreUnavailable: A store cannot answer; done again later.
        """
        key = next((one for one in self._service.keys.list(ref.account) if one.ref == ref), None)
        if key is None or key.stage is not Stage.PENDING or key.venue_key_id:
            return
        self._destroy(key.ref)
        with self._desk.database.write() as connection:
            account_store.set_stage(connection, key.ref, Stage.TOMBSTONE)

    def clear_up(self) -> None:
        """Clear away what rotations left that were given up, and whose rotator died before it did.

        Raises:
            StoreUnavailable: A store cannot answer; done again later.
        """
        for key in self._service.keys.list():
            if key.stage is not Stage.PENDING or key.venue_key_id:
                continue
            with self._desk.database.read() as connection:
                made_by = rotation_store.making(connection, key.ref)
            if made_by is not None and State(made_by.state) in {State.ABANDONED, State.HALTED}:
                self.clear(key.ref)

    def _destroy(self, ref: KeyRef) -> None:
        try:
            self._desk.secrets.destroy(ref.path)
        except NotFound:
            return

    # --- parts --------------------------------------------------------------------------------

    def _manager(self, rotation: Rotation, *needs: str) -> AbstractContextManager[VenueDesk]:
        return self._venues.desk(self._account(rotation), urgent=rotation.halt is not None, needs=needs)

    def _account(self, rotation: Rotation) -> Account:
        return self._service.accounts.get(rotation.account)

    @staticmethod
    def _ref(rotation: Rotation, version: int) -> KeyRef:
        return KeyRef(rotation.account, rotation.slot, version)

    def _version(self, rotation: Rotation, version: int) -> KeyVersion:
        ref = self._ref(rotation, version)
        found = next((key for key in self._service.keys.list(rotation.account) if key.ref == ref), None)
        if found is None:
            raise NotFound("no_key", f"{ref} is not on record")
        return found

    def _credential(self, rotation: Rotation, version: int, key_id: str) -> Credential:
        key = self._version(rotation, version)
        values = self._desk.secrets.read(key.path)
        return Credential(key_id, values["secret"], key.key_type, values.get("passphrase"))

    def _has_secret(self, rotation: Rotation, version: int) -> bool:
        try:
            self._desk.secrets.read(self._ref(rotation, version).path)
        except NotFound:
            return False
        return True


def _said(rotation: Rotation, effect: Effect, fault: VenueError) -> str:
    """Say what a venue's error means; that of a key of ours names which key that was."""
    by_manager = not rotation.by_hand and effect.do in {Do.PREPARE, Do.CREATE, Do.FIND, Do.DELETE}
    if fault.reason == "key_refused" and by_manager:
        return (
            "the exchange refuses the manager key (key_refused): look at its permissions and addresses there"
        )
    return fault.reason


def _fresh_private() -> Secret:
    private = ed25519.Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Secret(pem.decode())


def _public_of(secret: Secret) -> str:
    private = serialization.load_pem_private_key(secret.reveal().encode(), None)
    return (
        private.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
