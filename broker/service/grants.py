"""Consumers and grants: who may do what with which account, and the virtual key they hold for it.

Rules:
1. A virtual secret leaves here once, from `create` or `reissue`; lost means `reissue`.
2. A policy change raises the grant's epoch unless it only widens: leases issued under the old one are void.
3. A revoked grant stays on record and never comes back. A real key that was handed out under it heeds no gate, so its
   checkout ends, too, as at a cut.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from broker import gate, policy_document
from broker.audit.chain import Detail
from broker.db import Connection, checkouts, rows
from broker.db import accounts as account_store
from broker.db import grants as store
from broker.db.turns import Urgency
from broker.errors import Conflict, Malformed, Problem
from broker.gate import Gate
from broker.model import Consumer, Grant, ScopeKind, moment, new_id, scope
from broker.policy_document import Policy
from broker.service.audit import Audit
from broker.service.desk import Desk, Page, check_name, missing, page
from broker.service.limits import beside
from broker.service.secrets import Secrets
from broker.service.using import still
from broker.service.words import as_text, shortened
from broker.virtual_key import new_key_id, new_secret
from clients.secret import Secret
from clients.venue import KeyType

_SMALLEST_RSA = 2048


@dataclass(frozen=True, slots=True)
class Issued:
    """A grant with its virtual secret, this once. No secret where the bot registered its own public key."""

    grant: Grant
    policy: Policy
    secret: Secret | None
    warnings: tuple[str, ...] = ()


class Grants:
    """Use cases on consumers and grants."""

    def __init__(self, desk: Desk, audit: Audit, secrets: Secrets) -> None:
        self._desk, self._audit, self._secrets = desk, audit, secrets

    # --- consumers ------------------------------------------------------------------------

    def create_consumer(self, name: str, note: str = "") -> Consumer:
        """Name a bot or a tool.

        Raises:
            Malformed: The name cannot be one.
            Conflict: It is taken.
        """
        check_name("name", name)
        now_us = self._desk.clock.now_us()
        with self._desk.database.write() as connection:
            if store.consumer(connection, name) is not None:
                raise Conflict("taken", f"there is a consumer {name!r} already")
            store.add_consumer(connection, name, note, now_us)
            self._audit.record(connection, "consumer.create", f"consumer:{name}")
        return Consumer(name, moment(now_us), note)

    def consumer(self, name: str) -> Consumer:
        """Return one consumer.

        Raises:
            NotFound: No such consumer.
        """
        with self._desk.database.read() as connection:
            found = store.consumer(connection, name)
        if found is None:
            raise missing("consumer", name)
        return found

    def consumers(self, *, after: str = "", limit: int = 100) -> Page[Consumer]:
        """List consumers by name."""
        with self._desk.database.read() as connection:
            return page(store.consumers(connection, after, limit + 1), limit, lambda one: one.name)

    # --- grants ---------------------------------------------------------------------------

    def create(
        self, *, consumer: str, account: str, policy: str | None = None, like: str | None = None,
        public_key: str | None = None,
    ) -> Issued:  # fmt: skip
        """Let a consumer use an account within a policy.

        Raises:
            Malformed: The policy or the public key cannot be used; or there is no policy, or two.
            NotFound: No such consumer, account or grant.
        """
        if (policy is None) == (like is None):
            raise Malformed("bad_grant", (Problem("policy", "give a policy, or a grant to copy it from"),))
        if like is not None:
            policy = self.get(like).policy
        parsed = policy_document.load(policy or "")
        now_us = self._desk.clock.now_us()
        fresh = Grant(
            new_id("grt"), consumer, account, new_key_id(), KeyType.HMAC, parsed.text, 1, moment(now_us)
        )
        with self._desk.database.read() as connection:
            if store.consumer(connection, consumer) is None:
                raise missing("consumer", consumer)
            if account_store.account(connection, account) is None:
                raise missing("account", account)
        fresh, secret = _with_key(fresh, public_key)
        with self._recording(fresh, secret) as connection:
            store.add_grant(connection, fresh, now_us)
            details: dict[str, Detail] = {
                "consumer": consumer, "account": account, "key_id": fresh.key_id, "policy": _digest(parsed.text),
            }  # fmt: skip
            self._audit.record(connection, "grant.create", f"grant:{fresh.id}", details)
            if _binds_others(parsed):
                gates = _touch_beside(connection, fresh)
            else:
                gates = self._touch_others(connection, account, fresh.id)
            warnings = beside(connection, fresh)
        self._desk.tell(gates, void=True)
        return Issued(fresh, parsed, secret, warnings)

    def warnings(self, grant: Grant) -> tuple[str, ...]:
        """Say what an operator should know of the grants beside one."""
        with self._desk.database.read() as connection:
            return beside(connection, grant)

    def get(self, grant_id: str) -> Grant:
        """Return one grant.

        Raises:
            NotFound: No such grant.
        """
        with self._desk.database.read() as connection:
            found = store.grant(connection, grant_id)
        if found is None:
            raise missing("grant", grant_id)
        return found

    def list(
        self, *, consumer: str | None = None, account: str | None = None, after: str = "", limit: int = 100
    ) -> Page[Grant]:
        """List grants by id."""
        with self._desk.database.read() as connection:
            found = store.grants(connection, after, limit + 1, consumer=consumer, account=account)
        return page(found, limit, lambda one: one.id)

    def revoke(self, grant_id: str, reason: str) -> Grant:
        """End a grant for good; its leases are void at once, and what was handed out under it is rotated.

        Raises:
            NotFound: No such grant.
        """
        now_us, reason = self._desk.clock.now_us(), shortened(as_text(reason))
        with self._desk.database.write(Urgency.SAFETY) as connection:
            known = self._known(connection, grant_id)
            if known.revoked_at is not None:
                return known
            store.revoke(connection, grant_id, now_us, reason)
            details: dict[str, Detail] = {"reason": reason}
            ended = checkouts.end_in(connection, (scope(ScopeKind.GRANT, grant_id),), now_us)
            if ended:
                details["checkouts"] = ended
            self._audit.record(connection, "grant.revoke", f"grant:{grant_id}", details)
            raised = _touch(connection, grant_id)
        gone = replace(known, revoked_at=moment(now_us))
        self._desk.tell((raised,), grant_id, account=known.account, consumer=known.consumer, known=gone)
        return gone

    def reissue(self, grant_id: str, public_key: str | None = None) -> Issued:
        """Give a grant another virtual key; the old one is refused from now on.

        Raises:
            NotFound: No such grant.
            Conflict: The grant was revoked.
        """
        fresh, secret = _with_key(replace(_unrevoked(self.get(grant_id)), key_id=new_key_id()), public_key)
        with self._recording(fresh, secret) as connection:
            known = _unrevoked(self._known(connection, grant_id))  # by now: a secret was written
            fresh = replace(
                known, key_id=fresh.key_id, key_type=fresh.key_type, public_key=fresh.public_key,
                secret_path=fresh.secret_path,
            )  # fmt: skip
            store.replace_key(connection, known, fresh, self._desk.clock.now_us())
            details: dict[str, Detail] = {"key_id": fresh.key_id, "was": known.key_id}
            self._audit.record(connection, "grant.reissue", f"grant:{grant_id}", details)
            raised = _touch(connection, grant_id)
        self._desk.tell((raised,), void=True, known=fresh)
        return Issued(fresh, policy_document.load(fresh.policy), secret)

    def set_policy(self, grant_id: str, text: str) -> Grant:
        """Put another policy in force.

        Raises:
            Malformed: It cannot be used; the old one stays.
            NotFound: No such grant.
        """
        parsed = policy_document.load(text)
        now_us = self._desk.clock.now_us()
        with self._desk.database.write(Urgency.SAFETY) as connection:
            known = self._known(connection, grant_id)
            still(known.policy_version)
            version = known.policy_version + 1
            store.set_policy(connection, grant_id, version, parsed.text, now_us)
            old = policy_document.load(known.policy)
            widens = only_widens(old, parsed)
            raised: tuple[Gate, ...] = () if widens else (_touch(connection, grant_id),)
            if not widens and (_binds_others(old) or _binds_others(parsed)):
                raised += _touch_beside(connection, known)
            details: dict[str, Detail] = {
                "version": version, "policy": _digest(parsed.text), "only_widens": widens,
            }  # fmt: skip
            self._audit.record(connection, "grant.policy", f"grant:{grant_id}", details)
        changed = replace(known, policy=parsed.text, policy_version=version)
        self._desk.tell(raised, grant_id, account=known.account, consumer=known.consumer, known=changed)
        return changed

    # --- parts ----------------------------------------------------------------------------

    def _known(self, connection: Connection, grant_id: str) -> Grant:
        found = store.grant(connection, grant_id)
        if found is None:
            raise missing("grant", grant_id)
        return found

    @contextmanager
    def _recording(self, grant: Grant, secret: Secret | None) -> Iterator[Connection]:
        """Yield the transaction that records a grant's key, once its secret is in the store."""
        if grant.secret_path is None or secret is None:
            with self._desk.database.write() as connection:
                yield connection
            return
        labels = {"grant": grant.id, "consumer": grant.consumer}
        with self._secrets.written(grant.secret_path, {"secret": secret}, labels) as connection:
            yield connection

    def _touch_others(self, connection: Connection, account: str, fresh: str) -> tuple[Gate, ...]:
        """Void the leases of a grant that is no longer its account's only one: it spoke for the account."""
        living = store.living_on(connection, account, 3)
        others = [grant_id for grant_id in living if grant_id != fresh]
        return (_touch(connection, others[0]),) if len(others) == 1 else ()


