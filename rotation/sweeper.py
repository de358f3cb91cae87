"""Looks at every account under a manager key, and sees to what is not as it is on record.

| Found | What is done |
|---|---|
| a key that a rotation of this account made and gave up | retired: its label names the rotation, and that is over |
| the same, of a rotation that goes on | left to it: it looks it up by its label |
| any other key that is not on record | reported; a person decides, and looks first whose it is (`rotation.sweep`) |
| another account's key | reported; one that is dead on record lives |
| a key on record as dead | retired again, with proof |
| a key that was ended and is not proven dead, and two lists lack it | proven dead by that (`rotation.unlisted`) |
| a living key that is not listed | reported: no proof of its death |
| a key in use whose permissions or addresses are others | reported |
| a key in use whose secret is gone | reported: it is not asked with |
| a key that was replaced by an import, or never taken into use | reported: `portcullis sweep retire` |
| a key that a person left as it was (`--leave`) | told since then, whatever is found: until it is dead or in use |
| a manager key that the exchange refuses | reported: nothing can be made or deleted with it |

A list that cannot be had changes nothing: what was found before stands. So it does where a key in use cannot be looked
at closer: what the list says of all others is found. A list may lag: what a rotation changed within the last minutes is
not looked at. Nothing is deleted here: what has to go is put on record, and a rotation of its slot retires it, so that
no import takes it into use meanwhile and what stays is looked at first. A sweep writes only while no later one of the
account began: who stood still in between changes nothing.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from broker.db import Connection
from broker.db import accounts as account_store
from broker.db import findings as store
from broker.db import rotations as rotation_store
from broker.db.findings import Finding
from broker.deeds import Deed
from broker.errors import BrokerError, Conflict
from broker.model import Account, KeyRef, KeyVersion, Stage, moment, new_id
from broker.service import Service, lost
from broker.stores.held import is_lost
from clients.errors import VENUE_PAUSE, VenueError, VenueRefused
from clients.keys import VenueKey, differences
from clients.venue import Credential, Slot
from rotation.budget import Haste
from rotation.journal import Also, Journal, microseconds, nothing_more
from rotation.plan import draw_up_retirement
from rotation.state import OUT_OF_BUDGET, TERMINAL, State
from rotation.sweep import Found, Oddity, anothers, compare, said
from rotation.unlisted import Lacks, bury, ended
from rotation.venues import Desk, Venues

RESTS = timedelta(minutes=10)
"""After a rotation ended: a create that was held up may still show its key until then."""

SETTLES = timedelta(minutes=1)
"""After a rotation ended: a list that lags may still show the old key, and not the new one. Our caution."""

TURN_S = 60.0
"""After this no further account is begun with: the accounts of an exchange that does not answer are many waits."""

_LOG = logging.getLogger("portcullis.rotation")


class Sweeper:
    """Sweeps."""

    def __init__(self, service: Service, venues: Venues, journal: Journal) -> None:
        self._service, self._venues, self._journal = service, venues, journal
        self._looked: dict[str, datetime] = {}

    def sweep(self, now: datetime, again_for: timedelta = timedelta(0)) -> tuple[str, ...]:
        """Sweep the accounts under a manager key that were not looked at for so long, those longest ago first.

        Rotations go first: it uses half of their share. Where the venue's minute is spent, or its own time, it stops;
        the rest comes first the next time.

        Returns:
            The accounts that could not be looked at, and why.

        Raises:
            StoreUnavailable: The database cannot answer.
        """
        no = self._service.desk.guard.allows(Deed.SWEEP)
        if no is not None:
            return (no.message,)
        never = datetime.min.replace(tzinfo=now.tzinfo)
        due = [
            account
            for account in self._service.managers.managed()
            if not now - again_for < self._looked.get(account.name, never) <= now
        ]
        due.sort(key=lambda account: self._looked.get(account.name, never))
        troubles, ends_s = list[str](), time.monotonic() + TURN_S
        for number, account in enumerate(due):
            if time.monotonic() >= ends_s:
                return (
                    *troubles,
                    f"{len(due) - number} accounts wait: the exchange is slow; they come first next",
                )
            try:
                self._looked_at(account, now)
            except VenueError as fault:
                if fault.reason in {OUT_OF_BUDGET, VENUE_PAUSE}:
                    left = len(due) - number
                    return (*troubles, f"{left} accounts wait: the exchange's calls of this minute are spent")
                troubles.append(f"{account.name} could not be swept: {fault}")
            except BrokerError as fault:
                troubles.append(f"{account.name} could not be swept: {fault}")
            except Exception as fault:  # noqa: BLE001 - one account must not stop the others; its text may quote
                name = type(fault).__name__
                _LOG.critical("sweeping %s failed unforeseen: %s", account.name, name)
                troubles.append(f"{account.name} could not be swept: it failed unforeseen ({name})")
            self._looked[account.name] = now
        return tuple(troubles)

    def _looked_at(self, account: Account, now: datetime) -> None:
        """Sweep one account. Where the exchange refuses its manager key, that is found."""
        try:
            self._sweep(account, now)
        except VenueRefused as fault:
            if fault.reason not in {OUT_OF_BUDGET, VENUE_PAUSE}:
                refused = [self._refused(account, fault)]
                self._note(account.name, refused, self._begin(account, now), now)
            raise

    def _sweep(self, account: Account, now: datetime) -> None:
        sweep = self._begin(account, now)
        before = self._service.keys.list(account.name)
        with self._venues.desk(account, haste=Haste.AT_LEISURE, needs=("list", "addresses")) as desk:
            listed, seen_us = desk.admin.list(desk.subaccount), desk.now_us()
            known = self._service.keys.list(account.name)
            if known != before:
                raise Conflict("moving", "its keys are being changed this moment; the next sweep looks again")
            drift, trouble = list[Finding](), None
            try:
                for one in self._drift(account, desk, known, listed, now):
                    drift.append(one)
            except Exception as fault:  # noqa: BLE001 - whatever it is, it hides no key that should not be there
                trouble = fault
        ones = [*self._odd(account, known, listed, sweep, now), *drift]
        settling = {slot for slot in Slot if self._is_settling(account.name, slot.value, now)}
        gone = ended(known, {key.key_id for key in listed}, settling)
        lacks = Lacks(account.name, f"{account.manager}: {desk.subaccount}", gone, seen_us)
        self._note(account.name, ones, sweep, now, lacks, whole=trouble is None)
        if trouble is not None:
            raise trouble

    def _begin(self, account: Account, now: datetime) -> str:
        """Put on record that a sweep of an account begins; return which.

        Raises:
            Conflict: It is under another sub-account by now, or under no manager key: nobody would sweep it again.
        """
        sweep = new_id("swp")
        with self._service.desk.database.write() as connection:
            account_store.hold(connection, account.name)
            known = account_store.account(connection, account.name)
            if known is None or (known.manager, known.subaccount) != (account.manager, account.subaccount):
                raise Conflict("moved", "it was put elsewhere, or released from its manager key, this moment")
            store.begin(connection, account.name, sweep, microseconds(now))
        return sweep

    @staticmethod
    def _hold(connection: Connection, account: str, sweep: str) -> None:
        if not store.is_last(connection, account, sweep):
            raise Conflict("swept_since", "another sweep of it began meanwhile: what this one saw may be old")

    def _note(
        self, account: str, ones: list[Finding], sweep: str, now: datetime, lacks: Lacks | None = None,
        *, whole: bool = True,
    ) -> None:  # fmt: skip
        """Write down what was found; what is new goes into the audit trail.

        `lacks` None: there was no list. Not `whole`: some of it could not be looked at.
        """
        with self._service.desk.database.write() as connection:
            self._hold(connection, account, sweep)
            fresh = store.found(
                connection, account, ones, microseconds(now), only_more=lacks is None or not whole
            )
            if lacks is not None:
                bury(connection, self._service.audit, lacks, microseconds(now))
            for one in fresh:
                self._service.audit.record(
                    connection, f"sweep.{one.what}", f"account:{account}",
                    {"key_id": f"{one.key_id[:8]}...{one.key_id[-4:]}", "says": one.says},
                )  # fmt: skip

    def _refused(self, account: Account, fault: VenueRefused) -> Finding:
        """Return that an account's manager key is of no use now."""
        manager = self._service.managers.get(account.manager or "")
        says = (
            f"the exchange refuses the manager key {manager.name} ({fault.reason}): no key of this account can be "
            "made or deleted. Look at its permissions and addresses there, or import another: "
            "portcullis manager import --name NEW"
        )
        return Finding(account.name, manager.venue_key_id, "manager", says)

    # --- keys that should not be, and should ----------------------------------------------

    def _odd(
        self,
        account: Account,
        known: tuple[KeyVersion, ...],
        listed: tuple[VenueKey, ...],
        sweep: str,
        now: datetime,
    ) -> Iterator[Finding]:
        elsewhere = {key.venue_key_id: key for key in self._service.keys.list() if key.venue_key_id}
        living = {key.venue_key_id for key in known if key.stage is not Stage.TOMBSTONE}
        shows = not living.isdisjoint(key.key_id for key in listed)
        for one in compare(known, listed):
            what, done = one.what, "it is being deleted"
            other = elsewhere.get(one.key_id) if one.ref is None else None
            on_record = one.ref if other is None else other.ref
            if on_record is not None and self._is_settling(on_record.account, on_record.slot.value, now):
                continue
            if what is Oddity.ORPHAN:
                standing = self._rotation_of(account.name, one.label, now)
                if standing == "open":
                    continue
                ref = None
                if standing == "over" and one.key_id not in elsewhere:
                    ref = self._version_of(account.name, one)
                if ref is None:
                    what = Oddity.UNKNOWN  # somebody else's, or not as our record has it: not ours to delete
                else:
                    done = self._retire_orphan(ref, one, sweep, now)
            if what is Oddity.UNDEAD and one.ref is not None:
                self._lives(account.name, one.key_id, sweep)
                done = self._retire(one.ref, "undead", sweep, now)
            says = said(what, one, done, shows=shows)
            if other is not None:
                says = anothers(other, account.name, shows=shows)
                if other.stage is Stage.TOMBSTONE:
                    self._lives(account.name, one.key_id, sweep)
            yield Finding(
                account.name, one.key_id, what.value, says, None if one.ref is None else str(one.ref)
            )
        told = self._left(account.name)
        for key in known:
            if key.venue_key_id in told:
                continue  # that it was left says it, too, and what to do
            if key.stage is Stage.PREVIOUS and not self._is_busy(key):
                says = f"{key.ref} was replaced and still lives: portcullis sweep retire {key.ref}, once nobody uses it"
                yield Finding(account.name, key.venue_key_id, "replaced", says, str(key.ref))
            left = key.stage is Stage.PENDING and key.venue_key_id and not self._is_busy(key)
            lately = key.created_at + SETTLES > now or self._is_settling(
                account.name, key.ref.slot.value, now
            )
            if left and not lately:
                says = (
                    f"{key.ref} was never taken into use, and lives: import it again, or "
                    f"portcullis sweep retire {key.ref}"
                )
                yield Finding(account.name, key.venue_key_id, "unused", says, str(key.ref))

    def _lives(self, account: str, key_id: str, sweep: str) -> None:
        """Take back that a key is dead; whoever had it counts as having it again."""
        with self._service.desk.database.write() as connection:
            self._hold(connection, account, sweep)
            account_store.lives(connection, key_id)
            store.seen(connection, key_id)

    def _left(self, account: str) -> set[str]:
        """Return the keys that a person left, which is told until each is proven dead, or in use again."""
        with self._service.desk.database.read() as connection:
            standing = store.standing(connection)
        return {one.key_id for one in standing if one.account == account and one.what == store.LEFT}

    def _rotation_of(self, account: str, label: str, now: datetime) -> str:
        """Tell whether the rotation that a label names is open, given up for a while, or none of this account."""
        with self._service.desk.database.read() as connection:
            row = rotation_store.get(connection, label)
        if row is None or row.account != account or row.held:
            return "none"  # one that was dropped after a restore: what became of its key is not known here
        if State(row.state) not in TERMINAL or moment(row.ended_us) + RESTS > now:
            return "open"
        return "over" if State(row.state) in {State.ABANDONED, State.HALTED} else "none"

    def _is_settling(self, account: str, slot: str, now: datetime) -> bool:
        """Tell whether a slot's keys changed so lately that a list may not show it."""
        with self._service.desk.database.read() as connection:
            row = rotation_store.last_ended(connection, account, slot)
            busy = rotation_store.open_of(connection, account, slot) is not None
        return busy or (row is not None and moment(row.ended_us) + SETTLES > now)

    def _is_busy(self, key: KeyVersion) -> bool:
        with self._service.desk.database.read() as connection:
            return rotation_store.open_of(connection, key.ref.account, key.ref.slot.value) is not None

    def _version_of(self, account: str, one: Found) -> KeyRef | None:
        """Return the version that a key was to become which a rotation made and never heard of.

        None where that version is another key: a label is a name, and whoever can make keys can give it.
        """
        with self._service.desk.database.read() as connection:
            row = rotation_store.get(connection, one.label)
        if row is None:
            return None
        ref = KeyRef(account, Slot(row.slot), row.new_version)
        key = next((key for key in self._service.keys.list(account) if key.ref == ref), None)
        if key is None or key.venue_key_id or key.stage in {Stage.CURRENT, Stage.PREVIOUS}:
            return None
        return ref

    def _retire_orphan(self, ref: KeyRef, one: Found, sweep: str, now: datetime) -> str:
        """Retire such a key; say in words what was done."""

        def name(connection: Connection) -> None:
            if not account_store.name_unnamed(connection, ref, one.key_id):
                raise Conflict("moving", f"{ref} is another key by now")

        return self._retire(ref, "orphan", sweep, now, name, one.key_id)

    def _retire(
        self, ref: KeyRef, why: str, sweep: str, now: datetime, also: Also = nothing_more, key_id: str = ""
    ) -> str:
        """Retire a key that lives and should not; say in words whether that began. A later sweep tries again."""

        def held(connection: Connection) -> None:
            self._hold(connection, ref.account, sweep)
            also(connection)

        try:
            self._service.desk.guard.ensure(Deed.DELETE_ORPHAN)
            planned = draw_up_retirement(self._service, ref, why, now, undead=True)
            self._journal.begin(replace(planned, old_key_id=key_id or planned.old_key_id), held)
        except BrokerError as fault:
            _LOG.error("%s lives and is not retired yet: %s", ref, fault)
            return f"it lives, and nothing was begun yet ({fault}); the next sweep tries again"
        return "it is being deleted"

    # --- keys in use that are not what they were --------------------------------------------

    def _drift(
        self, account: Account, desk: Desk, known: tuple[KeyVersion, ...], listed: tuple[VenueKey, ...],
        now: datetime,
    ) -> Iterator[Finding]:  # fmt: skip
        there = {key.key_id: key for key in listed}
        wanted_at = set(self._service.accounts.addresses(account.egress))
        for key in known:
            found = there.get(key.venue_key_id)
            if key.stage is not Stage.CURRENT or found is None:
                continue
            here = set(desk.admin.addresses(desk.subaccount, key.venue_key_id) or ())
            if wanted_at and here != wanted_at:
                says = (
                    f"{key.ref} is bound to {', '.join(sorted(here)) or 'any address'}, and its egress declares "
                    f"{', '.join(sorted(wanted_at))}: rotate it"
                )
                yield Finding(account.name, key.venue_key_id, "addresses", says, str(key.ref))
            yield from self._permissions(account, key, found, now)

    def _permissions(
        self, account: Account, key: KeyVersion, listed: VenueKey, now: datetime
    ) -> Iterator[Finding]:
        """Compare a key with what its rotation ordered; one that was imported is only looked at for withdrawals."""
        with self._service.desk.database.read() as connection:
            ordered = rotation_store.ordered(connection, key.ref.account, key.ref.slot.value, key.ref.version)
        wrong: list[str] = []
        if ordered is not None and listed.permissions is not None:
            wrong += differences(self._journal.read(ordered).permissions, listed.permissions)
        try:
            secret = self._service.desk.secrets.read(key.path)["secret"]
        except BrokerError as fault:
            if not is_lost(fault):
                raise
            if not self._is_settling(account.name, key.ref.slot.value, now):  # it may be replaced this moment
                says = (
                    f"{key.ref} is in use, and its secret is gone ({fault}): what holds it in memory trades on, and a "
                    f"gateway that starts again cannot. {lost.brought_back(fault.reason, 'rotate it')}"
                )
                yield Finding(account.name, key.venue_key_id, "no-secret", says, str(key.ref))
            if wrong:
                yield self._wrong(account, key, wrong)
            return
        try:
            with self._venues.probe(account) as probe:
                facts = probe.restrictions(Credential(key.venue_key_id, secret, key.key_type))
        except VenueRefused as fault:
            says = f"{key.ref} is in use and refused by the exchange ({fault.reason}): rotate it"
            yield Finding(account.name, key.venue_key_id, "refused", says, str(key.ref))
            return
        if ordered is not None:
            wrong += [f"{word} is on and should be off" for word in facts.more]
        if facts.withdraw and not key.can_withdraw:
            wrong.append("it may WITHDRAW")
        if wrong:
            yield self._wrong(account, key, wrong)

    @staticmethod
    def _wrong(account: Account, key: KeyVersion, wrong: list[str]) -> Finding:
        return Finding(
            account.name, key.venue_key_id, "permissions", f"{key.ref}: {'; '.join(wrong)}", str(key.ref)
        )
