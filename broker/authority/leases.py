"""Leases granted and renewed, by the gates as they were read last.

Rules:
1. `began_us` is when the transaction that read the gates began: what was read long ago grants little, then nothing.
2. A lease is opened in three steps, because a secret store and the log can be slow: judged; secrets read, and a first
   budget slice lent, in threads of their own; granted only where nothing has changed since it was judged. No cut and
   no heartbeat waits for them. All of it is judged once more after the record was waited for, and as key and lease
   go (`sending`).
3. While the store is away, running leases go on for as long as it allows (`may_serve_on`). So do leases that come
   again at a gateway which holds the key already: their verifier, written once and never changed, is remembered.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from broker import gate, lease, policy_document
from broker.audit.chain import Detail
from broker.authority.changes import Changes
from broker.authority.cutover import Cutovers
from broker.authority.link import Link, Open, slice_part, speaks_for_account
from broker.authority.sending import Sending
from broker.budget import Rules, Slice
from broker.db import accounts as account_store
from broker.db import grants as grant_store
from broker.db import history, rows
from broker.db.turns import Urgency
from broker.errors import BrokerError, NotFound, StoreUnavailable, Withheld
from broker.gate import Gate, Shut
from broker.link import frames
from broker.model import Account, Grant, KeyVersion, chain, new_id
from broker.service import Service
from broker.service.limits import rules_of
from broker.stores.held import is_lost
from clients.egress import Egress
from clients.secret import Secret
from clients.venue import Slot

_NO_RULES = Rules(0, "")


@dataclass(frozen=True, slots=True)
class Opening:
    """A lease that was judged and may be granted, as long as nothing changes."""

    grant: Grant
    account: Account
    key: KeyVersion
    owner: bool
    scopes: tuple[str, ...]
    epochs: tuple[int, ...]
    sole: bool = False
    rules: Rules = _NO_RULES
    history: str = ""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a lease needs of the secret store. No material where the gateway holds it."""

    verifier: frames.VerifierPart
    material: frames.Material | None
    egress: Egress


