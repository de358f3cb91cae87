"""After a restore or a new timeline: is what the record says still so at the venues. Until it is, nothing is thawed.

Rules:
1. Every key on record is asked, with itself, by the account's own egress; facts that changed are said, not taken over.
2. Where a manager key lists an account's keys, every one must be on record. Where none can, that there are no others
   an operator looks up at the venue and confirms, account by account.
3. A host that was restored from an embedded store cannot be told: an operator declares it off, or every key is newer.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum

from broker.db import cuts as cut_store
from broker.db import meta
from broker.errors import BrokerError, Conflict
from broker.model import EVERYTHING, Account, KeyVersion, Stage
from broker.service.accounts import Accounts
from broker.service.audit import ITSELF, Audit
from broker.service.desk import Desk
from broker.service.keys import Keys
from broker.service.managers import Managers
from clients.errors import VenueError
from clients.venue import Credential, KeyFacts

RECONCILED, RESTORED = "reconciled_us", "restored_us"

Ask = Callable[[str, Credential], KeyFacts]
"""Asks a venue, by account name, what a key may do."""

Survey = Callable[[Account, tuple[KeyVersion, ...]], tuple[str, ...]]
"""Asks a venue for an account's keys; returns in words what is not as it is on record."""


class Finding(StrEnum):
    """What became of a key on record."""

    ALIVE = "alive"
    CHANGED = "changed"
    DEAD = "dead"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Looked:
    """One key, and what was found."""

    key: str
    stage: str
    finding: Finding
    note: str = ""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What was found, and what still stands in the way of a thaw; nothing where all is well."""

    keys: tuple[Looked, ...]
    missing: tuple[str, ...]

    @property
    def well(self) -> bool:
        """Whether what was closed may be thawed."""
        return not self.missing


class Reconciliation:
    """Use cases on reconciling."""

    def __init__(self, desk: Desk, audit: Audit, accounts: Accounts, keys: Keys, managers: Managers) -> None:
        self._desk, self._audit, self._accounts = desk, audit, accounts
        self._keys, self._managers = keys, managers

    def look(self, ask: Ask, survey: Survey, *, confirmed: Collection[str], old_host_off: bool) -> Reconciled:
        """Compare, and remember where all is well.

        Args:
            ask: Asks a venue about a key on record.
            survey: Asks a venue for the keys of an account under a manager key.
            confirmed: Accounts of which an operator has looked up that there are no other keys.
            old_host_off: Whether an operator declares that the restored host's predecessor is off.
        """
        began_us = self._desk.clock.now_us()
        every = self._keys.list()
        known = [key for key in every if key.stage is not Stage.TOMBSTONE]
        looked = tuple(self._one(key, ask) for key in known)
        missing = [
            f"{one.key} is {one.finding.value}: {one.note}"
            for one in looked
            if one.finding is not Finding.ALIVE
        ]
        managed = self._managers.managed()
        for account in managed:
            keys = tuple(key for key in every if key.ref.account == account.name)
            missing += [f"{account.name}: {word}" for word in _surveyed(survey, account, keys)]
        by_hand = {key.ref.account for key in known} - {account.name for account in managed}
        missing += [
            f"{name}: look up at the exchange that there are no keys but those listed here, then --confirm {name}"
            for name in sorted(by_hand - set(confirmed))
        ]
        with self._desk.database.read() as connection:
            restored_us = int(meta.get(connection, RESTORED) or 0)
        newer = all(key.created_at.timestamp() * 1_000_000 > restored_us for key in known)
        if restored_us and not newer and not old_host_off:
            missing.append(
                "the host this was restored from still holds these keys: rotate them all, or make sure that it is off "
                "and say so with --old-host-off"
            )
        if not missing:
            with self._desk.database.write() as connection:
                meta.put(connection, RECONCILED, str(began_us))
                self._audit.record(
                    connection, "home.reconcile", f"instance:{self._desk.home.instance}",
                    {"confirmed": sorted(confirmed), "old_host_off": old_host_off},
                )  # fmt: skip
        return Reconciled(looked, tuple(missing))

    def _one(self, key: KeyVersion, ask: Ask) -> Looked:
        """Ask about one key. What cannot be asked is undecided, never dead."""

        def found(finding: Finding, note: str = "") -> Looked:
            return Looked(str(key.ref), key.stage.value, finding, note)

        try:
            values = self._desk.secrets.read(key.path)
            credential = Credential(
                key.venue_key_id, values["secret"], key.key_type, values.get("passphrase")
            )
            facts = ask(key.ref.account, credential)
        except VenueError as fault:
            if fault.reason == "unknown_key":
                return found(
                    Finding.DEAD, "the exchange does not know it any more; import or rotate a fresh one"
                )
            return found(Finding.UNDECIDED, f"the exchange says {fault.reason}")
        except BrokerError as fault:
            return found(Finding.UNDECIDED, str(fault))
        uid = self._accounts.get(key.ref.account).venue_uid
        changed = [
            word
            for word, differs in (
                ("it may withdraw", facts.can_withdraw and not key.can_withdraw),
                ("it works from any address", not facts.ip_restricted and bool(key.ip_restricted)),
                ("it may not trade any more", key.ref.slot.value == "trade" and not facts.can_trade),
                ("it belongs to another account", uid is not None and uid != facts.account_uid),
            )
            if differs
        ]
        return found(Finding.CHANGED, ", ".join(changed)) if changed else found(Finding.ALIVE)


def _surveyed(survey: Survey, account: Account, keys: tuple[KeyVersion, ...]) -> tuple[str, ...]:
    """Ask for an account's keys; a list that cannot be had stands in the way too."""
    try:
        return survey(account, keys)
    except VenueError as fault:
        return (f"its keys cannot be listed: the exchange says {fault.reason}; try again",)
    except BrokerError as fault:
        return (f"its keys cannot be listed: {fault}",)


def refuse_unreconciled(desk: Desk, cut_id: str) -> None:
    """Refuse the thaw of what the program closed by itself, until somebody has reconciled.

    Raises:
        Conflict: Nobody has since.
    """
    with desk.database.read() as connection:
        row = cut_store.get(connection, cut_id)
        if row is None or row.actor != ITSELF or EVERYTHING not in cut_store.scopes(connection, cut_id):
            return
        reconciled_us = int(meta.get(connection, RECONCILED) or 0)
    if reconciled_us <= row.opened_us:
        raise Conflict(
            "not_reconciled", f"nobody has compared with the exchanges since {cut_id}: portcullis reconcile"
        )
