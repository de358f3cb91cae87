"""Real keys: imported once the venue has said what they may do.

The order of writes: the record (pending) with the path -> the secret store, read back -> the record (current). A
crash between two of them leaves a pending record, which the next import of the same key finishes. A version that was
replaced is taken back into use like that; one that is in use gets its secret back where the store knows nothing of it.
Where something lies there that is none to sign with, or was destroyed, nothing is written again, and nothing is said to
be kept: another key has to come into use.

An import and a rotation of one slot exclude each other: a rotation counts on what is current, and deletes what is not.
Each of the two transactions holds the account's row and finds no open rotation there; who plans one holds it, too.
"""

from collections.abc import Mapping
from dataclasses import replace

from broker.audit.chain import Detail
from broker.db import Connection, cutovers, findings, rotations, rows
from broker.db import accounts as store
from broker.deeds import Deed
from broker.errors import BrokerError, Conflict, StoreUnavailable
from broker.model import KeyRef, KeyVersion, ScopeKind, Stage, moment, scope
from broker.service import deaths, holding, lost
from broker.service.audit import Audit
from broker.service.desk import Desk, missing
from broker.service.numbers import next_version
from broker.stores import held
from clients.secret import Secret
from clients.venue import Credential, KeyFacts, KeyType, Slot


class Keys:
    """Use cases on real keys."""

    def __init__(self, desk: Desk, audit: Audit) -> None:
        self._desk, self._audit = desk, audit

    def import_key(
        self, account: str, *, slot: Slot, credential: Credential, facts: KeyFacts,
        allow_withdraw: bool = False, allow_any_address: bool = False,
    ) -> KeyVersion:  # fmt: skip
        """Take a key in that the venue has answered for.

        Args:
            account: Name of the account.
            slot: What it is for.
            credential: The key.
            facts: What the venue says it may do.
            allow_withdraw: Take it although it can withdraw.
            allow_any_address: Take it although it is bound to no address.

        Raises:
            Conflict: The key may do too much, or too little; nothing was stored.
            NotFound: No such account.
            StoreUnavailable: The secret store did not give back what was written; the record stays pending.
        """
        _check(slot, facts, allow_withdraw=allow_withdraw, allow_any_address=allow_any_address)
        self._desk.guard.ensure(Deed.IMPORT)
        pending = self._pending(account, slot, credential, facts)
        if pending.stage is Stage.TOMBSTONE:
            raise self._lives_after_all(pending)
        in_use = pending.stage is Stage.CURRENT
        values = {"secret": credential.secret}
        if credential.passphrase is not None:
            values["passphrase"] = credential.passphrase
        if self._is_kept(pending, values) and in_use:
            return pending
        labels = {
            "account": account, "slot": slot.value, "version": str(pending.ref.version),
            "venue_key_id": credential.key_id, "key_type": credential.key_type.value,
        }  # fmt: skip
        if not self._has(pending.path, values):  # what a rotation kept there has other labels
            self._desk.secrets.write(pending.path, values, labels)
        if dict(self._desk.secrets.read(pending.path)) != values:
            raise StoreUnavailable(
                "read_back", "the secret store did not give the key back; it is not in use"
            )
        if in_use:
            with self._desk.database.write() as connection:
                self._audit.record(connection, "key.kept-again", f"key-version:{pending.ref}")
            return pending
        with self._desk.database.write() as connection:
            self._desk.guard.fence(connection, Deed.IMPORT)
            _alone(connection, account, slot)
            old = store.current_key(connection, account, slot)
            if not cutovers.move_current(connection, pending.ref, None if old is None else old.ref):
                raise Conflict("not_pending", f"{pending.ref} is no longer there to be taken into use")
            name = scope(ScopeKind.KEY_VERSION, str(pending.ref))
            covered = rows.gates(connection, [name])
            store.set_uid(connection, account, facts.account_uid)
            findings.not_left(connection, credential.key_id, self._desk.clock.now_us())
            self._audit.record(connection, "key.current", f"key-version:{pending.ref}")
        self._desk.tell(tuple(covered.values()))  # a cut of the version it replaces holds it, too
        return replace(pending, stage=Stage.CURRENT)

    def list(self, account: str | None = None) -> tuple[KeyVersion, ...]:
        """List key versions."""
        with self._desk.database.read() as connection:
            if account is not None and store.account(connection, account) is None:
                raise missing("account", account)
            return tuple(store.keys(connection, account))

    def replaced(self, account: str, slot: Slot) -> tuple[KeyVersion, ...]:
        """Return the versions of a slot that were replaced and are not proven dead: whoever has one may use it."""
        return tuple(key for key in self.list(account) if key.ref.slot is slot and was_replaced(key))

    def _lives_after_all(self, key: KeyVersion) -> Conflict:
        """Put on record that a key may live which counts as dead: the venue has just answered for it."""
        says = f"{key.ref} was ended on record, and the exchange served it when somebody imported it again: it may live"
        step = f"Look there, delete it, and find out why it was not gone; then {deaths.confirm(key.ref)}"
        found = findings.Finding(
            key.ref.account, key.venue_key_id, findings.SERVED, f"{says}. {step}", str(key.ref)
        )
        with self._desk.database.write() as connection:
            store.lives(connection, key.venue_key_id)
            findings.seen(connection, key.venue_key_id)
            findings.add(connection, found, self._desk.clock.now_us())
            self._audit.record(connection, "key.lives", f"key-version:{key.ref}")
        return Conflict(
            "dead",
            f"this key is {key.ref}, which was ended on record, and the exchange served it when it was asked: it may "
            f"live. Nothing was stored: its place in the secret store is used up. {step}; and import another key",
        )

    def _is_kept(self, key: KeyVersion, values: Mapping[str, Secret]) -> bool:
        """Tell whether something lies where a key's secret is to be: a store that was put back has forgotten it.

        Raises:
            Conflict: What lies there is no secret to sign with, or was one; nothing is written over it.
        """
        fault = held.why_lost(self._desk.secrets, key.path)
        if fault is not None and fault.reason == "no_secret":
            return False
        said = "" if fault is None else str(fault)
        if fault is None and key.key_type is KeyType.HMAC:  # the spelling of a private key may be another
            there = self._desk.secrets.read(key.path)["secret"]
            said = "" if there == values["secret"] else f"another secret lies at {key.path}"
        if not said:
            return True
        account, slot = key.ref.account, key.ref.slot.value
        if key.stage is not Stage.CURRENT:
            raise Conflict(
                "not_kept",
                f"this key is {key.ref}, and its secret cannot be kept: {said}. Nothing was stored. Make another key "
                "at the exchange and import that one, and delete this one there",
            )
        do = (
            f"make another key: `portcullis rotation start --account {account} --slot {slot} --wait`, or "
            f"`portcullis key import --account {account} --slot {slot}` with one that you made at the exchange"
        )
        raise Conflict(
            "not_kept",
            f"this key is {key.ref}, the key in use, and its secret is not kept: {said}. Nothing was stored. Gateways "
            "that hold it trade on: do not delete it, and do not restart them, before another key is in use. "
            f"{lost.brought_back('' if fault is None else fault.reason, do)}",
        )

    def _has(self, path: str, values: Mapping[str, Secret]) -> bool:
        try:
            return dict(self._desk.secrets.read(path)) == dict(values)
        except BrokerError as fault:
            if not held.is_lost(fault):
                raise
            return False

    def _pending(self, account: str, slot: Slot, credential: Credential, facts: KeyFacts) -> KeyVersion:
        """Record the intent, or find it recorded; a tombstone is found, and stays one."""
        now_us = self._desk.clock.now_us()
        free = next_version(self._desk.secrets, account, slot, 0)
        with self._desk.database.write() as connection:
            found = store.account(connection, account)
            if found is None:
                raise missing("account", account)
            _alone(connection, account, slot, credential.key_id)
            if found.venue_uid is not None and found.venue_uid != facts.account_uid:
                raise Conflict(
                    "other_account",
                    f"this key belongs to another account at {found.venue} than {account} is; nothing was stored",
                )
            for known in store.keys(connection, None):
                if known.venue_key_id == credential.key_id:
                    if known.ref.account != account or known.ref.slot is not slot:
                        raise Conflict("key_known", f"this key is already in use as {known.ref}")
                    return known
            last = store.last_version(connection, account, slot)
            version = max(last + 1, free)
            ref = KeyRef(account, slot, version)
            key = KeyVersion(
                ref, Stage.PENDING, credential.key_id, credential.key_type, ref.path, moment(now_us),
                facts.ip_restricted, facts.can_withdraw,
            )  # fmt: skip
            store.add_key(connection, key, now_us)
            details: dict[str, Detail] = {
                "venue_key_id": key.venue_key_id, "ip_restricted": key.ip_restricted,
                "can_withdraw": key.can_withdraw,
            }  # fmt: skip
            if version > last + 1:
                details["passed_over"] = (
                    f"numbers {last + 1} to {version - 1}: the secret store holds keys under them"
                )
            self._audit.record(connection, "key.import", f"key-version:{ref}", details)
            return key