def _unrevoked(grant: Grant) -> Grant:
    if grant.revoked_at is not None:
        raise Conflict("revoked", f"grant {grant.id} was revoked; create a new one")
    return grant


def _with_key(grant: Grant, public_key: str | None) -> tuple[Grant, Secret | None]:
    """Give a grant its verifier: a fresh secret and its path, or the bot's public key."""
    if public_key is not None:
        return replace(grant, public_key=public_key, key_type=_kind(public_key), secret_path=None), None
    path = f"virtual/{grant.id}/{grant.key_id}"
    return replace(grant, public_key=None, key_type=KeyType.HMAC, secret_path=path), Secret(new_secret())


def _touch(connection: Connection, grant_id: str) -> Gate:
    name = scope(ScopeKind.GRANT, grant_id)
    raised = gate.touch(rows.gates_of(connection, [name])[name])
    rows.save_gate(connection, raised)
    return raised


def _binds_others(policy: Policy) -> bool:
    """Tell whether a policy limits what other grants may use."""
    return policy.account_day_max is not None or policy.consumer_day_max is not None


def _touch_beside(connection: Connection, grant: Grant) -> tuple[Gate, ...]:
    """Void the leases of grants that a limit of its account or consumer binds."""
    return tuple(_touch(connection, one.id) for one in store.beside(connection, grant))


