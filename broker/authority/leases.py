"""Leases granted and renewed, by the gates as they were read last.

`began_us` is when the transaction that read the gates began: what was read long ago grants little, then nothing.
"""

from broker import gate, lease, policy_document
from broker.authority.changes import Changes
from broker.authority.link import Link, Open, speaks_for_account, usual_slice
from broker.db import accounts as account_store
from broker.db import grants as grant_store
from broker.errors import NotFound
from broker.gate import Shut
from broker.link import frames
from broker.model import Grant, KeyVersion, chain, new_id
from broker.service import Service
from clients.venue import Slot


class Leases:
    """Grants leases to gateways."""

    def __init__(self, service: Service, changes: Changes) -> None:
        self._service, self._desk, self._changes = service, service.desk, changes
        self.began_us = -(2**62)

    def open(self, link: Link, frame: frames.OpenLease) -> frames.LeaseGranted | frames.LeaseRefused:
        """Judge one ask for a lease, and send the key's material before it where it is new to the gateway."""
        grant: Grant | None = None

        def no(reason: str, scope: str = "") -> frames.LeaseRefused:
            if grant is None:
                return frames.LeaseRefused(frame.ask, frame.key_id, reason, scope)
            return frames.LeaseRefused(
                frame.ask, frame.key_id, reason, scope, grant.id, grant.consumer, grant.account
            )

        # before the record is read: what changes after that raises an epoch, and voids this lease
        gates = dict(self._changes.gates)
        with self._desk.database.read() as connection:
            grant = grant_store.by_key_id(connection, frame.key_id)
            if grant is None:
                return no("revoked" if grant_store.is_old_key(connection, frame.key_id) else "unknown_key")
            if grant.revoked_at is not None:
                return no("revoked")
            account = account_store.account(connection, grant.account)
            key = account_store.current_key(connection, grant.account, Slot.TRADE)
            owner = speaks_for_account(connection, grant)
        if account is None or key is None:
            return no("no_key")
        scopes = chain(account.venue, key.ref, link.gateway, grant.consumer, grant.id)
        epochs = gate.epochs_of(gates, scopes)
        shut = gate.judge(gates, scopes, epochs)
        if isinstance(shut, Shut):
            return no("cut", shut.scope)
        policy = policy_document.load(grant.policy)
        began_us, now_us = self.began_us, self._desk.clock.boot_us()
        ttl_us = lease.granted_us(policy.lease_us, min(began_us, now_us), now_us)
        if ttl_us <= 0:
            return no("unavailable")
        verifier = self._verifier(grant)
        egress = self._service.accounts.egress(account.egress)
        loan = self._service.calls.lend(grant.id, link.gateway, link.boot) if policy.day_max else None
        if str(key.ref) not in link.keys:
            self._send_soon(link, self._material(key))
            link.keys.add(str(key.ref))
        held = Open(new_id("lse"), grant.id, key.ref, scopes, epochs, policy.lease_us)
        link.leases[held.id] = held
        return frames.LeaseGranted(
            frame.ask, held.id, frame.key_id, grant.id, grant.consumer, grant.account, account.venue,
            str(key.ref), scopes, epochs, ttl_us, grant.policy, grant.policy_version, owner, verifier,
            frames.EgressPart(
                egress.name, egress.addresses, egress.way.value, egress.source, egress.proxy_host,
                egress.proxy_port, egress.proxy_user, egress.proxy_password,
            ),
            account.upstream or "", usual_slice(policy),
            None if loan is None else frames.SlicePart(loan.id, loan.amount),
        )  # fmt: skip

    def _send_soon(self, link: Link, frame: frames.Material) -> None:
        """Send from the loop's own thread; queued before the lease that needs it."""
        if self._changes.loop is not None:
            self._changes.loop.call_soon_threadsafe(link.channel.send, frame)

    def _material(self, key: KeyVersion) -> frames.Material:
        values = self._desk.secrets.read(key.path)
        return frames.Material(
            str(key.ref), key.venue_key_id, key.key_type.value, values["secret"], values.get("passphrase")
        )

    def _verifier(self, grant: Grant) -> frames.VerifierPart:
        if grant.public_key is not None:
            return frames.VerifierPart(grant.key_type.value, None, grant.public_key)
        if grant.secret_path is None:
            raise NotFound("no_secret", f"grant {grant.id} has neither a secret nor a public key: reissue it")
        return frames.VerifierPart(grant.key_type.value, self._desk.secrets.read(grant.secret_path)["secret"])

    def renew(self, link: Link, frame: frames.Renew) -> frames.Renewed:
        """Answer which leases go on, and for how long."""
        now_us = self._desk.clock.boot_us()
        began_us = min(self.began_us, now_us)
        ttls, voided = [], []
        for lease_id in frame.leases:
            held = link.leases.get(lease_id)
            shut = None if held is None else gate.judge(self._changes.gates, held.chain, held.epochs)
            if held is None or isinstance(shut, Shut):
                link.leases.pop(lease_id, None)
                voided.append((lease_id, shut.reason if isinstance(shut, Shut) else "unknown_lease"))
                continue
            ttl_us = lease.granted_us(held.length_us, began_us, now_us)
            if ttl_us > 0:
                ttls.append((lease_id, ttl_us))
        return frames.Renewed(frame.ask, tuple(ttls), tuple(voided))
