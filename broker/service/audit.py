"""The audit trail's writer: what happened is recorded in the transaction in which it happened.

Rules:
1. `record` is called with the change's own connection: both are committed, or neither.
2. Control and call log have chains of their own (see `call_seal`).
3. A checkpoint of all chains is signed at most once a minute, when something was added, and anchored outside, beside
   whatever else there is to do (`audit.keeping`). An anchor that fails is tried again with the next; status says so.
4. What an anchor took is written down, by its place: one that was emptied later, or cut off, is told by that.
"""

import logging
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.audit import chain, checkpoint
from broker.audit.chain import CONTROL, FIRST, Detail, Entry, Record
from broker.audit.held import Runs
from broker.audit.keeping import Keeping
from broker.audit.ports import Anchor
from broker.audit.verify import Report, verify
from broker.db import Connection, anchored
from broker.db import audit as store
from broker.db.database import Database
from broker.db.turns import Urgency
from broker.model import ITSELF as ITSELF  # noqa: PLC0414 - the actor is named beside who records
from broker.service.call_seal import sealed_digest
from broker.service.desk import Desk, Page, cursor_number, page
from broker.service.host_guard import HostGuard
from broker.service.using import Using, using
from broker.steady import Watch

acting: ContextVar[str] = ContextVar("acting", default=ITSELF)
"""Who asks; set once a request."""

_EVERY_US = 60_000_000
_PATIENCE_S = 8.0
"""How long who needs a checkpoint at once waits for anchors: a founding, a recovery, an end."""

_END = (2**62, "~", 2**62)
_LOG = logging.getLogger("portcullis.audit")


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs checkpoints here, and where they are anchored."""

    name: str
    key: Ed25519PrivateKey
    anchors: tuple[Anchor, ...] = ()


class Audit:
    """Use cases on the audit trail."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._signer: Signer | None = None
        self._signed_us = -(2**62)
        self._keeping = Keeping()

    @property
    def guard(self) -> HostGuard:
        """What is asked before a deed, for whoever records deeds."""
        return self._desk.guard

    @property
    def spans(self) -> Watch:
        """What tells which spans of time are over, for whoever records deeds."""
        return self._desk.spans

    # --- records --------------------------------------------------------------------------

    def record(
        self, connection: Connection, action: str, subject: str, details: Mapping[str, Detail] | None = None
    ) -> Record:
        """Record that who acts did something, in the transaction in which it is done; an announced act is used by that.

        Raises:
            Conflict: Somebody else used that act, or called it off; the transaction is to be given up.
        """
        self._use(connection, action)
        return self._append(connection, action, subject, details or {})

    def use_act(self, connection: Connection, deed: str) -> None:
        """Use up the announced act of what has no transaction of its own, in one that is committed before it.

        Raises:
            Conflict: See `record`.
        """
        self._use(connection, deed)

    def give_act_back(self, connection: Connection) -> None:
        """Let an act be used again whose deed has no transaction of its own, and was not done."""
        premise = using.get()
        if isinstance(premise, Using) and (act := premise.give_back(connection)):
            self._append(connection, "act.give-back", act, {"what": premise.action})

    def _use(self, connection: Connection, deed: str) -> None:
        premise = using.get()
        if premise is not None and (act := premise.use(connection, deed)):
            what = premise.action if isinstance(premise, Using) else ""
            self._append(connection, "act.use", act, {"what": what})

    def _append(
        self, connection: Connection, action: str, subject: str, details: Mapping[str, Detail]
    ) -> Record:
        entry = Entry(self._desk.clock.now_us(), acting.get(), action, subject, chain.details_text(details))
        return store.append(connection, CONTROL, entry)

    def founded(self) -> None:
        """Record that a home was founded."""
        home = self._desk.home
        details: dict[str, Detail] = {"environment": home.environment.value, "mode": home.mode}
        with self._desk.database.write() as connection:
            self.record(connection, "home.found", f"instance:{home.instance}", details)

    def list(self, *, after: str = "", limit: int = 100, writer: str | None = None) -> Page[Record]:
        """List records, newest first.

        Raises:
            Malformed: An unknown cursor.
        """
        before = _END
        if after:
            at_us, writer, seq = (*after.split("."), "", "", "")[:3]
            before = (cursor_number(at_us), writer, cursor_number(seq))
        with self._desk.database.read() as connection:
            found = store.page(connection, before, limit + 1, writer)
        return page(found, limit, lambda one: f"{one.entry.at_us}.{one.writer}.{one.seq}")

    # --- checkpoints ----------------------------------------------------------------------

    def sign_with(self, signer: Signer) -> None:
        """Say who signs here."""
        self._signer, self._keeping = signer, Keeping(signer.anchors)

    def checkpoint(self, *, at_once: bool = False) -> bool:
        """Sign how far every chain has come, where something was added; tell whether it did.

        Raises:
            StoreUnavailable: The database cannot answer.
        """
        signer, now_us = self._signer, self._desk.clock.now_us()
        self._note_taken()
        if signer is None or (not at_once and 0 <= now_us - self._signed_us < _EVERY_US):
            return False
        with self._desk.database.read() as connection:
            heads = store.heads(connection)
            line = store.last_checkpoint(connection, signer.name)
        last = None if line is None else checkpoint.load(line)
        if last is not None and dict(last.heads) == heads and not self._keeping.failed():
            return False
        number, previous = (0, FIRST) if last is None else (last.number, checkpoint.digest(last))
        signed = checkpoint.sign(signer.key, signer.name, number + 1, now_us, heads, previous)
        with self._desk.database.write(Urgency.UPKEEP) as connection:
            if store.last_checkpoint(connection, signer.name) != line:
                return False  # another process signs as we do, and was faster
            store.add_checkpoint(connection, signer.name, signed.number, checkpoint.dump(signed))
        self._signed_us = now_us
        self._keeping.bring(signed.number, checkpoint.dump(signed))
        if at_once:
            self._keeping.wait(_PATIENCE_S)
            self._note_taken()
        return True

    def unanchored(self) -> Mapping[str, str]:
        """Return the anchors that failed last, and why."""
        return self._keeping.failed()

    def _note_taken(self) -> None:
        """Write down which checkpoints anchors took."""
        taken = self._keeping.taken()
        if taken and self._signer is not None:
            owner = checkpoint.fingerprint(self._signer.key.public_key())
            with self._desk.database.write(Urgency.UPKEEP) as connection:
                for name, numbers in taken.items():
                    anchored.note(connection, owner, name, numbers)


def read_verified(database: Database, anchors: Sequence[str] = ()) -> Report:
    """Judge a database's whole trail against itself, its checkpoints and the anchors' lines.

    Raises:
        StoreUnavailable: The database cannot answer.
    """
    with database.read() as connection:
        checkpoints = store.checkpoints(connection)  # the state first: what it has sealed is in the log then
        with database.log.read() as log:
            return verify(
                store.walk(connection), checkpoints, anchors, lambda details: sealed_digest(log, details)
            )


def read_taken(database: Database) -> tuple[dict[tuple[str, str], Runs], int]:
    """Return which checkpoints each anchor took, by whose it is and its name, and how many checkpoints there are.

    To be read before the anchors are: what they take meanwhile is not missing then.

    Raises:
        StoreUnavailable: The database cannot answer.
    """
    with database.read() as connection:
        lines = store.checkpoints(connection)
        return anchored.every(connection), len(lines)