def _digest(text: str) -> str:
    """Return what names a policy in the audit trail; the text itself is kept with the grant."""
    return hashlib.sha256(text.encode()).hexdigest()


def _kind(pem: str) -> KeyType:
    """Return how a bot's own key signs.

    Raises:
        Malformed: It is no public key that venues take.
    """
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, ed25519.Ed25519PublicKey):
        return KeyType.ED25519
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _SMALLEST_RSA:
        return KeyType.RSA
    message = "is an Ed25519 or RSA (2048 bits or more) public key in PEM form"
    raise Malformed("bad_public_key", (Problem("public_key", message),))


def only_widens(old: Policy, new: Policy) -> bool:
    """Tell whether a new policy allows everything the old one did. In doubt it does not."""

    def grew(before: object, after: object) -> bool:
        return after is None or (before is not None and after >= before)  # type: ignore[operator]

    return (
        new.allow >= old.allow
        and new.symbols.listed >= old.symbols.listed
        and new.symbols.quotes >= old.symbols.quotes
        and new.symbols.but <= old.symbols.but
        and new.extra_reads >= old.extra_reads
        and new.reference_asset == old.reference_asset
        and new.mode == old.mode
        and grew(old.order_max, new.order_max)
        and grew(old.day_max, new.day_max)
        and grew(old.account_day_max, new.account_day_max)
        and grew(old.consumer_day_max, new.consumer_day_max)
        and grew(old.collar, new.collar)
        and new.market_orders >= old.market_orders
        and new.rate == old.rate
        and new.account_owner >= old.account_owner
        and new.lease_us == old.lease_us
        and new.exits_after_end_us == old.exits_after_end_us
        and new.checkout_us >= old.checkout_us
    )
