"""After a restore or a new timeline: is what the record says still so at the venues. Until it is, nothing is thawed.

Rules:
1. Every key on record is asked, with itself, by the account's own egress; facts that changed are said, not taken over.
   That every host refuses a key by name is no proof of its death: see `reconcile_named`.
2. Where a manager key lists an account's keys, every one must be on record. Where none can, that there are no others
   an operator looks up at the venue and confirms, account by account.
3. A host that was restored from an embedded store cannot be reached: it is declared off, or every key is newer.
4. `reconcile_steps` says what each finding means for a thaw, and what to do: every step leads out.
5. What an operator declared counts until the next time that everything is closed, or the secret store went back: nobody
   has to say it all at once, and what was said of one incident says nothing of the next.
6. That it was compared lets a person go on by hand (`broker.deeds`): import, rotate, resume. That all is well lets the
   program go on by itself, and the closing be thawed.
7. Rotations that were open then are held, until a person lets each go on or drops it, with what the exchange says of
   its keys before them (`reconcile_held`).
8. What cannot be read or asked, a key, a list or a part of the record, is said in its place and stands in the way of a
   thaw; all else is answered.
9. Which closing was compared since is told by its id, which keys an old host may hold by theirs: clocks are put right,
   and two hosts have two.
"""

import json
import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from broker.audit.chain import Detail
from broker.db import Connection, asks, findings, meta
from broker.db import accounts as account_store
from broker.db import cuts as cut_store
from broker.db import grants as grant_store
from broker.db import rotations as rotation_store
from broker.errors import BrokerError, Malformed, NotFound, Problem, StoreUnavailable
from broker.model import Account, KeyVersion, Manager, Stage, way_of
from broker.service import declared as declarations
from broker.service import holding
from broker.service import reconcile_held as held_steps
from broker.service import reconcile_named as named
from broker.service import reconcile_steps as steps
from broker.service.accounts import Accounts
from broker.service.audit import Audit
from broker.service.declared import Declared
from broker.service.desk import Desk
from broker.service.host_guard import COMPARED, RECONCILED, STORE_BACK, closings
from broker.service.keys import Keys
from broker.service.managers import Managers
from broker.service.mirror import Mirror
from broker.service.reconcile_facts import (
    Facts,
    Finding,
    Listing,
    Looked,
    OpenCut,
    OpenRotation,
    Step,
    Surveyed,
    given_up,
)
from broker.service.reconcile_lists import untold, why_untold
from broker.service.reconciled import GIVEN_UP, texts
from clients.errors import VenueError
from clients.venue import Credential, KeyFacts

RESTORED, RESTORED_KEYS = "restored_us", "restored_keys"
_SEEN = "reconcile_named"
_ASKED_BEFORE = (
    "closed: it was asked before everything was closed and not carried out; ask again if it is still wanted"
)
_MOST_CUTS = 500
_LOG = logging.getLogger("portcullis.reconcile")
_NEVER_US = 2**62

Ask = Callable[[str, Credential], KeyFacts]
"""Asks a venue, by account name, what a key may do."""

