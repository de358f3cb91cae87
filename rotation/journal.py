"""Rotations on record: planned, claimed, saved before every effect, with every transition kept.

Rules:
1. A rotator works on what it has claimed. A claim lasts longer than any request it signs can take effect, so whoever
   comes back late finds its claim gone and its request dead. It is counted on the host's boot clock (`broker.steady`).
2. A save names the row version that was read. One that is lost stops the run (`Lost`): somebody else goes on. What an
   effect writes names it, too (`rotation.fence`).
3. An account's slot has one open rotation at a time, and no key is imported into it meanwhile; the database holds that,
   not hope: who plans and who imports hold the account's row, and an open rotation has its slot's only place.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from broker.db import Connection
from broker.db import accounts as account_store
from broker.db import rotations as store
from broker.db.database import Database
from broker.deeds import Deed
from broker.errors import Conflict, Withheld
from broker.model import KeyRef, KeyVersion, Stage
from broker.service.audit import Audit
from rotation import document
from rotation.sitting import todo
from rotation.state import Event, Reply, Rotation, State, Step

CLAIM_US = 180_000_000
"""Far beyond the receive window of what is signed, and longer than the slowest effect: one that asks several hosts, of
which each lets us wait to the end of our patience."""

_LONGEST_NOTE = 500


Also = Callable[[Connection], None]


def nothing_more(_connection: Connection) -> None:
    """Do nothing more in a transaction."""


class Lost(Exception):
    """Somebody else works on this rotation now: nothing more may be done about it here."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A rotation that is ours to carry on, as long as nobody else claims or changes it."""

    rotation: Rotation

    @property
    def row_version(self) -> int:
        """Return what the next save has to name."""
        return self.rotation.row_version


class Journal:
    """Loads and saves."""

    def __init__(self, database: Database, audit: Audit, who: str) -> None:
        self._database, self._audit, self._who = database, audit, who
        self.spans = audit.spans

    def plan(self, rotation: Rotation, also: Also = nothing_more) -> None:
        """Put a rotation on record, with the pending key version it is to make.

        `also` is done first, in the same transaction; what it raises stops it.

        Raises:
            Conflict: The account's slot has an open rotation, or its keys are others than it was drawn up for.
        """
        now_us = microseconds(rotation.started_at)
        ref = KeyRef(rotation.account, rotation.slot, rotation.new)
        pending = KeyVersion(
            ref, Stage.PENDING, "", rotation.key_type, ref.path, rotation.started_at, True, False
        )
        with self._database.write() as connection:
            also(connection)
            self._audit.guard.fence(connection, Deed.START)
            self._begin(connection, rotation)
            account_store.add_key(connection, pending, now_us)
            self._audit.record(
                connection, "rotation.plan", rotation.id, {"key": str(ref), "why": rotation.why}
            )

    def begin(self, rotation: Rotation, also: Also = nothing_more) -> None:
        """Put a rotation on record that makes no key: one that only retires.

        `also` is done first, in the same transaction; what it raises stops it.

        Raises:
            Conflict: The account's slot has an open rotation, or its keys are others than it was drawn up for.
        """
        with self._database.write() as connection:
            also(connection)
            self._audit.guard.fence(connection, Deed.START)
            self._begin(connection, rotation)
            self._audit.record(
                connection, "rotation.plan", rotation.id, {"retires": str(rotation.old), "why": rotation.why}
            )

    @staticmethod
    def _begin(connection: Connection, rotation: Rotation) -> None:
        """Take the slot: no import moves its keys from now on. It was drawn up from what was read before."""
        account_store.hold(connection, rotation.account)
        known = account_store.account(connection, rotation.account)
        if known is not None and rotation.by_hand is not (known.manager is None):
            raise Conflict(
                "moved",
                f"{rotation.account} was put under a manager key, or released from it, this moment: ask again",
            )
        store.add(connection, _fresh(rotation))
        current = account_store.current_key(connection, rotation.account, rotation.slot)
        stays = rotation.old
        if (
            rotation.retirement is not None
        ):  # it makes no key; where none is in use it names the one that goes twice
            stays = None if rotation.new == rotation.old else rotation.new
        if (None if current is None else current.ref.version) != stays:
            raise Conflict(
                "moved",
                f"another key of {rotation.account}/{rotation.slot.value} is in use by now: ask again",
            )

    @staticmethod
    def read(text: str) -> Rotation:
        """Read a rotation as it was saved."""
        return document.load(text)

    def claim(self, now: datetime) -> Claimed | None:
        """Claim a rotation that is due; None where there is none."""
        now_us = microseconds(now)
        with self._database.write() as connection:
            found = store.claim_due(connection, self._who, now_us, self.spans.begin(CLAIM_US), self.spans)
        return None if found is None else _claimed(found)

    def claim_one(self, rotation: str, _now: datetime, also: Also = nothing_more) -> Claimed | None:
        """Claim one rotation, due or not; None where somebody works on it, or it is over. `also` as in `plan`."""
        with self._database.write() as connection:
            also(connection)
            found = store.claim_one(connection, rotation, self._who, self.spans.begin(CLAIM_US), self.spans)
        return None if found is None else _claimed(found)

    def give_back(self, claimed: Claimed, _now: datetime) -> None:
        """Let others claim a rotation that was claimed and not changed."""
        with self._database.write() as connection:
            store.save(
                connection, claimed.rotation.id, claimed.row_version, store.claim_values(self._who, None)
            )

    def save(
        self, claimed: Claimed, step: Step, event: Event, now: datetime, *, goes_on: bool = False,
        also: Also = nothing_more,
    ) -> Claimed:  # fmt: skip
        """Save what a step made of a rotation, before its effect is performed.

        The claim is kept where there is an effect to perform, or where who saves `goes_on` with it at once. `also`
        as in `plan`.

        Raises:
            Lost: It was claimed or changed by somebody else.
            StoreUnavailable: The database cannot answer; nothing may be performed.
        """
        rotation, was = replace(step.rotation, seen=self.spans.now()), claimed.rotation
        with self._database.write() as connection:
            also(connection)
            try:
                self._audit.guard.fence(connection, Deed.RECORD)
            except Withheld as fault:
                raise Lost(f"{rotation.id}: {fault}") from None
            keeps = step.effect is not None or goes_on
            claim = self.spans.begin(CLAIM_US) if keeps else None
            values = _values(rotation) | store.claim_values(self._who, claim)
            if not store.save(connection, rotation.id, claimed.row_version, values):
                raise Lost(rotation.id)
            if step.note or rotation.state is not was.state or step.effect is not None:
                self._note(connection, was, _history(was, step, event, now))
            if rotation.new_key_id != was.new_key_id and rotation.new_key_id is not None:
                ref = KeyRef(rotation.account, rotation.slot, rotation.new)
                account_store.set_venue_key_id(connection, ref, rotation.new_key_id)
            self._tell(connection, was, rotation)
        return Claimed(replace(rotation, row_version=claimed.row_version + 1))

    def _note(self, connection: Connection, was: Rotation, line: dict[str, object]) -> None:
        """Add a line to the history; a look that is repeated while nothing changes is one line."""
        lately = store.last_steps(connection, was.id, 2)
        same = ("state", "effect", "note")
        moved = line["was"] != line["state"]
        if not moved and any(all(getattr(one, name) == line[name] for name in same) for one in lately):
            return
        store.add_step(connection, was.id, line)

    def _tell(self, connection: Connection, was: Rotation, rotation: Rotation) -> None:
        """Put into the audit trail what people look for: what stalls, is cut over to, and how it ends."""
        if rotation.state is was.state:
            return
        if rotation.over or rotation.state in {
            State.STALLED,
            State.DRAINING,
            State.ROLLING_BACK,
            State.HALTING,
        }:
            self._audit.record(
                connection, f"rotation.{rotation.state.value}", rotation.id,
                {"account": rotation.account, "reason": rotation.reason},
            )  # fmt: skip