class Leases:
    """Grants leases to gateways."""

    def __init__(self, service: Service, changes: Changes, cutovers: Cutovers) -> None:
        self._service, self._desk, self._changes = service, service.desk, changes
        self._cutovers, self._sending = cutovers, Sending(service, changes)
        self._verifiers: dict[str, Secret] = {}
        self.began_us = -(2**62)

    # --- open -----------------------------------------------------------------------------

    def judge(self, link: Link, frame: frames.OpenLease) -> Opening | frames.LeaseRefused:
        """Judge one ask for a lease."""
        # before the record is read: what changes after that raises an epoch, and `grant` sees it
        gates = dict(self._changes.gates)
        with self._desk.database.read() as connection:
            grant = grant_store.by_key_id(connection, frame.key_id)
            if grant is None:
                old = grant_store.by_old_key(connection, frame.key_id)
                return _no(frame, old, "unknown_key" if old is None else "revoked")
            if grant.revoked_at is not None:
                return _no(frame, grant, "revoked")
            account = account_store.account(connection, grant.account)
            key = account_store.current_key(connection, grant.account, Slot.TRADE)
            owner, sole = speaks_for_account(connection, grant)
            if account is None or key is None:
                return _no(frame, grant, "no_key")
            scopes = chain(account.venue, key.ref, link.gateway, grant.consumer, grant.id)
            rules = rules_of(connection, grant)
            here = rows.gates(connection, scopes)
            of = str(history.here(connection))
        # a rotation may have made this version current, and carried a cut to it, since the last heartbeat
        self._changes.read(here.values())
        if not self._changes.is_of(of):
            return _no(frame, grant, "unavailable")  # nobody has looked yet what that history forgot
        fresh = {
            name: one for name, one in here.items() if name not in gates or gates[name].epoch < one.epoch
        }
        gates |= fresh
        self._changes.carry(key.ref)
        gates |= self._changes.with_closings({name: gates.get(name, Gate(name)) for name in scopes})
        epochs = gate.epochs_of(gates, scopes)
        shut = gate.judge(gates, scopes, epochs)
        if isinstance(shut, Shut):
            return _no(frame, grant, "cut", shut.scope)
        return Opening(grant, account, key, owner, scopes, epochs, sole, rules, of)

    def secrets(self, link: Link, opening: Opening) -> Secrets:
        """Read what a lease needs. May wait for the secret store.

        Raises:
            StoreUnavailable: It cannot answer, and we do not remember.
            NotFound: The secret is gone.
        """
        held = str(opening.key.ref) in link.keys
        return Secrets(
            self._verifier(opening.grant, held=held),
            None if held else self._material(opening.key),
            self._service.accounts.egress(opening.account.egress),
        )

    def grant(
        self,
        link: Link,
        frame: frames.OpenLease,
        opening: Opening,
        secrets: Secrets,
        loan: Slice | None = None,
    ) -> frames.LeaseGranted | frames.LeaseRefused | None:
        """Grant what was judged; None where something has changed since, and it must be judged anew.

        `loan` goes with the lease where it is granted; without one the gateway asks when it needs it.
        """
        grant, key, account = opening.grant, opening.key, opening.account
        policy = policy_document.load(grant.policy)
        if secrets.material is None and str(key.ref) not in link.keys:
            return None  # wiped while we read
        ttl_us = self._lasts_us(frame, opening, policy.lease_us)
        if not isinstance(ttl_us, int):
            return ttl_us
        sends = secrets.material is not None and str(key.ref) not in link.keys
        try:
            if not self._hold(link, opening, policy.lease_us + policy.exits_after_end_us, sends=sends):
                return None  # another version is current
        except Withheld:
            return _no(frame, grant, "unavailable")
        ttl_us = self._lasts_us(frame, opening, policy.lease_us)
        if not isinstance(ttl_us, int):  # while the record was waited for
            return ttl_us
        egress = secrets.egress
        if secrets.material is not None and sends:
            link.keys.add(str(key.ref))
            self._send_soon(link, opening, secrets.material)
        now_us = self._desk.clock.boot_us()
        held = Open(
            new_id("lse"), grant.id, key.ref, opening.scopes, opening.epochs, policy.lease_us, grant.consumer,
            policy.exits_after_end_us, now_us,
        )  # fmt: skip
        link.leased(frame.key_id, held)
        return frames.LeaseGranted(
            frame.ask, held.id, frame.key_id, grant.id, grant.consumer, grant.account, account.venue,
            str(key.ref), held.chain, held.epochs, ttl_us, grant.policy, grant.policy_version, opening.owner,
            secrets.verifier,
            frames.EgressPart(
                egress.name, egress.addresses, egress.way.value, egress.source, egress.proxy_host,
                egress.proxy_port, egress.proxy_user, egress.proxy_password,
            ),
            account.upstream or "", opening.rules.usual,
            None if loan is None else slice_part(loan), opening.sole, opening.rules.number, opening.history,
        )  # fmt: skip

    def _lasts_us(
        self, frame: frames.OpenLease, opening: Opening, lease_us: int
    ) -> int | frames.LeaseRefused | None:
        """Judge whether a lease may be granted now, and for how long; None where it must be judged anew."""
        shut = gate.judge(self._changes.gates, opening.scopes, opening.epochs)
        if isinstance(shut, Shut):
            return _no(frame, opening.grant, "cut", shut.scope) if shut.reason == "cut" else None
        if not self._changes.is_of(opening.history):
            return None
        now_us = self._desk.clock.boot_us()
        ttl_us = lease.granted_us(lease_us, min(self.began_us, now_us), now_us)
        return ttl_us if ttl_us > 0 and self._sending.goes else _no(frame, opening.grant, "unavailable")

    def stands(self, link: Link, opening: Opening) -> bool:
        """Tell whether a lease that was granted may go out, and its key before it; in the step in which it does."""
        shut = gate.judge(self._changes.gates, opening.scopes, opening.epochs)
        known = not isinstance(shut, Shut) and self._changes.is_of(opening.history)
        return known and self._sending.goes and str(opening.key.ref) in link.keys

    def _hold(self, link: Link, opening: Opening, length_us: int, *, sends: bool) -> bool:
        """Put on record that this gateway may use the key, and that it is sent to it; False where it is not current.

        Where it is sent, what that goes by is looked at once more after that.

        A hold that is on record already is enough where it outlasts the lease: each heartbeat prolongs it. That of a
        gateway without a lease on the key runs out.
        """
        key = str(opening.key.ref)
        kept = link.holds.get(key)
        ends_us = self._desk.clock.boot_us() + length_us
        if not sends and kept is not None and kept.length_us >= length_us and kept.until_us >= ends_us:
            return True
        with self._desk.database.write(Urgency.SAFETY) as connection:
            kept = self._cutovers.hold(connection, link, opening.key.ref, length_us)
            if kept is None:
                return False
            if sends:
                details: dict[str, Detail] = {"gateway": link.gateway}
                self._service.audit.record(connection, "key.send", f"key-version:{key}", details)
        if sends:
            self._sending.look(opening.scopes)
        link.holds[key] = kept
        return True

    def _send_soon(self, link: Link, opening: Opening, material: frames.Material) -> None:
        """Send from the loop's own thread; queued before the lease that needs it."""
        if self._changes.loop is not None:
            self._changes.loop.call_soon_threadsafe(self._send, link, opening, material)

    def _send(self, link: Link, opening: Opening, material: frames.Material) -> None:
        """Send a key if it may go still; a lease without it does not go out (`stands`)."""
        if self.stands(link, opening):
            link.tell(material)
        else:
            link.keys.discard(material.key)

    def _material(self, key: KeyVersion) -> frames.Material:
        with self._noting(("key", str(key.ref)), key.path):
            values = self._desk.secrets.read(key.path)
            secret = values["secret"]
        return frames.Material(
            str(key.ref), key.venue_key_id, key.key_type.value, secret, values.get("passphrase")
        )

    def _verifier(self, grant: Grant, *, held: bool) -> frames.VerifierPart:
        if grant.public_key is not None:
            return frames.VerifierPart(grant.key_type.value, None, grant.public_key)
        path = grant.secret_path
        if path is None:
            raise NotFound("no_secret", f"grant {grant.id} has neither a secret nor a public key: reissue it")
        try:
            with self._noting(("grant", grant.id), path):
                secret = self._verifiers[path] = self._desk.secrets.read(path)["secret"]
        except StoreUnavailable:
            if not held or path not in self._verifiers:
                raise
            secret = self._verifiers[path]
        return frames.VerifierPart(grant.key_type.value, secret)

    @contextmanager
    def _noting(self, whose: tuple[str, str], path: str) -> Iterator[None]:
        """Note that the store has not what a lease needs: nothing of it is served until a person has acted."""
        try:
            yield
        except BrokerError as fault:
            if is_lost(fault):
                self._desk.gone[whose] = path
            raise
        self._desk.gone.pop(whose, None)

    # --- renew ----------------------------------------------------------------------------

    def renew(self, link: Link, frame: frames.Renew) -> frames.Renewed:
        """Answer which leases go on, and for how long."""
        now_us = self._desk.clock.boot_us()
        began_us = min(self.began_us, now_us)
        may_go_on = self._desk.secrets.may_serve_on() and self._desk.guard.serves
        ttls, voided = [], []
        for lease_id in frame.leases:
            held = link.leases.get(lease_id)
            shut = None if held is None else gate.judge(self._changes.gates, held.chain, held.epochs)
            if held is None or isinstance(shut, Shut):
                link.leases.pop(lease_id, None)
                voided.append((lease_id, shut.reason if isinstance(shut, Shut) else "unknown_lease"))
                continue
            held.named_us = now_us
            kept = link.holds.get(str(held.key))
            length_us = min(held.length_us, (0 if kept is None else kept.length_us) - held.exits_us)
            ttl_us = lease.granted_us(max(0, length_us), began_us, now_us)
            if ttl_us > 0 and may_go_on:
                ttls.append((lease_id, ttl_us))
        return frames.Renewed(frame.ask, tuple(ttls), tuple(voided))


def _no(frame: frames.OpenLease, grant: Grant | None, reason: str, scope: str = "") -> frames.LeaseRefused:
    """Refuse a lease, naming whose it would have been."""
    if grant is None:
        return frames.LeaseRefused(frame.ask, frame.key_id, reason, scope)
    return frames.LeaseRefused(
        frame.ask, frame.key_id, reason, scope, grant.id, grant.consumer, grant.account
    )