Survey = Callable[[Account, tuple[KeyVersion, ...]], Surveyed]
"""Asks a venue for an account's keys, and compares them with every key on record."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What was found, and what is left to do: what stands in the way of a thaw, or else the thaws."""

    keys: tuple[Looked, ...]
    blocking: tuple[Step, ...]
    opening: tuple[Step, ...]
    held: tuple[Step, ...] = ()
    """Rotations that wait for a person, whatever else is the case."""
    waits: str = ""  # what does while something stands in the way, in words

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
        with self._desk.database.read() as connection:
            closed = closings(connection)
        self._hold(closed)
        every = self._keys.list()
        known = [key for key in every if key.stage is not Stage.TOMBSTONE]
        managed = {account.name: account for account in self._managers.managed()}
        managers = {one.name: one for one in self._managers.list()}
        self._refuse_unknown(every, confirmed, deleted)
        declared = self._declare(Declared(frozenset(confirmed), frozenset(deleted), old_host_off))
        looked = tuple(self._one(key, ask) for key in known)
        listed = {name: _surveyed(survey, account, every, managers) for name, account in managed.items()}
        looked, lacking = self._named(looked, listed, known, ask)
        unread, restored_us, restored = list[Step](), 0, frozenset[str]()
        rotations, cuts = tuple[OpenRotation, ...](), tuple[OpenCut, ...]()
        unused, by_hand = frozenset[str](), frozenset[str]()
        try:
            with self._desk.database.read() as connection:
                restored_us = int(meta.get(connection, RESTORED) or 0)
                restored = frozenset(texts(meta.get(connection, RESTORED_KEYS)))
                rotations = tuple(map(_rotation, rotation_store.every_open(connection)))
                cuts = _open_cuts(connection)
                by_hand = frozenset(account_store.by_hand(connection))
                unused = frozenset({key.ref.account for key in every} - grant_store.used_accounts(connection))
        except StoreUnavailable as fault:
            unread.append(_unread(f"what was restored, is rotated and is cut could not be read ({fault})"))
        facts = Facts(
            looked=looked, listed=lacking, rotations=rotations, cuts=cuts, unread=tuple(unread),
            confirmed=declared.confirmed, said_deleted=declared.deleted,
            deaths={str(key.ref): key.death for key in every}, unused=unused, by_hand=by_hand,
            superseded=self._mirror.superseded,
        )  # fmt: skip
        older = [
            one for key, one in zip(known, looked, strict=True)
            if one.works and one.key not in facts.deleted
            and (one.key in restored or key.created_at.timestamp() * 1_000_000 <= restored_us)
        ]  # fmt: skip
        facts = replace(facts, old_host=bool(restored_us and older) and not declared.old_host_off)
        if deleted or confirmed:
            self._confirm(facts.deleted.intersection(deleted), facts.by_hand.intersection(confirmed))
        if facts.belied:
            declared = self._declare(Declared(), belied=facts.belied)
        try:
            self._note(facts, closed, declared)
        except StoreUnavailable as fault:
            facts = replace(
                facts, unread=(_unread(f"that it was compared could not be put on record ({fault})"),)
            )
        blocking = steps.blocking(facts)
        opening = () if blocking else steps.opening(facts)
        return Reconciled(looked, blocking, opening, held_steps.held(facts), steps.waits(closed))

    def _note(self, facts: Facts, closed: frozenset[str], declared: Declared) -> None:
        """Put on record what the comparison lets be done from now on."""
        if steps.is_compared(facts):
            with self._desk.database.write() as connection:
                meta.put(connection, COMPARED, json.dumps(sorted(closed)))
        if not steps.blocking(facts):
            with self._desk.database.write() as connection:
                meta.put(connection, RECONCILED, json.dumps(sorted(closed)))
                meta.put(connection, GIVEN_UP, json.dumps(sorted(given_up(facts))))
                if meta.get(connection, STORE_BACK) in closed:
                    meta.remove(connection, STORE_BACK)
                self._audit.record(
                    connection, "home.reconcile", f"instance:{self._desk.home.instance}",
                    {
                        "confirmed": sorted(declared.confirmed), "old_host_off": declared.old_host_off,
                        "deleted": sorted(declared.deleted),
                    },
                )  # fmt: skip

    def _named(
        self, looked: tuple[Looked, ...], listed: Mapping[str, Listing], known: list[KeyVersion], ask: Ask
    ) -> tuple[tuple[Looked, ...], Mapping[str, Listing]]:
        """Judge the keys that are refused by name, with what was seen of them the last time.

        What was seen and cannot be read, or kept, was not seen: then they stay undecided.
        """
        ways = dict[str, object]()
        for name in {row.account for row in looked}:
            with suppress(BrokerError):
                ways[name] = way_of(self._accounts.get(name))
        again = named.witnesses(looked, listed, ways)
        after = tuple(self._one(key, ask) for key in known if str(key.ref) in again)
        before: dict[str, named.Seen] = {}
        with suppress(StoreUnavailable, msgspec.DecodeError), self._desk.database.read() as connection:
            before = msgspec.json.decode(meta.get(connection, _SEEN) or "{}", type=dict[str, named.Seen])
        looked, listed, kept = named.judge(looked, after, listed, ways, before, self._desk.spans.now())
        if kept != before:
            with suppress(StoreUnavailable), self._desk.database.write() as connection:
                meta.put(connection, _SEEN, msgspec.json.encode(kept).decode())
        return looked, listed

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

    def _hold(self, closed: frozenset[str]) -> None:
        """Hold the rotations that were open when everything was closed: what became of them since is not in the record.

        Before it is said that anything was compared: from then on rotations are carried on.
        """
        with self._desk.database.write() as connection:
            left = closed - holding.held_for(connection)
            if not left:
                return
            for name in rotation_store.hold_open(connection, holding.why(left)):
                self._audit.record(connection, "rotation.hold", name, {"cuts": sorted(closed)})
            for name in asks.refuse_waiting(connection, _ASKED_BEFORE, self._desk.clock.now_us()):
                self._audit.record(connection, "rotation.ask-refused", name, {"cuts": sorted(closed)})
            meta.put(connection, holding.HELD_FOR, json.dumps(sorted(closed)))

    def _confirm(self, deleted: Collection[str], looked_up: Collection[str]) -> None:
        with self._desk.database.write() as connection:  # dead by one word alone, and looked up once more
            told = findings.confirm(connection, deleted, self._desk.clock.now_us())
            for ref in sorted({*told, *account_store.confirm(connection, deleted)}):
                self._audit.record(connection, "key.confirm-deleted", f"key-version:{ref}")
            for name in findings.looked_up(connection, looked_up, self._desk.clock.now_us()):
                self._audit.record(connection, "account.confirm-keys", f"account:{name}")

    def _declare(self, said: Declared, belied: Collection[str] = ()) -> Declared:
        """Keep what is declared, with what was since everything was closed last, but for what the exchange belies."""
        with self._desk.database.write() as connection:
            known, closed = declarations.standing(connection)
            declarations.note(connection, said.deleted, self._desk.spans.now())
            both = Declared(
                known.confirmed | said.confirmed, (known.deleted | said.deleted).difference(belied),
                known.old_host_off or said.old_host_off,
            )  # fmt: skip
            if both != known:
                document: dict[str, Detail] = {
                    "confirmed": sorted(both.confirmed), "deleted": sorted(both.deleted),
                    "old_host_off": both.old_host_off,
                }  # fmt: skip
                meta.put(connection, declarations.DECLARED, json.dumps({**document, "cuts": sorted(closed)}))
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
            uid = self._accounts.get(key.ref.account).venue_uid
            facts = ask(key.ref.account, credential)
        except VenueError as fault:
            return found(Finding.UNDECIDED, f"the exchange says {fault.reason}", fault.reason)
        except BrokerError as fault:
            return found(Finding.UNDECIDED, str(fault), fault.reason)
        except Exception as fault:  # noqa: BLE001 - one key that cannot be asked about keeps no other back; it may quote
            name = type(fault).__name__
            _LOG.critical("%s could not be asked about: failed unforeseen (%s)", key.ref, name)
            return found(Finding.UNDECIDED, f"asking failed unforeseen ({name})", "unforeseen")
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