def was_replaced(key: KeyVersion) -> bool:
    """Tell whether another key took this one's place, and nothing says that it is dead."""
    return key.stage is Stage.PREVIOUS and bool(key.venue_key_id)


def _alone(connection: Connection, account: str, slot: Slot, key_id: str = "") -> None:
    """Keep the slot from rotations until the transaction ends; the key that is in use already is no matter of theirs.

    Raises:
        Conflict: It is being rotated.
    """
    store.hold(connection, account)
    going_on = rotations.open_of(connection, account, slot.value)
    current = store.current_key(connection, account, slot)
    if going_on is None or (current is not None and current.venue_key_id == key_id):
        return
    if held := holding.held(going_on, holding.to_hold(connection)):
        raise Conflict(
            "rotating",
            f"the rotation {going_on.id} of {account}/{slot.value} is held ({held}): no key is imported into it before "
            f"that goes on or ends. {holding.moves(going_on.id)}. Then again",
        )
    raise Conflict(
        "rotating",
        f"{account}/{slot.value} is being rotated by {going_on.id}, which is {going_on.state}: no key is imported "
        f"into it meanwhile. Wait for its end, or end it (portcullis rotation show {going_on.id} says how). Then again",
    )


def _check(slot: Slot, facts: KeyFacts, *, allow_withdraw: bool, allow_any_address: bool) -> None:
    """Refuse a key that may do too much, or too little for its slot."""
    if facts.can_withdraw and not allow_withdraw:
        raise Conflict(
            "can_withdraw",
            "this key can WITHDRAW; nothing was stored. Untick withdrawals at the exchange and import it again, "
            "or accept that whoever gets it can empty the account: --allow-withdraw",
        )
    if not facts.ip_restricted and not allow_any_address:
        raise Conflict(
            "any_address",
            "this key works from ANY address; nothing was stored. Bind it to the addresses of this account's egress "
            "at the exchange and import it again, or accept that a thief can use it from anywhere: --allow-any-address",
        )
    if not facts.can_read:
        raise Conflict("cannot_read", "this key may not even read; tick reading at the exchange")
    if slot is Slot.TRADE and not facts.can_trade:
        raise Conflict(
            "cannot_trade", "this key may not trade; tick spot trading at the exchange, or use slot read"
        )