def _claimed(found: store.Stored) -> Claimed:
    return Claimed(replace(document.load(found.document), row_version=found.row_version))


def _fresh(rotation: Rotation) -> dict[str, object]:
    return _values(rotation) | {
        "id": rotation.id, "account": rotation.account, "slot": rotation.slot.value, "why": rotation.why,
        "old_version": rotation.old, "new_version": rotation.new,
        "created_us": microseconds(rotation.started_at), "row_version": 1, "claimed_until_us": 0,
    }  # fmt: skip


def _values(rotation: Rotation) -> dict[str, object]:
    ended = microseconds(rotation.entered_at) if rotation.over else None
    return {
        "open_slot": None if rotation.over else f"{rotation.account}/{rotation.slot.value}",
        "state": rotation.state.value, "reason": rotation.reason, "runbook": rotation.runbook,
        "paused": rotation.paused, "document": document.dump(rotation), "due_us": microseconds(rotation.due_at),
        "entered_us": microseconds(rotation.entered_at), "ended_us": ended,
        "todo": json.dumps(asked) if (asked := todo(rotation)) else "",
    }  # fmt: skip


def _history(was: Rotation, step: Step, event: Event, now: datetime) -> dict[str, object]:
    said = (
        f"{event.answer.value} {event.reason}".strip() if isinstance(event, Reply) else type(event).__name__
    )
    return {
        "at_us": microseconds(now), "event": said[:80], "was": was.state.value, "state": step.rotation.state.value,
        "effect": "" if step.effect is None else step.effect.do.value, "note": step.note[:_LONGEST_NOTE],
    }  # fmt: skip


def microseconds(at: datetime) -> int:
    """Return an instant as the database keeps it."""
    return round(at.astimezone(UTC).timestamp() * 1_000_000)
