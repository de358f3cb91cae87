"""The audit trail's writer: what happened is recorded in the transaction in which it happened.

Rules:
1. `record` is called with the change's own connection: both are committed, or neither.
2. Control and call log have chains of their own (see `call_seal`).
3. A checkpoint of all chains is signed at most once a minute, when something was added, and anchored outside. An
   anchor that fails is tried again with the next; status says so.
"""

import logging
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.audit import chain, checkpoint
from broker.audit.chain import FIRST, Detail, Entry, Record
from broker.audit.ports import Anchor, AnchorFailed
from broker.audit.verify import Report, verify
from broker.db import Connection
from broker.db import audit as store
from broker.db.database import Database
from broker.db.turns import Urgency
from broker.service.call_seal import sealed_digest
from broker.service.desk import Desk, Page, cursor_number, page

CONTROL = "control"
ITSELF = "portcullis"
"""The actor where no operator asked: the program by itself."""

acting: ContextVar[str] = ContextVar("acting", default=ITSELF)
"""Who asks; set once a request."""

_EVERY_US = 60_000_000
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
        self._unanchored: dict[str, str] = {}

    # --- records --------------------------------------------------------------------------

    def record(
        self, connection: Connection, action: str, subject: str, details: Mapping[str, Detail] | None = None
    ) -> Record:
        """Record that who acts did something, in the transaction in which it is done."""
        entry = Entry(
            self._desk.clock.now_us(), acting.get(), action, subject, chain.details_text(details or {})
        )
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
        self._signer = signer

    def checkpoint(self, *, at_once: bool = False) -> bool:
        """Sign how far every chain has come, where something was added; tell whether it did.

        Raises:
            StoreUnavailable: The database cannot answer.
        """
        signer, now_us = self._signer, self._desk.clock.now_us()
        if signer is None or (not at_once and now_us - self._signed_us < _EVERY_US):
            return False
        with self._desk.database.read() as connection:
            heads = store.heads(connection)
            line = store.last_checkpoint(connection, signer.name)
        last = None if line is None else checkpoint.load(line)
        if last is not None and dict(last.heads) == heads and not self._unanchored:
            return False
        number, previous = (0, FIRST) if last is None else (last.number, checkpoint.digest(last))
        signed = checkpoint.sign(signer.key, signer.name, number + 1, now_us, heads, previous)
        with self._desk.database.write(Urgency.UPKEEP) as connection:
            if store.last_checkpoint(connection, signer.name) != line:
                return False  # another process signs as we do, and was faster
            store.add_checkpoint(connection, signer.name, signed.number, checkpoint.dump(signed))
        self._signed_us = now_us
        self._anchor(signer.anchors, checkpoint.dump(signed))
        return True

    def unanchored(self) -> Mapping[str, str]:
        """Return the anchors that failed last, and why."""
        return dict(self._unanchored)

    def _anchor(self, anchors: Sequence[Anchor], line: str) -> None:
        for anchor in anchors:
            try:
                anchor.keep(line)
            except AnchorFailed as fault:
                _LOG.error("a checkpoint could not be anchored at %s: %s", anchor.name, fault)
                self._unanchored[anchor.name] = str(fault)
            else:
                self._unanchored.pop(anchor.name, None)


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