def _unread(what: str) -> Step:
    return Step(what, "mend that and compare again; the rest is as it says", ("portcullis reconcile",))


def _open_cuts(connection: Connection) -> tuple[OpenCut, ...]:
    """Return the cuts in force: the newest, and all by which everything is closed, however many a failover forgot."""
    newest = cut_store.page(connection, _NEVER_US, _MOST_CUTS, open_only=True)
    own = cut_store.by_itself(connection)
    beyond = [cut_store.get(connection, one) for one in sorted(own - {row.id for row in newest})]
    return tuple(
        OpenCut(row.id, row.actor, row.reason, row.id in own) for row in (*beyond, *newest) if row is not None
    )


def _rotation(row: Any) -> OpenRotation:
    versions = _versions(row.account, row.slot, row.old_version, row.new_version)
    return OpenRotation(row.id, row.account, row.slot, bool(row.todo), row.held, row.state, *versions)


def _versions(account: str, slot: str, old: int | None, new: int) -> tuple[str, str]:
    """Return how the key versions of a rotation are called; empty where there is none."""
    return ("" if old is None else f"{account}/{slot}/{old}", f"{account}/{slot}/{new}")


def _surveyed(
    survey: Survey, account: Account, keys: tuple[KeyVersion, ...], managers: Mapping[str, Manager]
) -> Listing:
    """Ask for an account's keys; a list that cannot be had stands in the way too."""
    blank = untold(account, managers)
    try:
        found = survey(account, keys)
        return replace(
            blank, odd=tuple(found.odd), labels=found.odd, there=found.there, foreign=found.foreign
        )
    except (VenueError, BrokerError) as fault:
        return replace(blank, odd=(why_untold(fault, blank.manager),), reason=fault.reason)
    except Exception as fault:  # noqa: BLE001 - one list that cannot be had keeps no other back; its text may quote
        kind = type(fault).__name__
        _LOG.critical("the keys of %s could not be listed: failed unforeseen (%s)", account.name, kind)
        return replace(blank, odd=(f"asking for its keys failed unforeseen ({kind})",), reason="unforeseen")
