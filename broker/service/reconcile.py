"""After a restore or a new timeline: is what the record says still so at the venues. Until it is, nothing is thawed.

Rules:
1. Every key on record is asked, with itself, by the account's own egress; facts that changed are said, not taken over.
2. Where a manager key lists an account's keys, every one must be on record. Where none can, that there are no others
   an operator looks up at the venue and confirms, account by account.
3. A host that was restored from an embedded store cannot be reached: it is declared off, or every key is newer.
4. `reconcile_steps` says what each finding means for a thaw, and what to do: every step leads out.
5. What an operator declared counts until the next time that everything is closed: nobody has to say it all at once.
6. That it was compared lets a person go on by hand (`broker.deeds`): import, rotate, resume. That all is well lets the
   program go on by itself, and the closing be thawed.
7. Rotations that were open then are held, until a person lets each go on or drops it, with what the exchange says of
   its keys before them (`reconcile_steps.held`).
8. Which closing was compared since is told by its id, which keys an old host may hold by theirs: clocks are put right,
   and two hosts have two.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from broker.audit.chain import Detail
from broker.db import asks, meta
from broker.db import cuts as cut_store
from broker.db import rotations as rotation_store
from broker.errors import BrokerError, Conflict, Malformed, NotFound, Problem
from broker.model import EVERYTHING, Account, KeyVersion, Stage
from broker.service import reconcile_steps as steps
from broker.service.accounts import Accounts
from broker.service.audit import ITSELF, Audit
from broker.service.desk import Desk
from broker.service.host_guard import COMPARED, RECONCILED, STORE_BACK, closings
from broker.service.keys import Keys
from broker.service.managers import Managers
from broker.service.mirror import Mirror
from broker.service.reconcile_steps import Finding, Listing, Looked, OpenCut, OpenRotation, Step
from clients.errors import VenueError
from clients.venue import Credential, KeyFacts

RESTORED, RESTORED_KEYS = "restored_us", "restored_keys"
_DECLARED, _HELD_FOR = "reconcile_declared", "rotations_held_for"
_ASKED_BEFORE = (
    "closed: it was asked before everything was closed and not carried out; ask again if it is still wanted"
)
_MOST_CUTS = 500
_NEVER_US = 2**62

Ask = Callable[[str, Credential], KeyFacts]
"""Asks a venue, by account name, what a key may do."""

Survey = Callable[[Account, tuple[KeyVersion, ...]], tuple[str, ...]]
"""Asks a venue for an account's keys; returns in words what is not as it is on record."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What operators have looked up since everything was closed: accounts, deleted keys, the old host."""

    confirmed: frozenset[str] = frozenset()
    deleted: frozenset[str] = frozenset()
    old_host_off: bool = False


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What was found, and what is left to do: what stands in the way of a thaw, or else the thaws."""

    keys: tuple[Looked, ...]
    blocking: tuple[Step, ...]
    opening: tuple[Step, ...]
    held: tuple[Step, ...] = ()
    """Rotations that wait for a person, whatever else is the case."""

    @property
    def well(self) -> bool:
        """Whether what was closed may be thawed."""
        return not self.blocking

    @property
    def missing(self) -> tuple[str, ...]:
        """What stands in the way, in words."""
        return tuple(one.said for one in self.blocking)


class Reconciliation:
    """Use cases on reconciling."""

    def __init__(
        self, desk: Desk, audit: Audit, accounts: Accounts, keys: Keys, managers: Managers, mirror: Mirror
    ) -> None:
        self._desk, self._audit, self._accounts, self._mirror = desk, audit, accounts, mirror
        self._keys, self._managers = keys, managers

    def look(
        self, ask: Ask, survey: Survey, *, confirmed: Collection[str], old_host_off: bool,
        deleted: Collection[str] = (),
    ) -> Reconciled:  # fmt: skip
        """Compare, remember what is declared, and remember where all is well.

        Args:
            ask: Asks a venue about a key on record.
            survey: Asks a venue for the keys of an account under a manager key.
            confirmed: Accounts of which an operator has looked up that there are no other keys.
            old_host_off: Whether an operator declares that the restored host's predecessor is off.
            deleted: Key versions of which an operator has looked up that they are deleted at the venue.

        Raises:
            Malformed: Something is declared of an account or a key that is not on record.
        """
        closed = self._closed_by_itself()
        self._hold(closed)
        every = self._keys.list()
        known = [key for key in every if key.stage is not Stage.TOMBSTONE]
        managed = {account.name: account for account in self._managers.managed()}
        self._refuse_unknown(every, confirmed, deleted)
        declared = self._declare(Declared(frozenset(confirmed), frozenset(deleted), old_host_off))
        looked = tuple(self._one(key, ask) for key in known)
        gone = {
            key for key, one in zip(known, looked, strict=True)
            if key.stage is not Stage.CURRENT and (not one.works or one.key in declared.deleted)
        }  # fmt: skip
        listed = {
            name: _surveyed(
                survey, account, tuple(key for key in every if key.ref.account == name and key not in gone)
            )
            for name, account in managed.items()
        }
        with self._desk.database.read() as connection:
            restored_us = int(meta.get(connection, RESTORED) or 0)
            restored = frozenset(_texts(meta.get(connection, RESTORED_KEYS)))
            rotations = tuple(map(_rotation, rotation_store.every_open(connection)))
            newest = cut_store.page(connection, _NEVER_US, _MOST_CUTS, open_only=True)
            own = cut_store.by_itself(
                connection
            )  # however many a failover forgot, and were put on record after it
            beyond = [cut_store.get(connection, one) for one in sorted(own - {row.id for row in newest})]
            cuts = [
                OpenCut(row.id, row.actor, row.reason, row.id in own)
                for row in (*beyond, *newest)
                if row is not None
            ]
        older = [
            one for key, one in zip(known, looked, strict=True)
            if one.works and one.key not in declared.deleted
            and (one.key in restored or key.created_at.timestamp() * 1_000_000 <= restored_us)
        ]  # fmt: skip
        facts = steps.Facts(
            looked=looked, listed=listed, rotations=rotations, cuts=tuple(cuts),
            confirmed=declared.confirmed, deleted=declared.deleted,
            old_host=bool(restored_us and older) and not declared.old_host_off, superseded=self._mirror.superseded,
        )  # fmt: skip
        blocking = steps.blocking(facts)
        if steps.is_compared(facts):
            with self._desk.database.write() as connection:
                meta.put(connection, COMPARED, json.dumps(sorted(closed)))
        if not blocking:
            with self._desk.database.write() as connection:
                meta.put(connection, RECONCILED, json.dumps(sorted(closed)))
                if meta.get(connection, STORE_BACK) in closed:
                    meta.remove(connection, STORE_BACK)
                self._audit.record(
                    connection, "home.reconcile", f"instance:{self._desk.home.instance}",
                    {
                        "confirmed": sorted(declared.confirmed), "old_host_off": declared.old_host_off,
                        "deleted": sorted(declared.deleted),
                    },
                )  # fmt: skip
        return Reconciled(looked, blocking, () if blocking else steps.opening(facts), steps.held(facts))

    def _refuse_unknown(
        self, keys: tuple[KeyVersion, ...], confirmed: Collection[str], deleted: Collection[str]
    ) -> None:
        """Refuse a declaration about nothing: a slip of the pen would be a silent one."""
        refs = {str(key.ref) for key in keys}
        problems = [
            Problem("deleted", f"{one[:80]} is no key on record; write it as main/trade/1")
            for one in deleted
            if one not in refs
        ]
        for name in confirmed:
            try:
                self._accounts.get(name)
            except NotFound as fault:
                problems.append(Problem("confirmed", str(fault)))
        if problems:
            raise Malformed("bad_declaration", tuple(problems))

    def _closed_by_itself(self) -> frozenset[str]:
        """Return the cuts by which the program holds everything closed now."""
        with self._desk.database.read() as connection:
            return closings(connection)

    def _hold(self, closed: frozenset[str]) -> None:
        """Hold the rotations that were open when everything was closed: what became of them since is not in the record.

        Before it is said that anything was compared: from then on rotations are carried on.
        """
        with self._desk.database.write() as connection:
            if closed <= frozenset(_texts(meta.get(connection, _HELD_FOR))):
                return
            for name in rotation_store.hold_open(
                connection, f"it was open when {min(closed)} closed everything"
            ):
                self._audit.record(connection, "rotation.hold", name, {"cuts": sorted(closed)})
            for name in asks.refuse_waiting(connection, _ASKED_BEFORE, self._desk.clock.now_us()):
                self._audit.record(connection, "rotation.ask-refused", name, {"cuts": sorted(closed)})
            meta.put(connection, _HELD_FOR, json.dumps(sorted(closed)))

    def _declare(self, said: Declared) -> Declared:
        """Keep what is declared, with what was since everything was closed last."""
        with self._desk.database.write() as connection:
            text = meta.get(connection, _DECLARED)
            closed = cut_store.by_itself(connection) or _closings_of(
                text
            )  # nothing is closed: what was said still stands
            known = _declared(text, closed)
            both = Declared(
                known.confirmed | said.confirmed, known.deleted | said.deleted,
                known.old_host_off or said.old_host_off,
            )  # fmt: skip
            if both != known:
                document: dict[str, Detail] = {
                    "confirmed": sorted(both.confirmed), "deleted": sorted(both.deleted),
                    "old_host_off": both.old_host_off,
                }  # fmt: skip
                meta.put(connection, _DECLARED, json.dumps({**document, "cuts": sorted(closed)}))
                instance = f"instance:{self._desk.home.instance}"
                self._audit.record(connection, "home.declare", instance, document)
        return both

    def _one(self, key: KeyVersion, ask: Ask) -> Looked:
        """Ask about one key. What cannot be asked is undecided, never dead."""
        blank = Looked(str(key.ref), key.stage, Finding.ALIVE)

        def found(finding: Finding, note: str = "", reason: str = "") -> Looked:
            return replace(blank, finding=finding, note=note, reason=reason)

        if key.stage is Stage.PENDING and not key.venue_key_id:
            return found(Finding.PENDING, "not made yet; its rotation goes on, or waits for you")
        try:
            values = self._desk.secrets.read(key.path)
            credential = Credential(
                key.venue_key_id, values["secret"], key.key_type, values.get("passphrase")
            )
            facts = ask(key.ref.account, credential)
        except VenueError as fault:
            if fault.reason == "unknown_key":
                return found(Finding.DEAD, "the exchange does not know it any more", fault.reason)
            return found(Finding.UNDECIDED, f"the exchange says {fault.reason}", fault.reason)
        except BrokerError as fault:
            return found(Finding.UNDECIDED, str(fault), fault.reason)
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


def _rotation(row: Any) -> OpenRotation:
    versions = _versions(row.account, row.slot, row.old_version, row.new_version)
    return OpenRotation(row.id, row.account, row.slot, bool(row.todo), row.held, row.state, *versions)


def _versions(account: str, slot: str, old: int | None, new: int) -> tuple[str, str]:
    """Return how the key versions of a rotation are called; empty where there is none."""
    return ("" if old is None else f"{account}/{slot}/{old}", f"{account}/{slot}/{new}")


def _surveyed(survey: Survey, account: Account, keys: tuple[KeyVersion, ...]) -> Listing:
    """Ask for an account's keys; a list that cannot be had stands in the way too."""
    try:
        return Listing(account.manager or "", survey(account, keys))
    except VenueError as fault:
        why = f"its keys cannot be listed: the exchange says {fault.reason}"
        return Listing(account.manager or "", (why,), fault.reason)
    except BrokerError as fault:
        return Listing(account.manager or "", (f"its keys cannot be listed: {fault}",), fault.reason)


