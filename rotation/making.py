"""Effects that make a key: prepared, created once, looked up, and compared with what was ordered."""

from contextlib import suppress
from datetime import timedelta

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from broker.db import accounts as account_store
from broker.errors import BrokerError, NotFound, StoreUnavailable
from broker.model import new_id
from broker.stores.held import why_lost
from clients.errors import VenueAmbiguous, VenueError
from clients.keys import KeyOrder, Standing, differences
from clients.secret import Secret
from clients.venue import KeyType
from rotation.comparing import Comparing
from rotation.listing import is_bare
from rotation.reach import Reach
from rotation.retire import BARE
from rotation.stamp import LastStamp
from rotation.state import Answer, Reply, Rotation

_US = timedelta(microseconds=1)


class Making:
    """Makes keys."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def prepare(self, rotation: Rotation, version: int) -> Reply:
        """Prove that the manager key may and the store can, and make the pair."""
        account = self._reach.account(rotation)
        if rotation.by_hand:
            return self._prepare_store(rotation, version)
        with self._reach.manager(rotation, "list", "create") as desk:
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
        path = self._reach.ref(rotation, version).path
        self._reach.fence(rotation).ensure()
        taken = self._taken_by(rotation, path)
        if taken:
            return Reply(Answer.REFUSED, taken)
        if rotation.key_type is KeyType.HMAC:
            proof = f"{path}/{new_id('proof')}"
            self._reach.desk.secrets.write(proof, {"proof": Secret(rotation.id)}, {"rotation": rotation.id})
            self._reach.desk.secrets.read(proof)
            self._reach.desk.secrets.destroy(proof)
            return Reply(Answer.OK)
        try:
            secret = self._reach.desk.secrets.read(path)["secret"]
        except NotFound:
            secret = _fresh_private()
            self._store(rotation, version, secret)
        return Reply(Answer.OK, has_private=True, public_key=_public_of(secret))

    def _taken_by(self, rotation: Rotation, path: str) -> str:
        """Return what lies where the new secret is to lie; empty where nothing ever did, or our own private half."""
        secrets = self._reach.desk.secrets
        try:
            labels = secrets.metadata(path)
        except NotFound:
            return ""
        own = labels.get("rotation", "")
        if (own == rotation.id or not labels) and rotation.key_type is not KeyType.HMAC:
            lost = why_lost(secrets, path)  # destroyed: its key was made, and given up
            if lost is None:
                return ""
            if lost.reason != "destroyed":
                return (
                    f"the private half of the key that was to be made is lost ({lost}). Nothing was made. Start it "
                    "anew: it takes the next number that is free"
                )
        of = f"the key of {own}" if own else "another key"
        return (
            f"the secret store holds {of} at {path}, under a number that the record has not given yet: the database "
            "was put back. Nothing was made. Start it anew: it takes the next number that is free"
        )

    def _store(self, rotation: Rotation, version: int, secret: Secret) -> None:
        """Write a secret once, and read it back."""
        ref = self._reach.ref(rotation, version)
        labels = {
            "account": rotation.account, "slot": rotation.slot.value, "version": str(version),
            "key_type": rotation.key_type.value, "rotation": rotation.id,
        }  # fmt: skip
        self._reach.desk.secrets.write(ref.path, {"secret": secret}, labels)
        if dict(self._reach.desk.secrets.read(ref.path)) != {"secret": secret}:
            raise StoreUnavailable("read_back", "the secret store did not give back what was written")

    def asked(self, rotation: Rotation, _: int) -> Reply:
        """Ask a person to make a key: the record says what (`rotation.sitting`), alerts say that."""
        return Reply(Answer.OK, f"waits for a person: {rotation.account}/{rotation.slot.value}")

    def read_clock(self, rotation: Rotation, _: int) -> Reply:
        """Read venue time to sign with, once a call of that kind is left in this minute."""
        with self._reach.manager(rotation, "delete" if rotation.retirement else "create") as desk:
            return Reply(Answer.OK, venue_us=desk.now_us())

    def create(self, rotation: Rotation, version: int) -> Reply:
        """Make a key; keep its secret where the venue made it. `rotation.stamp` says what it is signed with."""
        public_key = None
        if rotation.key_type is not KeyType.HMAC:
            secret = self._reach.desk.secrets.read(self._reach.ref(rotation, version).path)["secret"]
            public_key = _public_of(secret)
        with self._reach.manager(rotation) as desk:
            order = KeyOrder(
                desk.subaccount, rotation.label, rotation.permissions, rotation.addresses, public_key
            )
            stamp = LastStamp(rotation, self._reach.fence(rotation), desk.now_us)
            try:
                made = desk.admin.create(order, stamp=stamp)
            except VenueAmbiguous as fault:
                return Reply(Answer.UNKNOWN, fault.reason, venue_us=stamp.at_us)
        if made.secret is not None:
            with suppress(StoreUnavailable):  # a secret that is lost for want of a look costs the key
                self._reach.fence(rotation).ensure()
            try:
                self._store(rotation, version, made.secret)
            except BrokerError as fault:  # it exists, and we may have lost its secret
                return Reply(Answer.UNKNOWN, fault.reason, venue_us=stamp.at_us)
        return Reply(Answer.OK, key_id=made.key_id, has_private=True)

    def find(self, rotation: Rotation, version: int) -> Reply:
        """Look whether a create in doubt made a key; 'none' only when none can come any more."""
        if not rotation.listed:
            return Reply(Answer.REFUSED, "this venue's keys carry no label: look it up at the exchange")
        with self._reach.manager(rotation, "list") as desk:
            asked_us, listed = desk.now_us(), desk.admin.list(desk.subaccount)
            for key in listed:
                if key.label == rotation.label:
                    return Reply(
                        Answer.OK, key_id=key.key_id, has_private=self._reach.has_secret(rotation, version)
                    )
        comparing = Comparing(self._reach)
        beside, there = comparing.beside(rotation, version), {key.key_id for key in listed}
        # it lacks one that is served this moment, or one in use, and has others': another sub-account's, perhaps
        if is_bare(
            there, beside, lambda key: not there and comparing.heard(rotation, key) is not Standing.ALIVE
        ):
            return Reply(Answer.UNKNOWN, BARE)
        limits = rotation.limits
        settled_us = (rotation.created_us or asked_us) + (limits.window_for + limits.settling_for) // _US
        if asked_us <= settled_us:
            return Reply(Answer.UNKNOWN, "too early to tell whether a key was made")
        return Reply(Answer.OK)

    def verify(self, rotation: Rotation, version: int) -> Reply:
        """Read the key back and compare exactly, by the account's own way out."""
        account = self._reach.account(rotation)
        key_id = rotation.new_key_id or ""
        addresses: tuple[str, ...] | None = rotation.addresses  # a main account's cannot be read back
        if not rotation.by_hand:
            with self._reach.manager(rotation, "addresses") as desk:
                addresses = desk.admin.addresses(desk.subaccount, key_id)
        with self._reach.venues.probe(account, haste=self._reach.haste(rotation)) as probe:
            try:
                found = probe.restrictions(self._reach.credential(rotation, version, key_id))
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
            with self._reach.fence(rotation).writing() as connection:
                account_store.set_uid(connection, account.name, found.account_uid)
        return Reply(Answer.OK)


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