def _texts(document: str | None) -> tuple[str, ...]:
    """Read a list of texts; what is none is empty."""
    found = json.loads(document or "[]")
    return tuple(map(str, found)) if isinstance(found, list) else ()


def _closings_of(text: str | None) -> frozenset[str]:
    """Return what held everything closed when something was declared last."""
    found = json.loads(text or "{}").get("cuts")
    return frozenset(map(str, found)) if isinstance(found, list) else frozenset()


def _declared(text: str | None, closed: frozenset[str]) -> Declared:
    """Read what was declared; what was said before everything was closed again counts no more."""
    found: Mapping[str, object] = json.loads(text or "{}")
    if not closed <= _closings_of(text):
        return Declared()
    confirmed, deleted = found.get("confirmed"), found.get("deleted")
    return Declared(
        frozenset(map(str, confirmed)) if isinstance(confirmed, list) else frozenset(),
        frozenset(map(str, deleted)) if isinstance(deleted, list) else frozenset(),
        found.get("old_host_off") is True,
    )


def refuse_unreconciled(desk: Desk, cut_id: str) -> None:
    """Refuse the thaw of what the program closed by itself, until somebody has reconciled.

    Raises:
        Conflict: Nobody has since.
    """
    with desk.database.read() as connection:
        row = cut_store.get(connection, cut_id)
        if row is None or row.actor != ITSELF or EVERYTHING not in cut_store.scopes(connection, cut_id):
            return
        compared = _texts(meta.get(connection, RECONCILED))
    if cut_id not in compared:
        raise Conflict(
            "not_reconciled",
            f"the record was not compared with the exchanges since {cut_id}, or something is left to do: "
            "`portcullis reconcile` lists it, and says when this can be thawed",
        )
